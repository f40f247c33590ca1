"""Waiting for a turn: places are given back, whatever happens to who holds or awaits them."""

from __future__ import annotations

import asyncio
import random

import pytest

from schemas.backup import Priority
from schemas.errors import TransientError
from schemas.work import STREAMS, Limit, Mode, Stream, Work
from sinks.lanes import Errand, Grants
from streams.lanes import Lanes
from streams.records import RecordBatch
from tests.builders import a_record, change_value
from tests.simulation.virtual import VirtualLoop, run_virtual
from tests.unit.sinks.rigs import Rig, an_item

ALBUM = Errand(lane=Priority.STANDARD, work=Work.BLOB)
STOP = [Limit(name="emergency", streams=frozenset(STREAMS), mode=Mode.PAUSE)]


@pytest.mark.parametrize("seed", range(20))
async def test_no_place_is_lost_however_transfers_end(seed: int) -> None:
    """Done, failed, or called off: while it waits, while it is sent, or in the very moment between."""
    print(f"seed {seed}")
    rng, grants = random.Random(seed), Grants(Lanes(places=6))

    async def some_transfer() -> None:
        async with grants.hold(Errand(lane=rng.choice(list(Priority)), work=rng.choice(list(Work))), 1000):
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(0)
            if rng.random() < 0.3:
                raise TransientError("no", hint="a test said so")

    tasks = [asyncio.ensure_future(some_transfer()) for _ in range(100)]
    while waiting := [task for task in tasks if not task.done()]:
        if rng.random() < 0.5:
            rng.choice(waiting).cancel()
        await asyncio.sleep(0)
    lanes = grants._lanes

    assert (lanes._all_waiting, lanes._all_under_way, lanes._bulk_under_way) == (0, 0, 0)
    assert not any(lanes._waiting.values())
    assert not any(lanes._under_way.values())


async def test_an_emergency_stop_holds_critical_windows_until_it_ends() -> None:
    """Nothing is lost and nothing is called protected meanwhile."""
    rig = Rig()
    rig.replicator.grants.obey(STOP)
    writing = asyncio.ensure_future(rig.replicator.replicate(an_item()))
    await asyncio.sleep(0.01)
    assert (writing.done(), rig.holders("log/")) == (False, set())
    rig.replicator.grants.obey([])

    assert len(await writing) == 3


async def test_a_copy_that_waits_for_its_turn_gets_no_rival() -> None:
    """It would only stand in the same queue, and double the load of a sink that has too much already."""
    rig = Rig()
    rig.replicator.grants.obey(STOP)
    writing = asyncio.ensure_future(rig.replicator.replicate(an_item()))
    await asyncio.sleep(0.6)

    assert rig.replicator.grants.waiting(Priority.CRITICAL) == 3
    writing.cancel()
    await asyncio.wait([writing])
    assert rig.replicator.grants.waiting(Priority.CRITICAL) == 0


def test_a_budget_is_shared_by_the_sinks_that_are_alive() -> None:
    """Each takes an equal part, and more again when one of them goes."""
    loop = VirtualLoop(random.Random(1))

    async def seconds_for(sinks: int) -> float:
        grants = Grants(Lanes(bytes_per_second=1_000_000), bytes_per_second=1_000_000)
        grants.share_among(sinks)
        began = loop.time()
        await asyncio.gather(*(_send_much(grants) for _ in range(4)))
        return loop.time() - began

    async def history() -> None:
        assert [round(await seconds_for(sinks)) for sinks in (1, 4)] == [2, 8]

    run_virtual(loop, history())


async def _send_much(grants: Grants) -> None:
    async with grants.hold(ALBUM, 500_000):
        pass


async def test_whoever_can_do_something_else_is_told_what_may_begin() -> None:
    """A paused kind of work keeps no runner waiting, and a change of the rules wakes them."""
    grants, changes = Grants(), []
    grants.on_change(lambda: changes.append(grants.may_begin(Stream(*STREAMS[8]))))
    grants.obey([Limit(name="a", streams=frozenset({STREAMS[8]}), mode=Mode.DRAIN)])
    grants.obey([])

    assert changes == [False, True]


def test_a_partition_whose_window_waits_for_an_operator_can_be_given_up() -> None:
    """Its next owner protects the same records: the offset has not moved."""

    async def history() -> None:
        rig = Rig()
        await rig.protect([a_record(0, change_value(position=0))])
        rig.replicator.grants.obey(STOP)
        await rig.sink.assigned([("backup.critical", 0)])
        await rig.sink.accept(RecordBatch("backup.critical", 0, [a_record(1, change_value(position=1))]))
        await asyncio.sleep(60)
        await asyncio.wait_for(rig.sink.revoked([("backup.critical", 0)]), 10)

        assert rig.replicator.grants.waiting(Priority.CRITICAL) == 0
        assert await rig.again().sink.assigned([("backup.critical", 0)]) == {("backup.critical", 0): 1}

    run_virtual(VirtualLoop(random.Random(2)), history())
