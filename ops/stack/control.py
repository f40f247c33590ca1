"""Up, down, status: how everybody else starts and stops the local stack.

All are safe to repeat and safe after a crash: what counts is what runs now, not what a file remembers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from ops.stack import request, state
from ops.stack.artifacts import ensure_jars
from ops.stack.parts import ENGINES
from ops.stack.process import log_tail, tied_command
from ops.stack.state import PartStatus, is_alive
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.stack.settings import StackSettings
    from ops.stack.state import ProcessIdentity, StackState

_POLL_SECONDS: Final = 0.05
# All parts together get this long to leave in order; then they are killed.
_DOWN_SECONDS: Final = 60.0
# A part that died this often before it ever answered will not answer.
_HOPELESS_RESTARTS: Final = 5


async def up(
    settings: StackSettings, *, workers: Sequence[tuple[str, Sequence[str]]] | None = None, is_tied: bool = False
) -> StackState:
    """Start the stack and wait until every part answers; when it runs already, only the workers are brought in line.

    `workers` are (name, command line) pairs, started once the engines answer and kept alive like them; None leaves
    the running ones alone. `is_tied` ends the stack with the calling process; otherwise it lives until `down`.

    Raises:
        ConfigError: something is not installed, a port is taken, or a part dies at each start.
        TransientError: not every part answered within `ready_timeout_seconds`.
    """
    settings = settings.anchored()
    running = await status(settings)
    if running is None or workers is not None:
        request.write_workers(settings, workers or ())
    if running is not None:
        os.kill(running.supervisor.pid, signal.SIGHUP)
        return await wait_ready(settings, supervisor_pid=running.supervisor.pid)
    await ensure_jars(settings.jars_dir)
    await _sweep(settings)
    request.write_settings(settings)
    return await wait_ready(settings, supervisor_pid=_start_supervisor(settings, is_tied=is_tied))


async def start_workers(settings: StackSettings, workers: Sequence[tuple[str, Sequence[str]]]) -> StackState:
    """Make exactly these workers run beside the engines, and wait for them.

    Raises:
        ConfigError: the stack is down.
    """
    if await status(settings) is None:
        raise ConfigError("the local stack is down", hint="start it with `wedsync-backup up`")
    return await up(settings, workers=workers)


async def status(settings: StackSettings) -> StackState | None:
    """Return what runs now, or None when the stack is down (also when its supervisor was killed)."""
    seen = state.read(settings.state_file)
    return seen if seen is not None and is_alive(seen.supervisor) else None


async def down(settings: StackSettings) -> bool:
    """Stop everything in order and return once nothing is left; False when nothing ran."""
    running = await status(settings)
    if running is not None:
        os.kill(running.supervisor.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_until_gone(running.supervisor), _DOWN_SECONDS)
    await _sweep(settings)
    return running is not None


async def wait_ready(settings: StackSettings, *, supervisor_pid: int) -> StackState:
    """Wait until every part of a started stack answers.

    Raises:
        ConfigError: the supervisor gave up, or a part dies at each start.
        TransientError: not every part answered within `ready_timeout_seconds`.
    """
    try:
        return await asyncio.wait_for(_until_ready(settings, supervisor_pid), settings.ready_timeout_seconds)
    except TimeoutError as error:
        seen = await status(settings)
        late = sorted(name for name, part in seen.parts.items() if part.status is not PartStatus.READY) if seen else []
        raise TransientError(f"the stack is not ready: {late}", hint=f"see {settings.logs_dir}") from error


async def _until_ready(settings: StackSettings, supervisor_pid: int) -> StackState:
    while True:
        began = state.process_identity(supervisor_pid)
        seen = await status(settings)
        # When two call `up` at once, the slower one's supervisor leaves and the other's is just as good.
        if began is None and seen is None:
            hint = log_tail(settings.logs_dir / "supervisor.log")
            raise ConfigError("the stack's supervisor ended", hint=hint)
        if seen is not None and _is_all_there(settings, seen):
            return seen
        _refuse_hopeless(settings, seen)
        await asyncio.sleep(_POLL_SECONDS)


def _is_all_there(settings: StackSettings, seen: StackState) -> bool:
    # The supervisor may not have read the newest list of workers yet.
    wanted = {name for name, _ in request.read_workers(settings)}
    return seen.is_ready and seen.parts.keys() - set(ENGINES) == wanted


def _refuse_hopeless(settings: StackSettings, seen: StackState | None) -> None:
    for name, part in seen.parts.items() if seen else ():
        if part.status is PartStatus.WAITING and part.restarts >= _HOPELESS_RESTARTS:
            log_file = settings.logs_dir / f"{name}.log"
            raise ConfigError(f"{name} dies at each start", hint=f"{log_file} ends:\n{log_tail(log_file)}")


def _start_supervisor(settings: StackSettings, *, is_tied: bool) -> int:
    argv: tuple[str, ...] = (sys.executable, "-m", "ops.stack.supervisor", str(settings.request_file))
    if is_tied:
        argv = tied_command(argv, parent_pid=os.getpid())
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    log = os.open(settings.logs_dir / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        # Not `subprocess`: nobody waits for it, it outlives us on purpose.
        actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2), _no_input()]
        return os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsid=True)
    finally:
        os.close(log)


def _no_input() -> tuple[int, int, str, int, int]:
    return (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)


async def _sweep(settings: StackSettings) -> None:
    """End what a killed supervisor may have left, and forget it."""
    seen = state.read(settings.state_file)
    if seen is None:
        return
    left = [part.process for part in seen.parts.values() if part.process is not None]
    for process in (seen.supervisor, *left):
        if is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(_until_gone(process), _DOWN_SECONDS)
    settings.state_file.unlink(missing_ok=True)


async def _until_gone(process: ProcessIdentity) -> None:
    while True:
        if not is_alive(process):
            _bury(process.pid)
            return
        await asyncio.sleep(_POLL_SECONDS)


def _bury(pid: int) -> None:
    # Only when it was our own child is there anything to bury.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
