"""What the shifting tables look like to one transaction just now: read before it changes them, or writes rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, LiteralString

if TYPE_CHECKING:
    import psycopg

# No function that looks names up: a table that another transaction drops meanwhile must not be an error.
_TABLES: Final[LiteralString] = """
SELECT c.oid, c.relname, c.relkind, root.relname,
    (SELECT k.conname FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'),
    (SELECT k.conkey FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p')
FROM pg_class c
LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class root ON root.oid = h.inhparent
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname ~ '^(shift|split)' ORDER BY 2
"""
_COLUMNS: Final[LiteralString] = """
SELECT DISTINCT ON (a.attrelid, a.attnum)
       a.attrelid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef,
       a.attgenerated <> '', a.attidentity <> '', target.relname, there.attname
FROM pg_attribute a
LEFT JOIN pg_constraint f ON f.conrelid = a.attrelid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]
LEFT JOIN pg_class target ON target.oid = f.confrelid
LEFT JOIN pg_attribute there ON there.attrelid = f.confrelid AND there.attnum = f.confkey[1]
WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2
"""
_LABELS: Final[LiteralString] = """
SELECT e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid WHERE t.typname = 'mood'
ORDER BY e.enumsortorder
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNow:
    """One column; `points_at` is the table and column of a foreign key over this column alone."""

    name: str
    type: str
    is_required: bool
    has_default: bool
    is_generated: bool
    is_identity: bool
    points_at: tuple[str, str] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableNow:
    """One table; `root` is the partitioned table it is a part of."""

    name: str
    is_root: bool
    root: str | None
    key_name: str | None
    key: tuple[str, ...]
    columns: tuple[ColumnNow, ...]

    @property
    def free(self) -> list[ColumnNow]:
        """Return the columns that nothing depends on."""
        return [each for each in self.columns if each.name not in self.key and each.points_at is None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All of them, and the labels of their enum."""

    tables: tuple[TableNow, ...]
    labels: tuple[str, ...]

    def names(self) -> set[str]:
        """Return the names that are taken."""
        return {table.name for table in self.tables}


async def read_catalog(connection: psycopg.AsyncConnection[Any]) -> Catalog:
    """Read it inside the transaction under way."""
    tables = await (await connection.execute(_TABLES)).fetchall()
    columns = await (await connection.execute(_COLUMNS, ([row[0] for row in tables],))).fetchall()
    labels = await (await connection.execute(_LABELS)).fetchall()
    return Catalog(
        tables=tuple(_table(row, [each for each in columns if each[0] == row[0]]) for row in tables),
        labels=tuple(label for (label,) in labels),
    )


def _table(row: tuple[Any, ...], columns: list[tuple[Any, ...]]) -> TableNow:
    _, name, kind, root, key_name, key = row
    names = {each[1]: each[2] for each in columns}
    return TableNow(
        name=name,
        is_root=kind in {"p", b"p"},
        root=root,
        key_name=key_name,
        key=tuple(names[number] for number in key or () if number in names),
        columns=tuple(_column(each) for each in columns),
    )


def _column(row: tuple[Any, ...]) -> ColumnNow:
    _, _, name, type_, is_required, has_default, is_generated, is_identity, table, there = row
    return ColumnNow(
        name=name,
        type=type_,
        is_required=is_required,
        has_default=has_default,
        is_generated=is_generated,
        is_identity=is_identity,
        points_at=None if table is None or there is None else (table, there),
    )
