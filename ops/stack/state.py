"""What the supervisor says about itself: a small JSON file, replaced in one step, read by everybody else.

A process id alone proves nothing, because the kernel gives it to another process after a death. So each process
is named by its id *and* the instant it began.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.stack.settings import StackPorts

if TYPE_CHECKING:
    from collections.abc import Mapping

_STAT_START_FIELD: Final = 19  # field 22 of /proc/<pid>/stat, counted after the command's closing bracket
_STAT_STATE_FIELD: Final = 0


class PartStatus(enum.StrEnum):
    """Where one part stands."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"  # it died and waits for its next start
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process, also after its number was given to another: `started` is the kernel's count of ticks."""

    pid: int
    started: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One part as last seen by the supervisor; `process` is None while it waits or is stopped."""

    status: PartStatus
    restarts: int = 0
    process: ProcessIdentity | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """The whole stack as last seen by its supervisor."""

    supervisor: ProcessIdentity
    ports: StackPorts
    parts: Mapping[str, PartState]

    @property
    def is_ready(self) -> bool:
        """Tell whether every part answers."""
        return all(part.status is PartStatus.READY for part in self.parts.values())


def process_identity(pid: int) -> ProcessIdentity | None:
    """Return who has this process id now, or None when nobody does or it is only waiting to be buried."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None if Path("/proc").exists() else _identity_without_proc(pid)
    except ProcessLookupError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[_STAT_STATE_FIELD] in "ZX":
        return None
    return ProcessIdentity(pid=pid, started=int(fields[_STAT_START_FIELD]))


def is_alive(process: ProcessIdentity) -> bool:
    """Tell whether this very process still runs."""
    return process_identity(process.pid) == process


def encode(state: StackState) -> str:
    """Return the state as JSON."""
    return json.dumps(dataclasses.asdict(state), indent=1)


def decode(text: str) -> StackState:
    """Return the state from its JSON."""
    raw = json.loads(text)
    return StackState(
        supervisor=ProcessIdentity(**raw["supervisor"]),
        ports=StackPorts(**raw["ports"]),
        parts={name: _part(part) for name, part in raw["parts"].items()},
    )


def read(path: Path) -> StackState | None:
    """Return the state last written, whether or not its supervisor still lives; None when there is none."""
    try:
        return decode(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace_file(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _part(raw: dict[str, object]) -> PartState:
    process = raw["process"]
    assert isinstance(process, dict | None)
    return PartState(
        status=PartStatus(str(raw["status"])),
        restarts=int(str(raw["restarts"])),
        process=None if process is None else ProcessIdentity(**process),
    )


def _identity_without_proc(pid: int) -> ProcessIdentity | None:
    # Not Linux: existence is all that can be asked.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return ProcessIdentity(pid=pid, started=0)
