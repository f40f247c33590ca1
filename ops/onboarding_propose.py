"""Guesses how a database's rows find their wedding. Pure: a decision over what the catalog says.

The calendar is the table that looks most like one (its name, a date, a time zone, how many refer to it). A table
with a foreign key to it belongs to the wedding; one that reaches it over others follows the shortest path; the
rest is the platform's. Every guess that could be wrong is a warning: a person reads the proposal before it counts.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

from schemas.errors import ConfigError
from schemas.mapping import CalendarRule, DeliveryRule, OutboxRule, ParentLink, TableMapping, TableRule, table_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ops.onboarding_catalog import ForeignKeyShape, TableShape

CALENDAR_NAMES: Final = (("wedding", 8), ("event", 4), ("celebration", 4), ("booking", 1))
DAY_NAMES: Final = ("wedding_date", "event_date", "wedding_day", "date", "day", "held_on", "takes_place_on")
ZONE_NAMES: Final = ("venue_timezone", "venue_time_zone", "timezone", "time_zone", "venue_tz", "tz", "zone")
RESIDENCY_NAMES: Final = ("country", "country_code", "residency", "region")
DUE_NAMES: Final = ("due_on", "due_date", "deliver_by", "delivery_date", "due")
DELIVERY_TABLE: Final = re.compile(r"deliver|shipment|handover")
TEXT_TYPES: Final = re.compile(r"text|character|citext")
OUTBOX_COLUMNS: Final = frozenset({"id", "aggregatetype", "aggregateid", "type", "payload"})
"""By these a table is an outbox, whatever its name: nobody calls columns of other tables so."""
ENOUGH: Final = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A mapping to read and correct, and what may be wrong with it, one line each."""

    mapping: TableMapping
    warnings: tuple[str, ...]


def propose_mapping(tables: Sequence[TableShape], *, calendar: str | None = None) -> Proposal:
    """Propose a mapping; `calendar` names the calendar table where guessing would be wrong.

    Raises:
        ConfigError: no table looks like a calendar, or the named one cannot be one.
    """
    outbox = next((table for table in tables if table.columns.keys() >= OUTBOX_COLUMNS and table.key), None)
    keyed = {table.name: table for table in tables if table.key and table is not outbox}
    chosen = _named(keyed, calendar) if calendar is not None else _guessed(keyed, tables)
    rule, warnings = _calendar_rule(chosen)
    links = _links(keyed, rule)
    warnings += [f"{table.name} has no primary key: not proposed, declare `key`" for table in tables if not table.key]
    warnings += [
        f"{table.name} is unlogged: Postgres never reports its rows" for table in tables if not table.is_logged
    ]
    warnings += _nullable(keyed, links)
    mapping = table_mapping(
        [_table_rule(table, rule, links.get(table.name)) for table in keyed.values()],
        calendar=rule,
        deliveries=_deliveries(keyed.values(), links),
        outbox=None if outbox is None else _outbox(outbox, rule),
    )
    return Proposal(mapping=mapping, warnings=tuple(warnings))


def _named(keyed: Mapping[str, TableShape], calendar: str) -> TableShape:
    table = keyed.get(calendar) or keyed.get(f"public.{calendar}")
    if table is None or _day(table) is None:
        raise ConfigError(
            f"{calendar} cannot be the calendar: no such table with a primary key and a date column",
            hint="name a table like public.weddings",
        )
    return table


def _guessed(keyed: Mapping[str, TableShape], tables: Sequence[TableShape]) -> TableShape:
    referred = [link.table for table in tables for link in table.foreign_keys]
    scored = sorted(((_score(table, referred.count(table.name)), name) for name, table in keyed.items()), reverse=True)
    if not scored or scored[0][0] < ENOUGH:
        raise ConfigError(
            "no table looks like a wedding calendar (a name like weddings or events, a primary key and a date column)",
            hint="name it: --calendar schema.table",
        )
    return keyed[scored[0][1]]


def _score(table: TableShape, referred: int) -> int:
    if _day(table) is None or len(table.key) != 1:
        return 0
    bare = table.name.partition(".")[2].lower()
    named = max((points for word, points in CALENDAR_NAMES if word in bare), default=0)
    exact = 3 if bare in {f"{word}{end}" for word, _ in CALENDAR_NAMES for end in ("", "s")} else 0
    return named + exact + (2 if _zone(table) else 0) + min(referred, 3) if named else 0


def _calendar_rule(table: TableShape) -> tuple[CalendarRule, list[str]]:
    zone, day = _zone(table), _day(table)
    assert day is not None, "a table without a day never becomes the calendar"
    warnings = []
    if len(table.key) != 1:
        warnings.append(f"{table.name} has a composite key: its first column {table.key[0]} is taken for the wedding")
    if zone is None:
        warnings.append(f"{table.name} has no time zone column: each wedding day takes the widest day on earth")
    residency = _first(table, RESIDENCY_NAMES, TEXT_TYPES)
    if residency is None:
        warnings.append(f"{table.name} has no country column: every wedding gets the strictest residency")
    rule = CalendarRule(
        table=table.name, wedding=table.key[0], day=day, venue_zone=zone or ZONE_NAMES[0], residency=residency
    )
    return rule, warnings


def _day(table: TableShape) -> str | None:
    dates = [column.name for column in table.columns.values() if column.type == "date"]
    named = _first(table, DAY_NAMES, re.compile("date|timestamp"))
    return next((name for name in DAY_NAMES if name in dates), None) or (dates[0] if dates else named)


def _zone(table: TableShape) -> str | None:
    return _first(table, ZONE_NAMES, TEXT_TYPES) or next(
        (
            column.name
            for column in table.columns.values()
            if re.search(r"time_?zone", column.name) and TEXT_TYPES.search(column.type)
        ),
        None,
    )


def _first(table: TableShape, names: Iterable[str], types: re.Pattern[str]) -> str | None:
    return next((name for name in names if name in table.columns and types.search(table.columns[name].type)), None)


def _links(keyed: Mapping[str, TableShape], calendar: CalendarRule) -> dict[str, ForeignKeyShape]:
    """Return for each table that reaches the calendar the foreign key of its shortest way there, breadth first."""
    links: dict[str, ForeignKeyShape] = {}
    reached = {calendar.table}
    while True:
        ring = {
            name: link
            for name, table in keyed.items()
            if name not in reached and (link := _best(table, reached, calendar)) is not None
        }
        if not ring:
            return links
        links |= ring
        reached |= ring.keys()


def _best(table: TableShape, reached: set[str], calendar: CalendarRule) -> ForeignKeyShape | None:
    """Prefer the calendar itself, then a link every row has, then the one inside the row's own key."""
    candidates = [
        link
        for link in table.foreign_keys
        if link.table in reached and (link.table != calendar.table or calendar.wedding in link.references)
    ]
    return min(
        candidates,
        key=lambda link: (
            link.table != calendar.table,
            not _is_required(table, link),
            not set(link.columns) <= set(table.key),
            link.columns,
        ),
        default=None,
    )


def _is_required(table: TableShape, link: ForeignKeyShape) -> bool:
    return all(table.columns[column].is_required for column in link.columns)


def _nullable(keyed: Mapping[str, TableShape], links: Mapping[str, ForeignKeyShape]) -> list[str]:
    return [
        f"{name}.{', '.join(link.columns)} may be null: such rows belong to no wedding"
        for name, link in links.items()
        if not _is_required(keyed[name], link)
    ]


def _table_rule(table: TableShape, calendar: CalendarRule, link: ForeignKeyShape | None) -> TableRule:
    if table.name == calendar.table:
        return TableRule(name=table.name, key=table.key, wedding_column=calendar.wedding)
    if link is None:
        return TableRule(name=table.name, key=table.key)
    if link.table == calendar.table:
        column = link.columns[link.references.index(calendar.wedding)]
        return TableRule(name=table.name, key=table.key, wedding_column=column)
    parent = ParentLink(table=link.table, columns=link.columns, references=link.references)
    return TableRule(name=table.name, key=table.key, parent=parent)


def _outbox(table: TableShape, calendar: CalendarRule) -> OutboxRule:
    """Return the outbox's rule: a column named as others refer to the calendar holds the wedding."""
    bare = calendar.table.partition(".")[2]
    names = (f"{bare.removesuffix('s')}_{calendar.wedding}", "wedding_id")
    column = next((name for name in names if name in table.columns), None)
    return OutboxRule(table=table.name, wedding_types=(bare.removesuffix("s"), bare), wedding_column=column)


def _deliveries(tables: Iterable[TableShape], links: Mapping[str, ForeignKeyShape]) -> list[DeliveryRule]:
    return [
        DeliveryRule(table=table.name, due=due)
        for table in tables
        if table.name in links
        and DELIVERY_TABLE.search(table.name)
        and (due := _first(table, DUE_NAMES, re.compile("date|timestamp"))) is not None
    ]
