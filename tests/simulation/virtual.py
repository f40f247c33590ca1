"""A clock that costs nothing: an event loop whose time jumps to the next timer whenever nobody can run."""

from __future__ import annotations

import asyncio
import datetime as dt
import selectors
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Mapping

T = TypeVar("T")

START: Final = dt.datetime(2026, 6, 12, 21, 59, 50, tzinfo=dt.UTC)
"""Ten seconds before midnight in Paris: lanes change while histories run."""

_WORK_SECONDS_MAX: Final = 0.004


class StuckError(AssertionError):
    """Nobody can run and no timer is set: in the real world this would hang for ever."""


class _Jump(selectors.SelectSelector):
    """Instead of waiting, let the time pass."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StuckError("every task waits for another")
        self.passed += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Everything runs in one thread, in an order that the seed decides; executors run inline, a little later."""

    def __init__(self, rng: random.Random) -> None:
        self._jump = _Jump()
        self.rng = rng
        super().__init__(self._jump)
        self._clock_resolution = 1e-9
        self.set_exception_handler(_ignore)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._jump.passed

    def now(self) -> dt.datetime:
        """Return the virtual instant."""
        return START + dt.timedelta(seconds=self._jump.passed)

    def _write_to_self(self) -> None:
        """Wake nobody: there is only one thread."""

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run `func` after a moment, in this thread."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self.rng.random() * _WORK_SECONDS_MAX, _work, future, func, args)
        return future


def _work(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        future.set_exception(error)


def _ignore(_loop: asyncio.AbstractEventLoop, _context: Mapping[str, Any]) -> None:
    """Say nothing: a dead life's tasks end with errors nobody asks for."""


def run_virtual(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end, then whatever is left until it is quiet."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
