"""The way to the stores: whoever wants to send something waits here for its turn.

`streams.lanes` decides, this waits: one instance a process, in its event loop. A grant is held for as
long as a transfer is under way; what is called off while it waits leaves the queue.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final

from schemas.backup import Priority
from schemas.work import Mode, Stream, Work
from streams.lanes import Lanes, Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from schemas.work import Limit

WAITING_MAX: Final = 1024
"""Transfers of one stream that may wait at once; whoever comes then waits before the door, first come first served."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a transfer is for; a lower `rank` is more urgent inside its lane."""

    lane: Priority = Priority.CRITICAL
    work: Work = Work.LOG
    rank: int = 0

    @property
    def stream(self) -> Stream:
        """Return where it queues."""
        return Stream(self.lane, self.work)


LOG_ERRAND: Final = Errand()
"""What nobody says more of: a key, a checkpoint."""


class Grants:
    """All grants of one process."""

    def __init__(self, lanes: Lanes | None = None, *, bytes_per_second: float | None = None) -> None:
        self._lanes = lanes or Lanes(bytes_per_second=bytes_per_second)
        self._budget, self._sinks = bytes_per_second, 1
        self._answers: dict[Transfer, asyncio.Future[None]] = {}
        self._doors: dict[Stream, asyncio.Semaphore] = collections.defaultdict(lambda: asyncio.Semaphore(WAITING_MAX))
        self._timer: asyncio.TimerHandle | None = None
        self._changed: Callable[[], None] = lambda: None

    @property
    def granted_bytes(self) -> Mapping[Stream, int]:
        """Return what each stream was granted so far."""
        return self._lanes.granted_bytes

    def waiting(self, lane: Priority) -> int:
        """Return how many transfers of a lane wait."""
        return self._lanes.waiting(lane)

    def may_begin(self, stream: Stream) -> bool:
        """Return whether new work of this kind is welcome: whoever can do something else meanwhile asks first."""
        return self._lanes.mode(stream) is Mode.RUN

    def is_draining(self, stream: Stream) -> bool:
        """Return whether only what has begun shall be finished."""
        return self._lanes.mode(stream) is Mode.DRAIN

    def on_change(self, call: Callable[[], None]) -> None:
        """Call this whenever other rules hold."""
        self._changed = call

    def begin(self, limits: Iterable[Limit]) -> None:
        """Follow these rules from the first transfer on; before the loop runs."""
        self._lanes.obey(limits, now=0.0)

    def obey(self, limits: Iterable[Limit]) -> None:
        """Follow these rules from now on, and no others; call it in the loop's thread."""
        self._lanes.obey(limits, now=_now())
        self._pump()
        self._changed()

    def share_among(self, sinks: int) -> None:
        """Take an equal part of the bandwidth, so many sinks being alive."""
        if self._budget is not None and sinks != self._sinks:
            self._sinks = max(1, sinks)
            self._lanes.set_bandwidth(self._budget / self._sinks, now=_now())
            self._pump()

    @contextlib.asynccontextmanager
    async def hold(self, errand: Errand, size_bytes: int) -> AsyncIterator[None]:
        """Wait for the turn of a transfer, and hold its place for the length of the block."""
        transfer = Transfer(stream=errand.stream, size_bytes=size_bytes, rank=errand.rank)
        async with self._doors[errand.stream]:
            await self._turn_of(transfer)
        try:
            yield
        finally:
            self._lanes.finished(transfer)
            self._pump()

    async def _turn_of(self, transfer: Transfer) -> None:
        answer = self._answers[transfer] = asyncio.get_running_loop().create_future()
        self._lanes.ask(transfer, now=_now())
        self._pump()
        try:
            await answer
        except asyncio.CancelledError:
            if self._answers.pop(transfer, None) is not None:
                self._lanes.withdraw(transfer)
            elif answer.done() and not answer.cancelled():  # Granted in the very moment it was called off.
                self._lanes.finished(transfer)
            self._pump()
            raise

    def _pump(self) -> None:
        for transfer in self._lanes.grant(now=_now()):
            answer = self._answers.pop(transfer)
            if answer.done():  # Called off, and not told yet.
                self._lanes.finished(transfer)
            else:
                answer.set_result(None)
        self._wake_when_ready()

    def _wake_when_ready(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ready_at = self._lanes.ready_at(now=_now())
        if ready_at is not None:
            self._timer = asyncio.get_running_loop().call_at(ready_at, self._pump)


def _now() -> float:
    return asyncio.get_running_loop().time()
