"""Restores before, across and after every kind of schema change equal what Postgres held then."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt  # noqa: TC003 - dataclass fields are read at run time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from ops import bootstrap, canary, restoring, table_copies
from ops.demo.story import new_database
from sinks.restore_report import Status
from sinks.targets import PostgresTarget
from sinks.wedding_rows import identifier
from tests.integration.databases import execute
from tests.integration.platforms import Platform, a_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sinks.restore_plan import State

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TABLES = (
    "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'wedsync') ORDER BY 1"
)
CANONICAL = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'"
SCRIPT = (Path(__file__).parent / "schema_changes.sql").read_text(encoding="utf-8")
STEPS = {
    name.removeprefix("-- "): statements
    for name, _, statements in (paragraph.partition("\n") for paragraph in SCRIPT.split("\n\n")[1:])
}

NAME = "public.ManyThings"
MANY = 'public."ManyThings"'
"""A name that must be quoted everywhere."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What Postgres held at an instant."""

    step: str
    at: dt.datetime
    rows: dict[str, list[str]]


async def _rows(dsn: str) -> dict[str, list[str]]:
    """Return each table's rows as Postgres' own text, sorted."""
    found = {}
    for (table,) in await execute(dsn, TABLES):
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(CANONICAL)
            columns = await connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
                " ORDER BY attname",
                (identifier(table).as_string(connection),),
            )
            names = sql.SQL(", ").join(sql.Identifier(row[0]) for row in await columns.fetchall())
            query = sql.SQL("SELECT row({})::text FROM {} ORDER BY 1").format(names, identifier(table))
            found[table] = [row[0] for row in await (await connection.execute(query)).fetchall()]
    return {table: rows for table, rows in found.items() if rows}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """One platform."""
    async with a_platform() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def moments(platform: Platform) -> list[Moment]:
    """Run all steps, and record what Postgres held after each."""
    await platform.load(changes=400, weddings=5)
    found = []
    for step, statements in STEPS.items():
        async with await psycopg.AsyncConnection.connect(platform.running.dsn) as connection:
            await connection.execute(statements.encode())
        rows = await _rows(platform.running.dsn)
        ((at,),) = await execute(platform.running.dsn, "SELECT clock_timestamp()")
        found.append(Moment(step=step, at=at, rows=rows))
    await canary.fly(platform.settings, platform.running.dsn, platform.running.epochs["platform"])
    return found


@pytest.mark.parametrize("step", STEPS)
async def test_a_restore_after_a_schema_change_equals_postgres(
    platform: Platform, moments: list[Moment], step: str
) -> None:
    """Rows, names and types are those of that instant, whatever came later."""
    moment = next(each for each in moments if each.step == step)
    assert await _restored(platform, moment.at) == moment.rows


async def test_a_change_of_the_schema_amid_a_copy_costs_nothing(platform: Platform, moments: list[Moment]) -> None:
    """Some rows are read in the old shape, others in the new one, and some change meanwhile."""
    dsn = platform.running.dsn
    await execute(dsn, f"CREATE TABLE {MANY} (id int PRIMARY KEY, a text, b int)")
    await execute(dsn, f"INSERT INTO {MANY} SELECT n, repeat('x', 200), n FROM generate_series(1, 40000) AS n")
    await canary.fly(platform.settings, dsn, platform.running.epochs["platform"])
    await table_copies.start(platform.settings, tables=[NAME], wedding=None)
    await _copied(platform, lambda copy: copy["percent"] > 0)
    await execute(dsn, f"ALTER TABLE {MANY} ADD COLUMN c int DEFAULT 7, ALTER COLUMN b TYPE text USING 'b' || b")
    await execute(dsn, f"UPDATE {MANY} SET a = 'changed', c = id WHERE id % 100 = 0")
    await execute(dsn, f"ALTER TABLE {MANY} RENAME COLUMN a TO d")
    at_change = await _copied(platform, lambda _: True)
    await _copied(platform, lambda copy: copy["state"] == "done")
    at = bootstrap.now()
    await canary.fly(platform.settings, dsn, platform.running.epochs["platform"])

    assert moments, "the steps came first"
    assert at_change["percent"] < 100
    assert (await _restored(platform, at))[NAME] == (await _rows(dsn))[NAME]


async def _copied(platform: Platform, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for something of the table's copy; Debezium gives one up, and the guard asks again."""
    async with asyncio.timeout(100):
        while True:
            copies = await table_copies.status(platform.settings)
            for copy in copies:
                if [table["table"] for table in copy["tables"]] == [NAME] and wanted(copy):
                    return copy
            await asyncio.sleep(0.05)


async def _restored(platform: Platform, at: dt.datetime) -> dict[str, list[str]]:
    """Restore everything into a new database, and return its rows."""
    mapping = bootstrap.mapping(platform.settings)
    dsn = await new_database(platform.running.dsn, "restored")

    def target(state: State) -> PostgresTarget:
        return PostgresTarget(dsn, state.mapping or mapping, ddl=state.ddl)

    with restoring.opened(platform.settings) as archive:
        result = await restoring.restorer_of(archive).restore(None, at, restore_id="test", rows=target, folder=None)
    assert (result.status, result.warnings) == (Status.WHOLE, ())
    return await _rows(dsn)
