"""A world: what survives every death, and the parts that lives are made of."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import pathlib
import random
import tempfile
from typing import TYPE_CHECKING, Any, Final, TypeVar

from schemas.errors import TransientError
from schemas.topics import BACKUP_TOPICS
from sinks.blobs import BlobSink
from sinks.catalog import Catalog, open_engine
from sinks.checkpoint import CheckpointWriter
from sinks.key_wrapping import MasterKeyWrapper
from sinks.keyring import Keyring
from sinks.late_copies import LateCopies
from sinks.owed import OwedCopies
from sinks.promotion import Promotions
from sinks.protect import Protector
from sinks.replicate import Replicator
from sinks.restore import Restorer
from sinks.sink import Sink, WindowLimits
from sinks.stores.health import StoreHealth
from sinks.stores.memory import MemoryStore
from streams.router import Router
from streams.state import RouterState
from tests.builders import TOPIC_IDS, a_mapping, some_sites
from tests.fakes import InlineExecutor
from tests.simulation.connect import Connect
from tests.simulation.folder import FaultyFolder, Folder
from tests.simulation.lives import Life, task_factory
from tests.simulation.log import Log, Partition, SimulatedProducer
from tests.simulation.platform import Platform
from tests.simulation.stores import FaultyStore, Trouble
from tests.simulation.virtual import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import sqlalchemy as sa

    from sinks.receipts import WindowReceipt
    from streams.records import Record

T = TypeVar("T")

SITES: Final = some_sites()
MASTER_KEY: Final = bytes(range(32))
_ROUTED_AT_ONCE: Final = 16
"""Less than a batch may have: what is decided while the part before is on its way must be safe, too."""


class DyingState(RouterState):
    """A router's memory that may die with it, before or after its commit."""

    def __init__(self, path: pathlib.Path, life: Life) -> None:
        super().__init__(path)
        self._life = life

    @contextlib.contextmanager
    def one_batch(self) -> Iterator[None]:
        """See `RouterState.one_batch`."""
        self._life.step()
        with super().one_batch():
            yield
            self._life.step()
        self._life.step("remembered")


class DyingCatalog(Catalog):
    """A catalog whose caller may die before or after a transaction."""

    def __init__(self, engine: sa.Engine, life: Life) -> None:
        super().__init__(engine, executor=InlineExecutor())
        self._life = life

    async def commit_window(self, window: WindowReceipt) -> None:
        """See `Catalog.commit_window`."""
        self._life.step("commit")
        await super().commit_window(window)
        self._life.step("committed")

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """See `Catalog.run`."""
        self._life.step()
        found = await super().run(work)
        self._life.step()
        return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The classes lives are built from: planted bugs replace one."""

    router: type[Router] = Router
    catalog: type[DyingCatalog] = DyingCatalog
    keyring: type[Keyring] = Keyring
    promotions: type[Promotions] = Promotions
    replicator: type[Replicator] = Replicator
    protector: type[Protector] = Protector
    sink: type[Sink] = Sink
    store: type[FaultyStore] = FaultyStore
    producer: type[SimulatedProducer] = SimulatedProducer
    restorer: type[Restorer] = Restorer


_COMPILED: Final[dict[Any, Any]] = {}


def memory_engine() -> sa.Engine:
    """Return a catalog in memory; statements are compiled once for all histories, which saves a third of the time."""
    engine = open_engine(None)
    engine._compiled_cache = _COMPILED
    return engine


class World:
    """Everything one history happens in; decided by its seed alone."""

    def __init__(self, seed: int, parts: Parts, folder: pathlib.Path) -> None:
        self.rng = random.Random(seed)
        self.parts = parts
        self.loop = VirtualLoop(self.rng)
        self.loop.set_task_factory(task_factory)
        self.partitions = self.rng.choice([1, 1, 2])
        self.trouble = self.rng.choice([0.0, 0.01, 0.05])
        self.deaths_left = self.rng.choice([0, 1, 3, 6, 10])
        self.log = Log(self.loop)
        self.platform = Platform(self.rng, self.now_us)
        self.connect = Connect(self.rng, self.log, self.platform)
        self.folder = Folder(self.rng, self.log, self.now_us)
        self.held = {site.name: MemoryStore() for site in SITES}
        self.troubles = {site.name: self._some_trouble() for site in SITES}
        self.engine = memory_engine()
        self.router_path = folder / f"router-{seed}.db"
        self.lives: list[Life] = []
        self.events: list[str] = []
        self.failures: list[BaseException] = []
        self.is_over = False

    def _some_trouble(self) -> Trouble:
        if self.rng.random() < 0.7:
            return Trouble(chance=self.trouble)
        begin = self.rng.random() * 10
        return Trouble(
            down_from=begin,
            down_until=begin + self.rng.random() * 20,
            does_hang=self.rng.random() < 0.3,
            chance=self.trouble,
        )

    def now(self) -> dt.datetime:
        """Return the virtual instant."""
        return self.loop.now()

    def now_us(self) -> int:
        """Return the virtual instant in microseconds since 1970."""
        return int(self.loop.now().timestamp() * 1_000_000)

    @property
    def backup_partitions(self) -> list[Partition]:
        """Return all partitions of the backup topics."""
        return [(topic, number) for topic in BACKUP_TOPICS for number in range(self.partitions)]

    def new_life(self, name: str, steps_max: Mapping[str, int]) -> Life:
        """Begin a life that will perhaps end before its time: at one of the first steps of some kind."""
        dies_at, kind = None, self.rng.choice(sorted(steps_max))
        if self.deaths_left and self.rng.random() < 0.8:
            self.deaths_left -= 1
            dies_at = self.rng.randint(1, steps_max[kind])
        life = Life(f"{name} {len(self.lives)}", dies_at=dies_at, kind=kind)
        self.lives.append(life)
        return life

    def heal(self) -> None:
        """End all trouble: from now on everything must come to rest."""
        self.trouble, self.deaths_left = 0.0, 0
        for trouble in self.troubles.values():
            trouble.chance, trouble.down_until = 0.0, 0.0
        for life in self.lives:
            life.dies_at = None

    def note(self, event: str) -> None:
        """Remember what happened, for whoever reads a failed history."""
        self.events.append(f"{self.loop.time():8.3f} {event}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SinkParts:
    """One life of the sink."""

    sink: Sink
    blobs: BlobSink
    owed: OwedCopies
    checkpoints: CheckpointWriter
    promotions: Promotions


class SimulatedLaneReader:
    """Reads any partition of the log, and sometimes does not come through."""

    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life

    async def end(self, topic: str, partition: int) -> int:
        """See `LaneReader.end`."""
        self._life.step()
        return len(self._world.log.partitions[topic, partition])

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See `LaneReader.read`."""
        self._life.step()
        if self._world.rng.random() < self._world.trouble:
            raise TransientError("nothing came in time", hint="simulated")
        return self._world.log.read((topic, partition), offset, min(limit, self._world.rng.randint(1, 20)))


def build_router(world: World, life: Life) -> tuple[Router, DyingState]:
    """Return one life of the router, and its memory to be closed."""
    state = DyingState(world.router_path, life)
    producer = world.parts.producer(world.log, world.loop, life, trouble=world.trouble)
    router = world.parts.router(
        mapping=a_mapping(),
        state=state,
        producer=producer,
        partitions=world.partitions,
        now=world.now,
        records_at_once=_ROUTED_AT_ONCE,
    )
    return router, state


def build_sink(world: World, life: Life) -> SinkParts:
    """Return one life of the sink."""
    parts, cpu = world.parts, InlineExecutor()
    catalog = parts.catalog(world.engine, life)
    late = LateCopies(catalog=catalog, now_us=world.now_us)
    replicator = parts.replicator(
        stores={
            name: parts.store(held, world.troubles[name], life=life, loop=world.loop)
            for name, held in world.held.items()
        },
        sites=SITES,
        health=StoreHealth(retry_after=dt.timedelta(seconds=2)),
        now=world.now,
        late=late.arrived,
    )
    wrapper = MasterKeyWrapper(MASTER_KEY, randomness=world.rng.randbytes)
    keyring = parts.keyring(catalog=catalog, replicator=replicator, wrapper=wrapper, randomness=world.rng.randbytes)
    shared: dict[str, Any] = {
        "catalog": catalog,
        "keyring": keyring,
        "replicator": replicator,
        "late": late,
        "now": world.now,
        "randomness": world.rng.randbytes,
        "cpu": cpu,
    }
    protector = parts.protector(**shared)
    source = FaultyFolder(world.folder, life, world.rng, trouble=world.trouble)
    blobs = BlobSink(**shared, source=source, pack_bytes=world.rng.choice([3_000, 16 << 20]))
    limits = WindowLimits(window_bytes_max=world.rng.choice([2_000, 4 << 20]), pending_bytes_max=20_000)
    sink = parts.sink(catalog=catalog, protector=protector, topic_ids=TOPIC_IDS, limits=limits)
    checkpoints = CheckpointWriter(
        catalog=catalog,
        keyring=keyring,
        replicator=replicator,
        partitions=world.partitions,
        now=world.now,
        randomness=world.rng.randbytes,
    )
    owed = OwedCopies(catalog=catalog, replicator=replicator, now=world.now)
    promotions = parts.promotions(
        catalog=catalog,
        sink=sink,
        reader=SimulatedLaneReader(world, life),
        producer=world.parts.producer(world.log, world.loop, life, trouble=world.trouble),
        topic_ids=TOPIC_IDS,
        now=world.now,
        grace_seconds=world.rng.choice([0.0, 0.5]),
        promoted=blobs.wake,
    )
    return SinkParts(sink=sink, blobs=blobs, owed=owed, checkpoints=checkpoints, promotions=promotions)


@contextlib.contextmanager
def a_world(seed: int, parts: Parts) -> Iterator[World]:
    """Make a world, and remove what it leaves."""
    with tempfile.TemporaryDirectory(prefix="wedsync-history-") as name:
        world = World(seed, parts, pathlib.Path(name))
        try:
            yield world
        finally:
            world.engine.dispose()
