"""Several transactions change the schema at the same time: none waits for another, and the log tells all of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ops import onboarding
from ops.sample import platform
from schemas.shapes import Schema, parse_shape
from sinks.schema_ddl import schema_sql
from tests.integration.databases import a_database, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

SLOT = "wedsync_at_once"
MESSAGES = (
    f"SELECT data FROM pg_logical_slot_get_changes('{SLOT}', NULL, NULL) WHERE data LIKE '%prefix: wedsync.shape,%'"
)


@pytest.fixture
async def dsn(stack: LocalStack) -> AsyncIterator[str]:
    """Make a database with the sample schema, prepared; a slot keeps what its log says from then on."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        await onboarding.prepare(dsn)
        await execute(dsn, f"SELECT pg_create_logical_replication_slot('{SLOT}', 'test_decoding')")
        await execute(dsn, "SELECT wedsync.note_whole_schema('a new epoch')")
        yield dsn
        await execute(dsn, f"SELECT pg_drop_replication_slot('{SLOT}')")


async def _impatient(dsn: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(dsn, options="-c lock_timeout=1s -c deadlock_timeout=100ms")


async def _told(dsn: str) -> Schema:
    """Return the schema that the log's messages leave, in the order of their commits."""
    schema = Schema()
    for (line,) in await execute(dsn, MESSAGES):
        change = parse_shape(re.split(r"content:", line, maxsplit=1)[1].encode())
        assert not change.failed
        schema = schema.after(change)
    return schema


async def test_a_parent_renamed_meanwhile_is_no_change_of_its_child(dsn: str) -> None:
    """Each tells its own table: whichever commits last takes nothing back."""
    async with await _impatient(dsn) as one, await _impatient(dsn) as two:
        await one.execute("ALTER TABLE weddings RENAME TO feasts")
        await two.execute("ALTER TABLE guests ADD COLUMN more int")
        await two.commit()

    schema = await _told(dsn)
    guests = schema.named("public.guests")
    assert guests is not None
    assert "more" in [column.name for column in guests.columns]
    assert 'FOREIGN KEY ("wedding_id") REFERENCES "public"."feasts" ("id")' in schema_sql(schema)


async def test_a_table_that_is_shut_is_not_waited_for(dsn: str) -> None:
    """Neither where a generated column needs it, nor where a view speaks of it: what was told of them still holds."""
    await execute(dsn, "CREATE TABLE doubled (a int, b int DEFAULT 3, c int GENERATED ALWAYS AS (a * 2) STORED)")
    await execute(dsn, "CREATE VIEW shown AS SELECT a FROM doubled")
    async with await _impatient(dsn) as one, await _impatient(dsn) as two:
        await one.execute("LOCK TABLE doubled")
        await two.execute("ALTER TABLE guests ADD COLUMN more int")

    sql = schema_sql(await _told(dsn))
    assert "GENERATED ALWAYS AS ((a * 2)) STORED" in sql
    assert "SELECT doubled.a" in sql
