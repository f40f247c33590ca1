"""The sample platform's load does to Postgres and the folder exactly what it says."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from ops.sample import platform
from ops.sample.load import Load, LoadCounts, LoadSettings
from schemas.errors import TransientError
from sinks.row_digest import canonical_digest
from tests.integration.databases import THURSDAY, a_database, execute, played

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration


def _milestones(events: dict[int, asyncio.Event]) -> Callable[[LoadCounts], None]:
    """Return a callback that sets each event whenever that many changes, or more, are committed."""

    def note(counts: LoadCounts) -> None:
        for changes, event in events.items():
            if counts.changes >= changes:
                event.set()

    return note


async def test_the_counts_are_what_logical_decoding_sees(stack: LocalStack, tmp_path: Path) -> None:
    """Not one change more or less: this is what capture is measured against."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        await execute(dsn, "SELECT pg_create_logical_replication_slot('counted', 'test_decoding')")
        _, counts = await played(dsn, tmp_path, changes=3_000)
        seen = await execute(
            dsn, "SELECT count(*) FROM pg_logical_slot_get_changes('counted', NULL, NULL) WHERE data LIKE 'table %'"
        )
        await execute(dsn, "SELECT pg_drop_replication_slot('counted')")

    assert seen == [(3_000,)]
    assert counts.changes == 3_000
    assert counts.rolled_back > 0


async def test_every_photo_row_names_its_file(stack: LocalStack, tmp_path: Path) -> None:
    """Size and checksum are those of the bytes in the folder."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        _, counts = await played(dsn, tmp_path)
        rows = await execute(dsn, "SELECT object_key, size_bytes, checksum FROM photos")

    assert len(rows) == counts.photos == 8
    for key, size, checksum in rows:
        contents = (tmp_path / key).read_bytes()
        assert (len(contents), hashlib.sha256(contents).digest()) == (size, checksum)


async def test_a_wedding_left_alone_stands_still(stack: LocalStack, tmp_path: Path) -> None:
    """Once `leave_alone` returns nothing of that wedding changes, whatever the others do."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        load = Load(LoadSettings(seed=1, now=THURSDAY))
        begun, more = asyncio.Event(), asyncio.Event()
        progress = _milestones({2_000: begun, 5_000: more})
        run = load.run(dsn, tmp_path, changes=100_000, weddings=20, photos=0, rate=2_000, progress=progress)
        running = asyncio.create_task(run)
        await asyncio.wait_for(begun.wait(), 20)
        await load.leave_alone(alone := load.weddings[2].id)
        more.clear()
        before = await canonical_digest(dsn, platform.sample_mapping(), alone)
        await asyncio.wait_for(more.wait(), 20)
        load.stop()
        await running

        assert await canonical_digest(dsn, platform.sample_mapping(), alone) == before


async def test_a_stopped_load_ends_with_exact_counts(stack: LocalStack, tmp_path: Path) -> None:
    """What is under way finishes; nothing more begins."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        load = Load(LoadSettings(seed=1, now=THURSDAY))
        reached = asyncio.Event()
        progress = _milestones({100: reached})
        run = load.run(dsn, tmp_path, changes=100_000, weddings=20, photos=0, rate=200, progress=progress)
        running = asyncio.create_task(run)
        await asyncio.wait_for(reached.wait(), 20)
        load.stop()
        counts = await running

    assert 100 <= counts.changes < 100_000


async def test_a_lost_server_is_a_transient_error(stack: LocalStack, tmp_path: Path) -> None:
    """Not a traceback of the driver's."""
    dsn = stack.dsn("no_such_database")

    with pytest.raises(TransientError):
        await Load(LoadSettings(seed=1, now=THURSDAY)).run(dsn, tmp_path)


async def test_a_connection_lost_in_the_middle_is_a_transient_error(stack: LocalStack, tmp_path: Path) -> None:
    """What was committed until then stays counted."""
    async with a_database(stack) as dsn:
        await platform.create(dsn)
        load, reached = Load(LoadSettings(seed=1, now=THURSDAY)), asyncio.Event()
        run = load.run(
            dsn, tmp_path, changes=100_000, weddings=20, photos=0, rate=500, progress=_milestones({100: reached})
        )
        running = asyncio.create_task(run)
        await asyncio.wait_for(reached.wait(), 20)
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        await execute(dsn, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

        with pytest.raises(TransientError):
            await running
    assert load.counts.changes >= 100
