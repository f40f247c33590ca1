"""The keyring: one data key per wedding, wrapped, on the stores its residency allows, and nowhere else.

A wedding's key is made once. The catalog names the keyring object first and says `is_stored` only
when three verified copies exist; before that nothing was ever sealed with it, so an attempt that
died may be taken up or replaced. A key that is said to be stored and cannot be found is an outage,
never a reason to make another.
"""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Final

import blake3
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, TransientError, WedSyncError
from sinks.catalog_tables import KEYS
from sinks.key_wrapping import KEY_BYTES, KeyWrapper
from sinks.placement import rank
from sinks.replicate import ToReplicate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sinks.catalog import Catalog
    from sinks.replicate import Replicator

PREFIX: Final = "keyring/"
KEY_COPIES: Final = 5
_CACHED_MAX: Final = 20_000
_CREATED_AT_ONCE_MAX: Final = 16
_READ_SECONDS: Final = 5.0


class Keyring:
    """Finds and makes data keys; holds the last ones in memory."""

    def __init__(
        self, *, catalog: Catalog, replicator: Replicator, wrapper: KeyWrapper, randomness: Callable[[int], bytes]
    ) -> None:
        self._catalog, self._replicator = catalog, replicator
        self._wrapper, self._randomness = wrapper, randomness
        self._cached: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._making = asyncio.Semaphore(_CREATED_AT_ONCE_MAX)
        self._locks: dict[str, asyncio.Lock] = {}

    async def keys_for(self, wanted: Iterable[tuple[str, PlacementClass]]) -> dict[str, bytes]:
        """Return the data keys of weddings, making those that do not exist yet on stores of the class given."""
        pairs = list(wanted)
        found = await asyncio.gather(*(self.key_for(wedding, placement) for wedding, placement in pairs))
        return {wedding: key for (wedding, _), key in zip(pairs, found, strict=True)}

    async def key_for(self, wedding: str, placement: PlacementClass) -> bytes:
        """Return a wedding's data key.

        Raises:
            TransientError: the key exists but no store that has it answers, or too few stores take a new one.
        """
        if wedding in self._cached:
            self._cached.move_to_end(wedding)
            return self._cached[wedding]
        lock = self._locks.setdefault(wedding, asyncio.Lock())
        async with lock, self._making:
            key = self._cached.get(wedding) or await self._find_or_make(wedding, placement)
        self._locks.pop(wedding, None)
        self._cached[wedding] = key
        if len(self._cached) > _CACHED_MAX:
            self._cached.popitem(last=False)
        return key

    async def existing_key(self, wedding: str) -> bytes | None:
        """Return a wedding's data key, or None when it never had one."""
        if wedding in self._cached:
            return self._cached[wedding]
        named = await self._named(wedding)
        if named is None:
            return None
        return await self._fetch(wedding, named[0])

    async def _find_or_make(self, wedding: str, placement: PlacementClass) -> bytes:
        named = await self._named(wedding)
        if named is not None and named[1]:
            return await self._fetch(wedding, named[0])
        if named is not None:
            try:
                key = await self._fetch(wedding, named[0])
            except CorruptionError:
                pass  # The attempt died before any copy was written: nothing was sealed with that key.
            else:
                wrapped = await self._read_any(named[0])
                return await self._store(wedding, placement, named[0], wrapped, key)
        key = self._randomness(KEY_BYTES)
        wrapped = await self._wrapper.wrap(key, context=wedding.encode())
        name = keyring_name(wedding, wrapped)
        await self._catalog.run(lambda connection: _write_name(connection, wedding, name, is_stored=False))
        return await self._store(wedding, placement, name, wrapped, key)

    async def _store(self, wedding: str, placement: PlacementClass, name: str, wrapped: bytes, key: bytes) -> bytes:
        digest = blake3.blake3(wrapped).digest()
        item = ToReplicate(name=name, content=wrapped, digest=digest, placement=placement, copies=KEY_COPIES)
        await self._replicator.replicate(item)
        await self._catalog.run(lambda connection: _write_name(connection, wedding, name, is_stored=True))
        return key

    async def _fetch(self, wedding: str, name: str) -> bytes:
        return await self._wrapper.unwrap(await self._read_any(name), context=wedding.encode())

    async def _read_any(self, name: str) -> bytes:
        """Return a keyring object from whichever store has it whole.

        Raises:
            CorruptionError: every store answered, and none has it.
            TransientError: none has it, but one did not answer.
        """
        unreachable = ""
        for site in rank(self._replicator.sites, placement=PlacementClass.ANYWHERE, name=name):
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    content = await self._replicator.stores[site.name].read(name)
            except CorruptionError:
                continue
            except (WedSyncError, TimeoutError) as error:
                unreachable = str(error) or f"store {site.name} gave no answer"
                continue
            if name.endswith(blake3.blake3(content).hexdigest()):
                return content
        if unreachable:
            raise TransientError(
                f"a wedding's key is on no store that answers: {unreachable}", hint="bring the stores back"
            )
        raise CorruptionError(
            "a wedding's key is on none of the stores", hint="was it erased? see the suppression ledger"
        )

    async def _named(self, wedding: str) -> tuple[str, bool] | None:
        row = await self._catalog.run(
            lambda connection: connection.execute(sa.select(KEYS).where(KEYS.c.wedding == wedding)).one_or_none()
        )
        return (row.object_name, row.is_stored) if row is not None else None


def keyring_name(wedding: str, wrapped: bytes) -> str:
    """Return the object name of a wrapped key: it tells neither the wedding nor the key."""
    return f"{keyring_prefix(wedding)}{blake3.blake3(wrapped).hexdigest()}"


def keyring_prefix(wedding: str) -> str:
    """Return the prefix under which a wedding's wrapped key lies."""
    return f"{PREFIX}{blake3.blake3(wedding.encode(), derive_key_context='wedsync keyring name v1').hexdigest()}/"


def _write_name(connection: sa.Connection, wedding: str, name: str, *, is_stored: bool) -> None:
    statement = insert(KEYS).values(wedding=wedding, object_name=name, is_stored=is_stored)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["wedding"],
            set_={"object_name": name, "is_stored": is_stored},
            where=KEYS.c.is_stored.is_(False),
        )
    )
