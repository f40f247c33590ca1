"""Finding data keys again, given only the stores and the master key.

The keyring's names hide the weddings, so a key is found by asking for a wedding's prefix, once a
pack's index has named the wedding. Rarely an attempt to make a key has left a second object under the
same prefix: then the key that opens something is the right one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

import blake3

from schemas.errors import CorruptionError, TransientError
from sinks.keyring import keyring_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sinks.key_wrapping import KeyWrapper
    from sinks.stores.port import ObjectStore

T = TypeVar("T")

_READ_SECONDS: Final = 10.0


class KeyFinder:
    """Finds data keys by wedding; `names` are the keyring's objects with the stores that list them."""

    def __init__(
        self, *, names: Mapping[str, tuple[str, ...]], stores: Mapping[str, ObjectStore], wrapper: KeyWrapper
    ) -> None:
        self._names, self._stores, self._wrapper = names, stores, wrapper
        self._by_prefix: dict[str, list[str]] = {}
        for name in names:
            self._by_prefix.setdefault(name[: name.rfind("-") + 1], []).append(name)
        self._found: dict[str, list[tuple[str, bytes]]] = {}
        self._right: dict[str, tuple[str, bytes]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def opened(self, wedding: str, opens: Callable[[bytes], T]) -> T | None:
        """Return what `opens` makes of the right key; None when the wedding has no key any more.

        Raises:
            CorruptionError: it has keys, and none of them opens this.
        """
        candidates = await self.candidates(wedding)
        if not candidates:
            return None
        if wedding in self._right:
            candidates = [self._right[wedding]]
        last = CorruptionError("unreachable")
        for name, key in candidates:
            try:
                result = opens(key)
            except CorruptionError as error:
                last = error
                continue
            self._right[wedding] = (name, key)
            return result
        raise last

    async def key(self, wedding: str) -> bytes | None:
        """Return a wedding's key: the one that has opened something, else the likeliest; None when it has none."""
        candidates = await self.candidates(wedding)
        if wedding in self._right:
            return self._right[wedding][1]
        return candidates[0][1] if candidates else None

    async def candidates(self, wedding: str) -> list[tuple[str, bytes]]:
        """Return the (object name, key) pairs of a wedding, those on most stores first."""
        async with self._locks.setdefault(wedding, asyncio.Lock()):
            if wedding not in self._found:
                names = self._by_prefix.get(keyring_prefix(wedding), ())
                ordered = sorted(names, key=lambda name: (-len(self._names[name]), name))
                found = [(name, await self._unwrap(wedding, name)) for name in ordered]
                self._found[wedding] = [(name, key) for name, key in found if key is not None]
        return self._found[wedding]

    def rows(self) -> dict[str, str]:
        """Return which object holds each wedding's key, of all weddings asked for."""
        return {
            wedding: self._right.get(wedding, candidates[0])[0]
            for wedding, candidates in sorted(self._found.items())
            if candidates
        }

    async def _unwrap(self, wedding: str, name: str) -> bytes | None:
        """Return the key of a keyring object, None when no store has it whole.

        Raises:
            ConfigError: it was wrapped by another master key.
        """
        for store in self._names[name]:
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    wrapped = await self._stores[store].read(name)
                if name.endswith(blake3.blake3(wrapped).hexdigest()):
                    return await self._wrapper.unwrap(wrapped, context=wedding.encode())
            except (CorruptionError, TransientError, TimeoutError):
                continue
        return None
