"""The pace of a load holds its rate, in bursts or evenly."""

from __future__ import annotations

import math

import pytest

from ops.sample.shapes import BURST_LENGTH_S, Pace, Shape


def _dues(shape: Shape, seconds: int) -> list[float]:
    pace = Pace(shape=shape, rate=500)
    return [pace.next_due_s(1) for _ in range(500 * seconds)]


@pytest.mark.parametrize("shape", Shape)
def test_every_shape_keeps_the_rate_over_whole_periods(shape: Shape) -> None:
    """Forty seconds of changes are due within forty seconds."""
    assert math.isclose(_dues(shape, 40)[-1], 40, rel_tol=0.01)


def test_saturday_comes_in_bursts() -> None:
    """Its first second holds two and a half seconds' worth."""
    first = [due for due in _dues(Shape.SATURDAY, 4) if due < BURST_LENGTH_S]

    assert len(first) == 1_250


def test_no_rate_means_at_once() -> None:
    """Nothing waits."""
    pace = Pace(shape=Shape.STEADY, rate=None)

    assert [pace.next_due_s(20) for _ in range(3)] == [0, 0, 0]
