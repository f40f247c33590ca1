"""How soon a change must be safe. Pure: no clock, no Kafka, no Faust.

A change is as urgent as its wedding is near, counted in days at the venue: "same day" in Sydney
begins while it is still yesterday in London, and lasts until noon of the day after. A venue whose
zone nobody knows gets the widest day the Earth has.
"""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from typing import TYPE_CHECKING, Final

from schemas.backup import Priority

if TYPE_CHECKING:
    from schemas.wedding import Wedding

NEAR_DAYS: Final = 7
"""A wedding this many days ahead, the coming Saturday's among them, is critical."""

_NOON: Final = dt.time(12)
_EARLIEST_ZONE: Final = dt.timezone(dt.timedelta(hours=14))
_LATEST_ZONE: Final = dt.timezone(dt.timedelta(hours=-12))
_QUARTER: Final = dt.timedelta(minutes=15)


def classify(wedding: Wedding, *, now: dt.datetime) -> Priority:
    """Return the lane of a wedding's changes at `now` (aware)."""
    zones = _zones(wedding.venue_zone)
    if any(_is_critical(wedding, now.astimezone(zone)) for zone in zones):
        return Priority.CRITICAL
    if any(_is_due_tomorrow(wedding, now.astimezone(zone)) for zone in zones):
        return Priority.HIGH
    return Priority.STANDARD


def valid_until(now: dt.datetime) -> dt.datetime:
    """Return until when a classification made at `now` holds.

    Days and noons begin on a quarter of an hour of UTC, since every zone's offset is a multiple of 15 minutes.
    """
    whole = now.replace(minute=now.minute - now.minute % 15, second=0, microsecond=0)
    return whole + _QUARTER


def _is_critical(wedding: Wedding, local: dt.datetime) -> bool:
    if local.date() in wedding.deliveries_due:
        return True
    if wedding.day is None:
        return False
    days_ahead = (wedding.day - local.date()).days
    is_morning_after = days_ahead == -1 and local.time() < _NOON
    return 0 <= days_ahead <= NEAR_DAYS or is_morning_after


def _is_due_tomorrow(wedding: Wedding, local: dt.datetime) -> bool:
    return local.date() + dt.timedelta(days=1) in wedding.deliveries_due


@functools.lru_cache(maxsize=1024)
def _zones(name: str | None) -> tuple[dt.tzinfo, ...]:
    if name:
        try:
            return (zoneinfo.ZoneInfo(name),)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    return (_EARLIEST_ZONE, _LATEST_ZONE)
