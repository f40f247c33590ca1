"""What the database that takes a restore looks like: columns with their exact types, order, sequences."""

from __future__ import annotations

import contextlib
import dataclasses
import graphlib
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg

from schemas.errors import ConfigError
from sinks.pgtext import ColumnType, column_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping

CONNECT_TIMEOUT_S: Final = 10
# Everything below prints the same values the same way, on every server.
CANONICAL_SETTINGS: Final[LiteralString] = """
SELECT set_config('search_path', '', true), set_config('TimeZone', 'UTC', true),
       set_config('DateStyle', 'ISO, YMD', true),
       set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true),
       set_config('extra_float_digits', '1', true), set_config('lc_monetary', 'C', true),
       set_config('lock_timeout', '10s', true)
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetColumn:
    """One column; `sequence` is the sequence it owns (identity or serial)."""

    name: str
    type: ColumnType
    is_generated: bool = False
    sequence: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetTable:
    """One table of the target, as it is now."""

    name: str
    columns: Mapping[str, TargetColumn]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetForeignKey:
    """A foreign key of the target: rows of `table` need rows of `references`."""

    name: str
    table: str
    columns: tuple[str, ...]
    references: str
    referenced_columns: tuple[str, ...]


@contextlib.asynccontextmanager
async def target_connection(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Open a connection whose transaction commits when the block ends, and is rolled back when it fails."""
    async with await psycopg.AsyncConnection.connect(
        dsn, connect_timeout=CONNECT_TIMEOUT_S, client_encoding="UTF8"
    ) as connection:
        yield connection


async def read_target_tables(
    connection: psycopg.AsyncConnection[Any], names: Collection[str]
) -> dict[str, TargetTable]:
    """Read the columns of the named tables.

    Raises:
        ConfigError: a table that does not exist.
    """
    rows = await (await connection.execute(_COLUMNS, (list(names),))).fetchall()
    found: dict[str, dict[str, TargetColumn]] = {}
    for table, name, type_text, kind, is_generated, sequence in rows:
        column_of = found.setdefault(table, {})
        column_of[name] = TargetColumn(
            name=name, type=column_type(type_text, kind=kind), is_generated=is_generated, sequence=sequence
        )
    for name in sorted(set(names) - found.keys()):
        raise ConfigError(f"the target has no table {name}", hint="restore into an empty database, with the schema")
    return {name: TargetTable(name=name, columns=columns) for name, columns in found.items()}


async def read_foreign_keys(connection: psycopg.AsyncConnection[Any]) -> list[TargetForeignKey]:
    """Read every foreign key of the target."""
    rows = await (await connection.execute(_FOREIGN_KEYS)).fetchall()
    return [
        TargetForeignKey(
            name=name, table=table, columns=tuple(columns), references=there, referenced_columns=tuple(referenced)
        )
        for name, table, columns, there, referenced in rows
    ]


async def is_empty(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the database holds no relation of anybody's."""
    row = await (await connection.execute(_SOMETHING)).fetchone()
    return row == (False,)


def parents_first(names: Iterable[str], foreign_keys: Iterable[TargetForeignKey]) -> list[str]:
    """Return the tables so that what others refer to comes first; a circle is entered in order of name."""
    wanted = sorted(names)
    needs = {name: set[str]() for name in wanted}
    for link in foreign_keys:
        if link.table in needs and link.references in needs and link.table != link.references:
            needs[link.table].add(link.references)
    while True:
        try:
            return list(graphlib.TopologicalSorter(needs).static_order())
        except graphlib.CycleError as error:
            circle = error.args[1]
            needs[min(circle)] -= set(circle)  # foreign keys are not enforced while rows go in: order is a courtesy


_SYSTEM: Final[LiteralString] = "('pg_catalog', 'information_schema', 'wedsync')"
# A domain is followed down to the type under it; an array's kind is its element's.
_COLUMNS: Final[LiteralString] = """
WITH RECURSIVE named AS (
    SELECT c.oid AS relation, n.nspname || '.' || c.relname AS name
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname || '.' || c.relname = ANY(%s)
), typed(relation, number, type, modifier, depth) AS (
    SELECT a.attrelid, a.attnum, a.atttypid, a.atttypmod, 0
    FROM pg_catalog.pg_attribute a JOIN named ON named.relation = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT relation, number, t.typbasetype, t.typtypmod, depth + 1
    FROM typed JOIN pg_catalog.pg_type t ON t.oid = typed.type AND t.typtype = 'd'
), resolved AS (
    SELECT DISTINCT ON (relation, number) relation, number, type, modifier FROM typed
    ORDER BY relation, number, depth DESC
)
SELECT named.name, a.attname::text, pg_catalog.format_type(r.type, r.modifier),
       coalesce(element.typtype, t.typtype)::text, a.attgenerated <> '',
       pg_catalog.pg_get_serial_sequence(pg_catalog.quote_ident(split_part(named.name, '.', 1)) || '.'
           || pg_catalog.quote_ident(substr(named.name, strpos(named.name, '.') + 1)), a.attname)
FROM resolved r JOIN named USING (relation)
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.number
JOIN pg_catalog.pg_type t ON t.oid = r.type
LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem AND t.typcategory = 'A'
ORDER BY named.name, a.attname
"""
_FOREIGN_KEYS: Final[LiteralString] = """
SELECT f.conname::text, n.nspname || '.' || c.relname,
       (SELECT array_agg(a.attname::text ORDER BY u.place)
        FROM unnest(f.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.number),
       tn.nspname || '.' || t.relname,
       (SELECT array_agg(a.attname::text ORDER BY u.place)
        FROM unnest(f.confkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = u.number)
FROM pg_catalog.pg_constraint f
JOIN pg_catalog.pg_class c ON c.oid = f.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = f.confrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
WHERE f.contype = 'f' AND f.conparentid = 0 ORDER BY 2, 1
"""
_SOMETHING: Final[LiteralString] = f"""
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN {_SYSTEM} AND n.nspname NOT LIKE 'pg\\_%'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
)
"""
