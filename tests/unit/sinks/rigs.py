"""A sink's parts over stores that a test can break; deterministic, in memory."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import blake3

from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, TransientError
from sinks.blobs import BlobSink
from sinks.catalog import Catalog, open_engine
from sinks.key_wrapping import MasterKeyWrapper
from sinks.keyring import Keyring
from sinks.late_copies import LateCopies
from sinks.owed import OwedCopies
from sinks.protect import Protector
from sinks.replicate import Replicator, ToReplicate
from sinks.sink import Sink, WindowLimits
from sinks.stores.health import StoreHealth
from tests.builders import TOPIC_IDS, some_sites
from tests.fakes import BrokenStore, HandClock, InlineExecutor, seeded_randomness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy as sa

    from connectors.storage import ObjectNotice
    from schemas.backup import Priority
    from sinks.protect import Protected
    from streams.records import Record

MASTER_KEY: Final = bytes(range(32))
EU: Final = ("eu-a", "eu-b", "eu-c", "eu-d", "eu-e")


def an_item(content: bytes = b"sealed", **fields: Any) -> ToReplicate:
    """Return an object that is to lie on three stores in the EU."""
    given: dict[str, Any] = {"name": "log/a.pack", "placement": PlacementClass.EU, "copies": 3}
    return ToReplicate(content=content, digest=blake3.blake3(content).digest(), **{**given, **fields})


class Photos:
    """Where claimed objects lie: (key, version) → content; some cannot be read for a while."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], bytes] = {}
        self.unreadable: set[str] = set()
        self.changing: set[str] = set()

    @contextlib.contextmanager
    def open(self, notice: ObjectNotice) -> Iterator[BinaryIO]:
        """See `ObjectSource.open`."""
        if notice.key in self.unreadable:
            raise TransientError("no permission", hint="a test said so")
        if (notice.key, notice.version) not in self.versions:
            raise CorruptionError("it is gone", hint="a test said so")
        yield io.BytesIO(self.versions[notice.key, notice.version])
        if notice.key in self.changing:
            raise CorruptionError("it has changed", hint="a test said so")


class Rig:
    """One sink worker's parts; `again()` is its next life on the same catalog and stores."""

    def __init__(self, engine: sa.Engine | None = None, stores: dict[str, BrokenStore] | None = None) -> None:
        self.engine = engine or open_engine(None)
        self.sites = some_sites()
        self.stores = stores or {site.name: BrokenStore(is_down=False) for site in self.sites}
        self.clock, cpu, self.photos = HandClock(), InlineExecutor(), Photos()
        self.catalog = Catalog(self.engine, executor=cpu)
        self.late = LateCopies(catalog=self.catalog, now_us=lambda: 0)
        self.health = StoreHealth(retry_after=dt.timedelta(seconds=5))
        self.replicator = Replicator(
            stores=self.stores, sites=self.sites, health=self.health, now=self.clock, late=self.late.arrived
        )
        wrapper = MasterKeyWrapper(MASTER_KEY)
        randomness = seeded_randomness()
        self.keyring = Keyring(catalog=self.catalog, replicator=self.replicator, wrapper=wrapper, randomness=randomness)
        shared: dict[str, Any] = {
            "catalog": self.catalog,
            "keyring": self.keyring,
            "replicator": self.replicator,
            "late": self.late,
            "now": self.clock,
            "randomness": randomness,
            "cpu": cpu,
        }
        self.protector = Protector(**shared)
        self.blobs = BlobSink(**shared, source=self.photos, pack_bytes=3 << 20)
        self.owed = OwedCopies(catalog=self.catalog, replicator=self.replicator, now=self.clock)
        self.windows: list[Protected] = []
        self.sink = Sink(
            catalog=self.catalog,
            protector=self.protector,
            topic_ids=TOPIC_IDS,
            limits=WindowLimits(),
            protected=self._protected,
        )

    def again(self) -> Rig:
        """Return a new worker on what survives."""
        return Rig(self.engine, self.stores)

    def break_stores(self, *names: str, is_down: bool = True) -> None:
        """Take stores away, or bring them back."""
        for name in names:
            self.stores[name].is_down = is_down

    def holders(self, prefix: str) -> set[str]:
        """Return the stores with an object under a prefix."""
        return {name for name, each in self.stores.items() if any(key.startswith(prefix) for key in each.inner.objects)}

    async def protect(self, records: Sequence[Record], topic: str = "backup.critical") -> Protected:
        """Protect one window."""
        mark = await self.catalog.mark(topic, TOPIC_IDS[topic], 0)
        return await self.protector.protect(await self.protector.prepare(records, mark))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the catalog."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def _protected(self, _lane: Priority, window: Protected) -> None:
        self.windows.append(window)
