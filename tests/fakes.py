"""Fakes: in-memory twins of the ports, deterministic, without threads."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import random
from typing import TYPE_CHECKING, Any, TypeVar

from schemas.errors import TransientError
from sinks.stores.memory import MemoryStore
from tests.builders import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sinks.stores.port import Proof
    from streams.records import Outgoing

T = TypeVar("T")


class InlineExecutor(concurrent.futures.Executor):
    """Runs what it is given at once, in the caller's thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Run `fn` now."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)
        return future


class HandClock:
    """A clock that moves when a test says so."""

    def __init__(self, at: dt.datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> dt.datetime:
        """Return the present."""
        return self.at

    def move(self, **delta: float) -> None:
        """Move on by a `timedelta` of these arguments."""
        self.at += dt.timedelta(**delta)


def seeded_randomness(seed: int = 1) -> Callable[[int], bytes]:
    """Return a source of bytes that is the same in every run."""
    return random.Random(seed).randbytes


class RecordingProducer:
    """Keeps what was delivered; fails as often as it is told to, before anything is written.

    `failures_after` so many deliveries it fails once.
    """

    def __init__(self) -> None:
        self.delivered: list[Outgoing] = []
        self.failures = 0
        self.failures_after: int | None = None

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        if self.failures:
            self.failures -= 1
            raise TransientError("the broker is away", hint="a test said so")
        if self.failures_after == 0:
            self.failures_after = None
            raise TransientError("the broker is away", hint="a test said so")
        if self.failures_after is not None:
            self.failures_after -= 1
        self.delivered.extend(records)


class BrokenStore:
    """A store that can be out of reach; what it wraps keeps what it holds."""

    def __init__(self, inner: MemoryStore | None = None, *, is_down: bool = True) -> None:
        self.inner = inner or MemoryStore()
        self.is_down = is_down
        self.calls = 0

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """See `ObjectStore.create`."""
        self._answer()
        return await self.inner.create(name, content, digest=digest)

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        self._answer()
        return await self.inner.read(name, offset=offset, length=length)

    async def size_bytes(self, name: str) -> int | None:
        """See `ObjectStore.size_bytes`."""
        self._answer()
        return await self.inner.size_bytes(name)

    async def names(self, prefix: str) -> AsyncIterator[str]:
        """See `ObjectStore.names`."""
        self._answer()
        async for name in self.inner.names(prefix):
            yield name

    async def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        self._answer()
        await self.inner.delete(name)

    def _answer(self) -> None:
        self.calls += 1
        if self.is_down:
            raise TransientError("the store does not answer", hint="a test said so")
