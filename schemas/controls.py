"""Controls: an operator's rules for the work of all workers, one record a rule on a compacted topic. Pure.

The newest record of a name is the rule; it holds until its end, if it has one. Capture knows no rule.
Critical changes and objects obey only an emergency stop.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from schemas import codec
from schemas.backup import Priority
from schemas.errors import ConfigError, FormatError
from schemas.work import STREAMS, UNSTOPPABLE, Limit, Mode, Stream, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EMERGENCY: Final = "emergency"
_ALL: Final = "*"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One rule; no lanes or no works mean all of them. `by`, `why` and the instants are for people, and kept."""

    lanes: frozenset[Priority] = frozenset()
    works: frozenset[Work] = frozenset()
    mode: Mode = Mode.RUN
    bytes_per_second: int | None = None
    at_once: int | None = None
    is_emergency: bool = False
    by: str
    why: str
    made_us: int
    until_us: int | None = None

    @property
    def name(self) -> str:
        """Return what this rule replaces, and is replaced by: one for the same lanes and works."""
        if self.is_emergency:
            return EMERGENCY
        parts = (sorted(self.lanes), sorted(self.works))
        return "/".join("+".join(part) or _ALL for part in parts)

    @property
    def streams(self) -> frozenset[Stream]:
        """Return what it covers."""
        if self.is_emergency:
            return frozenset(STREAMS)
        return frozenset(
            stream
            for stream in STREAMS
            if stream.lane in (self.lanes or Priority) and stream.work in (self.works or Work)
        ).difference(UNSTOPPABLE)

    @property
    def is_restricting(self) -> bool:
        """Return whether it takes anything away."""
        return self.mode is not Mode.RUN or self.bytes_per_second is not None or self.at_once is not None

    def is_in_force(self, *, now_us: int) -> bool:
        """Return whether it restricts anything now."""
        return self.is_restricting and (self.until_us is None or now_us < self.until_us)


def check(control: Control) -> None:
    """Refuse a rule that nobody could follow.

    Raises:
        ConfigError: it covers nothing, or limits to nothing.
    """
    if not control.streams:
        raise ConfigError(
            "critical changes and critical objects stop for no rule", hint="wedsync-backup controls emergency-stop"
        )
    if any(each is not None and each < 1 for each in (control.bytes_per_second, control.at_once)):
        raise ConfigError("a limit below one stops everything in silence", hint="wedsync-backup controls pause")


def encode(control: Control) -> tuple[bytes, bytes]:
    """Return key and value of a rule's record."""
    value = codec.encode(
        "Controls",
        {
            "name": control.name,
            "mode": control.mode.value,
            "lanes": sorted(control.lanes),
            "works": sorted(control.works),
            "bytes_per_second": control.bytes_per_second or 0,
            "at_once": control.at_once or 0,
            "is_emergency": control.is_emergency,
            "by": control.by,
            "why": control.why,
            "made_at": control.made_us,
            "until": control.until_us or 0,
        },
    )
    return control.name.encode(), value


def decode(key: bytes | None, value: bytes) -> Control:
    """Return the rule of a record.

    Raises:
        FormatError: it is none, it speaks of lanes or works this version does not know, or its key is another's.
    """
    record = codec.decode("Controls", value)
    control = _control(record)
    if control.name != record["name"] or control.name.encode() != key:
        raise FormatError(f"a rule named {record['name']!r} under the key {key!r}", hint="who else writes controls?")
    return control


def _control(record: Mapping[str, Any]) -> Control:
    try:
        return Control(
            lanes=frozenset(map(Priority, record["lanes"])),
            works=frozenset(map(Work, record["works"])),
            mode=Mode(record["mode"]),
            bytes_per_second=max(0, record["bytes_per_second"]) or None,
            at_once=max(0, record["at_once"]) or None,
            is_emergency=record["is_emergency"],
            by=record["by"],
            why=record["why"],
            made_us=record["made_at"],
            until_us=record["until"] or None,
        )
    except ValueError as error:
        raise FormatError(f"a rule for what nobody knows: {error}", hint="was it made by a newer version?") from error


def limits(controls: Iterable[Control], *, now_us: int) -> list[Limit]:
    """Return what holds now, in the order of the names."""
    return [
        Limit(
            name=each.name,
            streams=each.streams,
            mode=each.mode,
            bytes_per_second=each.bytes_per_second,
            at_once=each.at_once,
        )
        for each in sorted(controls, key=lambda each: each.name)
        if each.is_in_force(now_us=now_us)
    ]


def strictest(controls: Iterable[Control], stream: Stream, *, now_us: int) -> Control | None:
    """Return the rule that holds a stream up most, if any does: an emergency before a pause before a drain."""
    holding = [
        each
        for each in controls
        if each.is_in_force(now_us=now_us) and stream in each.streams and each.mode is not Mode.RUN
    ]
    return max(holding, key=lambda each: (each.is_emergency, list(Mode).index(each.mode)), default=None)
