"""The port every store is reached by, and what a place is.

Objects are immutable: a name means one content for ever. `create` is at once write and proof; a
wrapper may add care (time-outs, limits, faults), an adapter never does.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Protocol

from schemas.backup import PlacementClass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Proof(enum.StrEnum):
    """How a copy was verified after it was written."""

    READ_BACK = "read_back"
    STORE_CHECKSUM = "store_checksum"
    LISTED = "listed"
    """Found again by a rebuild under its name and in its size; a deep `verify` reads it."""


class ObjectStore(Protocol):
    """One store. Calls may run concurrently; a cancelled call leaves nothing visible under the name.

    Every call raises `TransientError` when the store is out of reach, busy or full.
    """

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """Write an object that must not change any more, and prove that its bytes hash (BLAKE3) to `digest`.

        Creating the same bytes once more succeeds: a reply may have been lost.

        Raises:
            CorruptionError: the name holds other bytes, or those sent were damaged on the way; then nothing of
                them stays visible.
        """
        ...

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object.

        Raises:
            CorruptionError: there is no such object, or it is shorter.
        """
        ...

    async def size_bytes(self, name: str) -> int | None:
        """Return an object's size, or None when there is none."""
        ...

    def names(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names under a prefix, in no order; for rebuilds and sweeps, never for correctness of a write."""
        ...

    async def delete(self, name: str) -> None:
        """Delete an object; a missing one is no error."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A store's place: `domain` is what fails as one, `is_eu` whether EU weddings may lie there."""

    name: str
    provider: str
    region: str
    domain: str
    is_eu: bool

    def may_hold(self, placement: PlacementClass) -> bool:
        """Return whether residency allows a class here."""
        return self.is_eu or placement is PlacementClass.ANYWHERE
