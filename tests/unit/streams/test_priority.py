"""How soon a change must be safe, by the venue's own calendar."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.backup import Priority
from streams.priority import classify, valid_until
from tests.builders import NOON, a_wedding

ZONES = st.sampled_from(sorted(zoneinfo.available_timezones()))
INSTANTS = st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2035, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001


def test_same_day_is_the_venues_day() -> None:
    """At 15:00 UTC it is already the next day in Sydney, so tomorrow's wedding is today's."""
    afternoon_in_london = dt.datetime(2026, 6, 20, 15, tzinfo=dt.UTC)
    wedding = a_wedding(day=dt.date(2026, 6, 29), venue_zone="Australia/Sydney")

    assert classify(wedding, now=afternoon_in_london - dt.timedelta(hours=2)) is Priority.STANDARD
    # Eight days before in London, seven in Sydney.
    assert classify(a_wedding(day=dt.date(2026, 6, 28), venue_zone="Australia/Sydney"), now=afternoon_in_london) is (
        Priority.CRITICAL
    )


@pytest.mark.parametrize(
    ("days_ahead", "lane"),
    [(40, Priority.STANDARD), (8, Priority.STANDARD), (7, Priority.CRITICAL), (0, Priority.CRITICAL)],
)
def test_a_wedding_within_a_week_is_critical(days_ahead: int, lane: Priority) -> None:
    """Today's included."""
    wedding = a_wedding(day=NOON.date() + dt.timedelta(days=days_ahead))

    assert classify(wedding, now=NOON) is lane


@pytest.mark.parametrize(("hour", "lane"), [(10, Priority.CRITICAL), (11, Priority.STANDARD)])
def test_the_day_lasts_until_noon_of_the_next(hour: int, lane: Priority) -> None:
    """In London's summer that is eleven o'clock UTC."""
    wedding = a_wedding(day=dt.date(2026, 6, 9))

    assert classify(wedding, now=dt.datetime(2026, 6, 10, hour, 30, tzinfo=dt.UTC)) is lane


@pytest.mark.parametrize(("days_ahead", "lane"), [(0, Priority.CRITICAL), (1, Priority.HIGH), (2, Priority.STANDARD)])
def test_a_delivery_is_high_the_day_before_and_critical_on_its_day(days_ahead: int, lane: Priority) -> None:
    """Whatever the wedding's own date."""
    due = frozenset({NOON.date() + dt.timedelta(days=days_ahead)})

    assert classify(a_wedding(day=None, deliveries_due=due), now=NOON) is lane


@pytest.mark.parametrize("zone", [None, "", "Mars/Olympus", "../etc/passwd"])
def test_a_venue_without_a_known_zone_gets_the_widest_day(zone: str | None) -> None:
    """Fourteen hours ahead it is tomorrow already."""
    wedding = a_wedding(day=dt.date(2026, 6, 18), venue_zone=zone)

    assert classify(wedding, now=dt.datetime(2026, 6, 10, 10, tzinfo=dt.UTC)) is Priority.CRITICAL


@given(ZONES, INSTANTS, st.integers(-2, 9), st.integers(0, 899))
def test_a_classification_holds_as_long_as_it_says(zone: str, now: dt.datetime, ahead: int, seconds: int) -> None:
    """Days and noons of every zone begin on a quarter of an hour."""
    wedding = a_wedding(day=now.date() + dt.timedelta(days=ahead), venue_zone=zone)
    later = min(now + dt.timedelta(seconds=seconds), valid_until(now) - dt.timedelta(microseconds=1))

    assert classify(wedding, now=later) is classify(wedding, now=now)
