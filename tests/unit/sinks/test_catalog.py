"""The catalog: receipts and offset together or not at all, and only one owner for each partition."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schemas.errors import ConfigError, RefusedError
from sinks.catalog import Catalog, open_engine
from sinks.catalog_tables import PARTITIONS
from tests.builders import a_record, change_value, frontier_value
from tests.fakes import InlineExecutor
from tests.unit.sinks.rigs import Rig, an_item

if TYPE_CHECKING:
    import pathlib

WINDOW = [a_record(0, change_value(position=1)), a_record(1, frontier_value(position=1))]


async def test_a_new_partition_begins_at_its_beginning() -> None:
    """Nothing is known of it."""
    mark = await Rig().catalog.mark("backup.high", "id-high", 3)

    assert (mark.next_offset, mark.frontiers, mark.recent) == (0, (), ())


async def test_a_window_moves_the_offset_with_its_receipts() -> None:
    """And the mark comes back as it was left."""
    rig = Rig()
    protected = await rig.protect(WINDOW)

    assert await rig.again().catalog.mark("backup.critical", "id-critical", 0) == protected.mark
    assert protected.mark.next_offset == 2
    assert rig.rows("SELECT count(*), sum(events) FROM packs") == [(1, 1)]


async def test_a_second_sink_on_the_partition_is_fenced() -> None:
    """Whoever does not find the partition as it left it has been replaced; nothing of its window is kept."""
    rig = Rig()
    rival = rig.again()
    mark = await rival.catalog.mark("backup.critical", "id-critical", 0)
    stale = await rival.protector.prepare(WINDOW, mark)
    await rig.protect(WINDOW)

    with pytest.raises(RefusedError, match="another sink"):
        await rival.protector.protect(stale)
    assert rig.rows("SELECT count(*) FROM packs") == [(1,)]


async def test_work_that_fails_undoes_only_itself() -> None:
    """Though all went into one transaction."""
    catalog = Rig().catalog

    def insert(connection: sa.Connection, *, fails: bool) -> None:
        row = {"topic_id": f"{fails}", "partition": 0, "topic": "t", "next_offset": 1, "head": b""}
        connection.execute(sa.insert(PARTITIONS).values(row))
        if fails:
            raise RefusedError("no", hint="a test said so")

    results = await asyncio.gather(
        catalog.run(lambda connection: insert(connection, fails=True)),
        catalog.run(lambda connection: insert(connection, fails=False)),
        return_exceptions=True,
    )
    found = await catalog.run(lambda connection: connection.execute(sa.select(PARTITIONS.c.topic_id)).scalars().all())
    assert (isinstance(results[0], RefusedError), results[1], list(found)) == (True, None, ["False"])


async def test_a_late_copy_of_an_unknown_pack_is_not_recorded() -> None:
    """It may be an orphan's."""
    rig = Rig()
    copies = await rig.replicator.replicate(an_item())

    assert await rig.catalog.add_copy(an_item().digest, copies[0], now_us=1) is False
    assert rig.rows("SELECT count(*) FROM copies") == [(0,)]


def test_a_missing_catalog_is_not_made_in_passing(tmp_path: pathlib.Path) -> None:
    """A restore must say so, with the command that helps."""
    with pytest.raises(ConfigError) as caught:
        open_engine(tmp_path / "catalog.db", must_exist=True)
    assert "catalog rebuild" in caught.value.hint


async def test_a_catalog_file_is_read_by_another_process_at_any_time(tmp_path: pathlib.Path) -> None:
    """Here, by another engine."""
    written = open_engine(tmp_path / "catalog.db")
    await Rig(written).protect(WINDOW)
    read = open_engine(tmp_path / "catalog.db", must_exist=True)

    mark = await Catalog(read, executor=InlineExecutor()).mark("backup.critical", "id-critical", 0)
    assert mark.next_offset == 2
    written.dispose()
    read.dispose()
