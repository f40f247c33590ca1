"""Columns that are not captured as they are: left out, masked, or replaced by a hash. Pure.

What is hidden is hidden before it leaves the connector: neither topic nor archive ever holds it, and no
restore brings it back. So nothing may be hidden by which a row is told, finds its wedding, or is routed.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Final

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.mapping import TableMapping

MASK: Final = "********"
"""What stands for every masked value, however long it was."""


class ColumnAction(enum.StrEnum):
    """What becomes of a column's values."""

    DROP = "drop"
    MASK = "mask"
    HASH = "hash"


_RESTORED: Final = {
    ColumnAction.DROP: "was left out: it comes back as its default, or NULL",
    ColumnAction.MASK: f"was masked: it comes back as {MASK}",
    ColumnAction.HASH: "was replaced by a hash, and comes back so",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HiddenColumn:
    """One column of a schema-qualified table."""

    table: str
    column: str
    action: ColumnAction

    @property
    def name(self) -> str:
        """Return schema, table and column."""
        return f"{self.table}.{self.column}"

    @property
    def note(self) -> str:
        """Return what a restore says of it."""
        return f"{self.name} {_RESTORED[self.action]}"


def hidden_in(table: str, columns: Sequence[HiddenColumn]) -> frozenset[str]:
    """Return the names of a table's hidden columns."""
    return frozenset(each.column for each in columns if each.table == table)


def with_hidden(mapping: TableMapping, columns: Sequence[HiddenColumn]) -> TableMapping:
    """Return the mapping with these columns hidden.

    Raises:
        ConfigError: one is hidden twice, of an unknown table, or needed.
    """
    seen: set[str] = set()
    for each in columns:
        if each.name in seen:
            raise ConfigError(f"setting source.columns: {each.name} is there twice", hint="keep one")
        seen.add(each.name)
        if reason := _needed(each, mapping):
            raise ConfigError(f"setting source.columns: {each.name} {reason}", hint="such a column cannot be hidden")
    return dataclasses.replace(mapping, hidden=tuple(columns))


def _needed(hidden: HiddenColumn, mapping: TableMapping) -> str:
    """Return why a column must be captured as it is, or an empty text."""
    if mapping.outbox is not None and hidden.table == mapping.outbox.table:
        return "is the outbox's, whose rows are events"
    rule = mapping.rule(hidden.table)
    if rule is None:
        return "is of a table that the mapping does not name"
    calendar = mapping.calendar
    of_calendar = {calendar.wedding, calendar.day, calendar.venue_zone, calendar.residency}
    pointed = {
        name
        for each in mapping.tables.values()
        if each.parent is not None and each.parent.table == hidden.table
        for name in each.parent.references
    }
    reasons = {
        "is part of the key, by which a row is told": hidden.column in rule.key,
        "says which wedding a row belongs to": hidden.column == rule.wedding_column,
        "says which row a row follows": rule.parent is not None and hidden.column in rule.parent.columns,
        "is what other rows follow this one by": hidden.column in pointed,
        "is the calendar's": hidden.table == calendar.table and hidden.column in of_calendar,
        "says when something is due": (hidden.table, hidden.column)
        in {(delivery.table, delivery.due) for delivery in mapping.deliveries},
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
