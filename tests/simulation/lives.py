"""Lives: processes that die between any two steps."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

_LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class Death(BaseException):
    """The process is gone; nothing of it runs any more."""


class Life:
    """One process. From the `dies_at`-th step of a kind on every call of a port raises `Death`, before any effect.

    An empty kind counts every step.
    """

    def __init__(self, name: str, *, dies_at: int | None, kind: str = "") -> None:
        self.name, self.dies_at = name, dies_at
        self._kind = kind
        self.steps = 0
        self.is_dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._gone = asyncio.Event()

    def step(self, kind: str = "") -> None:
        """Count one boundary between two effects; raise if this life ends here."""
        self.steps += self._kind in ("", kind)
        if self.dies_at is not None and self.steps >= self.dies_at:
            self.die()
        if self.is_dead:
            raise Death(self.name)

    def die(self) -> None:
        """End this life before its next effect."""
        self.is_dead = True
        self._gone.set()

    async def run(self, *works: Coroutine[Any, Any, None]) -> BaseException | None:
        """Run until one of the works ends or this life dies; return why, with nothing of it left running."""
        token = _LIFE.set(self)
        tasks = [asyncio.ensure_future(work) for work in (*works, self._until_gone())]
        _LIFE.reset(token)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.die()
            await self._bury()
        return next((e for t in tasks if not t.cancelled() and (e := t.exception()) is not None), None)

    async def _until_gone(self) -> None:
        await self._gone.wait()

    async def _bury(self) -> None:
        while left := {task for task in self.tasks if not task.done()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **named: Any) -> asyncio.Task[Any]:
    """Make a task that belongs to the life which made it."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **named)
    life = _LIFE.get()
    if life is not None:
        life.tasks.add(task)
        task.add_done_callback(life.tasks.discard)
    return task
