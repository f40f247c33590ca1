"""Asking for a copy of what follows parent rows that moved: the signal's data, as SQL conditions. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from connectors.moved_rows import AT_ONCE_MAX, copy_name, followers, parent_of, pointed_at
from connectors.table_copies import execute_data, is_copiable
from sinks.wedding_rows import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.moved_rows import Parent
    from schemas.mapping import TableMapping, TableRule
    from streams.moves import Moves

READ_AT_ONCE = AT_ONCE_MAX + 1


def next_copy(mapping: TableMapping, owed: Moves, now_us: int) -> tuple[str, str] | None:
    """Return name and data of the next copy of moved rows; None when nothing follows the rows that moved.

    Few moves are read by condition; of very many every table that follows one of theirs is read whole.
    """
    parents = [parent_of(name) for _, name in owed.first]
    # The tables of those that are not listed are not known: then whatever follows another row is read.
    tables = mapping.tables if owed.owed > AT_ONCE_MAX else {table for table, _ in parents}
    rules = [rule for rule in followers(mapping, tables) if is_copiable(rule.name)]
    if rules and owed.owed > AT_ONCE_MAX:
        return (copy_name(owed.last, now_us), execute_data([rule.name for rule in rules], is_ordered=True))
    conditions = {rule.name: _text(_follows(mapping, rule, rule.name.partition(".")[2], parents)) for rule in rules}
    return (copy_name(owed.last, now_us), execute_data(conditions, conditions, is_ordered=True)) if rules else None


def _follows(mapping: TableMapping, rule: TableRule, alias: str, parents: Sequence[Parent]) -> sql.Composable:
    """Return the condition that `alias`, a row of the rule's table, follows one of these rows at any depth."""
    if rule.parent is None:
        return sql.SQL("false")
    link, upper = rule.parent, f"{alias}p"
    own: list[sql.Composable] = [
        sql.SQL(" AND ").join(
            # A literal without a type takes the column's, so that its index serves.
            sql.SQL("{} = {}").format(sql.Identifier(alias, column), sql.Literal(str(value)))
            for column, value in zip(link.columns, values, strict=True)
        )
        for values in pointed_at(link, parents)
    ]
    above = mapping.tables[link.table]
    if above.parent is not None:
        joined = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(upper, there), sql.Identifier(alias, here))
            for here, there in zip(link.columns, link.references, strict=True)
        )
        own.append(
            sql.SQL("EXISTS (SELECT FROM {} AS {} WHERE {} AND {})").format(
                identifier(above.name), sql.Identifier(upper), joined, _follows(mapping, above, upper, parents)
            )
        )
    return sql.SQL("({})").format(sql.SQL(" OR ").join(own or [sql.SQL("false")]))


def _text(condition: sql.Composable) -> str:
    return sql.Composed([condition]).as_string(None)
