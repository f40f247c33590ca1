"""Building the adapters from the settings: the only place that knows which libraries stand behind the ports."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import os
import pathlib
import sys
import threading
from typing import TYPE_CHECKING, Final

from ops.onboarding_mapping import mapping_from_dict
from ops.stack.settings import StackSettings
from schemas.backup import Priority
from schemas.hidden_columns import ColumnAction, HiddenColumn, with_hidden
from sinks.catalog import Catalog, open_engine
from sinks.key_wrapping import MasterKeyWrapper, load_master_key
from sinks.keyring import Keyring
from sinks.lanes import Grants
from sinks.late_copies import LateCopies
from sinks.replicate import Replicator
from sinks.sink import WindowLimits
from sinks.stores.filesystem import FilesystemStore
from sinks.stores.health import StoreHealth
from sinks.stores.port import Site
from streams.lanes import Lanes
from streams.priority import DEFAULT_RULES, LaneRule

if TYPE_CHECKING:
    from ops.config import Settings
    from schemas.mapping import TableMapping
    from sinks.objects import ObjectSource
    from sinks.promotion import LaneReader
    from streams.produce import BatchProducer
    from streams.schema_registry import Registry

STORE_THREADS: Final = 12
CPU_THREADS: Final = 2
BULK_NICENESS: Final = 5


def now() -> dt.datetime:
    """Return the wall clock's present."""
    return dt.datetime.now(dt.UTC)


def now_us() -> int:
    """Return the wall clock's present in microseconds since 1970."""
    return int(now().timestamp() * 1_000_000)


def stack_settings(settings: Settings) -> StackSettings:
    """Return what the local stack is told."""
    return StackSettings(
        state_dir=settings.state_dir,
        kafka_port=settings.stack.kafka_port,
        connect_port=settings.stack.connect_port,
        postgres_port=settings.stack.postgres_port,
        kafka_heap_mib=settings.stack.kafka_heap_mib,
        connect_heap_mib=settings.stack.connect_heap_mib,
        slot_wal_keep_mib=settings.stack.slot_wal_keep_mib,
    )


def mapping(settings: Settings) -> TableMapping:
    """Return the table mapping of the settings; without one, the sample platform's."""
    hidden = tuple(
        HiddenColumn(table=each.table, column=each.column, action=ColumnAction(each.action))
        for each in settings.source.columns
    )
    if settings.mapping:
        return with_hidden(mapping_from_dict(settings.mapping), hidden)
    from ops.sample.platform import sample_mapping  # noqa: PLC0415 - only where nothing is configured

    return with_hidden(sample_mapping(), hidden)


def routing_rules(settings: Settings) -> tuple[LaneRule, ...]:
    """Return the table by which changes find their lane: the settings', or the default one."""
    given = (rule.model_dump() for rule in settings.routing.rules)
    return tuple(LaneRule(**{**rule, "rank": None if rule["rank"] < 0 else rule["rank"]}) for rule in given) or (
        DEFAULT_RULES
    )


def registry(settings: Settings) -> Registry | None:
    """Return the schema registry, or None where values carry their fingerprint themselves."""
    if not settings.registry.url:
        return None
    from streams.schema_registry import ConfluentRegistry  # noqa: PLC0415 - only where one is set

    return ConfluentRegistry(settings.registry.url, timeout_seconds=settings.registry.timeout_seconds)


def lane_producer(settings: Settings, brokers: str, registry: Registry | None) -> BatchProducer:
    """Return a producer for the backup topics, framed as the settings say."""
    from streams.produce import KafkaProducer  # noqa: PLC0415 - only workers produce

    producer = KafkaProducer({"bootstrap.servers": brokers})
    if registry is None:
        return producer
    from streams.schema_registry import RegisteredProducer  # noqa: PLC0415

    return RegisteredProducer(inner=producer, registry=registry, by_record=settings.registry.subjects == "record")


def lane_reader(brokers: str, registry: Registry | None) -> LaneReader:
    """Return a reader of single partitions of the backup topics."""
    from streams.lane_reader import KafkaLaneReader  # noqa: PLC0415

    reader = KafkaLaneReader({"bootstrap.servers": brokers})
    if registry is None:
        return reader
    from sinks.unframing import UnframingReader  # noqa: PLC0415

    return UnframingReader(inner=reader, registry=registry)


def object_source(settings: Settings) -> ObjectSource:
    """Return where claimed objects are fetched: from the folder, and from each bucket of the settings."""
    from sinks.objects import FolderObjects  # noqa: PLC0415 - only a sink fetches
    from sinks.objects_buckets import ManyObjects  # noqa: PLC0415

    sources: dict[str, ObjectSource] = {
        settings.objects.bucket: FolderObjects({settings.objects.bucket: settings.objects_folder})
    }
    if settings.buckets:
        from ops import bootstrap_buckets  # noqa: PLC0415

        sources |= {section.name: bootstrap_buckets.source(section) for section in settings.buckets}
    return ManyObjects(sources)


class Archive:
    """The stores, the catalog and the keys, as every command that touches them needs them."""

    def __init__(
        self, settings: Settings, *, must_exist: bool = False, catalog_file: pathlib.Path | None = None
    ) -> None:
        self.settings = settings
        self.store_threads = concurrent.futures.ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        self.cpu = concurrent.futures.ThreadPoolExecutor(CPU_THREADS, thread_name_prefix="cpu")
        self.catalog_thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="catalog")
        path = catalog_file or settings.catalog_file
        self.catalog = Catalog(open_engine(path, must_exist=must_exist), executor=self.catalog_thread)
        self.sites = [
            Site(
                name=store.name,
                provider=store.provider,
                region=store.region,
                domain=store.domain or store.name,
                is_eu=store.is_eu,
            )
            for store in settings.stores
        ]
        self.stores = self._open_stores(self.store_threads)
        self.health = StoreHealth(retry_after=settings.store_retry)
        self.late = LateCopies(catalog=self.catalog, now_us=lambda: int(now().timestamp() * 1_000_000))
        # One way to the stores for both, so that their lanes share it.
        self.grants = Grants(
            Lanes(
                places=settings.archive.transfers_at_once,
                bytes_per_second=settings.archive.bandwidth_bytes_per_second or None,
            ),
            bytes_per_second=settings.archive.bandwidth_bytes_per_second or None,
        )
        self.replicator = self._replicator(self.stores)
        # Photos and owed copies step back where the processor is short: a row waits for nobody's album.
        self.bulk_cpu, self.bulk_threads = (
            _quiet_threads(CPU_THREADS, "bulk-cpu"),
            _quiet_threads(STORE_THREADS, "bulk"),
        )
        self.bulk_replicator = self._replicator(self._open_stores(self.bulk_threads))
        self.wrapper = MasterKeyWrapper(load_master_key(settings.master_key_file))
        self.keyring = Keyring(
            catalog=self.catalog, replicator=self.replicator, wrapper=self.wrapper, randomness=os.urandom
        )

    def _open_stores(self, executor: concurrent.futures.Executor) -> dict[str, FilesystemStore]:
        return {
            store.name: FilesystemStore(pathlib.Path(store.folder), executor=executor) for store in self.settings.stores
        }

    def _replicator(self, stores: dict[str, FilesystemStore]) -> Replicator:
        return Replicator(
            stores=stores,
            sites=self.sites,
            health=self.health,
            now=now,
            late=self.late.arrived,
            grants=self.grants,
        )

    def close(self) -> None:
        """Let threads and files go."""
        for executor in (self.store_threads, self.bulk_threads, self.cpu, self.bulk_cpu, self.catalog_thread):
            executor.shutdown(wait=True, cancel_futures=True)
        self.catalog.engine.dispose()


def _quiet_threads(count: int, name: str) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_step_back)


def _step_back() -> None:
    """Lower this thread's priority; only Linux has one a thread, elsewhere it stays as it is."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BULK_NICENESS)


def window_limits(settings: Settings) -> WindowLimits:
    """Return when windows close."""
    windows = settings.archive.windows
    ages = {
        Priority.CRITICAL: windows.critical_ms,
        Priority.HIGH: windows.high_ms,
        Priority.STANDARD: windows.standard_ms,
    }
    return WindowLimits(age={lane: dt.timedelta(milliseconds=age) for lane, age in ages.items()})


def make_store_folders(settings: Settings) -> None:
    """Create the folders of stores that have none yet: once, when the archive is founded.

    Later a missing folder means that its disk is not mounted, and must not be papered over.
    """
    for store in settings.stores:
        pathlib.Path(store.folder).mkdir(parents=True, exist_ok=True)
