"""What Postgres' catalog says about a user's own database: tables, columns, keys, foreign keys."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_S: Final = 10
OUR_SCHEMA: Final = "wedsync"
SQL_USER_TABLE: Final[LiteralString] = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema', 'wedsync') AND n.nspname NOT LIKE 'pg\\_%'"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShape:
    """One column: its type as Postgres writes it."""

    name: str
    type: str
    is_required: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKeyShape:
    """`columns` here equal `references` in `table`."""

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """One table; `key` is the primary key, else a unique not-null one, else empty."""

    name: str
    columns: Mapping[str, ColumnShape]
    key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKeyShape, ...] = ()
    is_logged: bool = True


async def read_tables(dsn: str) -> list[TableShape]:
    """Read every user table that logical decoding can name, partitions one by one.

    Raises:
        ConfigError: the database cannot be reached.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise ConfigError(f"cannot reach the database: {error}", hint="check --database") from error
    async with connection:
        await connection.execute("SELECT set_config('search_path', '', true)")
        tables = await (await connection.execute(_TABLES)).fetchall()
        columns = _by_table(await (await connection.execute(_COLUMNS)).fetchall())
        keys = _by_table(await (await connection.execute(_KEYS)).fetchall())
        links = _by_table(await (await connection.execute(_FOREIGN_KEYS)).fetchall())
    return [
        TableShape(
            name=name,
            is_logged=is_logged,
            columns={
                row[0]: ColumnShape(name=row[0], type=row[1], is_required=row[2]) for row in columns.get(name, [])
            },
            key=tuple(keys[name][0][0]) if name in keys else (),
            foreign_keys=tuple(
                ForeignKeyShape(columns=tuple(row[0]), table=row[1], references=tuple(row[2]))
                for row in links.get(name, [])
            ),
        )
        for name, is_logged in tables
    ]


def _by_table(rows: list[tuple[Any, ...]]) -> dict[str, list[tuple[Any, ...]]]:
    grouped: dict[str, list[tuple[Any, ...]]] = {}
    for name, *rest in rows:
        grouped.setdefault(str(name), []).append(tuple(rest))
    return grouped


_TABLES: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname, c.relpersistence = 'p'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {SQL_USER_TABLE} ORDER BY 1
"""
_COLUMNS: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND {SQL_USER_TABLE} ORDER BY 1, a.attnum
"""
# The primary key first; else the narrowest unique index over required columns, which serves as well.
_KEYS: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname,
       array_agg(a.attname::text ORDER BY k.place), i.indisprimary, count(*)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
WHERE c.relkind = 'r' AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND k.place <= i.indnkeyatts AND {SQL_USER_TABLE}
GROUP BY 1, i.indexrelid, i.indisprimary
HAVING bool_and(a.attnotnull) ORDER BY 1, 3 DESC, 4, 2
"""
_FOREIGN_KEYS: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname,
       (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(f.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.number),
       tn.nspname || '.' || t.relname,
       (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(f.confkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = u.number)
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class t ON t.oid = f.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE f.contype = 'f' AND c.relkind = 'r' AND t.relkind = 'r' AND NOT t.relispartition AND {SQL_USER_TABLE}
ORDER BY 1, f.conname
"""
