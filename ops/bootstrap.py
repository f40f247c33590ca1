"""Building the adapters from the settings: the only place that knows which libraries stand behind the ports."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import os
import pathlib
from typing import TYPE_CHECKING, Final

from ops.onboarding_mapping import mapping_from_dict
from ops.stack.settings import StackSettings
from schemas.backup import Priority
from sinks.catalog import Catalog, open_engine
from sinks.key_wrapping import MasterKeyWrapper, load_master_key
from sinks.keyring import Keyring
from sinks.late_copies import LateCopies
from sinks.replicate import Replicator
from sinks.sink import WindowLimits
from sinks.stores.filesystem import FilesystemStore
from sinks.stores.health import StoreHealth
from sinks.stores.port import Site

if TYPE_CHECKING:
    from ops.config import Settings
    from schemas.mapping import TableMapping

STORE_THREADS: Final = 12
CPU_THREADS: Final = 2


def now() -> dt.datetime:
    """Return the wall clock's present."""
    return dt.datetime.now(dt.UTC)


def stack_settings(settings: Settings) -> StackSettings:
    """Return what the local stack is told."""
    return StackSettings(
        state_dir=settings.state_dir,
        kafka_port=settings.stack.kafka_port,
        connect_port=settings.stack.connect_port,
        postgres_port=settings.stack.postgres_port,
        kafka_heap_mib=settings.stack.kafka_heap_mib,
        connect_heap_mib=settings.stack.connect_heap_mib,
    )


def mapping(settings: Settings) -> TableMapping:
    """Return the table mapping of the settings; without one, the sample platform's."""
    if settings.mapping:
        return mapping_from_dict(settings.mapping)
    from ops.sample.platform import sample_mapping  # noqa: PLC0415 - only where nothing is configured

    return sample_mapping()


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
        self.stores = {
            store.name: FilesystemStore(pathlib.Path(store.folder), executor=self.store_threads)
            for store in settings.stores
        }
        self.health = StoreHealth(retry_after=settings.store_retry)
        self.late = LateCopies(catalog=self.catalog, now_us=lambda: int(now().timestamp() * 1_000_000))
        self.replicator = Replicator(
            stores=self.stores, sites=self.sites, health=self.health, now=now, late=self.late.arrived
        )
        self.wrapper = MasterKeyWrapper(load_master_key(settings.master_key_file))
        self.keyring = Keyring(
            catalog=self.catalog, replicator=self.replicator, wrapper=self.wrapper, randomness=os.urandom
        )

    def close(self) -> None:
        """Let threads and files go."""
        for executor in (self.store_threads, self.cpu, self.catalog_thread):
            executor.shutdown(wait=True, cancel_futures=True)
        self.catalog.engine.dispose()


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
