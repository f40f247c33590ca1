"""Why a change is in its lane, told with the values that decided."""

from __future__ import annotations

import datetime as dt

import pytest

from connectors.storage import encode_notice
from schemas.backup import PLATFORM, QUARANTINE
from schemas.errors import FormatError
from streams.explain import explain, owners, parse_event, rank_in_words
from streams.priority import DEFAULT_RULES
from streams.state import Member, RouterState, parent_name
from tests.builders import NOON, a_mapping, a_notice, a_row, a_wedding


def test_the_rule_that_decides_is_told_with_its_values() -> None:
    """And when time alone will change the lane."""
    told = explain("w1", a_wedding(day=dt.date(2026, 6, 18)), now=NOON, rules=DEFAULT_RULES)

    assert (told["lane"], told["because"]) == ("standard", "no rule holds")
    assert told["values"]["days_ahead"] == 8
    assert told["next_change"] == {"at": "2026-06-10T23:00:00+00:00", "lane": "critical", "when": "within_days"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"day": dt.date(2026, 6, 10)}, "is today at the venue (Europe/London)"),
        ({"day": dt.date(2026, 6, 13)}, "the coming Saturday"),
        ({"day": dt.date(2026, 6, 16), "venue_zone": None}, "the venue's zone is unknown"),
        ({"urgent_until": NOON + dt.timedelta(hours=1)}, "somebody asked for it"),
        ({"uploaded_at": NOON}, "within 30 minutes"),
        ({"deliveries_due": frozenset({dt.date(2026, 6, 10)})}, "due to it today"),
        ({"deliveries_due": frozenset({dt.date(2026, 6, 11)})}, "due to it in 1 days"),
    ],
)
def test_each_rule_says_why(fields: dict[str, object], says: str) -> None:
    """In a sentence for people."""
    told = explain("w1", a_wedding(**{"day": None, **fields}), now=NOON, rules=DEFAULT_RULES)

    assert says in told["because"]
    assert [rule["holds"] for rule in told["rules"]].count(True) >= 1


@pytest.mark.parametrize(("name", "lane"), [(PLATFORM, "critical"), (QUARANTINE, "standard"), ("w9", "standard")])
def test_who_has_no_line_in_the_calendar_is_explained_too(name: str, lane: str) -> None:
    """The platform, the quarantine, and a wedding nobody has announced."""
    assert explain(name, None, now=NOON, rules=DEFAULT_RULES)["lane"] == lane


def test_a_record_s_owners_are_found_as_the_router_finds_them() -> None:
    """By column, by parent, by path; both of a row that moved."""
    state, mapping = RouterState(":memory:"), a_mapping()
    state.remember_member(parent_name("public.guests", [1]), Member("w1", 1, 1))
    moved = a_row("public.guests", before={"id": 1, "wedding_id": "w1"}, after={"id": 1, "wedding_id": "w2"})

    assert owners(moved, mapping, state) == ["w1", "w2"]
    assert owners(a_row("public.meals", after={"id": 7, "guest_id": 1}), mapping, state) == ["w1"]
    assert owners(a_row("public.meals", after={"id": 7, "guest_id": 2}), mapping, state) == [QUARANTINE]
    assert owners(encode_notice(a_notice()), mapping, state) == ["w1"]
    assert owners(a_row("public.vendors", after={"id": 1}), mapping, state) == [PLATFORM]


def test_an_event_is_named_by_topic_and_offset() -> None:
    """Anything else is refused, with what would do."""
    assert parse_event("capture.platform.e1780000000:123") == ("capture.platform.e1780000000", 123)
    with pytest.raises(FormatError):
        parse_event("capture.platform.e1780000000")


def test_ranks_are_told_in_words() -> None:
    """For people."""
    assert [rank_in_words(rank) for rank in (0, 1, 50, 0xFFFF)] == [
        "urgent", "same day", "48 hours to the wedding", "last",
    ]  # fmt: skip
