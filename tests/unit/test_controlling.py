"""What an operator types, and what is made of it."""

from __future__ import annotations

import pytest

from ops import controlling
from schemas.backup import Priority
from schemas.errors import ConfigError, FormatError
from schemas.work import Mode, Work
from tests.unit.schemas.test_controls import NOW_US, a_rule


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1.5d", 129_600)])
def test_durations_are_read(text: str, seconds: float) -> None:
    """With one letter for the unit."""
    assert controlling.until(NOW_US, text) == NOW_US + seconds * 1_000_000
    assert controlling.until(NOW_US, "") is None


@pytest.mark.parametrize(("text", "size"), [("500k", 500_000), ("20M", 20_000_000), ("1GB", 1_000_000_000), ("7", 7)])
def test_rates_are_read(text: str, size: int) -> None:
    """In thousands, as lines are sold."""
    assert controlling.bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "h", "-1h", "0s", "2y", "nan", "inf", "1e999h", "soon"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With what it should look like."""
    with pytest.raises(FormatError):
        controlling.seconds_of(text)


def test_a_lane_that_is_none_is_refused_with_those_there_are() -> None:
    """Nobody has to look them up."""
    with pytest.raises(FormatError) as refused:
        controlling.parse_all(["vip"], Priority, "--lane")

    assert refused.value.hint == "one of critical, high, standard"


async def test_a_rule_nobody_would_follow_is_refused() -> None:
    """An order that is accepted and not carried out is worse than none."""
    with pytest.raises(ConfigError, match="nobody would follow"):
        await controlling.publish("127.0.0.1:1", [a_rule(works=frozenset({Work.SCRUB}))])


def test_taking_back_takes_back_what_restricts_and_says_who() -> None:
    """What was taken back before stays as it was."""
    (released,) = controlling.released([a_rule(), a_rule(mode=Mode.RUN)], by="bo", why="over", made_us=NOW_US + 5)

    assert (released.is_restricting, released.by, released.why, released.name) == (False, "bo", "over", "*/*")


def test_rules_are_told_with_who_why_and_until_when() -> None:
    """The emergency first; what is over is not told."""
    over = a_rule(lanes=frozenset({Priority.HIGH}), until_us=NOW_US)
    told = controlling.told([over, a_rule(), a_rule(is_emergency=True, until_us=NOW_US + 1)], now_us=NOW_US)

    assert [(rule["rule"], rule["order"]) for rule in told] == [("emergency", "everything stopped"), ("*/*", "pause")]
    assert "pause by ana at" in controlling.sentence(a_rule())
