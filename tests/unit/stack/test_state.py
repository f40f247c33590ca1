"""What the supervisor says about itself, and whether it is still true."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops.stack import state
from ops.stack.settings import StackPorts
from ops.stack.state import PartState, PartStatus, ProcessIdentity, StackState

if TYPE_CHECKING:
    from pathlib import Path

ME = ProcessIdentity(pid=7, started=11)
PORTS = StackPorts(kafka=1, kafka_controller=2, connect=3, postgres=4)


def a_state(**parts: PartStatus) -> StackState:
    """Return a state whose parts have these statuses."""
    return StackState(
        supervisor=ME, ports=PORTS, parts={name: PartState(status=status, process=ME) for name, status in parts.items()}
    )


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    """What was written is what is read."""
    written = a_state(kafka=PartStatus.READY, connect=PartStatus.WAITING)
    state.replace_file(tmp_path / "run" / "supervisor.json", state.encode(written))

    assert state.read(tmp_path / "run" / "supervisor.json") == written


def test_a_missing_state_is_none(tmp_path: Path) -> None:
    """A stack that never ran has no state."""
    assert state.read(tmp_path / "supervisor.json") is None


def test_a_stack_is_ready_when_every_part_is() -> None:
    """One part that still starts makes the whole stack not ready."""
    assert a_state(kafka=PartStatus.READY, connect=PartStatus.READY).is_ready
    assert not a_state(kafka=PartStatus.READY, connect=PartStatus.STARTING).is_ready


def test_a_recycled_process_id_is_another_process() -> None:
    """The same number with another birth is not the process we meant."""
    me = state.process_identity(os.getpid())

    assert me is not None
    assert state.is_alive(me)
    assert not state.is_alive(ProcessIdentity(pid=me.pid, started=me.started - 1))


def test_nobody_has_an_impossible_process_id() -> None:
    """A number beyond the kernel's range belongs to nobody."""
    assert state.process_identity(2**22 + 1) is None
