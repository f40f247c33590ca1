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
_CREATED_AT_ONCE_MAX: Final = 48
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
        missing = [pair for pair in pairs if pair[0] not in self._cached]
        made = await asyncio.gather(*(self.key_for(wedding, placement) for wedding, placement in missing))
        fresh = {wedding: key for (wedding, _), key in zip(missing, made, strict=True)}
        return {wedding: fresh.get(wedding) or await self.key_for(wedding, placement) for wedding, placement in pairs}

    def holds(self, wedding: str) -> bool:
        """Return whether a wedding's key is at hand."""
        return wedding in self._cached

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
        if named is None or not named[1]:
            return None
        return await self._fetch(wedding, named[0])

    async def _find_or_make(self, wedding: str, placement: PlacementClass) -> bytes:
        named = await self._named(wedding)
        if named is not None and named[1]:
            return await self._fetch(wedding, named[0])
        attempt = await self._taken_up(wedding, named[0]) if named is not None else None
        wrapped, key = attempt or await self._new_key(wedding)
        name = keyring_name(wedding, wrapped)
        await self._catalog.run(lambda connection: _name_attempt(connection, wedding, name))
        await self._replicator.replicate(
            ToReplicate(
                name=name,
                content=wrapped,
                digest=blake3.blake3(wrapped).digest(),
                placement=placement,
                copies=KEY_COPIES,
            )
        )
        if not await self._catalog.run(lambda connection: _confirm(connection, wedding, name)):
            raise TransientError("another worker has just made this wedding's key", hint="this one takes it over")
        return key

    async def _new_key(self, wedding: str) -> tuple[bytes, bytes]:
        key = self._randomness(KEY_BYTES)
        return await self._wrapper.wrap(key, context=wedding.encode()), key

    async def _taken_up(self, wedding: str, name: str) -> tuple[bytes, bytes] | None:
        """Return (wrapped, key) of an attempt that was not finished, if any store shows it.

        If none does, it may be replaced: nothing was sealed with it. To wait for a store that is
        down would keep the wedding unprotected for as long.
        """
        try:
            wrapped = await self._read_any(name)
            return wrapped, await self._wrapper.unwrap(wrapped, context=wedding.encode())
        except (CorruptionError, TransientError):
            return None

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
            "a wedding's key is on none of the stores", hint="was it erased, or is this another archive's catalog?"
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
    return f"{PREFIX}{blake3.blake3(wedding.encode(), derive_key_context='wedsync keyring name v1').hexdigest()}-"


def _name_attempt(connection: sa.Connection, wedding: str, name: str) -> None:
    """Name the key that is being made, unless one is stored already."""
    statement = insert(KEYS).values(wedding=wedding, object_name=name, is_stored=False)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["wedding"], set_={"object_name": name}, where=KEYS.c.is_stored.is_(False)
        )
    )


def _confirm(connection: sa.Connection, wedding: str, name: str) -> bool:
    """Say that a key is stored, and return whether it is this one that counts."""
    connection.execute(
        sa.update(KEYS)
        .where(KEYS.c.wedding == wedding, KEYS.c.object_name == name, KEYS.c.is_stored.is_(False))
        .values(is_stored=True)
    )
    row = connection.execute(sa.select(KEYS).where(KEYS.c.wedding == wedding)).one()
    return bool(row.is_stored and row.object_name == name)
