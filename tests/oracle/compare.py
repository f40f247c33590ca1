"""What two databases hold, told so that it can be compared: every table's shape, and every row."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg

from schemas.mapping import TableRule
from sinks.row_digest import canonical_digest

if TYPE_CHECKING:
    from schemas.mapping import TableMapping

_SHOWN: Final = 3
_OWN: Final[LiteralString] = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'wedsync') AND n.nspname !~ '^pg_'"
_SHAPES: Final[LiteralString] = f"""
WITH tables AS (
    SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind, pg_get_expr(c.relpartbound, c.oid) AS bound,
           pg_get_partkeydef(c.oid) AS split_by
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND {_OWN}
)
SELECT name, concat_ws(' ', 'is', relkind, bound, split_by) FROM tables
UNION ALL
SELECT name, concat_ws(' ', 'column', a.attname, format_type(a.atttypid, a.atttypmod), nullif(a.attgenerated, ''),
    nullif(a.attidentity, ''), CASE WHEN a.attnotnull THEN 'NOT NULL' END, pg_get_expr(d.adbin, d.adrelid))
FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT name, concat_ws(' ', 'constraint', k.conname, pg_get_constraintdef(k.oid))
FROM tables t
JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('p', 'u', 'c', 'f', 'x') AND k.conparentid = 0
UNION ALL
SELECT name, pg_get_indexdef(i.indexrelid) FROM tables t JOIN pg_index i ON i.indrelid = t.oid
WHERE NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
ORDER BY 1, 2
"""
_LABELS: Final[LiteralString] = """
SELECT format_type(t.oid, NULL), string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid GROUP BY t.oid
"""


async def differences(oracle: str, restored: str, mapping: TableMapping) -> list[str]:
    """Return how a restored database differs from the oracle; nothing when it does not."""
    wanted, got = await shapes(oracle), await shapes(restored)
    found = [f"only Postgres has: {name} {line}" for name, line in sorted(wanted - got)]
    found += [f"only the restore has: {name} {line}" for name, line in sorted(got - wanted)]
    names = {name for name, _ in wanted} & {name for name, _ in got}
    return found + await _other_rows(oracle, restored, sorted(names), mapping)


async def shapes(dsn: str) -> set[tuple[str, str]]:
    """Return every table's columns, constraints and indexes, each as (table, line); and the labels of enums."""
    return {(str(name), str(line)) for name, line in [*await rows(dsn, _SHAPES), *await rows(dsn, _LABELS)]}


async def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """Return what a query says."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(query.encode())
        return await cursor.fetchall() if cursor.description else []


async def _other_rows(oracle: str, restored: str, names: list[str], mapping: TableMapping) -> list[str]:
    """Compare all rows of the tables that both have, whether the mapping knows them or not."""
    tables = {name: TableRule(name=name, key=()) for name in names if "." in name}
    every = dataclasses.replace(mapping, tables=tables)
    wanted = await canonical_digest(oracle, every, None)
    got = await canonical_digest(restored, every, None)
    found = []
    for name in wanted:
        if wanted[name] != got[name]:
            found.append(f"{name}: {wanted[name][0]} rows became {got[name][0]}")
            found += await _some_rows(oracle, restored, name)
    return found


async def _some_rows(oracle: str, restored: str, table: str) -> list[str]:
    """Return a few rows that only one of the two has."""
    columns = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute"
    query = f"{columns} WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
    if (names := await rows(oracle, query)) != await rows(restored, query):
        return []
    query = f"SELECT left(row({names[0][0]})::text, 300) FROM {table} AS t"
    wanted, got = set(await rows(oracle, query)), set(await rows(restored, query))
    missing = [f"  only Postgres has {row[0]}" for row in sorted(wanted - got)[:_SHOWN]]
    return missing + [f"  only the restore has {row[0]}" for row in sorted(got - wanted)[:_SHOWN]]
