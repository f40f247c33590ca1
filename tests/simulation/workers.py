"""The processes of a history: each is started again whenever it ends, until the history is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from streams.records import RecordBatch
from streams.router import Router
from tests.builders import CAPTURE, OBJECTS
from tests.simulation.lives import Death, Life
from tests.simulation.worlds import build_router, build_sink

if TYPE_CHECKING:
    from sinks.sink import Sink
    from tests.simulation.log import Partition
    from tests.simulation.worlds import World

_POLL_SECONDS: Final = 0.05
_RESTART_SECONDS_MAX: Final = 0.5
_ROUTER_STEPS: Final = {"": 120, "produced": 10, "remembered": 8}
_SINK_STEPS: Final = {"": 900, "commit": 20, "committed": 20, "created": 60, "read": 20}
_SECOND_SINK_SECONDS_MAX: Final = 6.0


async def keep_routing(world: World) -> None:
    """Run routers, one after the other."""
    while not world.is_over:
        life = world.new_life("router", _ROUTER_STEPS)
        router, state = build_router(world, life)
        error = await life.run(_pump_router(world, router), router.announce_for_ever())
        state.close()
        await _rest(world, life, error)


async def keep_protecting(world: World) -> None:
    """Run sinks, one after the other; sometimes one goes on while its successor is at work already."""
    while not world.is_over:
        life = world.new_life("sink", _SINK_STEPS)
        running = asyncio.ensure_future(_protect(world, life))
        if life.dies_at is not None and world.rng.random() < 0.5:
            await asyncio.wait([running], timeout=world.rng.random() * _SECOND_SINK_SECONDS_MAX)
            world.note(f"{life.name} gets a rival")
            world.loop.call_later(world.rng.random() * _SECOND_SINK_SECONDS_MAX, life.die)
            continue
        await running


async def _protect(world: World, life: Life) -> None:
    parts = build_sink(world, life)
    companions = (
        parts.sink.watch(),
        parts.blobs.run(),
        parts.owed.run(),
        parts.checkpoints.run(),
        parts.promotions.run(),
    )
    error = await life.run(_pump_sink(world, parts.sink), *companions)
    await _rest(world, life, error)


async def _rest(world: World, life: Life, error: BaseException | None) -> None:
    world.note(f"{life.name} ended after {life.steps} steps: {error!r}")
    world.failures.extend(each for each in _flat(error) if not isinstance(each, Death))
    await asyncio.sleep(world.rng.random() * _RESTART_SECONDS_MAX)


def _flat(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [inner for each in error.exceptions for inner in _flat(each)]
    return [] if error is None else [error]


async def _pump_router(world: World, router: Router) -> None:
    partitions = [(CAPTURE, 0), (OBJECTS, 0)]
    begin = dict(await router.assigned(partitions))
    await _pump(world, partitions, {each: begin.get(each, 0) for each in partitions}, router)


async def _pump_sink(world: World, sink: Sink) -> None:
    partitions = world.backup_partitions
    offsets = dict(await sink.assigned(partitions))
    while True:
        accept_some = asyncio.ensure_future(_pump(world, partitions, offsets, sink))
        await asyncio.wait([accept_some], timeout=world.rng.random() * 20)
        if accept_some.done():
            accept_some.result()
        accept_some.cancel()
        await asyncio.wait([accept_some])
        # A rebalance: some partitions go, and come back.
        gone = [each for each in partitions if world.rng.random() < 0.5]
        await sink.revoked(gone)
        offsets.update(await sink.assigned(gone))


async def _pump(
    world: World,
    partitions: list[Partition],
    offsets: dict[Partition, int],
    reader: Router | Sink,
) -> None:
    """Read partitions in any order, as one consumer would; what is full is left for later."""
    handle = reader.route if isinstance(reader, Router) else reader.accept
    while True:
        ready = [each for each in partitions if each not in reader.full()]
        some = [each for each in ready if offsets[each] < len(world.log.partitions[each])]
        if not some:
            await asyncio.sleep(_POLL_SECONDS)
            continue
        chosen = world.rng.choice(some)
        records = world.log.read(chosen, offsets[chosen], world.rng.randint(1, 60))
        await handle(RecordBatch(chosen[0], chosen[1], records))
        offsets[chosen] += len(records)
