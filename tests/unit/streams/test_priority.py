"""How soon a change must be safe, by the venue's own calendar."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.backup import Priority
from streams.priority import (
    DEFAULT_RULES,
    RANK_LAST,
    RANK_SAME_DAY,
    RANK_URGENT,
    Condition,
    LaneRule,
    classify,
    decide,
    next_change,
    valid_until,
)
from tests.builders import NOON, a_wedding

ZONES = st.sampled_from(sorted(zoneinfo.available_timezones()))
INSTANTS = st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2035, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001


def test_same_day_is_the_venues_day() -> None:
    """At 15:00 UTC it is already the next day in Sydney, so tomorrow's wedding is today's."""
    afternoon_in_london = dt.datetime(2026, 6, 20, 15, tzinfo=dt.UTC)
    wedding = a_wedding(day=dt.date(2026, 6, 29), venue_zone="Australia/Sydney")

    assert classify(wedding, now=afternoon_in_london - dt.timedelta(hours=2)) is Priority.STANDARD
    # Eight days before in London, seven in Sydney.
    assert classify(a_wedding(day=dt.date(2026, 6, 28), venue_zone="Australia/Sydney"), now=afternoon_in_london) is (
        Priority.CRITICAL
    )


@pytest.mark.parametrize(
    ("days_ahead", "lane"),
    [(40, Priority.STANDARD), (8, Priority.STANDARD), (7, Priority.CRITICAL), (0, Priority.CRITICAL)],
)
def test_a_wedding_within_a_week_is_critical(days_ahead: int, lane: Priority) -> None:
    """Today's included."""
    wedding = a_wedding(day=NOON.date() + dt.timedelta(days=days_ahead))

    assert classify(wedding, now=NOON) is lane


@pytest.mark.parametrize(("hour", "lane"), [(10, Priority.CRITICAL), (11, Priority.STANDARD)])
def test_the_day_lasts_until_noon_of_the_next(hour: int, lane: Priority) -> None:
    """In London's summer that is eleven o'clock UTC."""
    wedding = a_wedding(day=dt.date(2026, 6, 9))

    assert classify(wedding, now=dt.datetime(2026, 6, 10, hour, 30, tzinfo=dt.UTC)) is lane


@pytest.mark.parametrize(("days_ahead", "lane"), [(0, Priority.CRITICAL), (1, Priority.HIGH), (2, Priority.STANDARD)])
def test_a_delivery_is_high_the_day_before_and_critical_on_its_day(days_ahead: int, lane: Priority) -> None:
    """Whatever the wedding's own date."""
    due = frozenset({NOON.date() + dt.timedelta(days=days_ahead)})

    assert classify(a_wedding(day=None, deliveries_due=due), now=NOON) is lane


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "../etc/passwd"])
def test_a_venue_without_a_known_zone_gets_the_widest_day(zone: str | None) -> None:
    """Fourteen hours ahead it is tomorrow already."""
    wedding = a_wedding(day=dt.date(2026, 6, 18), venue_zone=zone)

    assert classify(wedding, now=dt.datetime(2026, 6, 10, 10, tzinfo=dt.UTC)) is Priority.CRITICAL


@given(ZONES, INSTANTS, st.integers(-2, 9), st.integers(0, 899))
def test_a_classification_holds_as_long_as_it_says(zone: str, now: dt.datetime, ahead: int, seconds: int) -> None:
    """Days and noons of every zone begin on a quarter of an hour."""
    wedding = a_wedding(day=now.date() + dt.timedelta(days=ahead), venue_zone=zone)
    later = min(now + dt.timedelta(seconds=seconds), valid_until(wedding, now) - dt.timedelta(microseconds=1))

    assert classify(wedding, now=later) is classify(wedding, now=now)


def at(text: str) -> dt.datetime:
    """Return an instant of UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def when(now: str, **fields: object) -> str | None:
    """Return which condition decides."""
    rule = decide(a_wedding(**fields), now=at(now)).rule
    return rule.when.value if rule is not None else None


@pytest.mark.parametrize(
    ("zone", "day", "last", "first_after"),
    [
        # Noon of the day after, to the second: in winter, over both changes of the clocks, and 45 minutes off.
        ("Europe/London", "2026-01-10", "2026-01-11T11:59:59", "2026-01-11T12:00:00"),
        ("Europe/London", "2026-03-28", "2026-03-29T10:59:59", "2026-03-29T11:00:00"),
        ("Europe/London", "2026-10-24", "2026-10-25T11:59:59", "2026-10-25T12:00:00"),
        ("America/New_York", "2026-11-01", "2026-11-02T16:59:59", "2026-11-02T17:00:00"),
        ("Asia/Kathmandu", "2026-06-10", "2026-06-11T06:14:59", "2026-06-11T06:15:00"),
        ("Pacific/Chatham", "2026-09-26", "2026-09-26T22:14:59", "2026-09-26T22:15:00"),
        ("Pacific/Kiritimati", "2026-06-10", "2026-06-10T21:59:59", "2026-06-10T22:00:00"),
        ("Pacific/Pago_Pago", "2026-06-10", "2026-06-11T22:59:59", "2026-06-11T23:00:00"),
    ],
)
def test_the_day_ends_at_noon_exactly(zone: str, day: str, last: str, first_after: str) -> None:
    """By the venue's clock, whatever the clocks do that night."""
    wedding = {"day": dt.date.fromisoformat(day), "venue_zone": zone}

    assert (when(last, **wedding), when(first_after, **wedding)) == ("same_day", None)


@pytest.mark.parametrize(
    ("zone", "begins"),
    [
        ("Europe/Berlin", "2026-03-28T23:00:00"),
        ("Australia/Lord_Howe", "2026-03-28T13:00:00"),
        ("Pacific/Apia", "2026-03-28T11:00:00"),
        ("America/Sao_Paulo", "2026-03-29T03:00:00"),
        ("Etc/GMT+12", "2026-03-29T12:00:00"),
    ],
)
def test_the_day_begins_at_midnight_of_the_venue(zone: str, begins: str) -> None:
    """Also on a day that has 23 hours, and on both sides of the date line."""
    wedding = a_wedding(day=dt.date(2026, 3, 29), venue_zone=zone)
    before = decide(wedding, now=at(begins) - dt.timedelta(microseconds=1)).rule
    begun = decide(wedding, now=at(begins)).rule

    assert (before and before.when, begun and begun.when) == (Condition.WITHIN_DAYS, Condition.SAME_DAY)


@pytest.mark.parametrize(
    ("now", "day", "zone", "expected"),
    [
        ("2026-06-08T12:00:00", "2026-06-13", "Europe/London", "coming_saturday"),  # Monday to Saturday
        ("2026-06-13T12:00:00", "2026-06-13", "Europe/London", "same_day"),
        ("2026-06-13T12:00:00", "2026-06-20", "Europe/London", "within_days"),  # On a Saturday it is this one.
        ("2026-06-14T12:00:00", "2026-06-20", "Europe/London", "coming_saturday"),
        ("2026-06-13T14:30:00", "2026-06-20", "Pacific/Auckland", "coming_saturday"),  # There it is Sunday already.
        ("2026-06-12T13:00:00", "2026-06-13", "Pacific/Auckland", "same_day"),
        ("2026-06-14T09:00:00", "2026-06-20", "Pacific/Pago_Pago", "within_days"),  # There it is still Saturday.
        ("2026-06-14T11:30:00", "2026-06-20", None, "coming_saturday"),  # Somewhere it is Sunday.
    ],
)
def test_the_coming_saturday_is_the_venue_s(now: str, day: str, zone: str | None, expected: str) -> None:
    """Counted where the wedding is, not where the router runs."""
    assert when(now, day=dt.date.fromisoformat(day), venue_zone=zone) == expected


def test_a_leap_day_is_a_day_like_any_other() -> None:
    """Seven days before it, and until noon of the first of March."""
    wedding = {"day": dt.date(2028, 2, 29), "venue_zone": "UTC"}

    assert when("2028-02-21T23:59:59", **wedding) is None
    assert when("2028-02-22T00:00:00", **wedding) == "within_days"
    assert [when(f"2028-03-01T{hour}:00:00", **wedding) for hour in ("11", "12")] == ["same_day", None]


@pytest.mark.parametrize(
    ("now", "expected"), [("2026-06-10T11:59:59", "wedding_day_urgent"), ("2026-06-10T12:00", None)]
)
def test_urgency_asked_for_ends_when_it_was_said_to(now: str, expected: str | None) -> None:
    """To the second; a wedding without a date may be urgent too."""
    assert when(now, day=None, urgent_until=NOON) == expected


@pytest.mark.parametrize(("now", "expected"), [("2026-06-10T12:29:59", "active_uploads"), ("2026-06-10T12:30", None)])
def test_an_upload_counts_for_half_an_hour(now: str, expected: str | None) -> None:
    """By the store's instant of the newest object."""
    assert when(now, day=None, uploaded_at=NOON) == expected


@pytest.mark.parametrize("day", [dt.date.min, dt.date.max])
def test_the_ends_of_the_calendar_do_no_harm(day: dt.date) -> None:
    """Debezium may send any date."""
    assert classify(a_wedding(day=day, deliveries_due=frozenset({day})), now=NOON) is Priority.STANDARD


def test_inside_a_lane_the_urgent_go_first_then_the_same_day_then_by_hours() -> None:
    """Whoever is over, or has no date, comes last."""
    today, hours = NOON.date(), dt.timedelta(hours=1)
    weddings = [
        a_wedding(day=None, urgent_until=NOON + hours),
        a_wedding(day=today),
        *(a_wedding(day=today + dt.timedelta(days=ahead)) for ahead in (1, 3, 40)),
        a_wedding(day=None),
    ]
    ranks = [decide(each, now=NOON).rank for each in weddings]

    assert ranks == [*sorted(set(ranks[:-1])), RANK_LAST]
    assert ranks[:3] == [RANK_URGENT, RANK_SAME_DAY, 2 + 11]


def test_the_rules_are_data() -> None:
    """Another table gives other lanes; the first rule that holds decides."""
    rules = (
        LaneRule(when=Condition.WITHIN_DAYS, lane=Priority.HIGH, days=30, rank=9),
        LaneRule(when=Condition.SAME_DAY, lane=Priority.CRITICAL),
    )
    today = a_wedding(day=NOON.date())

    assert decide(today, now=NOON, rules=rules) == (Priority.HIGH, 9, rules[0])
    assert classify(today, now=NOON, rules=()) is Priority.STANDARD


def test_the_next_change_is_told() -> None:
    """Forty days before it, in London's summer, the seventh day before begins at 23:00 UTC."""
    found = next_change(a_wedding(day=NOON.date() + dt.timedelta(days=40)), now=NOON)

    assert found is not None
    assert (found[0], found[1].lane) == (at("2026-07-12T23:00"), Priority.CRITICAL)
    assert next_change(a_wedding(day=None), now=NOON) is None


@given(ZONES, INSTANTS, st.integers(-2, 9))
def test_a_near_wedding_is_critical_for_as_long_as_days_say(zone: str, now: dt.datetime, ahead: int) -> None:
    """However the rules are cut, together they are: from seven days before until noon of the day after."""
    local = now.astimezone(zoneinfo.ZoneInfo(zone))
    wedding = a_wedding(day=local.date() + dt.timedelta(days=ahead), venue_zone=zone)
    is_near = 0 <= ahead <= 7 or (ahead == -1 and local.hour < 12)

    assert (classify(wedding, now=now) is Priority.CRITICAL) is is_near


assert {rule.when for rule in DEFAULT_RULES} == set(Condition)
