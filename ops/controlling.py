"""Controls as an operator sees them: what holds, who ordered it, why, until when; and ordering something else."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from ops import bootstrap
from schemas import controls
from schemas.errors import ConfigError, FormatError
from schemas.topics import CONTROLS
from schemas.work import Mode, Work
from sinks.controls import ControlsFollower
from streams.produce import KafkaProducer
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.controls import Control

_NOBODY_DOES: Final = frozenset({Work.SCRUB, Work.MIGRATION})
"""Kinds of work no worker follows a rule for: they are not there yet."""
_MICRO: Final = 1_000_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


async def read(brokers: str) -> tuple[list[Control], int]:
    """Return all rules, and how many records could not be read.

    Raises:
        TransientError: Kafka does not say.
    """
    follower = ControlsFollower({"bootstrap.servers": brokers}, now_us=bootstrap.now_us)
    try:
        await asyncio.to_thread(follower.catch_up)
    finally:
        follower.close()
    return follower.board.rules, follower.board.refused


async def publish(brokers: str, rules: Iterable[Control]) -> None:
    """Order something; workers follow within a second.

    Raises:
        ConfigError: nobody could follow it.
        TransientError: Kafka did not take it.
    """
    rules = list(rules)
    for rule in rules:
        controls.check(rule)
        _refuse_unheard(rule)
    producer = KafkaProducer({"bootstrap.servers": brokers})
    try:
        await producer.deliver([Outgoing(CONTROLS, 0, *controls.encode(rule)) for rule in rules])
    finally:
        await asyncio.to_thread(producer.close)


def _refuse_unheard(rule: Control) -> None:
    if rule.is_restricting and rule.works and rule.works <= _NOBODY_DOES:
        raise ConfigError(
            f"nobody would follow a rule for {' and '.join(sorted(rule.works))}",
            hint="scrubs and migrations are not there yet",
        )
    is_slowing = rule.bytes_per_second is not None or rule.at_once is not None
    if is_slowing and Work.SNAPSHOT in rule.works and rule.mode is Mode.RUN:
        raise ConfigError(
            "table copies can be paused, not slowed", hint="wedsync-backup controls pause --work snapshot --for 2h"
        )


def released(rules: Iterable[Control], *, by: str, why: str, made_us: int) -> list[Control]:
    """Return what takes these rules back, those that take something away; the record of it stays."""
    return [
        dataclasses.replace(
            rule,
            mode=Mode.RUN,
            bytes_per_second=None,
            at_once=None,
            by=by,
            why=why,
            made_us=made_us,
            until_us=None,
        )
        for rule in rules
        if rule.is_restricting
    ]


def told(rules: Iterable[Control], *, now_us: int) -> list[dict[str, Any]]:
    """Return the rules that hold, as plain values, the emergency first."""
    holding = [rule for rule in rules if rule.is_in_force(now_us=now_us)]
    return [
        {
            "rule": rule.name,
            "order": order(rule),
            "by": rule.by,
            "why": rule.why,
            "since": _instant(rule.made_us),
            "until": None if rule.until_us is None else _instant(rule.until_us),
        }
        for rule in sorted(holding, key=lambda rule: (not rule.is_emergency, rule.name))
    ]


def order(rule: Control) -> str:
    """Return in a few words what a rule asks for."""
    if rule.is_emergency:
        return "everything stopped" if rule.mode is not Mode.RUN else "no emergency"
    words = [] if rule.mode is Mode.RUN else [rule.mode.value]
    if rule.bytes_per_second is not None:
        words.append(f"at most {rule.bytes_per_second} bytes/s")
    if rule.at_once is not None:
        words.append(f"at most {rule.at_once} at once")
    return ", ".join(words) or "run"


def sentence(rule: Control) -> str:
    """Return who ordered a rule, when, why and until when."""
    until = "until it is taken back" if rule.until_us is None else f"until {_instant(rule.until_us)}"
    return f"{order(rule)} by {rule.by} at {_instant(rule.made_us)}, {until}: {rule.why}"


def seconds_of(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `2h`, `1d`.

    Raises:
        FormatError: it is no such duration.
    """
    return _scaled(text, _UNITS, "a duration is 90s, 15m, 2h or 1d")


def bytes_of(text: str) -> int:
    """Return the bytes of `500k`, `20M`, `1G`, or of a plain number.

    Raises:
        FormatError: it is no such size.
    """
    return int(_scaled(text.lower().removesuffix("b"), _SIZES, "a rate is 500k, 20M or 1G (bytes a second)"))


def _scaled(text: str, units: dict[str, int], hint: str) -> float:
    number, unit = (text[:-1], text[-1:]) if text[-1:].isalpha() else (text, "")
    try:
        found = float(number) * units[unit]
    except (KeyError, ValueError) as error:
        raise FormatError(f"{text!r} is not understood", hint=hint) from error
    if not 0 < found < float("inf"):
        raise FormatError(f"{text!r} is not more than nothing", hint=hint)
    return found


def until(now_us: int, lasting: str) -> int | None:
    """Return the end of a rule that lasts so long; an empty text is no end."""
    return None if not lasting else now_us + int(seconds_of(lasting) * _MICRO)


def _instant(us: int) -> str:
    return dt.datetime.fromtimestamp(us / _MICRO, dt.UTC).isoformat(timespec="seconds")


def parse_all(names: Sequence[str], kind: type[Any], what: str) -> frozenset[Any]:
    """Return lanes or kinds of work by their names.

    Raises:
        FormatError: there is no such one.
    """
    try:
        return frozenset(map(kind, names))
    except ValueError as error:
        known = ", ".join(each.value for each in kind)
        raise FormatError(f"{what}: {error}", hint=f"one of {known}") from error
