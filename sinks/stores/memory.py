"""A store in memory: the twin every test can afford, with the promises of the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import blake3

from schemas.errors import CorruptionError
from sinks.stores.port import Proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class MemoryStore:
    """Objects in a dict, which tests may damage."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """See `ObjectStore.create`."""
        held = self.objects.get(name, bytes(content))
        if blake3.blake3(held).digest() != digest:
            raise CorruptionError(f"{name} does not hold the bytes that were sent", hint="scrub this store")
        self.objects[name] = held
        return Proof.READ_BACK

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        if name not in self.objects:
            raise CorruptionError(f"{name} is missing", hint="repair it from another copy")
        end = None if length is None else offset + length
        found = self.objects[name][offset:end]
        if length is not None and len(found) != length:
            raise CorruptionError(f"{name} is cut off", hint="repair it from another copy")
        return found

    async def size_bytes(self, name: str) -> int | None:
        """See `ObjectStore.size_bytes`."""
        return len(self.objects[name]) if name in self.objects else None

    async def names(self, prefix: str) -> AsyncIterator[str]:
        """See `ObjectStore.names`."""
        for name in sorted(self.objects):
            if name.startswith(prefix):
                yield name

    async def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        self.objects.pop(name, None)
