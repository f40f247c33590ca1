"""Every type with its odd values through the real engines, streamed and copied, and back into a database."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from connectors.column_types import COLUMNS_SQL, Column, Fidelity, verdict
from sinks.row_copy import copy_rows
from sinks.target_tables import CANONICAL_SETTINGS, read_target_tables, target_connection
from tests.integration.captured import a_captured_database
from tests.integration.databases import a_database, execute
from tests.integration.odd_values import EXACT, REFUSED, TYPES

if TYPE_CHECKING:
    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

COLUMNS = {f"c{number}": type_text for number, type_text in enumerate(EXACT)}
ROWS = max(map(len, EXACT.values()))
KEPT, DELETED = 1_000, 2_000
"""Where the ids of the rows begin that stay, and of those that go again."""

TYPED = ", ".join(f"{name} {type_text}" for name, type_text in COLUMNS.items())
SCHEMA = f"""{TYPES}
CREATE TABLE odd (id int PRIMARY KEY, round text, kept text DEFAULT 'filled', {TYPED});
ALTER TABLE odd REPLICA IDENTITY FULL;
"""
# What a server may have set for everybody: none of it may reach a value.
UNKIND = {
    "bytea_output": "escape",
    "IntervalStyle": "sql_standard",
    "DateStyle": "SQL, DMY",
    "extra_float_digits": "-5",
    "TimeZone": "Asia/Kolkata",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """What was captured, by operation and id, and what the two databases hold in the end."""

    after: dict[tuple[str, int], dict[str, Any]]
    before: dict[tuple[str, int], dict[str, Any]]
    here: dict[str, list[Any]]
    there: dict[str, list[Any]]


def columns_of(row: int) -> dict[str, str]:
    """Return the columns of a row that have a value, with it; in the others there is NULL."""
    return {name: EXACT[type_text][row] for name, type_text in COLUMNS.items() if row < len(EXACT[type_text])}


async def fill(dsn: str, first: int) -> None:
    """Insert a row for each odd value; `kept` is NULL though it has a default."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'")
        for row in range(ROWS):
            values = columns_of(row)
            names = "".join(f", {name}" for name in values)
            texts = "".join(f", %s::{COLUMNS[name]}" for name in values)
            query = f"INSERT INTO odd (id, kept{names}) VALUES ({first + row}, NULL{texts})"
            await connection.execute(query.encode(), list(values.values()))


async def travel(stack: LocalStack) -> Journey:
    """Insert, watch, insert more, update, delete, copy; then restore the last images into another database."""
    async with a_captured_database(stack, SCHEMA, defaults=UNKIND) as source, a_database(stack) as target:
        await execute(target, SCHEMA)
        for first in (KEPT, DELETED):
            await fill(source.dsn, first)
        await execute(source.dsn, f"UPDATE odd SET round = 'touched' WHERE id < {DELETED}")
        await execute(source.dsn, f"DELETE FROM odd WHERE id >= {DELETED}")
        await source.copy("public.odd")
        events = await source.changes("odd", 5 * ROWS)
        after = {(each["op"], each["after"]["id"]): each["after"] for each in events if each["after"]}
        before = {(each["op"], each["before"]["id"]): each["before"] for each in events if each["before"]}
        await restore(target, [image for (operation, _), image in after.items() if operation == "r"])
        return Journey(after=after, before=before, here=await contents(source.dsn), there=await contents(target))


async def restore(dsn: str, images: list[dict[str, Any]]) -> None:
    """Write captured images as a restore does."""
    async with target_connection(dsn) as connection:
        await connection.execute(CANONICAL_SETTINGS)
        tables = await read_target_tables(connection, ["public.odd"])
        await copy_rows(connection, tables["public.odd"], images)


async def contents(dsn: str) -> dict[str, list[Any]]:
    """Return each column's values as Postgres' own output function writes them."""
    found = {}
    async with target_connection(dsn) as connection:
        await connection.execute(CANONICAL_SETTINGS)
        for name in ("id", "round", "kept", *COLUMNS):
            query = f"SELECT array_agg(CASE WHEN {name} IS NULL THEN NULL ELSE format('%s', {name}) END ORDER BY id)"
            query = f"{query} FROM public.odd WHERE id < {DELETED}"
            row = await (await connection.execute(query.encode())).fetchone()
            found[COLUMNS.get(name, name)] = row[0] if row else []
    return found


@pytest.fixture(scope="module")
def journey(stack: LocalStack) -> Journey:
    """One journey for all tests: what is asked of it differs."""
    return asyncio.run(travel(stack))


@pytest.mark.parametrize("type_text", ["id", "round", "kept", *EXACT])
def test_what_comes_back_is_what_was_stored(journey: Journey, type_text: str) -> None:
    """Letter by letter, NULL for NULL, whatever the server's defaults."""
    assert len(journey.here[type_text]) == ROWS
    assert journey.there[type_text] == journey.here[type_text]


@pytest.mark.parametrize("name", COLUMNS, ids=EXACT)
def test_copied_and_streamed_are_the_same(journey: Journey, name: str) -> None:
    """A table's copy is read by the driver, its changes come from the log: one value has one form."""
    copied = [journey.after["r", KEPT + row][name] for row in range(ROWS)]
    streamed = [journey.after["u", KEPT + row][name] for row in range(ROWS)]

    assert copied == streamed


@pytest.mark.parametrize("name", COLUMNS, ids=EXACT)
def test_what_was_before_is_what_had_come(journey: Journey, name: str) -> None:
    """Updates and deletes tell the old row in the same form as the insert did."""
    for row in range(ROWS):
        assert journey.before["u", KEPT + row][name] == journey.after["c", KEPT + row][name]
        assert journey.before["d", DELETED + row][name] == journey.after["c", DELETED + row][name]


def test_the_table_of_types_is_true_of_a_real_catalog(stack: LocalStack) -> None:
    """What came back equal is not refused, and what would not is refused by column."""
    verdicts = asyncio.run(asked(stack))

    assert {name for name, found in verdicts.items() if found is Fidelity.REFUSED} == {
        f"r{n}" for n in range(len(REFUSED))
    }
    assert verdicts.keys() >= COLUMNS.keys()


async def asked(stack: LocalStack) -> dict[str, Fidelity]:
    """Return the verdict on each column of a database that has all types."""
    refused = ", ".join(f"r{number} {type_text}" for number, type_text in enumerate(REFUSED))
    async with a_database(stack) as dsn:
        await execute(dsn, f"{SCHEMA} CREATE TABLE refused ({refused});")
        async with target_connection(dsn) as connection:
            await connection.execute(CANONICAL_SETTINGS)
            rows = await (await connection.execute(COLUMNS_SQL)).fetchall()
    found = [
        Column(table=table, name=name, type=kind_of, kind=kind, checks=tuple(checks))
        for table, name, kind_of, kind, checks in rows
    ]
    return {column.name: verdict(column).fidelity for column in found}


KEYS = {
    "uuid": "gen_random_uuid()",
    "text": "'k,''\" ' || n",
    "character(4)": "n::text",
    "numeric": "n + 0.10",
    "date": "date '0002-12-30 BC' + n * 365",
    "timestamp": "timestamp '2026-01-01' + n * interval '1 microsecond'",
    "timestamptz": "timestamptz '2026-01-01' + n * interval '1 microsecond'",
    "mood": "(enum_range(NULL::mood))[n]",
    "citext": "'K' || n",
    "bytea": "decode(lpad(to_hex(n), 2, '0'), 'hex')",
    "inet": "inet '10.0.0.0' + n",
}
"""Types a primary key may have, and an expression for the n-th key."""


async def _copied(stack: LocalStack) -> dict[str, int]:
    tables = [f"keyed{number}" for number in range(len(KEYS))]
    made = "".join(
        f"CREATE TABLE {table} (id {type_text} PRIMARY KEY);"
        f"INSERT INTO {table} SELECT ({key})::{type_text} FROM generate_series(1, 5) AS n;"
        for table, (type_text, key) in zip(tables, KEYS.items(), strict=True)
    )
    async with a_captured_database(stack, TYPES + made, copy_chunk_rows=2) as source:
        await source.copy(*(f"public.{table}" for table in tables))
        counts = {}
        for table, type_text in zip(tables, KEYS, strict=True):
            counts[type_text] = len({str(each["after"]["id"]) for each in await source.changes(table, 5)})
        return counts


def test_a_table_is_copied_whole_whatever_its_key(stack: LocalStack) -> None:
    """A copy goes on behind the last key of a chunk: the key's type must bear that."""
    assert asyncio.run(_copied(stack)) == dict.fromkeys(KEYS, 5)
