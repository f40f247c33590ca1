"""The mapping of one source as its log's schema messages leave it, kept in the router's memory.

A renamed parent keeps its members: they are named anew together with the rules, in the same batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.live_mapping import LiveMapping
from schemas.shapes import Schema, parse_shape
from streams.row_reading import references, table_of

if TYPE_CHECKING:
    from schemas.mapping import TableMapping
    from streams.row_reading import Table
    from streams.state import RouterState


class LiveRules:
    """Follows one source; `mapping` is what holds for the next record.

    Call inside the state's batch, in log order but for retries.
    """

    def __init__(self, declared: TableMapping, state: RouterState, source: str) -> None:
        self._declared, self._state, self._source = declared, state, source
        self._last = (-1, -1)
        self._begin()

    def table(self, name: str) -> Table:
        """Return what to do with a table's rows."""
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = table_of(name, self.mapping, self._references, self._deliveries.get(name))
        return table

    def take(self, content: bytes, *, epoch: int, position: int) -> None:
        """Follow a message, and remember it.

        Raises:
            FormatError: it cannot be read; nothing has changed.
        """
        parse_shape(content)
        before = self._schema
        self._state.remember_schema_message(self._source, epoch, position, content)
        if (epoch, position) < self._last:
            # A letter that was retried: what was told after it still holds.
            self._begin()
        else:
            self._follow(epoch, position, content)
        for oid, table in self._schema.tables.items():
            was = before.tables.get(oid)
            if was is not None and was.name != table.name:
                self._state.rename_parents(was.name, table.name)

    def _begin(self) -> None:
        self._live, self._schema = LiveMapping(self._declared), Schema()
        self._adopt(self._declared)
        for epoch, position, content in self._state.schema_messages(self._source):
            self._follow(epoch, position, content)

    def _follow(self, epoch: int, position: int, content: bytes) -> None:
        self._last = (epoch, position)
        self._schema = self._schema.after(parse_shape(content))
        self._adopt(self._live.at(self._schema))

    def _adopt(self, mapping: TableMapping) -> None:
        self.mapping = mapping
        self._references = references(mapping)
        self._deliveries = {rule.table: rule.due for rule in mapping.deliveries}
        self._tables: dict[str, Table] = {}
