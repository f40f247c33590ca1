"""How a row finds its wedding. Pure data, written by the operator, proposed by `init`.

A table is one of three: it *belongs* to a wedding by a column of its own, it *follows* a parent
row over a foreign key (at any depth), or it is the *platform's*, shared by all weddings.
One table is the calendar: its rows are the weddings themselves.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.hidden_columns import HiddenColumn


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ParentLink:
    """A foreign key towards the wedding: `columns` here equal `references` in `table`."""

    table: str
    columns: tuple[str, ...]
    references: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """One table: `name` is schema-qualified (`public.guests`), `key` its primary key in order.

    Exactly one of `wedding_column` and `parent` is set; neither means the platform's own.
    """

    name: str
    key: tuple[str, ...]
    wedding_column: str | None = None
    parent: ParentLink | None = None

    @property
    def is_platform(self) -> bool:
        """Whether its rows belong to no wedding."""
        return self.wedding_column is None and self.parent is None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CalendarRule:
    """Where a wedding's date and place stand: columns of the calendar table.

    `residency` holds a country code or region word; `None` means it is not known,
    and then the strictest residency is kept.
    """

    table: str
    wedding: str
    day: str
    venue_zone: str
    residency: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRule:
    """A table whose date column promises something to a couple or vendor."""

    table: str
    due: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """A table whose column holds objects' keys: an object of no other known wedding is that of the row."""

    table: str
    column: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRule:
    """The table whose inserted rows are events, written in the transaction of what they tell of.

    A row's wedding is `wedding_column`, where one is named and set; else `aggregateid` of a row whose
    `aggregatetype` is one of `wedding_types`. The columns have their usual names: id, aggregatetype,
    aggregateid, type, payload.
    """

    table: str
    wedding_types: tuple[str, ...] = ("wedding",)
    wedding_column: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """All rules of one source; `object_prefix` is the path under which a wedding's files lie.

    `object_prefix` holds `{wedding}` exactly once, as in `weddings/{wedding}/`.
    """

    tables: Mapping[str, TableRule]
    calendar: CalendarRule
    deliveries: tuple[DeliveryRule, ...] = ()
    object_prefix: str = "weddings/{wedding}/"
    outbox: OutboxRule | None = None
    hidden: tuple[HiddenColumn, ...] = ()
    object_references: tuple[ObjectReference, ...] = ()

    def rule(self, table: str) -> TableRule | None:
        """Return the rule of a schema-qualified table, or None for one nobody declared."""
        return self.tables.get(table)


def table_mapping(
    tables: Iterable[TableRule],
    *,
    calendar: CalendarRule,
    deliveries: Iterable[DeliveryRule] = (),
    object_prefix: str = "weddings/{wedding}/",
    outbox: OutboxRule | None = None,
    object_references: Iterable[ObjectReference] = (),
) -> TableMapping:
    """Build a mapping and refuse one that could lose a row.

    Raises:
        ConfigError: a parent that is not declared, a circle of parents, a table without a key, a bad prefix, an
            outbox that is a table of rows too.
    """
    by_name = {rule.name: rule for rule in tables}
    for rule in by_name.values():
        _check_rule(rule, by_name)
    deliveries, object_references = tuple(deliveries), tuple(object_references)
    for named in (calendar.table, *(each.table for each in deliveries), *(each.table for each in object_references)):
        if named not in by_name:
            raise ConfigError(
                f"table {named} has a calendar, delivery or object rule but no table rule",
                hint="declare it under [[tables]]",
            )
    if object_prefix.count("{wedding}") != 1:
        raise ConfigError(
            f"object_prefix {object_prefix!r} must hold {{wedding}} exactly once", hint="e.g. weddings/{wedding}/"
        )
    if outbox is not None and outbox.table in by_name:
        raise ConfigError(
            f"table {outbox.table} is the outbox and has a table rule too",
            hint="remove its rule: what lies in an outbox is sent, never restored",
        )
    return TableMapping(
        tables=by_name,
        calendar=calendar,
        deliveries=deliveries,
        object_prefix=object_prefix,
        outbox=outbox,
        object_references=object_references,
    )


def _check_rule(rule: TableRule, by_name: Mapping[str, TableRule]) -> None:
    if not rule.key:
        raise ConfigError(f"table {rule.name} has no key", hint="add a primary key, or declare `key` for it")
    if rule.wedding_column is not None and rule.parent is not None:
        raise ConfigError(f"table {rule.name} has both wedding_column and parent", hint="keep one")
    seen = {rule.name}
    while rule.parent is not None:
        parent = by_name.get(rule.parent.table)
        if parent is None:
            raise ConfigError(
                f"table {rule.name} follows {rule.parent.table}, which is not declared", hint="declare it"
            )
        if parent.name in seen:
            raise ConfigError(f"tables {sorted(seen)} follow each other in a circle", hint="give one a wedding_column")
        if len(rule.parent.columns) != len(rule.parent.references):
            raise ConfigError(f"table {rule.name}: parent columns and references differ in number", hint="pair them")
        seen.add(parent.name)
        rule = parent
