"""An operator's rules: what they cover, when they hold, and what no rule may do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from schemas import codec, controls
from schemas.backup import Priority
from schemas.controls import Control
from schemas.errors import ConfigError, FormatError
from schemas.work import STREAMS, UNSTOPPABLE, Limit, Mode, Stream, Work

NOW_US = 1_781_000_000_000_000


def a_rule(**fields: Any) -> Control:
    """Return a pause of everything that may be paused."""
    return Control(**{"mode": Mode.PAUSE, "by": "ana", "why": "a test said so", "made_us": NOW_US, **fields})


RULES = [
    a_rule(),
    a_rule(lanes=frozenset({Priority.STANDARD, Priority.HIGH}), works=frozenset({Work.BLOB}), mode=Mode.DRAIN),
    a_rule(mode=Mode.RUN, bytes_per_second=5, at_once=2, until_us=NOW_US + 1),
    a_rule(is_emergency=True),
]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_comes_back_as_it_went(rule: Control) -> None:
    """From its record."""
    assert controls.decode(*controls.encode(rule)) == rule


def test_no_rule_stops_critical_changes_but_the_emergency() -> None:
    """Nor critical objects; their copies beyond the third wait like all others."""
    everything = frozenset(Priority)
    assert not a_rule(lanes=everything, works=frozenset(Work)).streams & UNSTOPPABLE
    assert Stream(Priority.CRITICAL, Work.OWED) in a_rule().streams
    assert a_rule(is_emergency=True).streams == frozenset(STREAMS)

    with pytest.raises(ConfigError, match="stop for no rule"):
        controls.check(a_rule(lanes=frozenset({Priority.CRITICAL}), works=frozenset({Work.LOG})))


def test_a_limit_to_nothing_is_a_pause_in_disguise() -> None:
    """It has to be called one."""
    with pytest.raises(ConfigError, match="below one"):
        controls.check(a_rule(mode=Mode.RUN, at_once=0))


def test_a_rule_ends_by_itself() -> None:
    """So nobody has to remember it."""
    rule = a_rule(until_us=NOW_US + 1)

    assert [len(controls.limits([rule], now_us=NOW_US + at)) for at in (0, 1)] == [1, 0]


def test_what_was_taken_back_restricts_nothing() -> None:
    """Its record stays, for whoever asks who took it back."""
    assert controls.limits([a_rule(mode=Mode.RUN)], now_us=NOW_US) == []


def test_a_rule_becomes_the_limit_of_its_streams() -> None:
    """With rate and number, under its name."""
    (limit,) = controls.limits([RULES[2]], now_us=NOW_US)

    assert limit == Limit(name="*/*", streams=RULES[2].streams, bytes_per_second=5, at_once=2)


def test_the_strictest_rule_is_the_one_to_name() -> None:
    """An emergency before a pause before a drain."""
    standard = Stream(Priority.STANDARD, Work.BLOB)
    found = [controls.strictest(RULES[:count], standard, now_us=NOW_US) for count in (0, 2, 4)]

    assert found == [None, RULES[0], RULES[3]]


@pytest.mark.parametrize("fields", [{"lanes": ["vip"]}, {"works": ["nap"]}, {"name": "other"}])
def test_a_rule_for_what_nobody_knows_is_refused(fields: dict[str, Any]) -> None:
    """It may come from a newer version, and half a rule is none."""
    key, value = controls.encode(a_rule())
    record = {**codec.decode("Controls", value), **fields}

    with pytest.raises(FormatError):
        controls.decode(key, codec.encode("Controls", record))


def test_a_rule_under_the_key_of_another_is_refused() -> None:
    """Compaction goes by keys: the wrong one of two would be forgotten."""
    _, value = controls.encode(a_rule())

    with pytest.raises(FormatError):
        controls.decode(b"standard/*", value)


def test_rules_for_the_same_have_the_same_name() -> None:
    """However they were written down, the newer one replaces the older."""
    first = a_rule(lanes=frozenset({Priority.STANDARD}), works=frozenset({Work.BLOB, Work.OWED}))

    assert (first.name, dataclasses.replace(first, mode=Mode.RUN).name) == ("standard/blob+owed",) * 2
    assert a_rule(is_emergency=True).name == controls.EMERGENCY
