"""The mapping as it is at a place in the log: what the operator declared, carried along as the schema changes. Pure.

A declared rule belongs to the table that bore its name when both were first seen together; afterwards it follows
the table's oid and its columns' numbers through every renaming. A table nobody declared gets a rule from what it
is: a partition its root's, a child its parent's way to the wedding, anything else the platform's. A rule
that no longer fits (its column was dropped) gives way to what the table itself says.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from schemas.mapping import CalendarRule, DeliveryRule, ParentLink, TableRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.mapping import TableMapping
    from schemas.shapes import Schema, TableShape


@dataclasses.dataclass(frozen=True, slots=True)
class _Anchor:
    """A declared table: its oid, and the numbers of the columns that its rules name."""

    oid: int
    numbers: dict[str, int]


class LiveMapping:
    """Follows one source's schema; `at` must be called with every schema in log order."""

    def __init__(self, declared: TableMapping) -> None:
        self._declared = declared
        self._anchors: dict[str, _Anchor] = {}
        self._named = _columns_named(declared)

    def at(self, schema: Schema) -> TableMapping:
        """Return the mapping for a schema, in that schema's own names."""
        self._anchor(schema)
        by_oid = {anchor.oid: name for name, anchor in self._anchors.items()}
        rules: dict[int, TableRule] = {}
        for oid in schema.tables:
            self._rule(oid, schema, by_oid, rules, frozenset())
        known = {rule.name: rule for rule in rules.values()}
        # Declared, but not told of yet (the log is older than the first message): as declared.
        unseen = {name: rule for name, rule in self._declared.tables.items() if name not in self._anchors}
        return dataclasses.replace(
            self._declared,
            tables={**{name: rule for name, rule in unseen.items() if name not in known}, **known},
            calendar=self._calendar(schema),
            deliveries=tuple(self._deliveries(schema)),
        )

    def _anchor(self, schema: Schema) -> None:
        """Bind declared names to tables; a table dropped and made anew under its name is bound again."""
        for name, columns in self._named.items():
            held = self._anchors.get(name)
            if held is not None and held.oid in schema.tables:
                continue
            table = schema.named(name)
            if table is not None:
                numbers = {column.name: column.number for column in table.columns if column.name in columns}
                self._anchors[name] = _Anchor(table.oid, numbers)

    def _rule(
        self,
        oid: int,
        schema: Schema,
        by_oid: dict[int, str],
        rules: dict[int, TableRule],
        above: frozenset[int],
    ) -> TableRule | None:
        """Return the rule of a table, and remember it; None for one that is above itself."""
        if oid in rules or oid in above or oid not in schema.tables:
            return rules.get(oid)
        table, above = schema.tables[oid], above | {oid}
        ways = (self._declared_rule, self._inherited, self._derived)
        found = (way(table, schema, by_oid, rules, above) for way in ways)
        rules[oid] = next(rule for rule in found if rule is not None)
        return rules[oid]

    def _declared_rule(
        self,
        table: TableShape,
        schema: Schema,
        by_oid: dict[int, str],
        rules: dict[int, TableRule],
        above: frozenset[int],
    ) -> TableRule | None:
        name = by_oid.get(table.oid)
        if name is None or name not in self._declared.tables:
            return None
        declared = self._declared.tables[name]
        key = table.names(table.key) if table.key else self._present(declared.key, name, table)
        if key is None:
            return None
        if declared.wedding_column is not None:
            column = self._present((declared.wedding_column,), name, table)
            return None if column is None else TableRule(name=table.name, key=key, wedding_column=column[0])
        if declared.parent is None:
            return TableRule(name=table.name, key=key)
        anchor = self._anchors.get(declared.parent.table)
        above_rule = self._rule(anchor.oid, schema, by_oid, rules, above) if anchor is not None else None
        # A parent may itself have become the platform's since: then nothing leads to a wedding over it.
        is_lost = above_rule is None or above_rule.is_platform
        parent = None if is_lost else self._parent(declared.parent, name, table, schema)
        return None if parent is None else TableRule(name=table.name, key=key, parent=parent)

    def _parent(self, link: ParentLink, name: str, table: TableShape, schema: Schema) -> ParentLink | None:
        anchor = self._anchors.get(link.table)
        parent = schema.tables.get(anchor.oid) if anchor is not None else None
        columns = self._present(link.columns, name, table)
        if parent is None or columns is None:
            return None
        references = self._present(link.references, link.table, parent)
        if references is None:
            return None
        return ParentLink(table=parent.name, columns=columns, references=references)

    def _present(self, columns: tuple[str, ...], name: str, table: TableShape) -> tuple[str, ...] | None:
        """Return declared columns by their present names; None when one is gone."""
        numbers = self._anchors[name].numbers
        found = [table.column(numbers[column]) if column in numbers else None for column in columns]
        return None if None in found else tuple(column.name for column in found if column is not None)

    def _inherited(
        self,
        table: TableShape,
        schema: Schema,
        by_oid: dict[int, str],
        rules: dict[int, TableRule],
        above: frozenset[int],
    ) -> TableRule | None:
        """Return a partition's rule: its root's, whose columns it has under the same names."""
        if table.parent is None:
            return None
        root = self._rule(table.parent, schema, by_oid, rules, above)
        return root and dataclasses.replace(root, name=table.name, key=_key(table))

    def _derived(
        self,
        table: TableShape,
        schema: Schema,
        by_oid: dict[int, str],
        rules: dict[int, TableRule],
        above: frozenset[int],
    ) -> TableRule:
        """Return what foreign keys say: straight to the calendar, else over the first parent that reaches it."""
        calendar = self._anchors.get(self._declared.calendar.table)
        wedding = calendar and calendar.numbers.get(self._declared.calendar.wedding)
        for link in table.links:
            if calendar is not None and link.table == calendar.oid and wedding in link.references:
                column = table.names((link.columns[link.references.index(wedding)],))[0]
                return TableRule(name=table.name, key=_key(table), wedding_column=column)
        for link in table.links:
            above_rule = self._rule(link.table, schema, by_oid, rules, above)
            if above_rule is not None and not above_rule.is_platform:
                parent = schema.tables[link.table]
                way = ParentLink(
                    table=parent.name, columns=table.names(link.columns), references=parent.names(link.references)
                )
                return TableRule(name=table.name, key=_key(table), parent=way)
        return TableRule(name=table.name, key=_key(table))

    def _calendar(self, schema: Schema) -> CalendarRule:
        rule = self._declared.calendar
        anchor = self._anchors.get(rule.table)
        table = schema.tables.get(anchor.oid) if anchor is not None else None
        if anchor is None or table is None:
            return rule
        now = {name: column.name for name, number in anchor.numbers.items() if (column := table.column(number))}
        return CalendarRule(
            table=table.name,
            wedding=now.get(rule.wedding, rule.wedding),
            day=now.get(rule.day, rule.day),
            venue_zone=now.get(rule.venue_zone, rule.venue_zone),
            residency=rule.residency and now.get(rule.residency, rule.residency),
        )

    def _deliveries(self, schema: Schema) -> Iterable[DeliveryRule]:
        for rule in self._declared.deliveries:
            anchor = self._anchors.get(rule.table)
            table = schema.tables.get(anchor.oid) if anchor is not None else None
            if anchor is None or table is None:
                yield rule
            elif (due := self._present((rule.due,), rule.table, table)) is not None:
                yield DeliveryRule(table=table.name, due=due[0])


def _key(table: TableShape) -> tuple[str, ...]:
    """Return the key, or for a table without one all its columns."""
    return table.names(table.key) or tuple(column.name for column in table.columns if not column.is_generated)


def _columns_named(declared: TableMapping) -> dict[str, set[str]]:
    """Return, for each declared table, every column that some rule names."""
    named: dict[str, set[str]] = {name: set(rule.key) for name, rule in declared.tables.items()}
    for name, rule in declared.tables.items():
        if rule.wedding_column is not None:
            named[name].add(rule.wedding_column)
        if rule.parent is not None:
            named[name].update(rule.parent.columns)
            named[rule.parent.table].update(rule.parent.references)
    calendar = declared.calendar
    named[calendar.table].update(
        filter(None, (calendar.wedding, calendar.day, calendar.venue_zone, calendar.residency))
    )
    for delivery in declared.deliveries:
        named[delivery.table].add(delivery.due)
    return named
