"""Stores that fail, hang, lose replies and damage what they are sent."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

from schemas.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sinks.stores.memory import MemoryStore
    from sinks.stores.port import Proof
    from tests.simulation.lives import Life
    from tests.simulation.virtual import VirtualLoop

_QUICK_SECONDS_MAX: Final = 0.02
_SLOW_SECONDS_MAX: Final = 7.0
_HOUR_SECONDS: Final = 3600.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Trouble:
    """What is wrong with one store: away from an instant to another, and each call with a chance of its own."""

    down_from: float = 0.0
    down_until: float = 0.0
    does_hang: bool = False
    chance: float = 0.0


class FaultyStore:
    """One life's way to a store; what is stored is shared by all lives."""

    def __init__(self, held: MemoryStore, trouble: Trouble, *, life: Life, loop: VirtualLoop) -> None:
        self._held, self._trouble, self._life, self._loop, self._rng = held, trouble, life, loop, loop.rng

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """See `ObjectStore.create`: written and the reply lost, or damaged on the way and found out."""
        await self._come_through()
        if self._is_unlucky() and name not in self._held.objects:
            content = damaged(bytes(content), self._rng.randrange(len(content)))
        proof = await self._held.create(name, content, digest=digest)
        self._life.step("created")
        if self._is_unlucky():
            raise TransientError("the reply was lost", hint="simulated")
        return proof

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.read`; damage is not noticed here, as on a disk."""
        await self._come_through()
        content = await self._held.read(name, offset=offset, length=length)
        self._life.step("read")
        if content and self._is_unlucky():
            return damaged(content, self._rng.randrange(len(content)))
        return content

    async def size_bytes(self, name: str) -> int | None:
        """See `ObjectStore.size_bytes`."""
        await self._come_through()
        return await self._held.size_bytes(name)

    async def names(self, prefix: str) -> AsyncIterator[str]:
        """See `ObjectStore.names`."""
        await self._come_through()
        async for name in self._held.names(prefix):
            yield name

    async def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        await self._come_through()
        await self._held.delete(name)

    async def _come_through(self) -> None:
        """Reach the store, or fail before anything has happened."""
        self._life.step()
        await asyncio.sleep(self._rng.random() * _QUICK_SECONDS_MAX)
        if self._trouble.down_from <= self._loop.time() < self._trouble.down_until:
            if self._trouble.does_hang:
                await asyncio.sleep(_HOUR_SECONDS)
            raise TransientError("the store is down", hint="simulated")
        if self._is_unlucky():
            await asyncio.sleep(self._rng.random() * _SLOW_SECONDS_MAX)
        if self._is_unlucky():
            raise TransientError("the store answers 503", hint="simulated")
        self._life.step()

    def _is_unlucky(self) -> bool:
        return self._rng.random() < self._trouble.chance


def damaged(content: bytes, at: int) -> bytes:
    """Return the content with one bit turned."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
