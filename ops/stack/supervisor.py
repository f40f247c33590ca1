"""The one process that owns all parts: starts them side by side, restarts what dies, stops them in reverse.

Run by `control.up` as `python -m ops.stack.supervisor <request.json>`. It holds a lock for as long as it lives, so
two cannot own one folder. SIGTERM stops everything; SIGHUP reads the list of workers again. If it is killed itself,
the kernel kills its parts (`process.tied_command`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ops.stack import request
from ops.stack.parts import engine_parts, worker_part
from ops.stack.ports import choose_ports
from ops.stack.process import end, spawn
from ops.stack.state import PartState, PartStatus, StackState, encode, process_identity, replace_file
from schemas.errors import RefusedError, WedSyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.stack.parts import Part
    from ops.stack.settings import StackPorts, StackSettings

# The first restart is nearly at once; a part that dies again and again is tried every five seconds.
BACKOFF_FIRST_SECONDS: Final = 0.1
BACKOFF_LAST_SECONDS: Final = 5.0
# Having run this long, a death counts as the first again.
STEADY_SECONDS: Final = 30.0
_PROBE_EVERY_SECONDS: Final = 0.1


def backoff_seconds(deaths_in_a_row: int) -> float:
    """Return how long a part waits before its next start; `deaths_in_a_row` counts from 1."""
    return min(BACKOFF_FIRST_SECONDS * 2.0 ** (deaths_in_a_row - 1), BACKOFF_LAST_SECONDS)


class Supervisor:
    """Keeps the parts of one stack alive until it is told to stop."""

    def __init__(self, settings: StackSettings, ports: StackPorts, engines: Sequence[Part]) -> None:
        self._settings = settings
        self._ports = ports
        self._engines = engines
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._parts: dict[str, Part] = {}
        self._states: dict[str, PartState] = {}
        self._workers: set[str] = set()
        self._engines_answered = asyncio.Event()

    async def run(self, *, stop: asyncio.Event, reload: asyncio.Event) -> None:
        """Start everything, then serve until `stop`; `reload` reads the list of workers again."""
        for part in self._engines:
            self._start(part)
        follow = asyncio.create_task(self._follow_workers(reload), name="workers")
        try:
            await stop.wait()
        finally:
            follow.cancel()
            await asyncio.gather(follow, return_exceptions=True)
            for name in reversed(tuple(self._tasks)):
                await self._stop(name)

    def _start(self, part: Part) -> None:
        self._parts[part.name] = part
        self._show(part.name, PartState(status=PartStatus.STARTING))
        self._tasks[part.name] = asyncio.create_task(self._keep_alive(part), name=part.name)

    async def _stop(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._show(name, PartState(status=PartStatus.STOPPED, restarts=self._states[name].restarts))

    async def _keep_alive(self, part: Part) -> None:
        clock = asyncio.get_running_loop().time
        deaths_in_a_row = 0
        for restarts in range(sys.maxsize):
            began = clock()
            self._show(part.name, PartState(status=PartStatus.STARTING, restarts=restarts))
            await self._live_once(part, restarts)
            deaths_in_a_row = 1 if clock() - began > STEADY_SECONDS else deaths_in_a_row + 1
            self._show(part.name, PartState(status=PartStatus.WAITING, restarts=restarts))
            await asyncio.sleep(backoff_seconds(deaths_in_a_row))

    async def _live_once(self, part: Part, restarts: int) -> None:
        try:
            await part.prepare()
        except (WedSyncError, OSError) as error:
            # The only place that goes on after an error: this loop is what repairs it.
            _say(f"{part.name} could not be prepared: {error} {getattr(error, 'hint', '')}")
            return
        process = await spawn(part.argv, log_file=self._settings.logs_dir / f"{part.name}.log")
        state = PartState(status=PartStatus.STARTING, restarts=restarts, process=process_identity(process.pid))
        self._show(part.name, state)
        probing = asyncio.create_task(self._show_when_ready(part, state))
        try:
            code = await process.wait()
            _say(f"{part.name} (pid {process.pid}) ended with code {code}")
        finally:
            probing.cancel()
            await end(process, first=part.stop_signal, grace_seconds=part.stop_grace_seconds)

    async def _show_when_ready(self, part: Part, state: PartState) -> None:
        while True:
            if await part.answers():
                self._show(part.name, dataclasses.replace(state, status=PartStatus.READY))
                return
            await asyncio.sleep(_PROBE_EVERY_SECONDS)

    async def _follow_workers(self, reload: asyncio.Event) -> None:
        await self._engines_answered.wait()
        while True:
            wanted = {name: worker_part(name, argv) for name, argv in request.read_workers(self._settings)}
            for name in [name for name in self._workers if self._parts[name] != wanted.get(name)]:
                await self._stop(name)
                self._workers.remove(name)
                del self._states[name]
            for name in wanted.keys() - self._workers:
                self._workers.add(name)
                self._start(wanted[name])
            self._write()
            await reload.wait()
            reload.clear()

    def _show(self, name: str, state: PartState) -> None:
        self._states[name] = state
        self._write()
        if not self._engines_answered.is_set() and all(
            part.status is PartStatus.READY for part in self._states.values()
        ):
            self._engines_answered.set()

    def _write(self) -> None:
        me = process_identity(os.getpid())
        assert me is not None, "whoever asks is alive"
        state = StackState(supervisor=me, ports=self._ports, parts=dict(self._states))
        replace_file(self._settings.state_file, encode(state))


async def serve(settings: StackSettings) -> None:
    """Own the stack of one folder until SIGTERM or SIGINT.

    Raises:
        RefusedError: another supervisor owns it.
    """
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with (settings.run_dir / "supervisor.lock").open("w") as lock:
        _own(lock)
        stop, reload = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        ports = choose_ports(settings)
        await Supervisor(settings, ports, engine_parts(settings, ports)).run(stop=stop, reload=reload)
        settings.state_file.unlink(missing_ok=True)


def _own(lock: IO[str]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RefusedError("another supervisor owns this folder", hint="`wedsync-backup status` shows it") from error


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Serve the request named on the command line; returns the process's exit code."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(request.read_settings(Path(sys.argv[1]))))
    except WedSyncError as error:
        _say(f"{error}\n{error.hint}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
