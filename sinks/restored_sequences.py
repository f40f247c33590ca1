"""The sequences at the cut: they follow from what was told of them and what was used. Pure.

The log carries none of their steps. Their values are told now and then; what was drawn between the last telling and
the cut stands in the rows it was drawn for, also in those that are gone. So a restore, which reads that
history anyway, takes the largest of both, and no number comes again that a row it has read ever bore. What rows
bore before the last telling but one counts only as told: a number beyond it was not drawn. Of a sequence that no
column draws from nothing but the tellings is known, and the report says so. Numbers of transactions
that were rolled back were never seen by anybody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectors.ledger import sequences_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from connectors.debezium import Image
    from schemas.mapping import TableMapping
    from schemas.shapes import ColumnShape, Schema, TableShape
    from sinks.cut import Order
    from sinks.schema_history import SchemaHistory

_DRAWN: Final = re.compile(r"nextval\('((?:[^']|'')+)'::regclass\)")

_Column = tuple[int | str, int | str]
"""A table's oid and a column's number; where no message ever told of the table, both names."""


class Told(NamedTuple):
    """One telling: where it stands, and when it was written into the log, in microseconds."""

    order: Order
    at_us: int
    values: Mapping[str, int]


class Sequences:
    """Takes messages in any order, and keeps the newest values."""

    def __init__(self) -> None:
        self.newest: Told | None = None
        self.certain: Order | None = None
        """Up to where every number drawn is told: the last telling but one. The last was read before it was written."""

    @property
    def values(self) -> Mapping[str, int]:
        """Return the last value of each sequence that was told, by `schema.name`."""
        return self.newest.values if self.newest is not None else {}

    def take(self, order: Order, change: Mapping[str, Any]) -> None:
        """Take a change; any but a message about sequences says nothing.

        Raises:
            FormatError: it says it is about sequences, and cannot be read.
        """
        if change["kind"] != "message" or (self.certain is not None and order <= self.certain):
            return
        values = sequences_of(change["payload"])
        if values is None or (self.newest is not None and order == self.newest.order):
            return
        held, self.newest = self.newest, Told(order, change["committed_at"], values)
        if held is not None:
            earlier, self.newest = sorted((held, self.newest), key=lambda each: each.order)
            self.certain = earlier.order


class UsedNumbers:
    """The largest number that each column ever bore that draws from a sequence; rows may come in any order."""

    def __init__(self, history: SchemaHistory, mapping: TableMapping, sequences: Sequences) -> None:
        self._history, self._mapping, self._sequences = history, mapping, sequences
        self._largest: dict[_Column, int] = {}
        self._drawing: dict[int, tuple[TableShape, list[tuple[str, list[_Column]]]]] = {}

    def take(self, order: Order, table: str, *images: Image | None) -> None:
        """Take the images of one change: what a row bore before it counts as well."""
        if self._sequences.certain is not None and order <= self._sequences.certain:
            return
        for name, columns in self._columns(order, table):
            for image in images:
                value = _number(image.get(name)) if image is not None else None
                if value is not None:
                    for column in columns:
                        self._largest[column] = max(value, self._largest.get(column, value))

    def largest(self) -> dict[str, dict[str, int]]:
        """Return table → column → number, in the names of the schema at the cut."""
        last = self._history.last()
        schema = last[1] if last is not None else None
        found: dict[str, dict[str, int]] = {}
        for (table, column), value in self._largest.items():
            names = _names(schema, table, column)
            if names is not None:
                columns = found.setdefault(names[0], {})
                columns[names[1]] = max(value, columns.get(names[1], value))
        return found

    def _columns(self, order: Order, table: str) -> list[tuple[str, list[_Column]]]:
        shape = self._history.table(table, order)
        if shape is None:
            rule = self._mapping.rule(table)
            return [] if rule is None else [(name, [(table, name)]) for name in rule.key]
        if id(shape) not in self._drawing:
            # The shape is held with its answer: another one may else be given its id.
            self._drawing[id(shape)] = shape, list(_drawing(shape, self._history.before(order)))
        return self._drawing[id(shape)][1]


def without_column(told: Told | None, schema: Schema | None) -> list[str]:
    """Return the sequences that were told and that no column draws from, as far as the schema is known."""
    if told is None or schema is None:
        return []
    columns = [column for table in schema.tables.values() for column in table.columns]
    drawn = {_unquoted(match[1]) for column in columns for match in _DRAWN.finditer(column.default or "")}
    owned = {each.name for each in schema.others.values() if each.kind == "sequence" and each.owner is not None}
    own = {each.name for each in schema.others.values() if each.kind == "sequence"} - owned
    return sorted(name for name in told.values if name in own and name not in drawn)


def _drawing(shape: TableShape, schema: Schema) -> Iterator[tuple[str, list[_Column]]]:
    """Yield a table's columns that draw from a sequence by themselves or by a table it is a partition of."""
    lineage = [shape]
    while lineage[-1].parent is not None and (above := schema.tables.get(lineage[-1].parent)) is not None:
        lineage.append(above)
    for name in [column.name for column in shape.columns]:
        found = [
            (table.oid, column.number)
            for table in lineage
            for column in table.columns
            if column.name == name and _draws(column)
        ]
        if found:
            yield name, list(found)


def _draws(column: ColumnShape) -> bool:
    return bool(column.identity) or "nextval(" in (column.default or "")


def _names(schema: Schema | None, table: int | str, column: int | str) -> tuple[str, str] | None:
    if isinstance(table, str) or isinstance(column, str):
        return str(table), str(column)
    shape = schema.tables.get(table) if schema is not None else None
    found = shape.column(column) if shape is not None else None
    return (shape.name, found.name) if shape is not None and found is not None else None


def _number(value: Any) -> int | None:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else None


def _unquoted(name: str) -> str:
    """Return a sequence's name as tellings write it; one without its schema is in `public`."""
    parts = [part.strip('"') for part in name.replace("''", "'").split(".")]
    return ".".join(parts if len(parts) > 1 else ["public", *parts])
