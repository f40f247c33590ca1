"""One history: trouble for a while, then healing, then rest, then the truth."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sinks.catalog_tables import OBJECTS as OBJECT_TABLE
from sinks.catalog_tables import PACKS, PARTITIONS, PROMOTIONS
from streams.state import RouterState
from tests.builders import CAPTURE, EPOCH, OBJECTS
from tests.simulation.archive import ViolationError
from tests.simulation.invariants import Watch
from tests.simulation.restores import check_restores
from tests.simulation.virtual import run_virtual
from tests.simulation.workers import keep_protecting, keep_routing
from tests.simulation.worlds import Parts, World, a_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REST_SECONDS_MAX: Final = 900.0
_LOOK_SECONDS_MAX: Final = 6.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one history ended: what happened in it, and the first invariant that did not hold."""

    seed: int
    events: tuple[str, ...]
    records: int
    lives: int
    virtual_seconds: float
    violation: ViolationError | None = None


def run_history(seed: int, parts: Parts | None = None) -> Outcome:
    """Run the history of a seed to its end, or to its first violation."""
    violation: ViolationError | None = None
    with a_world(seed, parts or Parts()) as world:
        try:
            run_virtual(world.loop, _live(world))
        except ViolationError as error:
            violation = error
        return Outcome(
            seed=seed,
            events=tuple(world.events),
            records=len(world.log.partitions[CAPTURE, 0]),
            lives=len(world.lives),
            virtual_seconds=world.loop.time(),
            violation=violation,
        )


async def _live(world: World) -> None:
    watch = Watch(world)
    workers = [asyncio.ensure_future(work) for work in (keep_routing(world), keep_protecting(world))]
    looking = asyncio.ensure_future(_keep_looking(watch))
    try:
        await _trouble(world)
        world.heal()
        world.connect.send_all()
        await _until_rest(world, workers)
        looking.cancel()
        await asyncio.wait([looking])
        if not looking.cancelled() and (error := looking.exception()) is not None:
            raise error
        await watch.look_at_the_end()
        await _stop(world, workers)
        await check_restores(world)
    finally:
        await _stop(world, workers)


async def _stop(world: World, workers: Sequence[asyncio.Future[None]]) -> None:
    world.is_over = True
    for life in world.lives:
        life.die()
    await asyncio.wait(workers, timeout=10)


async def _keep_looking(watch: Watch) -> None:
    while True:
        await asyncio.sleep(watch.world.rng.random() * _LOOK_SECONDS_MAX)
        await watch.look()


async def _trouble(world: World) -> None:
    rng = world.rng
    steps: list[Callable[[], None]] = [
        *([world.platform.transact] * 8),
        *(world.platform.beat, world.platform.note, world.platform.copy_table, world.platform.truncate),
        *(world.folder.put, world.folder.put, world.folder.delete),
        world.connect.crash,
    ]
    for _ in range(rng.randint(10, 30)):
        rng.choice(steps)()
        world.connect.send(rng.randint(0, 30))
        await asyncio.sleep(rng.choice([0, 0, 0.01, 0.2, 1.0]))


async def _until_rest(world: World, workers: Sequence[asyncio.Future[None]]) -> None:
    end = world.loop.time() + _REST_SECONDS_MAX
    while not _is_at_rest(world):
        for worker in workers:
            if worker.done():
                worker.result()
        if world.loop.time() > end:
            raise ViolationError("I14: healed, and yet it does not come to rest")
        await asyncio.sleep(0.5)


def _is_at_rest(world: World) -> bool:
    with world.engine.connect() as connection:
        marks = {(row.topic, row.partition): row.next_offset for row in connection.execute(sa.select(PARTITIONS)).all()}
        claimed = connection.execute(sa.select(OBJECT_TABLE.c.name).where(OBJECT_TABLE.c.state == "claimed")).first()
        owed = connection.execute(sa.select(PACKS.c.name).where(PACKS.c.is_full.is_(False))).first()
        promoted = connection.execute(sa.select(PROMOTIONS.c.wedding).where(PROMOTIONS.c.done_us.is_(None))).first()
    if any(each is not None for each in (claimed, owed, promoted)):
        return False
    behind = [each for each in world.backup_partitions if marks.get(each, 0) < _length(world, each)]
    return not behind and _is_routed(world)


def _length(world: World, partition: tuple[str, int]) -> int:
    return len(world.log.partitions[partition])


def _is_routed(world: World) -> bool:
    state = RouterState(world.router_path)
    try:
        for source, topic in (("platform", CAPTURE), ("objects", OBJECTS)):
            progress = state.progress(source, EPOCH)
            if (progress.next_offset if progress else 0) < _length(world, (topic, 0)):
                return False
        return True
    finally:
        state.close()
