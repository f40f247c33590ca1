"""What counts as archived twice, and what was sealed twice on purpose."""

from __future__ import annotations

from typing import Any

from ops.instants import Instants
from tests import builders


def counted(*again: bool) -> Instants:
    """Return the counts after one change was archived so many times."""
    found = Instants()
    change: dict[str, Any] = builders.a_change(position=7, payload=builders.a_row("public.guests", after={"id": 1}))
    for is_again in again:
        found.take({**change, "kind": "row", "routed_at": 0, "again": is_again}, "critical", 1, 2)
    return found


def test_a_promoted_change_is_not_repeated() -> None:
    """It lies in the lane it waited in and in the one it was moved to, in whichever order they are read."""
    assert (counted(False, True).repeated, counted(True, False).repeated) == (0, 0)


def test_a_change_archived_twice_is_told() -> None:
    """Promoted or not."""
    assert (counted(False, False).repeated, counted(True, False, False).repeated) == (1, 1)
    assert counted(True, False, False).changes == 1
