"""Faults drawn from a seed: which process, what is done to it, and when."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ops import bootstrap
from ops.stack import control

if TYPE_CHECKING:
    import random

    from ops.config import Settings

PARTS = ("router", "sink", "connect", "kafka", "postgres")
ACTS = ("kill", "restart", "freeze")
READY_SECONDS = 120


async def harm_for(settings: Settings, rng: random.Random, *, seconds: float, frozen_seconds: float) -> list[str]:
    """Do something to one process after the other until the time is over; return what was done."""
    done: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await asyncio.sleep(rng.uniform(0.2, 2.0))  # Not waiting for anything: the instant is what is drawn.
        part, act = rng.choice(PARTS), rng.choice(ACTS)
        pid = await _pid(settings, part)
        if pid is None:  # It is on its way back from the last time.
            continue
        done.append(f"{act} {part}")
        if act == "freeze":
            await _freeze(pid, rng.uniform(frozen_seconds / 4, frozen_seconds))
        else:
            _end(pid, part, act)
    await all_ready(settings)
    return done


async def all_ready(settings: Settings) -> None:
    """Wait until every part answers again, however often it died."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        state = await control.status(bootstrap.stack_settings(settings))
        assert state is not None, "the supervisor itself is never harmed"
        if state.is_ready:
            return
        assert time.monotonic() < deadline, f"not back: {state.parts}"
        await asyncio.sleep(0.1)


def _end(pid: int, part: str, act: str) -> None:
    # Postgres' "immediate" is its own word for a crash: everybody dies, the log is replayed at the next start.
    crash = signal.SIGQUIT if part == "postgres" else signal.SIGKILL
    gentle = signal.SIGINT if part == "postgres" else signal.SIGTERM
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, crash if act == "kill" else gentle)


async def _freeze(pid: int, seconds: float) -> None:
    frozen = [pid, *_descendants(pid)]
    try:
        _signal(frozen, signal.SIGSTOP)
        await asyncio.sleep(seconds)
    finally:
        _signal(frozen, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    """Return the processes below one: a server of many processes stands still only as a whole."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    return [each for child in map(int, words) for each in (child, *_descendants(child))]


async def _pid(settings: Settings, part: str) -> int | None:
    state = await control.status(bootstrap.stack_settings(settings))
    process = None if state is None else state.parts[part].process
    return None if process is None else process.pid
