"""Builders for scripts of a load."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ops.sample.plan import Planner, Script, Upload
from ops.sample.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Container

    from ops.sample.statements import Transaction

THURSDAY = dt.datetime(2026, 6, 18, 9, 30, tzinfo=dt.UTC)


def a_script(**changed: Any) -> Script:
    """Return a small script."""
    wanted: dict[str, Any] = {
        "changes": 2_000,
        "weddings": 40,
        "photos": 16,
        "photo_bytes_total": 16_000,
        "shape": Shape.STEADY,
        "seed": 7,
        "now": THURSDAY,
        "lanes": 4,
    }
    return Script(**(wanted | changed))


def operations(script: Script, left_alone: Container[str] = ()) -> list[Transaction | Upload]:
    """Return all operations of a script, the platform's first."""
    planner = Planner(script)
    return [*planner.platform(), *planner.openings(left_alone), *planner.plan(left_alone)]
