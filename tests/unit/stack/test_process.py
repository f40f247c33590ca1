"""How one process starts, ends, and dies with its parent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from ops.stack.process import end, log_tail, spawn, tied_command
from ops.stack.state import process_identity
from tests.unit.stack.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

# A parent that starts one tied child, prints the child's number and then does nothing.
PARENT = """
import os, subprocess, sys, time
from ops.stack.process import tied_command
child = subprocess.Popen(tied_command(["sleep", "600"], parent_pid=os.getpid()))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="only Linux can tie a child to its parent")
async def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    """The kernel ends the child even when the parent had no chance to."""
    parent = await spawn((sys.executable, "-c", PARENT), log_file=tmp_path / "parent.log")
    await until(lambda: (tmp_path / "parent.log").read_text().strip().isdigit())
    child_pid = int((tmp_path / "parent.log").read_text())
    assert process_identity(child_pid) is not None

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    await until(lambda: process_identity(child_pid) is None)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="only Linux can tie a child to its parent")
async def test_a_child_whose_parent_is_gone_never_begins(tmp_path: Path) -> None:
    """Killed between fork and tie, the parent leaves nothing either."""
    somebody_else = os.getppid()
    argv = tied_command(("touch", str(tmp_path / "began")), parent_pid=somebody_else)
    process = await spawn(argv, log_file=tmp_path / "child.log")

    assert await asyncio.wait_for(process.wait(), 10) != 0
    assert not (tmp_path / "began").exists()


async def test_a_stubborn_process_is_killed_after_its_grace(tmp_path: Path) -> None:
    """Asking is polite, but `down` comes to an end."""
    stubborn = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    process = await spawn(stubborn, log_file=tmp_path / "stubborn.log")
    await until(lambda: log_tail(tmp_path / "stubborn.log") == "up")

    await end(process, grace_seconds=0.2)

    assert process.returncode == -signal.SIGKILL


def test_a_missing_log_has_a_tail_too(tmp_path: Path) -> None:
    """An error about a part that never wrote still has a hint."""
    assert log_tail(tmp_path / "none.log") == "(no log)"
