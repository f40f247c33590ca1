"""What differs between two states of a wedding. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.debezium import Image
    from sinks.restore_plan import ObjectName, State


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableDiff:
    """How one table differs: keys (as JSON arrays) added, removed, and changed with the columns that differ."""

    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    changed: Mapping[bytes, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateDiff:
    """What is different in a later state, seen from an earlier one; tables without a difference are left out."""

    tables: Mapping[str, TableDiff]
    objects_added: tuple[ObjectName, ...]
    objects_removed: tuple[ObjectName, ...]
    objects_changed: tuple[ObjectName, ...]


def diff(earlier: State, later: State) -> StateDiff:
    """Return what changed between two states of the same wedding."""
    tables = {
        table: _table_diff(earlier.rows.get(table, {}), later.rows.get(table, {}))
        for table in sorted(earlier.rows.keys() | later.rows.keys())
    }
    then, now = earlier.objects, later.objects
    return StateDiff(
        tables={table: each for table, each in tables.items() if each.added or each.removed or each.changed},
        objects_added=tuple(sorted(now.keys() - then.keys())),
        objects_removed=tuple(sorted(then.keys() - now.keys())),
        objects_changed=tuple(
            sorted(name for name in now.keys() & then.keys() if now[name].notice.version != then[name].notice.version)
        ),
    )


def _table_diff(then: Mapping[bytes, Image], now: Mapping[bytes, Image]) -> TableDiff:
    return TableDiff(
        added=tuple(sorted(now.keys() - then.keys())),
        removed=tuple(sorted(then.keys() - now.keys())),
        changed={
            key: _columns(then[key], now[key]) for key in sorted(now.keys() & then.keys()) if now[key] != then[key]
        },
    )


def _columns(then: Image, now: Image) -> tuple[str, ...]:
    missing = object()
    return tuple(sorted(name for name in then.keys() | now.keys() if then.get(name, missing) != now.get(name, missing)))
