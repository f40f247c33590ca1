"""The sink: nothing acknowledged that is not protected, and nothing that waits for ever."""

from __future__ import annotations

import asyncio
import random

import pytest

from schemas.errors import RefusedError, TransientError
from streams.records import Record, RecordBatch
from tests.builders import a_record, change_value, frontier_value
from tests.simulation.virtual import VirtualLoop, run_virtual
from tests.unit.sinks.rigs import EU, Rig

PARTITION = ("backup.critical", 0)
STANDARD = ("backup.standard", 0)


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


def test_a_full_partition_says_so_until_it_is_half_empty(virtual: VirtualLoop) -> None:
    """Pending records are bounded: the intake reads only the others, and Kafka keeps the rest."""

    async def history() -> None:
        rig = Rig()
        await rig.sink.assigned([PARTITION, STANDARD])
        rig.break_stores(*EU)
        big = [a_record(at, change_value(position=at, payload=bytes(3 << 20))) for at in range(8)]
        for record in big[:5]:
            await accept(rig, record)
        assert rig.sink.full() == frozenset()
        await accept(rig, *big[5:])
        assert rig.sink.full() == {PARTITION}
        rig.break_stores(*EU, is_down=False)
        await rig.sink.drain()
        assert (rig.sink.full(), (await rig.sink.next_offsets())[PARTITION]) == (frozenset(), 8)
        await rig.sink.stop()

    run_virtual(virtual, history())


async def test_a_full_lane_holds_up_no_other() -> None:
    """One agent hands out the batches of all lanes: whoever waited for room would let critical ones wait behind it."""
    rig = Rig()
    await rig.sink.assigned([PARTITION, STANDARD])
    rig.break_stores(*EU)
    await rig.sink.accept(RecordBatch(*STANDARD, [a_record(0, change_value(payload=bytes(20 << 20)))]))
    assert rig.sink.full() == {STANDARD}

    async with asyncio.timeout(5):
        await rig.sink.accept(RecordBatch(*STANDARD, [a_record(1, change_value(position=8))]))
        await accept(rig, *records(0, 1))
    assert STANDARD in rig.sink.full()
    assert PARTITION not in rig.sink.full()


async def test_records_that_are_missing_on_the_way_stop_the_worker() -> None:
    """A batch from before a rebalance would leave a gap behind the watermark: nothing would ever tell."""
    rig = Rig()
    await rig.sink.assigned([PARTITION])
    await accept(rig, *records(0, 2))
    with pytest.raises(TransientError, match="offset 5 follows 1"):
        await accept(rig, *records(5, 3))
    await rig.sink.stop()


async def test_many_partitions_share_the_room_of_one_sink() -> None:
    """Memory does not grow with the number of partitions."""
    rig = Rig()
    many = [("backup.standard", number) for number in range(64)]
    await rig.sink.assigned(many)
    rig.break_stores(*EU)
    await rig.sink.accept(RecordBatch(*many[7], [a_record(0, change_value(payload=bytes(1 << 20)))]))

    assert rig.sink.full() == {many[7]}


@pytest.fixture
def virtual() -> VirtualLoop:
    """Return a loop whose waiting costs nothing."""
    return VirtualLoop(random.Random(1))
