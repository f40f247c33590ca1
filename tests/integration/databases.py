"""Databases for tests: made empty, dropped afterwards; and their rows as capture would send them."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from psycopg import sql

from ops.sample.load import Load, LoadCounts, LoadSettings
from sinks.target_tables import CANONICAL_SETTINGS
from sinks.wedding_rows import identifier, wedding_condition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from schemas.mapping import TableMapping
    from tests.integration.conftest import LocalStack

THURSDAY = dt.datetime(2026, 6, 18, 9, 30, tzinfo=dt.UTC)
# How capture writes what JSON has no word for; every type that is neither here nor in `AS_JSON` goes as its text.
CAPTURED = {
    "date": "{} - '1970-01-01'::date",
    "timestamp with time zone": """to_char({}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "bytea": "translate(encode({}, 'base64'), chr(10), '')",
}
AS_JSON = ("boolean", "smallint", "integer", "bigint", "oid", "real", "double precision")


@contextlib.asynccontextmanager
async def a_database(stack: LocalStack) -> AsyncIterator[str]:
    """Make an empty database and return its connection string."""
    name = f"test_{secrets.token_hex(6)}"
    await execute(stack.dsn(), f"CREATE DATABASE {name}")
    try:
        yield stack.dsn(name)
    finally:
        await execute(stack.dsn(), f"DROP DATABASE {name} WITH (FORCE)")


async def execute(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """Execute one statement outside a transaction and return its rows."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(query.encode())
        return await cursor.fetchall() if cursor.description else []


async def played(
    dsn: str, folder: Path, *, seed: int = 1, changes: int = 1_500, photos: int = 8
) -> tuple[Load, LoadCounts]:
    """Play a small load as fast as it goes."""
    load = Load(LoadSettings(seed=seed, now=THURSDAY, lanes=3))
    counts = await load.run(
        dsn, folder, changes=changes, weddings=20, photos=photos, photo_bytes_total=photos * 2_000, rate=None
    )
    return load, counts


async def captured_rows(dsn: str, mapping: TableMapping, wedding: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return row images as Debezium writes them: of one wedding, or of every table."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(CANONICAL_SETTINGS)
        images = {}
        for rule in mapping.tables.values():
            if wedding is not None and rule.is_platform:
                continue
            condition: sql.Composable = sql.SQL("true")
            if wedding is not None:
                condition = wedding_condition(mapping, rule, alias="t", wedding=wedding)
            query = sql.SQL("SELECT jsonb_build_object({})::text FROM {} AS t WHERE {}").format(
                await _captured_columns(connection, rule.name), identifier(rule.name), condition
            )
            rows = await (await connection.execute(query)).fetchall()
            images[rule.name] = [orjson.loads(row[0]) for row in rows]
        return images


async def _captured_columns(connection: psycopg.AsyncConnection[Any], table: str) -> sql.Composed:
    cursor = await connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (table,),
    )
    pairs = [
        sql.SQL("{}, {}").format(
            sql.Literal(name),
            sql.SQL(CAPTURED.get(of_type, "{}" if of_type in AS_JSON else "{}::text")).format(
                sql.Identifier("t", name)
            ),
        )
        for name, of_type in await cursor.fetchall()
    ]
    return sql.SQL(", ").join(pairs)
