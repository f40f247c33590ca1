"""Restored rows arrive exactly, in order, all or none, in a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ops import onboarding
from ops.sample import platform
from schemas.errors import ConfigError, FormatError, RefusedError
from sinks.row_digest import canonical_digest, rows_digest
from sinks.targets import PostgresTarget
from tests.integration.databases import a_database, captured_rows, execute, played

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

MAPPING = platform.sample_mapping()


@pytest.fixture
async def source(stack: LocalStack, tmp_path: Path) -> AsyncIterator[str]:
    """Make a sample database with some traffic behind it."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        await played(dsn, tmp_path)
        yield dsn


@pytest.fixture
async def target(stack: LocalStack) -> AsyncIterator[str]:
    """Make an empty database."""
    async with a_database(stack) as dsn:
        yield dsn


async def _a_wedding(dsn: str) -> str:
    query = (
        "SELECT wedding_id::text FROM guests JOIN seat_assignments ON guest_id = id GROUP BY 1 ORDER BY count(*) DESC"
    )
    return str((await execute(dsn, query))[0][0])


async def _restored(source: str, target: str, **options: Any) -> str:
    """Restore one wedding into the target and return it."""
    wedding = await _a_wedding(source)
    images = await captured_rows(source, MAPPING, wedding)
    await PostgresTarget(target, MAPPING, ddl=await onboarding.schema_ddl(source), **options).write(
        images, restore_id="r1"
    )
    return wedding


async def test_a_whole_database_is_rebuilt_from_nothing(source: str, target: str) -> None:
    """Schema, rows and the digests of every table."""
    images = await captured_rows(source, MAPPING)
    adapter = PostgresTarget(target, MAPPING, ddl=await onboarding.schema_ddl(source))
    report = await adapter.write(images, restore_id="r1")

    assert report.created_schema
    assert report.dangling == {}
    assert await canonical_digest(target, MAPPING, None) == await canonical_digest(source, MAPPING, None)


async def test_row_images_have_the_digest_of_the_rows_they_show(source: str) -> None:
    """What will be restored can be compared before it is."""
    wedding = await _a_wedding(source)
    images = await captured_rows(source, MAPPING, wedding)

    assert await rows_digest(source, images) == await canonical_digest(source, MAPPING, wedding)


async def test_one_wedding_is_rebuilt_and_its_missing_parents_are_named(source: str, target: str) -> None:
    """Its vendors and venue are the platform's: the report says that they are not there."""
    wedding = await _restored(source, target)
    images = await captured_rows(source, MAPPING, wedding)
    report = await PostgresTarget(target, MAPPING, overwrite=True).write(images, restore_id="r2")

    assert await canonical_digest(target, MAPPING, wedding) == await canonical_digest(source, MAPPING, wedding)
    assert "public.weddings.weddings_venue_id_fkey" in report.dangling


async def test_the_digest_sees_a_single_changed_value(source: str) -> None:
    """And only in its own table."""
    wedding = await _a_wedding(source)
    before = await canonical_digest(source, MAPPING, wedding)
    await execute(source, f"UPDATE weddings SET budget = budget + 0.01 WHERE id = '{wedding}'")

    after = await canonical_digest(source, MAPPING, wedding)
    assert {table for table in before if before[table] != after[table]} == {"public.weddings"}


async def test_rows_that_exist_are_refused(source: str, target: str) -> None:
    """Nothing is overwritten unless asked."""
    wedding = await _restored(source, target)

    with pytest.raises(RefusedError, match="already exists"):
        await PostgresTarget(target, MAPPING).write(await captured_rows(source, MAPPING, wedding), restore_id="r2")


async def test_a_harmed_wedding_stands_again_as_it_was(source: str) -> None:
    """Deleted rows are back, changed ones as before, newer ones gone; other weddings are not touched."""
    wedding = await _a_wedding(source)
    images = await captured_rows(source, MAPPING, wedding)
    before = await canonical_digest(source, MAPPING, None)
    await execute(source, f"DELETE FROM guests WHERE wedding_id = '{wedding}'")
    await execute(source, f"UPDATE messages SET body = 'lost' WHERE wedding_id = '{wedding}'")
    await execute(source, f"INSERT INTO seating_tables VALUES (gen_random_uuid(), '{wedding}', 'too late', 3)")

    adapter = PostgresTarget(source, MAPPING, overwrite=True, replace_wedding=wedding)
    report = await adapter.write(images, restore_id="r1")
    assert report.removed == {"public.seating_tables": 1}
    assert await canonical_digest(source, MAPPING, None) == before


async def test_sequences_go_on_behind_the_restored_rows(source: str, target: str) -> None:
    """The next message does not collide."""
    wedding = await _restored(source, target)
    for table, column in (("messages", "author, body, sent_at"), ("notes", "body")):
        values = "'a', 'b', now()" if table == "messages" else "'b'"
        inserted = await execute(
            target,
            f"INSERT INTO {table} (client_ref, wedding_id, {column}) VALUES (gen_random_uuid(), '{wedding}', {values})"
            f" RETURNING id = (SELECT max(id) + 1 FROM {table})",
        )
        assert inserted == [(True,)]


async def test_a_sequence_never_goes_back(source: str, target: str) -> None:
    """Numbers that were given out once are not given out again."""
    await execute(target, await onboarding.schema_ddl(source))
    await execute(target, "SELECT setval('notes_id_seq', 1000000)")
    await _restored(source, target)

    assert await execute(target, "SELECT nextval('notes_id_seq')") == [(1_000_001,)]


async def test_the_targets_triggers_stay_silent(source: str, target: str) -> None:
    """No mail goes out a second time."""
    await execute(target, await onboarding.schema_ddl(source))
    body = "BEGIN RAISE EXCEPTION 'mail sent'; END"
    await execute(target, f"CREATE FUNCTION mail() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
    await execute(target, "CREATE TRIGGER mail BEFORE INSERT ON guests FOR EACH ROW EXECUTE FUNCTION mail()")

    wedding = await _restored(source, target)
    assert (await canonical_digest(target, MAPPING, wedding))["public.guests"][0] > 0


async def test_a_restore_says_so_before_its_first_row(source: str, target: str) -> None:
    """Capture sends its rows to the bulk lane by this message."""
    await execute(target, await onboarding.schema_ddl(source))
    await execute(target, "SELECT pg_create_logical_replication_slot('watched', 'test_decoding')")
    await _restored(source, target)
    seen = await execute(target, "SELECT data FROM pg_logical_slot_get_changes('watched', NULL, NULL) LIMIT 2")
    await execute(target, "SELECT pg_drop_replication_slot('watched')")

    assert seen[1][0].startswith("message: transactional: 1 prefix: wedsync.restore")


@pytest.mark.parametrize(
    ("image", "failure"), [({"id": "x", "moon": 1}, ConfigError), ({"id": "x", "budget": 1.5}, FormatError)]
)
async def test_one_bad_row_and_nothing_is_written(
    source: str, target: str, image: dict[str, Any], failure: type[Exception]
) -> None:
    """All rows or none."""
    images = await captured_rows(source, MAPPING, await _a_wedding(source))
    images["public.weddings"].append(images["public.weddings"][0] | image)
    await execute(target, await onboarding.schema_ddl(source))

    with pytest.raises(failure):
        await PostgresTarget(target, MAPPING).write(images, restore_id="r1")
    assert all(rows == 0 for rows, _ in (await canonical_digest(target, MAPPING, None)).values())


async def test_a_missing_table_is_named(target: str) -> None:
    """With what to do about it."""
    with pytest.raises(ConfigError, match=r"public\.guests"):
        await PostgresTarget(target, MAPPING).write({"public.guests": []}, restore_id="r1")


async def test_a_generated_column_is_left_to_the_database(target: str) -> None:
    """Capture's table copies carry it, streams do not; it is computed either way."""
    await execute(target, "CREATE TABLE venues (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)")
    rows = {"public.venues": [{"id": 1}, {"id": 2, "twice": 99}]}
    await PostgresTarget(target, MAPPING).write(rows, restore_id="r1")

    assert await execute(target, "SELECT twice FROM venues ORDER BY 1") == [(2,), (4,)]


async def test_a_sequence_told_of_goes_at_least_so_far(source: str, target: str) -> None:
    """Numbers that were drawn and stand in no row are not given out again."""
    await execute(source, "CREATE SEQUENCE IF NOT EXISTS public.invoices")
    ddl = await onboarding.schema_ddl(source)
    told = {"public.invoices": 41, "public.gone": 5}
    report = await PostgresTarget(target, MAPPING, ddl=ddl, sequences=told).write({}, restore_id="r1")

    assert await execute(target, "SELECT nextval('public.invoices')") == [(42,)]
    assert report.sequences == {"public.invoices": 41}


async def test_a_number_that_a_deleted_row_bore_is_not_given_out_again(target: str) -> None:
    """Serial, identity, a partitioned table's, and a default's sequence that belongs to no column; none goes back."""
    await execute(target, "CREATE TABLE a (id serial PRIMARY KEY)")
    await execute(target, "CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY, at int) PARTITION BY RANGE (at)")
    await execute(target, "CREATE SEQUENCE loose; CREATE TABLE c (id int DEFAULT nextval('loose'), other int)")
    await execute(target, "CREATE TABLE d (id serial); SELECT setval('d_id_seq', 500)")
    used = {"public.a": {"id": 7}, "public.b": {"id": 8}, "public.c": {"id": 9, "other": 70}, "public.d": {"id": 5}}
    gone = {"public.gone": {"id": 1}, "public.a": {"id": 7, "gone": 3}}
    report = await PostgresTarget(target, MAPPING, used_numbers={**used, **gone}).write({}, restore_id="r1")

    names = ("a_id_seq", "b_id_seq", "loose", "d_id_seq")
    assert [(await execute(target, f"SELECT nextval('{each}')"))[0][0] for each in names] == [8, 9, 10, 501]
    assert report.sequences == {"public.a_id_seq": 7, "public.b_id_seq": 8, "public.loose": 9}
