"""Verify: are the copies there, and are they still the bytes they were.

Two depths: by size (cheap, one question for each copy), or by reading every copy from end to end. A
damaged copy is told, and with `repair` made again from a good one: the damaged object is deleted first,
since nothing is ever overwritten, and never before a good copy has been read whole.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import blake3
import sqlalchemy as sa

from schemas.backup import COPIES_PROTECTED
from schemas.errors import CorruptionError, TransientError, WedSyncError
from sinks.catalog_tables import COPIES, KEYS, OBJECTS, PACKS
from sinks.in_order import in_order
from sinks.receipts import ObjectState

if TYPE_CHECKING:
    import concurrent.futures
    import datetime as dt
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sinks.catalog import Catalog
    from sinks.stores.port import ObjectStore, Site

T = TypeVar("T")

_PACKS_AT_ONCE: Final = 8
_DEEP_PACKS_AT_ONCE: Final = 3
_PACKS_IN_PAGE: Final = 500
_BLOCK_BYTES: Final = 4 << 20
_CALL_SECONDS: Final = 30.0
_MICRO: Final = 1_000_000
_HASH_DIGITS: Final = 64
"""A key is named by the hash of its bytes, which stands at the end."""


class Fault(enum.StrEnum):
    """What is wrong with a copy, or with a pack."""

    MISSING = "missing"
    SHORT = "short"
    DAMAGED = "damaged"
    SILENT = "silent"
    TOO_FEW = "too_few"


class Failure(NamedTuple):
    """One thing that is wrong; `store` is empty where a pack or key as a whole is meant."""

    fault: Fault
    store: str
    name: str
    is_repaired: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was looked at and what is wrong; `objects_owed` wait for their bytes, `objects_lost` never get them."""

    packs: int
    copies: int
    bytes_read: int
    keys: int
    objects_protected: int
    objects_owed: int
    objects_lost: int
    failures: tuple[Failure, ...]

    @property
    def is_passed(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(each.is_repaired for each in self.failures)

    def by_store(self) -> dict[str, dict[Fault, int]]:
        """Return how often what was wrong, by store."""
        counts: dict[str, collections.Counter[Fault]] = collections.defaultdict(collections.Counter)
        for each in self.failures:
            counts[each.store][each.fault] += 1
        return {store: dict(counts[store]) for store in sorted(counts)}


class _Item(NamedTuple):
    """A pack or a keyring object and who shall have it; a size of None is not known."""

    name: str
    digest: bytes
    size_bytes: int | None
    stores: tuple[str, ...]
    is_pack: bool


class _Checked(NamedTuple):
    failures: list[Failure]
    good: list[str]
    bytes_read: int


async def verify(
    *,
    catalog: Catalog,
    stores: Mapping[str, ObjectStore],
    sites: Sequence[Site],
    cpu: concurrent.futures.Executor,
    now: Callable[[], dt.datetime],
    read_data: bool,
    repair: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> VerifyReport:
    """Check every copy of every pack and key; `progress` hears (done, in all). Repairing reads all it must.

    Raises:
        CorruptionError: the catalog names a store nobody configured.
    """
    total = await catalog.run(_count_items)
    check = _Check(stores=stores, sites=sites, cpu=cpu, read_data=read_data, repair=repair)
    tally = _Tally()
    after = ""
    while page := await catalog.run(lambda connection, after=after: _packs(connection, after)):  # type: ignore[misc]
        await tally.take(check, page, lambda done: progress(done, total))
        await catalog.run(lambda connection: _record(connection, tally.good, int(now().timestamp() * _MICRO)))
        tally.good, after = {}, page[-1].name
    keys = await catalog.run(lambda connection: _keys(connection, tuple(sorted(stores))))
    await tally.take(check, keys, lambda done: progress(done, total))
    objects = await catalog.run(_objects)
    return VerifyReport(
        packs=tally.packs,
        copies=tally.copies,
        bytes_read=tally.bytes_read,
        keys=len(keys),
        objects_protected=objects.get(ObjectState.PROTECTED.value, 0),
        objects_owed=objects.get(ObjectState.CLAIMED.value, 0),
        objects_lost=objects.get(ObjectState.LOST.value, 0),
        failures=tuple(tally.failures),
    )


class _Tally:
    """Sums up; `good` are the copies that were just read whole, by pack, until they are recorded."""

    def __init__(self) -> None:
        self.packs = self.copies = self.bytes_read = self.done = 0
        self.failures: list[Failure] = []
        self.good: dict[bytes, list[str]] = {}

    async def take(self, check: _Check, items: Sequence[_Item], progress: Callable[[int], None]) -> None:
        async with contextlib.aclosing(in_order(check.item, items, at_once=check.at_once)) as results:
            numbers = iter(items)
            async for result in results:
                item = next(numbers)
                self.packs += item.is_pack
                self.copies += len(item.stores)
                self.bytes_read += result.bytes_read
                self.failures += result.failures
                if item.is_pack and check.reads_data:
                    self.good[item.digest] = result.good
                self.done += 1
                progress(self.done)


class _Check:
    """Checks the copies of one item after the other."""

    def __init__(
        self,
        *,
        stores: Mapping[str, ObjectStore],
        sites: Sequence[Site],
        cpu: concurrent.futures.Executor,
        read_data: bool,
        repair: bool,
    ) -> None:
        self._stores, self._cpu, self._repair = stores, cpu, repair
        self._domains = {site.name: site.domain for site in sites}
        self.reads_data = read_data
        self.at_once = _DEEP_PACKS_AT_ONCE if read_data else _PACKS_AT_ONCE

    async def item(self, item: _Item) -> _Checked:
        found = await asyncio.gather(*(self._copy(item, store) for store in item.stores))
        good = [store for store, fault in zip(item.stores, found, strict=True) if fault is None]
        bytes_read = len(item.stores) * (item.size_bytes or 0) if self.reads_data else 0
        failures = [
            Failure(fault, store, item.name)
            for store, fault in zip(item.stores, found, strict=True)
            # A key is looked for on every store: where it is not, it need not be.
            if fault is not None and (item.is_pack or fault is Fault.DAMAGED)
        ]
        if self._repair and failures:
            failures = [await self._repaired(item, failure, good) for failure in failures]
            good += [each.store for each in failures if each.is_repaired]
        return _Checked([*failures, *self._few(item, good)], good, bytes_read)

    def _few(self, item: _Item, good: Sequence[str]) -> list[Failure]:
        """Return a failure when the good copies lie in too few failure domains to be called protected."""
        domains = {self._domains.get(store, store) for store in good}
        return [] if len(domains) >= COPIES_PROTECTED else [Failure(Fault.TOO_FEW, "", item.name)]

    async def _copy(self, item: _Item, store: str) -> Fault | None:
        if store not in self._stores:
            raise CorruptionError(f"the catalog names store {store}, which is not configured", hint="see [stores]")
        try:
            size_bytes = await self._call(store, lambda each: each.size_bytes(item.name))
            if size_bytes is None:
                return Fault.MISSING
            if item.size_bytes is not None and size_bytes < item.size_bytes:
                return Fault.SHORT
            if item.size_bytes is not None and size_bytes != item.size_bytes:
                return Fault.DAMAGED
            is_read = self.reads_data or not item.is_pack
            is_good = not is_read or await self._digest(item.name, store, size_bytes) == item.digest
        except CorruptionError:
            return Fault.DAMAGED
        except (TransientError, TimeoutError):
            return Fault.SILENT
        return None if is_good else Fault.DAMAGED

    async def _digest(self, name: str, store: str, size_bytes: int) -> bytes:
        hasher = blake3.blake3()
        for begin in range(0, size_bytes, _BLOCK_BYTES):
            block = await self._block(name, store, begin, min(_BLOCK_BYTES, size_bytes - begin))
            await self._in_thread(lambda block=block: hasher.update(block))  # type: ignore[misc]
        return hasher.digest()

    async def _block(self, name: str, store: str, begin: int, length: int) -> bytes:
        return await self._call(store, lambda each: each.read(name, offset=begin, length=length))

    async def _repaired(self, item: _Item, failure: Failure, good: Sequence[str]) -> Failure:
        """Make a copy again from a good one; a store that is silent is left alone."""
        if failure.fault is Fault.SILENT:
            return failure
        content = await self._read_good(item, good)
        if content is None:
            return failure
        try:
            if failure.fault is not Fault.MISSING:
                await self._call(failure.store, lambda each: each.delete(item.name))
            await self._call(failure.store, lambda each: each.create(item.name, content, digest=item.digest))
        except (WedSyncError, TimeoutError):
            return failure
        return failure._replace(is_repaired=True)

    async def _read_good(self, item: _Item, good: Sequence[str]) -> bytes | None:
        for store in good:
            try:
                content = await self._call(store, lambda each: each.read(item.name))
            except (WedSyncError, TimeoutError):
                continue
            if blake3.blake3(content).digest() == item.digest:
                return content
        return None

    async def _call(self, store: str, call: Callable[[ObjectStore], Awaitable[T]]) -> T:
        async with asyncio.timeout(_CALL_SECONDS):
            return await call(self._stores[store])

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._cpu, call)


def _count_items(connection: sa.Connection) -> int:
    packs = connection.execute(sa.select(sa.func.count()).select_from(PACKS)).scalar_one()
    return packs + connection.execute(sa.select(sa.func.count()).select_from(KEYS)).scalar_one()


def _packs(connection: sa.Connection, after: str) -> list[_Item]:
    """Return the next packs in order of name, with the stores that shall have them."""
    rows = connection.execute(
        sa.select(PACKS.c.name, PACKS.c.pack_hash, PACKS.c.size_bytes)
        .where(PACKS.c.name > after)
        .order_by(PACKS.c.name)
        .limit(_PACKS_IN_PAGE)
    ).all()
    stores: dict[bytes, list[str]] = collections.defaultdict(list)
    hashes = [row.pack_hash for row in rows]
    query = sa.select(COPIES.c.pack_hash, COPIES.c.store).where(COPIES.c.pack_hash.in_(hashes))
    for pack_hash, store in connection.execute(query.order_by(COPIES.c.store)):
        stores[pack_hash].append(store)
    return [_Item(row.name, row.pack_hash, row.size_bytes, tuple(stores[row.pack_hash]), is_pack=True) for row in rows]


def _keys(connection: sa.Connection, stores: tuple[str, ...]) -> list[_Item]:
    """Return the keyring's objects; the catalog does not say which stores have them, so all are asked."""
    rows = connection.execute(sa.select(KEYS.c.object_name).where(KEYS.c.is_stored).order_by(KEYS.c.object_name))
    return [_Item(name, bytes.fromhex(name[-_HASH_DIGITS:]), None, stores, is_pack=False) for name in rows.scalars()]


def _objects(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(OBJECTS.c.state, sa.func.count()).group_by(OBJECTS.c.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def _record(connection: sa.Connection, good: Mapping[bytes, Sequence[str]], now_us: int) -> None:
    """Write when copies were last read whole."""
    for pack_hash, stores in good.items():
        connection.execute(
            sa.update(COPIES)
            .where(COPIES.c.pack_hash == pack_hash, COPIES.c.store.in_(stores))
            .values(verified_us=now_us)
        )
