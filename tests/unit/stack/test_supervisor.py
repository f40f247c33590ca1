"""How parts are kept alive: with small programs instead of engines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from ops.stack import request, state
from ops.stack.parts import Part, worker_part
from ops.stack.settings import StackPorts, StackSettings
from ops.stack.state import PartState, PartStatus
from ops.stack.supervisor import BACKOFF_LAST_SECONDS, Supervisor, backoff_seconds
from tests.unit.stack.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PORTS = StackPorts(kafka=1, kafka_controller=2, connect=3, postgres=4)
SLEEPER = ("sleep", "600")


class Rig:
    """One supervisor over small programs, and what it says about them."""

    def __init__(self, folder: Path, parts: tuple[Part, ...]) -> None:
        self.settings = StackSettings(state_dir=folder)
        self.reload = asyncio.Event()
        self._stop = asyncio.Event()
        self._supervisor = Supervisor(self.settings, PORTS, parts)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the supervisor for as long as the context lasts."""
        task = asyncio.create_task(self._supervisor.run(stop=self._stop, reload=self.reload))
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.wait_for(task, 20)

    def part(self, name: str) -> PartState | None:
        """Return what the state file says about one part."""
        seen = state.read(self.settings.state_file)
        return seen.parts.get(name) if seen is not None else None

    def pid(self, name: str) -> int:
        """Return the process id of a part that runs."""
        part = self.part(name)
        assert part is not None
        assert part.process is not None
        return part.process.pid

    def is_ready(self, name: str, *, restarts: int = 0) -> bool:
        """Tell whether a part answers in its n-th life."""
        part = self.part(name)
        return part is not None and part.status is PartStatus.READY and part.restarts == restarts


async def test_a_killed_part_is_started_again(tmp_path: Path) -> None:
    """A death is an event, not an end."""
    rig = Rig(tmp_path, (worker_part("a", SLEEPER),))
    async with rig.running():
        await until(lambda: rig.is_ready("a"))
        os.kill(rig.pid("a"), signal.SIGKILL)
        await until(lambda: rig.is_ready("a", restarts=1))


async def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    """After the supervisor returned, no part runs."""
    rig = Rig(tmp_path, (worker_part("a", SLEEPER), worker_part("b", SLEEPER)))
    async with rig.running():
        await until(lambda: rig.is_ready("a") and rig.is_ready("b"))
        pids = [rig.pid("a"), rig.pid("b")]

    assert [state.process_identity(pid) for pid in pids] == [None, None]


async def test_workers_wait_for_the_engines(tmp_path: Path) -> None:
    """A worker never meets a broker that does not answer yet."""
    answers = asyncio.Event()

    async def is_answering() -> bool:
        return answers.is_set()

    rig = Rig(tmp_path, (Part(name="engine", argv=SLEEPER, answers=is_answering),))
    request.write_workers(rig.settings, [("worker", SLEEPER)])
    async with rig.running():
        await until(lambda: rig.part("engine") is not None)
        assert rig.part("worker") is None
        answers.set()
        await until(lambda: rig.is_ready("worker"))


async def test_the_list_of_workers_is_obeyed_while_running(tmp_path: Path) -> None:
    """Who leaves the list is stopped, who joins it is started, who stays is left alone."""
    rig = Rig(tmp_path, (worker_part("engine", SLEEPER),))
    request.write_workers(rig.settings, [("leaves", SLEEPER), ("stays", SLEEPER)])
    async with rig.running():
        await until(lambda: rig.is_ready("leaves") and rig.is_ready("stays"))
        before = rig.pid("stays")
        request.write_workers(rig.settings, [("stays", SLEEPER), ("joins", SLEEPER)])
        rig.reload.set()
        await until(lambda: rig.is_ready("joins") and rig.part("leaves") is None)
        assert rig.pid("stays") == before


def test_backoff_grows_to_a_bound() -> None:
    """The first restart is at once, a hopeless part costs one start in five seconds."""
    assert backoff_seconds(1) < 0.2
    assert backoff_seconds(4) > backoff_seconds(3)
    assert backoff_seconds(1000) == BACKOFF_LAST_SECONDS
