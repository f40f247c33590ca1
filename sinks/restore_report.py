"""What a restore says of itself: progress while it runs, a plan before, a result afterwards. Pure but for its clock."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sinks.cut import Cut, Moment
    from sinks.object_files import Missing
    from sinks.pack_reader import Damage
    from sinks.restore_plan import Audit
    from sinks.targets import WriteReport

_PHASES: Final = {"history": (0.0, 30.0), "rows": (30.0, 40.0), "objects": (40.0, 100.0)}
"""Which part of the way each phase is, in percent: rough, but never backwards and never at the end too early."""
_BYTES_PER_SECOND: Final = 48 << 20
"""Expected of objects before anything was measured."""
_MEASURED_SECONDS_MIN: Final = 1.0


class Status(enum.StrEnum):
    """How a restore ended: everything that existed, some of it, or nothing."""

    WHOLE = "whole"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a restore stands; `eta_seconds` is None until it can be told."""

    phase: str
    percent: float
    done_bytes: int
    total_bytes: int
    bytes_per_second: float
    elapsed_seconds: float
    eta_seconds: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a restore would bring and cost; nothing was written to find out."""

    wedding: str | None
    cut: Cut
    rows: Mapping[str, int]
    objects: int
    bytes: int
    chunks: int
    frames: int
    stores: tuple[str, ...]
    estimated_seconds: float
    warnings: tuple[str, ...]
    missing: tuple[Missing, ...]
    events: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What a restore brought; `sources` counts frames by store, `at` is None for the latest instant."""

    restore_id: str
    wedding: str | None
    at: Moment
    cut: Cut
    rows: Mapping[str, int]
    objects: int
    bytes: int
    seconds: float
    status: Status
    warnings: tuple[str, ...]
    missing: tuple[Missing, ...]
    sources: Mapping[str, int]
    damages: tuple[Damage, ...]
    audit: Audit
    written: WriteReport | None
    events: int = 0


class Measure:
    """Counts bytes and tells the progress; one restore."""

    def __init__(self, seconds: Callable[[], float], tell: Callable[[Progress], None]) -> None:
        self._seconds, self._tell = seconds, tell
        self._began = self._phase_began = seconds()
        self._phase, self._done, self._total, self._percent = "", 0, 0, 0.0

    @property
    def elapsed_seconds(self) -> float:
        """Return how long it has been."""
        return self._seconds() - self._began

    def expect(self, phase: str, total_bytes: int) -> None:
        """Begin a phase of so many bytes."""
        self._phase, self._done, self._total = phase, 0, total_bytes
        self._phase_began = self._seconds()
        self._report()

    def done(self, count_bytes: int) -> None:
        """Count bytes of this phase."""
        self._done += count_bytes
        self._report()

    def finish(self) -> None:
        """Say that all is done."""
        elapsed = self.elapsed_seconds
        self._tell(
            Progress(
                phase="done",
                percent=100.0,
                done_bytes=self._done,
                total_bytes=self._total,
                bytes_per_second=0.0,
                elapsed_seconds=elapsed,
                eta_seconds=0.0,
            )
        )

    def estimate(self, count_bytes: int) -> float:
        """Return how many seconds a restore of so many bytes of objects will take, reading the history included."""
        return self.elapsed_seconds + count_bytes / _BYTES_PER_SECOND

    def _report(self) -> None:
        begin, end = _PHASES[self._phase]
        share = min(1.0, self._done / self._total) if self._total else 0.0
        phase_seconds = self._seconds() - self._phase_began
        rate = self._done / phase_seconds if phase_seconds > 0 else 0.0
        # A history that leads to another wedding's is begun anew; the progress waits for it.
        self._percent = max(self._percent, min(99.9, begin + (end - begin) * share))
        is_measured = self._phase == "objects" and phase_seconds >= _MEASURED_SECONDS_MIN and rate > 0
        self._tell(
            Progress(
                phase=self._phase,
                percent=self._percent,
                done_bytes=self._done,
                total_bytes=self._total,
                bytes_per_second=rate,
                elapsed_seconds=self.elapsed_seconds,
                eta_seconds=(self._total - self._done) / rate if is_measured else None,
            )
        )
