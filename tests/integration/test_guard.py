"""The guard on the real engines: slots dropped, moved and invalidated, paused copies, epochs begun and killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio

from connectors.connect import ConnectClient
from connectors.connector_config import PLATFORM_SOURCE, SLOT
from ops import bringup, epochs, guard, restoring, table_copies
from ops.bootstrap import now
from ops.config import StackSection
from ops.gaps import known_gaps
from schemas.errors import RefusedError
from tests.integration.platforms import Platform, a_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

WITHIN_SECONDS = 100
KEEP_MIB = 64
VENDOR = (
    "INSERT INTO vendors (id, kind, name, email, joined_at)"
    " VALUES (gen_random_uuid(), 'florist', %s, 'x@example.org', now())"
)
MANY = (
    "INSERT INTO vendors (id, kind, name, email, joined_at)"
    " SELECT gen_random_uuid(), 'florist', 'many', repeat('x', 200), now() FROM generate_series(1, 60000)"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """One platform for all tests of this module, whose server keeps little log for a slot."""
    async with a_platform(stack=StackSection(slot_wal_keep_mib=KEEP_MIB)) as running:
        yield running


async def sql(platform: Platform, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run one statement on the protected database."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), values or None)
        return await cursor.fetchall() if cursor.description else []


async def seen(platform: Platform, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until the guard has seen something, and return its report."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        report = guard.read_report(platform.settings, now())
        if report is not None and wanted(report):
            return report
        await asyncio.sleep(0.05)
    raise AssertionError(f"the guard never saw it: {guard.read_report(platform.settings, now())}")


async def new_epoch(platform: Platform) -> int:
    """Wait until a new epoch has begun and copied everything, and go on in it."""
    before = platform.running.epochs[PLATFORM_SOURCE]
    copied = {"state": "done"}
    report = await seen(
        platform,
        lambda each: each["epoch"] > before and bool(each["copies"]) and each["copies"][0]["state"] == copied["state"],
    )
    platform.running.epochs[PLATFORM_SOURCE] = report["epoch"]
    await platform.everything_protected()
    return int(report["epoch"])


async def connector(platform: Platform, word: str) -> None:
    """Stop or resume the connector of this epoch, and wait until the slot is free or taken."""
    name = f"{PLATFORM_SOURCE}-e{platform.running.epochs[PLATFORM_SOURCE]}"
    async with ConnectClient(platform.running.state.ports.connect_url) as connect:
        await connect._ask("PUT", f"/connectors/{name}/{word}")
    query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
    for _ in range(400):
        if word == "resume" or not (await sql(platform, query, SLOT))[0][0]:
            return
        await asyncio.sleep(0.05)


async def vendors(platform: Platform) -> tuple[set[str], bool]:
    """Restore everything, and return the vendors' names and whether the state is whole."""
    with restoring.opened(platform.settings) as archive:
        state = await restoring.restorer_of(archive).state_at(None, None)
    return {str(row["name"]) for row in state.tables()["public.vendors"]}, state.is_whole


async def test_a_dropped_slot_begins_an_epoch_and_files_the_gap(platform: Platform) -> None:
    """What changed meanwhile is there again, what was deleted is gone, and the ledger says what is not known."""
    await sql(platform, VENDOR, "deleted in the gap")
    await platform.everything_protected()
    await connector(platform, "stop")
    await sql(platform, "SELECT pg_drop_replication_slot(%s)", SLOT)
    await sql(platform, VENDOR, "added in the gap")
    await sql(platform, "DELETE FROM vendors WHERE name = 'deleted in the gap'")
    epoch = await new_epoch(platform)
    names, is_whole = await vendors(platform)
    (gap,) = await known_gaps(platform.settings)

    assert is_whole
    assert ("added in the gap" in names, "deleted in the gap" in names) == (True, False)
    assert (gap["epochs"][1], gap["reason"]) == (epoch, "the replication slot was dropped")


async def test_a_slot_that_was_moved_on_is_noticed(platform: Platform) -> None:
    """Debezium reads on as if nothing were between: only the guard tells, and everything is copied again."""
    await connector(platform, "stop")
    await sql(platform, VENDOR, "skipped")
    await sql(platform, "SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", SLOT)
    await connector(platform, "resume")
    await new_epoch(platform)
    names, is_whole = await vendors(platform)

    assert ("skipped" in names, is_whole) == (True, True)
    assert "moved on" in (await known_gaps(platform.settings))[-1]["reason"]


async def test_an_invalidated_slot_is_loud_before_and_after(platform: Platform) -> None:
    """At 50 and 80 % an alarm; beyond, a new epoch: the connector would say RUNNING for half an hour."""
    await connector(platform, "stop")
    await sql(platform, VENDOR, "while nobody reads")
    for percent in (60, 30, 60):
        await sql(platform, f"SELECT pg_logical_emit_message(false, 'x', repeat('y', {KEEP_MIB * 10486 * percent}))")
        await sql(platform, "SELECT pg_switch_wal()")
        if percent == 60:
            await seen(platform, lambda each: any(alarm["what"] == "slot_full" for alarm in each["alarms"]))
    await sql(platform, "CHECKPOINT")
    await new_epoch(platform)
    names, is_whole = await vendors(platform)

    assert ("while nobody reads" in names, is_whole) == (True, True)
    assert "invalidated" in (await known_gaps(platform.settings))[-1]["reason"]


async def test_a_paused_copy_stays_paused_when_connect_is_killed(platform: Platform) -> None:
    """Debezium forgets the pause; the guard says it again before many rows were read."""
    await sql(platform, MANY)
    name = await table_copies.start(platform.settings, tables=["public.vendors"], wedding=None)
    await seen(platform, lambda each: any(copy["copy"] == name and copy["percent"] for copy in each["copies"]))
    await table_copies.steer(platform.settings, "pause-snapshot")
    await platform.kill("connect")
    await seen(platform, lambda each: each["slot"] is not None and not each["slot"]["is_active"])
    await seen(platform, lambda each: each["slot"] is not None and each["slot"]["is_active"])
    await asyncio.sleep(3)  # Not waiting for anything: the copy must not move on meanwhile.
    (held,) = [copy for copy in await table_copies.status(platform.settings) if copy["copy"] == name]
    with pytest.raises(RefusedError):
        await table_copies.start(platform.settings, tables=[], wedding=None)
    await table_copies.steer(platform.settings, "resume-snapshot")
    await seen(platform, lambda each: any((c["copy"], c["state"]) == (name, "done") for c in each["copies"]))

    assert held["state"] == "paused"
    assert held["percent"] < 90


async def test_one_wedding_is_copied_without_touching_the_others(platform: Platform) -> None:
    """Its rows by condition, over foreign keys too; nobody else's row is closed."""
    load = await platform.load(changes=600, photos=2)
    wedding = next(iter(load.counts.photos_of))
    before = await platform.everything_protected()
    name = await table_copies.start(platform.settings, tables=[], wedding=wedding)
    await seen(platform, lambda each: any((c["copy"], c["state"]) == (name, "done") for c in each["copies"]))
    after = await platform.everything_protected()
    copied = (await table_copies.status(platform.settings))[-1]

    assert 0 < sum(table["rows"] for table in copied["tables"]) < after["events"] // 2
    assert after["events"] > before["events"]
    assert await platform.differences(wedding) == []


async def test_an_epoch_killed_while_it_begins_is_finished_by_the_guard(platform: Platform) -> None:
    """Whatever step it died in, under the same number, with one connector and one copy."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    where = epochs.Where(
        dsn=platform.running.dsn,
        brokers=platform.running.brokers,
        connect_url=platform.running.state.ports.connect_url,
    )
    newest = platform.running.epochs[PLATFORM_SOURCE]
    begun = asyncio.create_task(epochs.begin(platform.settings, where, reason="a test", newest=newest, loses=True))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(begun, random.Random(seed).uniform(0.05, 4))
    epoch = await new_epoch(platform)
    async with ConnectClient(where.connect_url) as connect:
        assert list(await connect.statuses()) == [f"{PLATFORM_SOURCE}-e{epoch}"]
    assert epochs.read_intent(platform.settings) is None
    assert (await asyncio.to_thread(bringup.newest_epochs, where.brokers))[PLATFORM_SOURCE] == epoch
    assert (await known_gaps(platform.settings))[-1]["reason"] == "a test"
