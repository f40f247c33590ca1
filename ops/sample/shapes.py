"""How scenes are spread over weddings and over time. Pure.

`steady` treats all alike; `saturday` gives the coming Saturday's weddings ten times their share and comes in
bursts; `photo_upload` is photographers emptying their cards: many photos, few other changes.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.sample.cast import SampleWedding


class Shape(enum.StrEnum):
    """The three kinds of traffic."""

    STEADY = "steady"
    SATURDAY = "saturday"
    PHOTO_UPLOAD = "photo_upload"


SATURDAY_SHARE: Final = 10
BURST_PERIOD_S: Final = 4.0
BURST_LENGTH_S: Final = 1.0
BURST_FACTOR: Final = 2.5
LULL_FACTOR: Final = (BURST_PERIOD_S - BURST_LENGTH_S * BURST_FACTOR) / (BURST_PERIOD_S - BURST_LENGTH_S)
assert 0 < LULL_FACTOR < 1, "a burst and its lull average to the rate that was asked for"


@dataclasses.dataclass(slots=True, kw_only=True)
class Pace:
    """When each operation is due, in seconds from the start; no rate means at once (as fast as it goes)."""

    shape: Shape
    rate: float | None
    due_s: float = 0.0

    def next_due_s(self, changes: int) -> float:
        """Return when an operation of `changes` row changes is due, and move on by its share of time."""
        due = self.due_s
        if self.rate is not None:
            self.due_s += changes / (self.rate * self._factor())
        return due

    def _factor(self) -> float:
        if self.shape is not Shape.SATURDAY:
            return 1.0
        return BURST_FACTOR if self.due_s % BURST_PERIOD_S < BURST_LENGTH_S else LULL_FACTOR


def weights(shape: Shape, weddings: Sequence[SampleWedding]) -> list[int]:
    """Return how often each wedding comes up, relative to the others."""
    if shape is not Shape.SATURDAY:
        return [1] * len(weddings)
    return [SATURDAY_SHARE if wedding.is_coming_saturday else 1 for wedding in weddings]
