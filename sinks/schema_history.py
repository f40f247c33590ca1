"""Which shape a table had at each place of a source's log, and what it was called. Pure.

Messages may come in any order and more than once; they are kept by (epoch, position) and hold for what lies
behind them. A table that a row names before any message has told of it (CREATE TABLE AS writes its rows
first; a log begins before its first message) is looked for in the messages that follow.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from schemas.live_mapping import LiveMapping
from schemas.shapes import Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.mapping import TableMapping
    from schemas.shapes import ColumnShape, ShapeChange, TableShape
    from sinks.cut import Order


class SchemaHistory:
    """All that one log says of its schema."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._changes: list[ShapeChange] = []
        self._schemas: list[Schema] = []
        self._found: dict[tuple[int, str], TableShape | None] = {}
        self._keys: dict[int, list[tuple[Order, tuple[int, ...]]]] = {}

    def take(self, order: Order, change: ShapeChange) -> None:
        """Take a message; the same again changes nothing."""
        at = bisect.bisect_left(self._orders, order)
        if at < len(self._orders) and self._orders[at] == order:
            return
        self._orders.insert(at, order)
        self._changes.insert(at, change)
        del self._schemas[at:]
        self._found.clear()
        self._keys.clear()

    def place(self, order: Order) -> int:
        """Return how many messages lie before a place."""
        return bisect.bisect_left(self._orders, order)

    def before(self, order: Order) -> Schema:
        """Return the schema as the messages before a place left it."""
        return self._schema(self.place(order))

    def last(self) -> tuple[Order, Schema] | None:
        """Return the last message's place and the schema it left; None without any."""
        return (self._orders[-1], self._schema(len(self._orders))) if self._orders else None

    def table(self, name: str, order: Order) -> TableShape | None:
        """Return the table that bore a name at a place, or came to bear it next."""
        at = bisect.bisect_left(self._orders, order)
        if (at, name) not in self._found:
            places = range(at, len(self._orders) + 1)
            self._found[at, name] = next(
                (table for each in places if (table := self._schema(each).named(name)) is not None), None
            )
        return self._found[at, name]

    def fitting(self, oid: int, order: Order, names: Iterable[str]) -> TableShape | None:
        """Return a table's shape, nearest to a place, that has all these columns; None when none has.

        A row read by a table copy may be a little older than its place says.
        """
        at, wanted = bisect.bisect_left(self._orders, order), set(names)
        for each in sorted(range(len(self._orders) + 1), key=lambda place: (abs(place - at), place)):
            table = self._schema(each).tables.get(oid)
            if table is not None and wanted <= {column.name for column in table.columns}:
                return table
        return None

    def born(self, oid: int, number: int) -> ColumnShape | None:
        """Return a column as it was when it was first told of: then it says what older rows hold."""
        for place in range(len(self._orders) + 1):
            table = self._schema(place).tables.get(oid)
            if table is not None and (column := table.column(number)) is not None:
                return column
        return None

    def keys(self, oid: int) -> list[tuple[Order, tuple[int, ...]]]:
        """Return from which place on a table's rows were told apart by which columns; by none without a key."""
        if oid not in self._keys:
            found: list[tuple[Order, tuple[int, ...]]] = []
            for place, order in enumerate(self._orders):
                table = self._schema(place + 1).tables.get(oid)
                if table is not None and (not found or found[-1][1] != table.key):
                    found.append((order, table.key))
            self._keys[oid] = found
        return self._keys[oid]

    def rewritten(self) -> list[tuple[Order, int, bool]]:
        """Return where the schema's change replaced a table's rows, and whether they followed at once."""
        return [
            (order, oid, follow)
            for order, change in zip(self._orders, self._changes, strict=True)
            for oid, follow in change.rewritten.items()
        ]

    def made(self, epoch: int) -> set[int]:
        """Return the tables that came to be within an epoch: they were empty, no copy of theirs is needed."""
        found: set[int] = set()
        whole: set[int] = set()
        for order, change in zip(self._orders, self._changes, strict=True):
            if order.epoch == epoch:
                told = {table.oid for table in change.tables}
                whole |= told if change.is_whole else set()
                found |= set() if change.is_whole else told
        return found - whole if whole else set()

    def failures(self) -> list[str]:
        """Return why the schema could not be told, where it could not; a later whole message mends that."""
        found: list[str] = []
        for change in self._changes:
            found = [] if change.is_whole else found
            found += [change.failed] if change.failed else []
        return found

    def renamed_labels(self, type_name: str, order: Order) -> Mapping[str, str]:
        """Return an enum's labels at a place that are called otherwise now; none for any other type."""
        now = {oid: label for each in self._schema(len(self._orders)).others.values() for oid, label in each.labels}
        then = next(
            (each for each in self.before(order).others.values() if each.labels and each.name == type_name), None
        )
        return {label: now[oid] for oid, label in (then.labels if then else ()) if now.get(oid, label) != label}

    def mapping(self, declared: TableMapping) -> TableMapping:
        """Return the declared mapping in the names of the schema that the last message left."""
        live = LiveMapping(declared)
        mapping = declared
        for place in range(1, len(self._orders) + 1):
            mapping = live.at(self._schema(place))
        return mapping

    def _schema(self, place: int) -> Schema:
        while len(self._schemas) < place:
            earlier = self._schemas[-1] if self._schemas else Schema()
            self._schemas.append(earlier.after(self._changes[len(self._schemas)]))
        return self._schemas[place - 1] if place else Schema()
