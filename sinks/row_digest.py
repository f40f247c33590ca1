"""One checksum per table, equal exactly when two databases hold the same rows, wherever and in whatever order.

A row's canonical text is its line of COPY output, columns by name, under fixed output settings; generated columns
are left out (capture never sees them). Row hashes are sorted and hashed: order does not count, duplicates do.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from sinks.row_copy import copy_rows
from sinks.target_tables import CANONICAL_SETTINGS, TargetTable, read_target_tables, target_connection
from sinks.wedding_rows import identifier, wedding_condition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from schemas.mapping import TableMapping


async def canonical_digest(dsn: str, mapping: TableMapping, wedding: str | None) -> dict[str, tuple[int, str]]:
    """Return per table the number of rows and their SHA-256, of one wedding, at one instant.

    Without a wedding: all rows of every table of the mapping. The platform's tables are only in that one.
    """
    rules = [rule for rule in mapping.tables.values() if wedding is None or not rule.is_platform]
    async with _session(dsn) as connection:
        tables = await read_target_tables(connection, [rule.name for rule in rules])
        return {
            rule.name: await _digest(
                connection,
                tables[rule.name],
                identifier(rule.name),
                sql.SQL("true") if wedding is None else wedding_condition(mapping, rule, alias="t", wedding=wedding),
            )
            for rule in rules
        }


async def rows_digest(dsn: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, tuple[int, str]]:
    """Return the same for captured row images: `dsn`, whose types they take, does the reading and keeps nothing."""
    async with _session(dsn) as connection:
        shapes = await read_target_tables(connection, list(tables))
        digests = {}
        for name, rows in tables.items():
            stage = sql.Identifier("wedsync_digest")
            await connection.execute(sql.SQL("CREATE TEMP TABLE {} (LIKE {})").format(stage, identifier(name)))
            await copy_rows(connection, shapes[name], rows, into=stage)
            digests[name] = await _digest(connection, shapes[name], stage, sql.SQL("true"))
            await connection.execute(sql.SQL("DROP TABLE {}").format(stage))
        await connection.rollback()
    return digests


@contextlib.asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with target_connection(dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.execute(CANONICAL_SETTINGS)
        yield connection


async def _digest(
    connection: psycopg.AsyncConnection[Any], table: TargetTable, source: sql.Composable, condition: sql.Composable
) -> tuple[int, str]:
    columns = sorted(column.name for column in table.columns.values() if not column.is_generated)
    query = sql.SQL("COPY (SELECT {} FROM {} AS t WHERE {}) TO STDOUT").format(
        sql.SQL(", ").join(sql.Identifier("t", column) for column in columns), source, condition
    )
    hashes = []
    async with connection.cursor() as cursor, cursor.copy(query) as copy:
        async for line in copy:
            hashes.append(hashlib.sha256(line).digest())  # noqa: PERF401 - lines are views that die with the loop
    total = hashlib.sha256("\t".join(columns).encode())
    for each in sorted(hashes):
        total.update(each)
    return len(hashes), total.hexdigest()
