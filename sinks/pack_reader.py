"""Reading frames back, from whichever store has them whole.

A copy that is missing, cut off or does not open is damaged: the next store is asked, and the damage is
remembered for the report. A store that does not answer is asked last from then on. Only when no store
is left is it an error: corruption if all answered, transient if one might still have a good copy.
"""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Final, NamedTuple

import xxhash

from schemas import pack
from schemas.errors import CorruptionError, FormatError, TransientError
from sinks.packer import open_frame

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Mapping, Sequence

    from sinks.receipts import FrameAt
    from sinks.stores.port import ObjectStore

READ_SECONDS: Final = 10.0
_BYTES_PER_SECOND_MIN: Final = 4 << 20
_WHOLE_BYTES: Final = 256 << 10
"""A frame that ends this near to the pack's begin is read together with the header: one request, not two."""
_READS_AT_ONCE: Final = 32
_ROUNDS: Final = 3
_PAUSE_SECONDS: Final = 0.2
_SALTS_MAX: Final = 65_536
_DAMAGES_MAX: Final = 1000


class Damage(NamedTuple):
    """A copy that did not hold what it must."""

    store: str
    pack_name: str
    reason: str


class PackReader:
    """Reads and opens frames. Calls may run concurrently; at most 32 reads are under way."""

    def __init__(
        self,
        *,
        stores: Mapping[str, ObjectStore],
        cpu: concurrent.futures.Executor,
        read_seconds: float = READ_SECONDS,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self._stores, self._cpu = stores, cpu
        self._read_seconds, self._pause_seconds = read_seconds, pause_seconds
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        self._salts: collections.OrderedDict[bytes, bytes] = collections.OrderedDict()
        self._silent: set[str] = set()
        self.frames_of: collections.Counter[str] = collections.Counter()
        self.bytes_read = 0
        self.damages: list[Damage] = []

    async def frame(self, alternatives: Sequence[FrameAt], data_key: bytes) -> bytes:
        """Return the plaintext of a frame, given the packs that hold it (a chunk may lie in several).

        Raises:
            CorruptionError: every copy was asked, and none is good.
            TransientError: no copy could be read, and at least one store did not answer.
        """
        for attempt in range(_ROUNDS):
            try:
                return await self._any_copy(alternatives, data_key)
            except TransientError:
                if attempt == _ROUNDS - 1:
                    raise
            await asyncio.sleep(self._pause_seconds)
        raise AssertionError("unreachable")

    async def _any_copy(self, alternatives: Sequence[FrameAt], data_key: bytes) -> bytes:
        silent = ""
        for at in alternatives:
            for store in self._ranked(at):
                try:
                    return await self._copy(store, at, data_key)
                except (CorruptionError, FormatError) as error:
                    self._damaged(store, at, error)
                except (TransientError, TimeoutError) as error:
                    self._silent.add(store)
                    silent = str(error) or f"store {store} gave no answer"
        if silent:
            raise TransientError(f"no store that has a frame answers: {silent}", hint="bring the stores back")
        raise CorruptionError("no good copy of a frame is left", hint="run `verify`; see which packs are lost")

    def _ranked(self, at: FrameAt) -> list[str]:
        """Return the stores of a pack: those that answered so far first, the load spread by a hash."""
        known = [store for store in at.stores if store in self._stores]
        return sorted(
            known,
            key=lambda store: (store in self._silent, xxhash.xxh3_64_intdigest(f"{store}/{at.pack_name}".encode())),
        )

    async def _copy(self, store: str, at: FrameAt, data_key: bytes) -> bytes:
        async with self._reading, asyncio.timeout(self._read_seconds + at.length / _BYTES_PER_SECOND_MIN):
            salt, sealed = await self._sealed(self._stores[store], at)
        plain = await asyncio.get_running_loop().run_in_executor(
            self._cpu, lambda: open_frame(sealed, salt=salt, number=at.number, kind=at.kind, data_key=data_key)
        )
        self._remember(at.pack_hash, salt)
        self.frames_of[store] += 1
        self.bytes_read += at.length
        self._silent.discard(store)
        return plain

    async def _sealed(self, store: ObjectStore, at: FrameAt) -> tuple[bytes, bytes]:
        """Return the pack's salt and the frame's sealed bytes."""
        salt = self._salts.get(at.pack_hash)
        if salt is not None:
            return salt, await store.read(at.pack_name, offset=at.offset, length=at.length)
        end = at.offset + at.length
        if end <= _WHOLE_BYTES:
            whole = await store.read(at.pack_name, offset=0, length=end)
            return pack.decode_header(whole)[1], whole[at.offset :]
        header = await store.read(at.pack_name, offset=0, length=pack.HEADER_BYTES)
        return pack.decode_header(header)[1], await store.read(at.pack_name, offset=at.offset, length=at.length)

    def _remember(self, pack_hash: bytes, salt: bytes) -> None:
        """Keep a salt that has opened a frame: it is the right one for every copy."""
        self._salts[pack_hash] = salt
        if len(self._salts) > _SALTS_MAX:
            self._salts.popitem(last=False)

    def _damaged(self, store: str, at: FrameAt, error: Exception) -> None:
        if len(self.damages) < _DAMAGES_MAX:
            self.damages.append(Damage(store, at.pack_name, str(error)))
