"""What routing reads off a row: whose it is, whom it follows, and what it says of the calendar. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from connectors.application import is_wedding_name
from schemas.backup import PLATFORM, Residency, residency_of_country
from schemas.change_encoder import text
from schemas.errors import FormatError
from schemas.wedding import Wedding
from streams.state import parent_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from schemas.mapping import TableMapping, TableRule

OUR_SCHEMA: Final = "wedsync."
"""Heartbeats and signals are ours: they move the frontier and are not worth a copy."""

_EPOCH_DAY: Final = dt.date(1970, 1, 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What routing must know of one table, looked up once: its rule, and by which columns others point at it."""

    rule: TableRule | None
    encoded: bytes
    references: tuple[tuple[str, ...], ...]
    is_ours: bool
    is_outbox: bool
    is_calendar: bool
    due: str | None
    is_followed: bool


def as_wedding(name: str) -> str:
    """Return a wedding's name, or the platform's for one that nobody may bear: `@` is ours, and names are keys."""
    return name if is_wedding_name(name) else PLATFORM


def references(mapping: TableMapping) -> dict[str, set[tuple[str, ...]]]:
    """Return, for each table that others follow, by which columns they point at it."""
    pointed: dict[str, set[tuple[str, ...]]] = {}
    for rule in mapping.tables.values():
        if rule.parent is not None:
            pointed.setdefault(rule.parent.table, set()).add(rule.parent.references)
    for each in mapping.object_references:
        # An object follows the row that holds its key.
        pointed.setdefault(each.table, set()).add((each.column,))
    return pointed


def parent_of(image: dict[str, Any], rule: TableRule) -> bytes | None:
    """Return the name of the parent row an image points at, or None where it points at none."""
    assert rule.parent is not None
    values = [image.get(column) for column in rule.parent.columns]
    return None if any(value is None for value in values) else parent_name(rule.parent.table, values)


def own_name(table: str, image: dict[str, Any], columns: Sequence[str]) -> bytes:
    """Return the name by which other rows point at this one, over these columns."""
    return parent_name(table, [image.get(column) for column in columns])


def calendar_line(image: dict[str, Any], mapping: TableMapping) -> Wedding:
    """Return the line of the calendar a row says.

    Raises:
        FormatError: it names no wedding.
    """
    rule = mapping.calendar
    if image.get(rule.wedding) is None:
        raise FormatError(f"a row of {rule.table} has no {rule.wedding}", hint="does the calendar rule fit the table?")
    zone = image.get(rule.venue_zone)
    country = image.get(rule.residency) if rule.residency else None
    return Wedding(
        wedding=str(image[rule.wedding]),
        day=date(image.get(rule.day)),
        venue_zone=str(zone) if zone else None,
        residency=residency_of_country(str(country)) if country else Residency.UNKNOWN,
    )


def date(value: object) -> dt.date | None:
    """Return a date of Debezium's: days since 1970, or ISO text; anything else is no date."""
    try:
        if isinstance(value, int):
            return _EPOCH_DAY + dt.timedelta(days=value)
        return dt.date.fromisoformat(str(value)[:10]) if value else None
    except (ValueError, OverflowError):
        return None


def table_of(
    name: str, mapping: TableMapping, pointed: Mapping[str, Collection[tuple[str, ...]]], due: str | None
) -> Table:
    """Return what routing must know of a table; `pointed` as `references` says, `due` its column of a promise."""
    rule, pointing = mapping.rule(name), tuple(sorted(pointed.get(name, ())))
    is_calendar = name == mapping.calendar.table
    return Table(
        rule=rule,
        encoded=text(name),
        references=pointing,
        is_ours=name.startswith(OUR_SCHEMA),
        is_outbox=mapping.outbox is not None and name == mapping.outbox.table,
        is_calendar=is_calendar,
        due=due,
        is_followed=rule is not None and bool(pointing),
    )
