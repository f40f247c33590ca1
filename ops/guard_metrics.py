"""The guard's gauges: what it saw in its last look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.guard_rules import Level
from schemas import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.guard import Guard


def gauges(guard: Guard) -> dict[metrics.Metric, Callable[[], float]]:
    """Return what to read of a guard when somebody asks."""
    return {
        metrics.SLOT_KEPT_BYTES: lambda: guard.seen.slot.kept_bytes if guard.seen.slot else 0,
        metrics.SLOT_KEPT_PERCENT: lambda: _percent(guard),
        metrics.SLOT_LAG: lambda: _lag_seconds(guard),
        metrics.GUARD_ALARMS: lambda: len(guard.seen.alarms),
        metrics.GUARD_CRITICAL: lambda: sum(alarm.level is Level.CRITICAL for alarm in guard.seen.alarms),
        metrics.EPOCHS_BEGUN: lambda: guard.epochs_begun,
        metrics.TASKS_RESTARTED: lambda: guard.restarts,
    }


def _lag_seconds(guard: Guard) -> float:
    return guard.seen.lag.total_seconds()


def _percent(guard: Guard) -> float:
    slot = guard.seen.slot
    return 100 * slot.kept_bytes / slot.keep_bytes if slot is not None and slot.keep_bytes else 0.0
