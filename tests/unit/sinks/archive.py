"""A whole archive in memory, filled by the real router, protector and blob sink, for tests of restore and rebuild."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors.storage import ObjectAction, encode_notice
from schemas.errors import CorruptionError
from schemas.topics import BACKUP_TOPICS
from sinks.blobs import BlobSink
from sinks.catalog import Catalog, open_engine
from sinks.checkpoint import CheckpointWriter
from sinks.history import History
from sinks.key_wrapping import MasterKeyWrapper
from sinks.keyring import Keyring
from sinks.late_copies import LateCopies
from sinks.owed import OwedCopies
from sinks.pack_reader import PackReader
from sinks.protect import Protector
from sinks.rebuild import rebuild
from sinks.replicate import Replicator
from sinks.restore import Restorer
from sinks.stores.health import StoreHealth
from sinks.stores.memory import MemoryStore
from streams.records import Record, RecordBatch
from streams.router import Router
from streams.state import RouterState
from tests import builders
from tests.fakes import HandClock, InlineExecutor, seeded_randomness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from connectors.storage import ObjectNotice
    from sinks.rebuild import RebuildReport
    from streams.records import Outgoing

EPOCH: Final = 1_780_000_000
NOON_US: Final = int(builders.NOON.timestamp()) * 1_000_000
PARTITIONS: Final = 2
MASTER_KEY: Final = bytes(range(32))
_WINDOW_RECORDS: Final = 5
_SECOND_US: Final = 1_000_000

Row = tuple[str, dict[str, Any] | None, dict[str, Any] | None]
"""Table, image before, image after."""


class Photos:
    """Where claimed objects are fetched: what each version held."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str], bytes] = {}

    @contextlib.contextmanager
    def open(self, notice: ObjectNotice) -> Iterator[Any]:
        """See `ObjectSource.open`."""
        if (notice.key, notice.version) not in self.versions:
            raise CorruptionError("the object has changed", hint="a test said so")
        yield io.BytesIO(self.versions[notice.key, notice.version])


class Topics:
    """The backup topics: what was produced, by topic and partition."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Record]] = {}

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        for topic, partition, key, value, headers in records:
            log = self.records.setdefault((topic, partition or 0), [])
            log.append(Record(len(log), NOON_US // 1000, key, value, headers))


class Archive:
    """A platform, its capture, and the archive made of it."""

    def __init__(self) -> None:
        self.clock, self.cpu, self.photos, self.topics = HandClock(), InlineExecutor(), Photos(), Topics()
        self.sites = builders.some_sites()
        self.stores = {site.name: MemoryStore() for site in self.sites}
        self.wrapper = MasterKeyWrapper(MASTER_KEY, randomness=seeded_randomness(5))
        self.randomness = seeded_randomness(7)
        self.mapping = builders.a_mapping()
        self.router = Router(
            mapping=self.mapping,
            state=RouterState(":memory:"),
            producer=self.topics,
            partitions=PARTITIONS,
            now=self.clock,
        )
        self.captured: dict[str, list[bytes]] = {}
        self._routed: dict[str, int] = {}
        self._lsn, self._transaction, self._us = 1000, 700, NOON_US
        self.use(Catalog(open_engine(None), executor=self.cpu))

    def use(self, catalog: Catalog) -> None:
        """Go on with this catalog."""
        self.catalog = catalog
        self.late = LateCopies(catalog=catalog, now_us=lambda: int(self.clock().timestamp()) * _SECOND_US)
        self.replicator = Replicator(
            stores=self.stores,
            sites=self.sites,
            health=StoreHealth(retry_after=dt.timedelta(seconds=5)),
            now=self.clock,
            late=self.late.arrived,
        )
        self.keyring = Keyring(
            catalog=catalog, replicator=self.replicator, wrapper=self.wrapper, randomness=self.randomness
        )
        common: dict[str, Any] = {
            "catalog": catalog,
            "keyring": self.keyring,
            "replicator": self.replicator,
            "late": self.late,
            "now": self.clock,
            "randomness": self.randomness,
            "cpu": self.cpu,
        }
        self.protector = Protector(**common)
        self.blobs = BlobSink(**common, source=self.photos)
        self.checkpoints = CheckpointWriter(
            catalog=catalog,
            keyring=self.keyring,
            replicator=self.replicator,
            partitions=PARTITIONS,
            now=self.clock,
            randomness=self.randomness,
        )

    def capture(self, topic: str, *values: bytes) -> int:
        """Append to a capture topic, and return the offset of the last."""
        log = self.captured.setdefault(topic, [])
        log.extend(values)
        return len(log) - 1

    def commit(self, *rows: Row, at_us: int | None = None, epoch: int = EPOCH, **counts: int) -> int:
        """Commit a transaction of row changes, a second after the last, and return its commit time."""
        self._us = at_us if at_us is not None else self._us + _SECOND_US
        self._transaction += 1
        after_lsn, lsn = self._lsn, self._lsn + 50
        self._lsn += 100
        about: dict[str, Any] = {"transaction": self._transaction, "committed_us": self._us, "lsn": lsn}
        values = [builders.a_begin(**about)]
        seen: dict[str, int] = dict(counts)
        for order, (table, before, after) in enumerate(rows, start=1):
            seen[table] = seen.get(table, 0) + 1
            values.append(builders.a_row(table, before=before, after=after, order=order, after_lsn=after_lsn, **about))
        values.append(builders.an_end(seen, **{**about, "lsn": self._lsn}))
        self.capture(f"capture.platform.e{epoch}", *values)
        return self._us

    def beat(self) -> int:
        """Let the heartbeat row be written."""
        return self.commit(("wedsync.heartbeat", None, {"id": 1}))

    def read(self, table: str, row: dict[str, Any], *, epoch: int = EPOCH) -> None:
        """Let a row be read by a table's first copy."""
        value = builders.a_row(table, after=row, operation="r", committed_us=self._us)
        self.capture(f"capture.platform.e{epoch}", value)

    def copied(self, table: str, *, status: str = "SUCCEEDED", epoch: int = EPOCH, copy: str = "copy-e1") -> None:
        """Let a table's first copy be complete."""
        about = {"scanned_collection": table, "status": status}
        what = {"aggregate_type": "Incremental Snapshot", "type": "TABLE_SCAN_COMPLETED", "id": copy}
        notice = {**what, "additional_data": about}
        self.capture(f"capture.platform.e{epoch}", orjson.dumps(notice))

    def all_copied(self) -> None:
        """Capture that every table's copy is complete."""
        for table in builders.a_mapping().tables:
            self.copied(table)

    def photo(self, key: str, content: bytes | None, *, version: str = "1", at_us: int | None = None) -> None:
        """Put an object (with None: only announce it), or delete it with `version=""`."""
        if content is not None:
            self.photos.versions[key, version] = content
        notice = builders.a_notice(
            action=ObjectAction.PUT if version else ObjectAction.DELETE,
            key=key,
            version=version,
            size=len(content or b""),
            modified_us=at_us if at_us is not None else self._us,
        )
        self.capture(f"capture.objects.e{EPOCH}", encode_notice(notice))

    async def route(self) -> None:
        """Route what was captured, and announce how far."""
        for topic, values in sorted(self.captured.items()):
            first = self._routed.get(topic, 0)
            records = [Record(first + at, NOON_US // 1000, None, value) for at, value in enumerate(values[first:])]
            await self.router.route(RecordBatch(topic, 0, records))
            self._routed[topic] = len(values)
        await self.router.announce_frontiers()

    async def protect(self) -> None:
        """Protect what was routed, in small windows."""
        for topic in BACKUP_TOPICS:
            for partition in range(PARTITIONS):
                mark = await self.catalog.mark(topic, builders.TOPIC_IDS[topic], partition)
                records = self.topics.records.get((topic, partition), [])[mark.next_offset :]
                for at in range(0, len(records), _WINDOW_RECORDS):
                    prepared = await self.protector.prepare(records[at : at + _WINDOW_RECORDS], mark)
                    mark = (await self.protector.protect(prepared)).mark
                    self.clock.move(milliseconds=1)

    async def settle(self, *, with_blobs: bool = True) -> None:
        """Bring everything that was captured into the archive."""
        await self.route()
        await self.protect()
        while with_blobs and await self.blobs.run_once():
            pass
        await self.replicator.settle()
        owed = OwedCopies(catalog=self.catalog, replicator=self.replicator, now=self.clock)
        while await owed.make_up(patience_seconds=-60):
            pass

    def history(self, **settings: Any) -> History:
        """Return a history read from this archive."""
        reader = PackReader(stores=self.stores, cpu=self.cpu, pause_seconds=0, **settings)
        return History(catalog=self.catalog, keyring=self.keyring, reader=reader, cpu=self.cpu)

    def restorer(self, **settings: Any) -> Restorer:
        """Return a restorer of this archive."""
        given: dict[str, Any] = {"history": self.history(), "partitions": PARTITIONS, "seconds": lambda: 0.0}
        return Restorer(mapping=self.mapping, **{"files": self.cpu, **given, **settings})

    async def rebuild(self, **settings: Any) -> RebuildReport:
        """Lose the catalog, and make it again from the stores."""
        catalog = Catalog(open_engine(None), executor=self.cpu)
        given: dict[str, Any] = {"stores": self.stores, "wrapper": self.wrapper}
        report = await rebuild(
            catalog=catalog, cpu=self.cpu, now=self.clock, randomness=self.randomness, **{**given, **settings}
        )
        self.use(catalog)
        return report

    def damage(self, store: str, name: str, *, at: int = -200) -> None:
        """Flip one bit of a copy."""
        content = bytearray(self.stores[store].objects[name])
        content[max(at, -len(content))] ^= 1
        self.stores[store].objects[name] = bytes(content)

    def holders(self, name: str) -> list[str]:
        """Return the stores that have an object."""
        return [store for store, each in self.stores.items() if name in each.objects]

    def names(self, prefix: str) -> list[str]:
        """Return the objects under a prefix, on any store."""
        return sorted({name for store in self.stores.values() for name in store.objects if name.startswith(prefix)})


def guest(number: int, name: str, wedding: str = "w1") -> dict[str, Any]:
    """Return a guest's row."""
    return {"id": number, "wedding_id": wedding, "name": name}


def wedding(name: str, country: str = "FR") -> dict[str, Any]:
    """Return a wedding's row; its day is in June 2026."""
    return {"id": name, "day": 20624, "venue_zone": "Europe/Paris", "country": country}


def added(table: str, row: Mapping[str, Any]) -> Row:
    """Return an insert."""
    return f"public.{table}", None, dict(row)


def changed(table: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Row:
    """Return an update."""
    return f"public.{table}", dict(before), dict(after)


def removed(table: str, row: Mapping[str, Any]) -> Row:
    """Return a delete."""
    return f"public.{table}", dict(row), None


def truncated(table: str) -> Row:
    """Return a TRUNCATE."""
    return f"public.{table}", None, None
