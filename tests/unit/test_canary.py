"""How long a canary is waited for, and which part is named when nothing moves on."""

from __future__ import annotations

import pytest

from ops.canary import Patience, Place, stalled


def test_a_backlog_may_take_long_and_a_stall_a_minute() -> None:
    """As long as anything moves on, the minute begins anew."""
    patience = Patience(0.0)

    assert not any(patience.is_over(Place(routed_lsn=at, archived_lsn=0, passed=0), at) for at in range(0, 600, 50))
    assert not patience.is_over(Place(routed_lsn=550, archived_lsn=0, passed=0), 600.0)
    assert patience.is_over(Place(routed_lsn=550, archived_lsn=0, passed=0), 611.0)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(routed_lsn=0x99, archived_lsn=0, passed=0), "the router is at 0/99 of 0/100"),
        (Place(routed_lsn=0x100, archived_lsn=0x42, passed=3), "the archive is at 0/42 of 0/100"),
    ],
)
def test_the_part_that_stands_still_is_named(place: Place, words: str) -> None:
    """Whoever reads it knows which log to open."""
    assert words in stalled(place, 0x100, 12)
    assert f"{place.passed} of 12" in stalled(place, 0x100, 12)
