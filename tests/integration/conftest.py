"""The real stack, started once for all integration tests. Missing programs are an error here, never a skip."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.stack import control, postgres
from ops.stack.settings import StackSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack.state import StackState


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalStack:
    """A running stack and what a test may do to it; `state` is as it was when the stack came up."""

    settings: StackSettings
    state: StackState

    @property
    def bootstrap_servers(self) -> str:
        """Return Kafka's address."""
        return self.state.ports.bootstrap_servers

    @property
    def connect_url(self) -> str:
        """Return Kafka Connect's address."""
        return self.state.ports.connect_url

    def dsn(self, database: str = "postgres") -> str:
        """Return the superuser's connection string."""
        return postgres.dsn(self.settings, self.state.ports, database=database)

    async def pid(self, name: str) -> int:
        """Return the process id a part has now."""
        seen = await control.status(self.settings)
        assert seen is not None, "the stack is down"
        process = seen.parts[name].process
        assert process is not None, f"{name} is down"
        return process.pid

    async def kill(self, name: str) -> int:
        """Kill a part as a power cut would, return the process id it had; the supervisor starts it again."""
        pid = await self.pid(name)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                seen = await control.status(self.settings)
                process = seen.parts[name].process if seen is not None else None
                if process is None or process.pid != pid:
                    return pid
                await asyncio.sleep(0.01)

    async def restart(self, name: str) -> None:
        """Kill a part and wait until the whole stack answers again."""
        await self.kill(name)
        await self.wait_ready()

    async def wait_ready(self) -> StackState:
        """Wait until every part answers."""
        return await control.wait_ready(self.settings, supervisor_pid=self.state.supervisor.pid)

    def processes(self) -> list[int]:
        """Return the ids of all processes of this stack, whoever started them."""
        return processes_of(self.settings.state_dir)


def processes_of(folder: Path) -> list[int]:
    """Return the ids of all processes that name this folder or work in it (Postgres renames itself)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            works_in = (entry / "cwd").readlink()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if os.fsencode(folder) in words or works_in.is_relative_to(folder):
            found.append(int(entry.name))
    return found


def a_stack_folder() -> Path:
    """Return a new folder for one stack; its path is short and only we may enter it."""
    return Path(tempfile.mkdtemp(prefix="wedsync-stack-"))


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """Run the real stack for the whole session; afterwards neither a process nor a file of it is left."""
    folder = a_stack_folder()
    settings = StackSettings(state_dir=folder)
    try:
        # Tied: a test run that is killed takes the stack with it.
        state = asyncio.run(control.up(settings, is_tied=True))
        yield LocalStack(settings=settings, state=state)
    finally:
        asyncio.run(control.down(settings))
        assert processes_of(folder) == []
        shutil.rmtree(folder)
