"""What routing needs to know of a wedding. Pure.

A wedding's *day* is a date at its venue; only with the venue's zone does it become instants.
"""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003 - dataclass fields are read at run time

from schemas.backup import Residency


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wedding:
    """One line of the calendar.

    `venue_zone` is an IANA name, or None when nobody wrote it down. `day` is None while no date
    is fixed. `deliveries_due` are the dates, at the venue, on which something is promised. `urgent_until`
    is when a request for urgency ends, `uploaded_at` the store's instant of the last object put.
    """

    wedding: str
    day: dt.date | None
    venue_zone: str | None
    residency: Residency = Residency.UNKNOWN
    deliveries_due: frozenset[dt.date] = frozenset()
    urgent_until: dt.datetime | None = None
    uploaded_at: dt.datetime | None = None
