"""Why a wedding's changes travel in the lane they do: which rule, by which values, and what would change it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from connectors import debezium, storage
from connectors.debezium import Change
from schemas import codec
from schemas.backup import PLATFORM, QUARANTINE
from schemas.errors import FormatError
from streams import events
from streams.priority import RANK_SAME_DAY, RANK_URGENT, Condition, decide, holds, hours_ahead, next_change, zones_of
from streams.row_reading import as_wedding, parent_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from schemas.mapping import TableMapping, TableRule
    from schemas.wedding import Wedding
    from streams.priority import Decision, LaneRule
    from streams.state import RouterState

_SINGLE_OBJECT: Final = b"\xc3\x01"
_RANKS: Final = {RANK_URGENT: "urgent", RANK_SAME_DAY: "same day"}


def owners(value: bytes, mapping: TableMapping, state: RouterState) -> list[str]:
    """Return whose a captured record is, as the router's memory has it now.

    Raises:
        FormatError: it cannot be read: the router made a dead letter of it.
    """
    if value.startswith(_SINGLE_OBJECT):
        if codec.name_of(value) == "ApplicationEvent":
            return [events.of_application(value)[0]]
        return [storage.wedding_of_key(storage.decode_notice(value).key, mapping) or PLATFORM]
    captured = debezium.parse(value)
    rule = mapping.rule(captured.table) if isinstance(captured, Change) else None
    if not isinstance(captured, Change) or rule is None or rule.is_platform:
        return [PLATFORM]
    images = [image for image in (captured.before, captured.after) if image is not None]
    return list(dict.fromkeys(_owner(image, rule, state) for image in images)) or [PLATFORM]


def _owner(image: dict[str, Any], rule: TableRule, state: RouterState) -> str:
    if rule.wedding_column is not None:
        return as_wedding(str(image.get(rule.wedding_column) or PLATFORM))
    parent = parent_of(image, rule)
    return PLATFORM if parent is None else state.wedding_of(parent) or QUARANTINE


def explain(name: str, line: Wedding | None, *, now: dt.datetime, rules: Sequence[LaneRule]) -> dict[str, Any]:
    """Return, as plain values, the lane of a wedding whose line of the calendar is `line`, and why."""
    if line is None:
        return {"wedding": name, "at": now.isoformat(), **_without_a_line(name)}
    decision = decide(line, now=now, rules=rules)
    local = [now.astimezone(zone) for zone in zones_of(line.venue_zone)]
    following = next_change(line, now=now, rules=rules)
    return {
        "wedding": name,
        "at": now.isoformat(),
        "lane": decision.lane.value,
        "rank": decision.rank,
        "because": _because(decision, line, local),
        "values": _values(line, local),
        "rules": [
            {"when": rule.when.value, "lane": rule.lane.value, "holds": any(holds(rule, line, at) for at in local)}
            for rule in rules
        ],
        "next_change": None
        if following is None
        else {
            "at": following[0].isoformat(),
            "lane": following[1].lane.value,
            "when": following[1].rule.when.value if following[1].rule is not None else None,
        },
        "would_change_it": "another wedding date, venue zone or delivery; a photo put; `wedsync-backup urgent`",
    }


def _without_a_line(name: str) -> dict[str, Any]:
    if name == PLATFORM:
        lane, rank, because = "critical", RANK_URGENT, "rows and ends of transactions that every restore needs"
    elif name == QUARANTINE:
        lane, rank, because = "standard", 0xFFFF, "its parent row is not known yet; it is sealed again once it is"
    else:
        lane, rank, because = "standard", 0xFFFF, "the calendar has no such wedding yet"
    return {
        "lane": lane, "rank": rank, "because": because, "values": {}, "rules": [], "next_change": None,
        "would_change_it": "its row in the calendar table" if not name.startswith("@") else "nothing",
    }  # fmt: skip


def _values(line: Wedding, local: Sequence[dt.datetime]) -> dict[str, Any]:
    near = min(local, key=lambda at: abs(hours_ahead(line, at) or 0))
    return {
        "wedding_day": line.day and line.day.isoformat(),
        "venue_zone": line.venue_zone,
        "zone_is_known": len(local) == 1,
        "time_at_the_venue": [at.isoformat() for at in local],
        "days_ahead": None if line.day is None else (line.day - near.date()).days,
        "hours_ahead": hours_ahead(line, near),
        "deliveries_due": sorted(day.isoformat() for day in line.deliveries_due),
        "uploaded_at": line.uploaded_at and line.uploaded_at.isoformat(),
        "urgent_until": line.urgent_until and line.urgent_until.isoformat(),
        "residency": line.residency.value,
    }


def _because(decision: Decision, line: Wedding, local: Sequence[dt.datetime]) -> str:
    rule = decision.rule
    if rule is None:
        return "no rule holds"
    where = (
        f"at the venue ({line.venue_zone})" if len(local) == 1 else "somewhere on Earth (the venue's zone is unknown)"
    )
    due = "today" if not rule.days else f"in {rule.days} days"
    texts = {
        Condition.URGENT: f"somebody asked for it, until {line.urgent_until}",
        Condition.ACTIVE_UPLOADS: f"its newest object was put at {line.uploaded_at}, within {rule.minutes} minutes",
        Condition.DELIVERY_DUE: f"something is due to it {due} {where}",
        Condition.SAME_DAY: f"{line.day} is today {where}, or it is not {rule.until_hour}:00 of the day after yet",
        Condition.COMING_SATURDAY: f"{line.day} is the coming Saturday {where}",
        Condition.WITHIN_DAYS: f"{line.day} is at most {rule.days} days ahead {where}",
    }
    return texts[rule.when]


def rank_in_words(rank: int) -> str:
    """Return what a rank means."""
    return _RANKS.get(rank) or ("last" if rank >= 0xFFFF else f"{rank - 2} hours to the wedding")  # noqa: PLR2004


def parse_event(text: str) -> tuple[str, int]:
    """Return (capture topic, offset) of `capture.platform.e1780000000:123`.

    Raises:
        FormatError: it names no captured record.
    """
    topic, _, offset = text.rpartition(":")
    if not topic.startswith("capture.") or not offset.isdecimal():
        raise FormatError(
            f"{text!r} names no captured record", hint="capture.<source>.e<epoch>:<offset>, or --wedding ID"
        )
    return topic, int(offset)
