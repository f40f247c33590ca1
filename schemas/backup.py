"""The promises of a backup: how urgent, how many copies, where, and in which state.

Pure vocabulary: enums and tables, no behaviour beyond looking something up.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Final


class Priority(enum.StrEnum):
    """The lane a change travels in; one backup topic each."""

    CRITICAL = "critical"
    HIGH = "high"
    STANDARD = "standard"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLevel:
    """What one priority is promised."""

    durable_within: dt.timedelta
    bandwidth_percent: int
    copies: int


SERVICE_LEVELS: Final = {
    Priority.CRITICAL: ServiceLevel(durable_within=dt.timedelta(seconds=5), bandwidth_percent=50, copies=5),
    Priority.HIGH: ServiceLevel(durable_within=dt.timedelta(seconds=30), bandwidth_percent=30, copies=3),
    Priority.STANDARD: ServiceLevel(durable_within=dt.timedelta(minutes=2), bandwidth_percent=20, copies=3),
}
assert sum(level.bandwidth_percent for level in SERVICE_LEVELS.values()) == 100  # noqa: PLR2004 - percent

COPIES_PROTECTED: Final = 3
"""Verified copies, each in a failure domain of its own, before anything is called protected."""


class Residency(enum.StrEnum):
    """Where a wedding's bytes may lie.

    `UNKNOWN` is kept as strictly as `EU`: a wedding whose calendar row has not arrived
    yet may turn out to be European, and a byte that left cannot be called back.
    """

    EU = "eu"
    ANYWHERE = "anywhere"
    UNKNOWN = "unknown"

    @property
    def placement_class(self) -> PlacementClass:
        """Return which stores may hold it."""
        return PlacementClass.ANYWHERE if self is Residency.ANYWHERE else PlacementClass.EU


class PlacementClass(enum.StrEnum):
    """A set of stores that may hold a pack; packs never mix classes."""

    EU = "eu"
    ANYWHERE = "anywhere"


PLATFORM: Final = "@platform"
"""The pseudo-wedding of rows that belong to none: vendors, transaction ends, schemas, TRUNCATE."""

QUARANTINE: Final = "@quarantine"
"""The pseudo-wedding of rows whose parent row is not known yet."""

UNREAD: Final = "@unread"
"""The pseudo-wedding of what could not be read: dead letters, and what became of them."""


EU_COUNTRIES: Final = frozenset(
    "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE".split()  # noqa: SIM905
)


def residency_of_country(country: str | None) -> Residency:
    """Return the residency of an ISO 3166-1 alpha-2 country; a missing or odd one is unknown."""
    if not country or len(country.strip()) != 2:  # noqa: PLR2004 - alpha-2
        return Residency.UNKNOWN
    return Residency.EU if country.strip().upper() in EU_COUNTRIES else Residency.ANYWHERE
