"""What follows parent rows that moved to another wedding, as a copy of these rows by signal. Pure.

The copy's name says up to which position of the log its moves lie, so the signals themselves tell what is still owed:
`part-moved<position>-<instant>`. Parents are read before their children: the router learns from each row
where the next ones belong. Very many moves at once are one copy of whole tables.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors.table_copies import ENDS, PART, CopyState, asked_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connectors.table_copies import CopyProgress
    from schemas.mapping import ParentLink, TableMapping, TableRule

AT_ONCE_MAX: Final = 200
"""Moves whose rows one copy chooses by name: each is a condition in SQL that Debezium asks for every chunk."""
_AGAIN_US: Final = 60_000_000
"""How long after a copy that failed, or was stopped, what it owed is asked for again."""
_NAME: Final = re.compile(rf"{PART}moved(\d+)-\d+")

Parent = tuple[str, tuple[Any, ...]]
"""A table's name, and the values by which rows point at one of its rows."""


def copy_name(position: int, now_us: int) -> str:
    """Return the name of a copy of what follows the moves up to a position."""
    return f"{PART}moved{position}-{now_us}"


def position_of(copy: str) -> int:
    """Return up to which position a copy's moves lie; -1 for any other copy."""
    match = _NAME.fullmatch(copy)
    return int(match[1]) if match else -1


def done_up_to(copies: Iterable[CopyProgress]) -> int:
    """Return up to which position what follows the moves has been copied; -1 for none."""
    return max((position_of(each.copy) for each in copies if each.state is CopyState.DONE), default=-1)


def may_ask(copies: Sequence[CopyProgress], now_us: int) -> bool:
    """Return whether a copy of moved rows may be asked for: no other runs, and the last did not just fail.

    The epoch's own copy goes first, and reads all that a move before its end is about.
    """
    if not copies or any(each.state not in ENDS for each in copies):
        return False
    last = copies[-1]
    return last.state is CopyState.DONE or position_of(last.copy) < 0 or now_us - asked_us(last.copy) > _AGAIN_US


def parent_of(name: bytes) -> Parent:
    """Return the table and values of a parent's name, as the router remembers it."""
    table, *values = orjson.loads(name)
    return str(table), tuple(values)


def followers(mapping: TableMapping, tables: Iterable[str]) -> list[TableRule]:
    """Return the rules of all tables whose rows follow rows of these, parents before their children."""
    moved = set(tables)
    found: dict[str, TableRule] = {}
    while more := [
        rule
        for rule in mapping.tables.values()
        if rule.parent is not None and rule.name not in found and rule.parent.table in moved | found.keys()
    ]:
        found.update({rule.name: rule for rule in more})
    return sorted(found.values(), key=lambda rule: (_depth(mapping, rule), rule.name))


def pointed_at(link: ParentLink, parents: Iterable[Parent]) -> list[tuple[Any, ...]]:
    """Return the values by which rows with this link point at one of the moved parents."""
    return [values for table, values in parents if table == link.table and len(values) == len(link.columns)]


def _depth(mapping: TableMapping, rule: TableRule) -> int:
    return 0 if rule.parent is None else 1 + _depth(mapping, mapping.tables[rule.parent.table])
