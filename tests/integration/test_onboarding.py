"""A user's own database is proposed for, prepared, and left as it was, on a real server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from ops import onboarding
from ops.sample import platform
from ops.stack.postgres import server_bin_dir
from schemas.errors import ConfigError
from tests.integration.databases import a_database, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

IDENTITIES = (
    "SELECT relname, relreplident::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
)


@pytest.fixture
async def dsn(stack: LocalStack) -> AsyncIterator[str]:
    """Make a database with the sample schema."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        yield dsn


async def _identities(dsn: str) -> dict[str, str]:
    return dict(await execute(dsn, IDENTITIES))


async def test_the_sample_schema_gets_the_mapping_written_by_hand(dsn: str) -> None:
    """The proposal needs no correction there."""
    proposal = await onboarding.propose(dsn)

    assert proposal.mapping == platform.sample_mapping()
    assert proposal.warnings == ("public.notes.wedding_id may be null: such rows belong to no wedding",)


async def test_a_unique_column_stands_in_for_a_missing_primary_key(dsn: str) -> None:
    """A nullable one does not."""
    await execute(dsn, "CREATE TABLE gifts (code text NOT NULL UNIQUE)")
    await execute(dsn, "CREATE TABLE wishes (code text UNIQUE)")

    mapping = (await onboarding.propose(dsn)).mapping
    assert mapping.tables["public.gifts"].key == ("code",)
    assert mapping.rule("public.wishes") is None


async def test_preparing_twice_is_preparing_once(dsn: str) -> None:
    """Every table reports whole rows, and every table is published."""
    await onboarding.prepare(dsn)
    await onboarding.prepare(dsn)

    assert set((await _identities(dsn)).values()) == {"f"}
    published = await execute(dsn, "SELECT tablename FROM pg_publication_tables WHERE schemaname = 'public'")
    assert {row[0] for row in published} == set(await _identities(dsn))


@pytest.mark.parametrize(
    "creation",
    ["CREATE TABLE late (id int PRIMARY KEY)", "CREATE TABLE late AS SELECT 1 AS id", "SELECT 1 AS id INTO late"],
)
async def test_a_new_table_reports_whole_rows_within_its_own_transaction(dsn: str, creation: str) -> None:
    """Its first UPDATE may come before the commit."""
    await onboarding.prepare(dsn)

    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(creation.encode())
        cursor = await connection.execute("SELECT relreplident::text FROM pg_class WHERE relname = 'late'")
        assert await cursor.fetchone() == ("f",)


async def test_a_broken_trigger_never_breaks_the_applications_ddl(dsn: str) -> None:
    """The platform must notice nothing, not even our failures."""
    await onboarding.prepare(dsn)
    await execute(dsn, "DROP TABLE wedsync.replica_identity")

    await execute(dsn, "CREATE TABLE late (id int PRIMARY KEY)")
    assert (await _identities(dsn))["late"] == "d"


async def test_uninstall_leaves_everything_as_it_was(dsn: str) -> None:
    """Replica identities too, each its own."""
    await execute(dsn, "ALTER TABLE notes REPLICA IDENTITY USING INDEX notes_client_ref_key")
    await execute(dsn, "ALTER TABLE venues REPLICA IDENTITY NOTHING")
    await execute(dsn, "ALTER TABLE photos REPLICA IDENTITY FULL")
    before, schema = await _identities(dsn), await onboarding.schema_ddl(dsn)
    await onboarding.prepare(dsn)
    await execute(dsn, "SELECT pg_create_logical_replication_slot('wedsync_backup', 'pgoutput')")

    report = await onboarding.uninstall(dsn)
    assert (report.slot, report.publication, report.event_trigger, report.schema) == (True, True, True, True)
    assert len(report.tables_reset) == len(before) - 1
    assert await _identities(dsn) == before
    assert await onboarding.schema_ddl(dsn) == schema


async def test_uninstalling_nothing_reports_nothing(dsn: str) -> None:
    """It may be run again, and anywhere."""
    report = await onboarding.uninstall(dsn)

    assert report == onboarding.UninstallReport(
        slot=False, publication=False, event_trigger=False, schema=False, tables_reset=()
    )


async def test_uninstall_ends_whoever_reads_the_slot(dsn: str) -> None:
    """A walsender that holds it is terminated; the slot is gone afterwards."""
    await onboarding.prepare(dsn)
    await execute(dsn, "SELECT pg_create_logical_replication_slot('wedsync_backup', 'pgoutput')")
    reader = await psycopg.AsyncConnection.connect(dsn, replication="database", autocommit=True)
    options = "(proto_version '1', publication_names 'wedsync_backup')"
    reader.pgconn.send_query(f"START_REPLICATION SLOT wedsync_backup LOGICAL 0/0 {options}".encode())
    reader.pgconn.flush()
    await _until_active(dsn)

    try:
        assert (await onboarding.uninstall(dsn)).slot
    finally:
        await reader.close()
    assert await execute(dsn, "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'wedsync_backup'") == []


async def _until_active(dsn: str) -> None:
    active = "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'wedsync_backup' AND active"
    async with asyncio.timeout(10):
        while not await execute(dsn, active):
            pass


async def test_a_publication_of_our_name_that_misses_tables_is_refused(dsn: str) -> None:
    """New tables would never be captured, and nothing would say so."""
    await execute(dsn, "CREATE PUBLICATION wedsync_backup FOR TABLE guests")

    with pytest.raises(ConfigError, match="not FOR ALL TABLES"):
        await onboarding.prepare(dsn)


async def test_an_ordinary_user_is_told_what_to_do(dsn: str) -> None:
    """The script for a superuser is one option away."""
    await execute(dsn, "DROP ROLE IF EXISTS ordinary")
    await execute(dsn, "CREATE ROLE ordinary LOGIN PASSWORD 'made up'")
    try:
        with pytest.raises(ConfigError) as caught:
            await onboarding.prepare(psycopg.conninfo.make_conninfo(dsn, user="ordinary", password="made up"))
    finally:
        await execute(dsn, "DROP ROLE ordinary")

    assert "--print-sql" in caught.value.hint


async def test_the_printed_script_does_what_prepare_does(dsn: str) -> None:
    """Somebody else may run it, by psql."""
    process = await asyncio.create_subprocess_exec(
        server_bin_dir() / "psql", "-v", "ON_ERROR_STOP=1", dsn, stdin=asyncio.subprocess.PIPE
    )
    await asyncio.wait_for(process.communicate(onboarding.print_sql().encode()), 30)

    assert process.returncode == 0
    assert set((await _identities(dsn)).values()) == {"f"}


async def test_the_schema_of_a_prepared_database_builds_an_equal_one(stack: LocalStack, dsn: str) -> None:
    """Without anything of ours in it, and the same text each time."""
    await onboarding.prepare(dsn)
    schema = await onboarding.schema_ddl(dsn)

    async with a_database(stack) as copy:
        await execute(copy, schema)
        assert await onboarding.schema_ddl(copy) == schema
    assert "wedsync" not in schema


async def test_an_ordinary_users_change_of_the_schema_is_told_too(dsn: str) -> None:
    """Whoever may change the schema need not know of us, nor be allowed to read what is ours."""
    await onboarding.prepare(dsn)
    await execute(dsn, "DROP ROLE IF EXISTS ordinary")
    await execute(dsn, "CREATE ROLE ordinary LOGIN PASSWORD 'made up'")
    await execute(dsn, "GRANT CREATE ON SCHEMA public TO ordinary")
    try:
        theirs = psycopg.conninfo.make_conninfo(dsn, user="ordinary", password="made up")
        await execute(theirs, "CREATE TABLE theirs (id int PRIMARY KEY)")
        await execute(theirs, "ALTER TABLE theirs ADD COLUMN token uuid DEFAULT gen_random_uuid()")
        told = await execute(
            dsn,
            "SELECT jsonb_array_length(shape->'columns') FROM wedsync.shape_now WHERE shape->>'name' = 'public.theirs'",
        )
    finally:
        await execute(dsn, "DROP OWNED BY ordinary")
        await execute(dsn, "DROP ROLE ordinary")

    assert told == [(2,)]
