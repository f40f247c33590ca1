"""Starting and ending one process: own log, own process group, and no life without its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# One old log is kept; a part that fails in a loop must not fill the disk.
LOG_BYTES_MAX: Final = 16 << 20
# The kernel may kill the parent between fork and `setpriv`: then nobody would ever send the signal.
_ONLY_UNDER_PARENT: Final = '[ "$PPID" = "$0" ] && exec "$@"'


def tied_command(
    argv: Sequence[str], *, parent_pid: int, user: str | None = None, may_search: bool = False
) -> tuple[str, ...]:
    """Return a command that runs `argv` and is killed by the kernel when its parent dies, however that dies.

    `user` drops root to that account; `may_search` lets it pass through folders closed to it, on the way to its own.
    Where there is no `setpriv` (not Linux), the command is returned as it is: a killed parent then leaves orphans.
    """
    if shutil.which("setpriv") is None:
        return tuple(argv)
    account = () if user is None else ("--reuid", user, "--regid", user, "--init-groups")
    search = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search") if may_search else ()
    tie = ("setpriv", *account, *search, "--pdeathsig", "KILL", "--")
    return (*tie, "sh", "-c", _ONLY_UNDER_PARENT, str(parent_pid), *argv)


async def spawn(argv: Sequence[str], *, log_file: Path) -> asyncio.subprocess.Process:
    """Start a process in a group of its own, its output appended to `log_file`."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    _rotate(log_file)
    with log_file.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


async def end(
    process: asyncio.subprocess.Process, *, first: signal.Signals = signal.SIGTERM, grace_seconds: float = 15.0
) -> None:
    """Ask a process to stop, then kill its whole group; returns once it is gone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(first)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace_seconds)
    # The group outlives its leader when a part left helpers behind.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def log_tail(log_file: Path, *, lines: int = 15) -> str:
    """Return the last lines of a log, for an error's hint."""
    try:
        text = log_file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def _rotate(log_file: Path) -> None:
    if log_file.exists() and log_file.stat().st_size > LOG_BYTES_MAX:
        log_file.replace(log_file.with_suffix(".log.1"))
