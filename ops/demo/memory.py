"""How much memory our own processes took at most, sampled from the kernel's own counters."""

from __future__ import annotations

import asyncio
import pathlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ops.stack.state import StackState

_EVERY_SECONDS: Final = 1.0
_OURS: Final = ("router", "sink", "folder", "api")
_KIB_PER_MB: Final = 1024


class Watch:
    """The largest resident size of each of our processes, in MB."""

    def __init__(self) -> None:
        self._processes: dict[str, int] = {}
        self._largest: dict[str, float] = {}

    def follow(self, state: StackState) -> None:
        """Watch the workers of a running platform."""
        self._processes = {
            name: part.process.pid for name, part in state.parts.items() if name in _OURS and part.process is not None
        }

    async def run(self) -> None:
        """Sample for ever."""
        while True:
            self.sample()
            await asyncio.sleep(_EVERY_SECONDS)

    def sample(self) -> None:
        """Read the peak of each process; one that is gone keeps its last figure."""
        for name, pid in self._processes.items():
            peak = _peak_mb(pid)
            if peak is not None:
                self._largest[name] = max(peak, self._largest.get(name, 0.0))

    def largest_mb(self) -> dict[str, float]:
        """Return each process's peak, and the largest of all."""
        return {
            **{name: round(size) for name, size in self._largest.items()},
            "largest": round(max(self._largest.values(), default=0)),
        }


def _peak_mb(pid: int) -> float | None:
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) / _KIB_PER_MB if found else None
