"""The sink: nothing acknowledged that is not protected, and nothing that waits for ever."""

from __future__ import annotations

import asyncio
import random

import pytest

from schemas.errors import RefusedError
from streams.records import Record, RecordBatch
from tests.builders import a_record, change_value, frontier_value
from tests.simulation.virtual import VirtualLoop, run_virtual
from tests.unit.sinks.rigs import EU, Rig

PARTITION = ("backup.critical", 0)


def records(first: int, count: int) -> list[Record]:
    """Return consecutive changes."""
    return [a_record(at, change_value(position=at)) for at in range(first, first + count)]


async def accept(rig: Rig, *some: Record) -> None:
    """Hand records to the sink."""
    await rig.sink.accept(RecordBatch(*PARTITION, list(some)))


async def test_what_was_accepted_is_protected_in_order() -> None:
    """And the watermark says so."""
    rig = Rig()
    assert await rig.sink.assigned([PARTITION]) == {PARTITION: 0}
    await accept(rig, *records(0, 3))
    await rig.sink.drain()

    assert await rig.sink.next_offsets() == {PARTITION: 3}
    assert [each.window.instants for each in rig.windows] != []
    await rig.sink.stop()


async def test_a_new_sink_begins_where_the_catalog_stands() -> None:
    """What is handed to it again is passed over."""
    rig = Rig()
    await rig.protect(records(0, 3))
    after = rig.again()
    assert await after.sink.assigned([PARTITION]) == {PARTITION: 3}
    await accept(after, *records(0, 5))
    await after.sink.drain()

    assert rig.rows("SELECT first, last FROM packs ORDER BY first") == [(0, 2), (3, 4)]
    await after.sink.stop()


async def test_a_revoked_partition_takes_nothing_more() -> None:
    """Its next owner reads the same records."""
    rig = Rig()
    await rig.sink.assigned([PARTITION])
    await rig.sink.revoked([PARTITION])
    await accept(rig, *records(0, 1))

    assert (await rig.sink.next_offsets(), rig.rows("SELECT count(*) FROM packs")) == ({}, [(0,)])


async def test_a_fenced_sink_stops_its_worker() -> None:
    """It must not go on as if the partition were its own."""
    rig = Rig()
    await rig.sink.assigned([PARTITION])
    await rig.again().protect(records(0, 1))
    await accept(rig, *records(0, 1))

    with pytest.raises(RefusedError):
        await rig.sink.drain()
    with pytest.raises(RefusedError):
        await accept(rig, *records(1, 1))
    with pytest.raises(RefusedError):
        await asyncio.wait_for(rig.sink.watch(), 5)


async def test_frontiers_alone_move_the_offset_and_make_no_pack() -> None:
    """They protect nothing."""
    rig = Rig()
    await rig.sink.assigned([PARTITION])
    await accept(rig, a_record(0, frontier_value(position=9)))
    await rig.sink.drain()

    assert (await rig.sink.next_offsets(), rig.rows("SELECT position FROM frontiers")) == ({PARTITION: 1}, [(9,)])
    assert rig.rows("SELECT count(*) FROM packs") == [(0,)]
    await rig.sink.stop()


def test_an_outage_is_waited_for_and_leaves_no_orphan(virtual: VirtualLoop) -> None:
    """The window is prepared once: each attempt writes the same bytes."""

    async def history() -> None:
        rig = Rig()
        await rig.protect(records(0, 1))
        await rig.sink.assigned([PARTITION])
        rig.break_stores(*EU[:3])
        await accept(rig, *records(1, 1))
        await asyncio.sleep(20)
        assert await rig.sink.next_offsets() == {PARTITION: 1}
        rig.break_stores(*EU[:3], is_down=False)
        await rig.sink.drain()
        names = {name for each in rig.stores.values() for name in each.inner.objects if name.startswith("log/")}
        assert (len(names), await rig.sink.next_offsets()) == (2, {PARTITION: 2})
        await rig.sink.stop()

    run_virtual(virtual, history())


def test_a_full_partition_makes_the_intake_wait(virtual: VirtualLoop) -> None:
    """Pending records are bounded: Kafka keeps the rest."""

    async def history() -> None:
        rig = Rig()
        await rig.sink.assigned([PARTITION])
        rig.break_stores(*EU)
        payload = bytes(3 << 20)
        for at in range(8):
            big = a_record(at, change_value(position=at, payload=payload))
            try:
                await asyncio.wait_for(accept(rig, big), 1)
            except TimeoutError:
                break
        assert 5 < at < 8
        await rig.sink.stop()

    run_virtual(virtual, history())


@pytest.fixture
def virtual() -> VirtualLoop:
    """Return a loop whose waiting costs nothing."""
    return VirtualLoop(random.Random(1))
