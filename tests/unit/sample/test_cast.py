"""Who takes part is spread so that every case is there."""

from __future__ import annotations

import datetime as dt
import random
import zoneinfo

from ops.sample import cast
from tests.unit.sample.scripts import THURSDAY


def _weddings(count: int = 200) -> tuple[cast.SampleWedding, ...]:
    return cast.make_cast(random.Random(3), weddings=count, now=THURSDAY).weddings


def test_three_in_ten_weddings_are_in_the_eu() -> None:
    """Residency has something to hold."""
    eu = {country for _, country, _ in cast.EU_PLACES}

    assert sum(wedding.country in eu for wedding in _weddings()) == 60


def test_some_weddings_are_today_at_their_venue() -> None:
    """Today where the wedding is, which may be tomorrow here."""
    today = [
        wedding
        for wedding in _weddings()
        if wedding.zone and wedding.day == THURSDAY.astimezone(zoneinfo.ZoneInfo(wedding.zone)).date()
    ]

    assert len(today) >= 10


def test_there_are_past_coming_and_far_weddings() -> None:
    """Each class of priority has members."""
    days = [(wedding.day - THURSDAY.date()).days for wedding in _weddings()]

    assert min(days) < -30
    assert max(days) > 100
    assert sum(1 <= day <= 7 for day in days) > 20


def test_exactly_one_wedding_has_no_zone() -> None:
    """Somebody always forgets to write it down."""
    assert sum(wedding.zone is None for wedding in _weddings(20)) == 1


def test_every_zone_exists() -> None:
    """A misspelt zone would be an unknown one."""
    zones = {zone for _, _, zone in (*cast.EU_PLACES, *cast.OTHER_PLACES)}

    assert zones <= zoneinfo.available_timezones()


def test_saturday_is_its_own_coming_saturday() -> None:
    """On the day itself the load does not wait for next week."""
    saturday = dt.date(2026, 6, 20)

    assert cast.coming_saturday(saturday) == saturday
    assert cast.coming_saturday(saturday + dt.timedelta(days=1)) == saturday + dt.timedelta(days=7)
