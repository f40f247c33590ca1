"""Who takes part: weddings all over the world, their venues, and the vendors. Pure and seeded.

The spread is by quota, not by luck, so that even twenty weddings hold every case: three in ten in the EU,
one in twenty today at its venue, some on the coming Saturday, one whose zone nobody wrote down.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
import zoneinfo
from typing import TYPE_CHECKING, Final

import orjson

from ops.sample import statements as say
from ops.sample.statements import Statement

if TYPE_CHECKING:
    import random

EU_PLACES: Final = (
    ("Firenze", "IT", "Europe/Rome"),
    ("Paris", "FR", "Europe/Paris"),
    ("Sevilla", "ES", "Europe/Madrid"),
    ("Wien", "AT", "Europe/Vienna"),
    ("Kraków", "PL", "Europe/Warsaw"),
    ("Dublin", "IE", "Europe/Dublin"),
    ("Ponta Delgada", "PT", "Atlantic/Azores"),
    ("Αθήνα", "GR", "Europe/Athens"),
    ("Helsinki", "FI", "Europe/Helsinki"),
)
OTHER_PLACES: Final = (
    ("New York", "US", "America/New_York"),
    ("Honolulu", "US", "Pacific/Honolulu"),
    ("São Paulo", "BR", "America/Sao_Paulo"),
    ("St. John's", "CA", "America/St_Johns"),
    ("London", "GB", "Europe/London"),
    ("Marrakech", "MA", "Africa/Casablanca"),
    ("Cape Town", "ZA", "Africa/Johannesburg"),
    ("Jaipur", "IN", "Asia/Kolkata"),
    ("Kathmandu", "NP", "Asia/Kathmandu"),
    ("京都", "JP", "Asia/Tokyo"),
    ("Sydney", "AU", "Australia/Sydney"),
    ("Chatham Islands", "NZ", "Pacific/Chatham"),
    ("Kiritimati", "KI", "Pacific/Kiritimati"),
    ("Apia", "WS", "Pacific/Apia"),
    ("Ciudad de México", "MX", "America/Mexico_City"),
    ("Dubai", "AE", "Asia/Dubai"),
)
FIRST_NAMES: Final = (
    "Amara",
    "José",
    "Zoë",
    "Liam",
    "美咲",
    "Aoife",
    "Björn",
    "Chloé",
    "Noah",
    "Ngũgĩ",
    "Priya",
    "Мария",
)
LAST_NAMES: Final = ("O'Brien", "García", "Nakamura", "Müller", "Okafor", "Smith", "D'Angelo", "Łukasik", "Nguyễn")
VENDOR_KINDS: Final = ("photographer", "caterer", "florist", "band", "baker", "planner")
AMENITIES: Final = ("garden", "piano", "wheelchair access", 'the "blue" hall', "parking, free", "chapel")
EU_TENTHS: Final = frozenset({1, 4, 7})
TODAY_TWENTIETHS: Final = frozenset({0})
SATURDAY_TWENTIETHS: Final = frozenset({2, 11})
WEEK_TWENTIETHS: Final = frozenset({3, 6, 13})
PAST_TWENTIETHS: Final = frozenset({5, 9, 14, 18})
ZONELESS_WEDDING: Final = 8
SATURDAY: Final = 5
WEDDINGS_PER_VENUE: Final = 5
WEDDINGS_PER_VENDOR: Final = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleWedding:
    """One wedding of the cast; `zone` None means nobody wrote it down."""

    id: str
    partners: tuple[str, str]
    day: dt.date
    venue: str
    zone: str | None
    country: str
    is_coming_saturday: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """All who take part, with the statements that write the platform's own rows."""

    weddings: tuple[SampleWedding, ...]
    vendors: tuple[str, ...]
    platform_rows: tuple[Statement, ...]


def seeded_uuid(rng: random.Random) -> str:
    """Return a version-4 UUID drawn from the seed."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def happens(rng: random.Random, share: float) -> bool:
    """Return True in `share` of all cases."""
    return rng.random() < share


def full_name(rng: random.Random) -> str:
    """Return a name that no ASCII column survives."""
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"


def make_cast(rng: random.Random, *, weddings: int, now: dt.datetime) -> Cast:
    """Draw `weddings` weddings around the instant `now`, with venues and vendors to suit."""
    venues: dict[str, list[str]] = {}
    rows: list[Statement] = []
    drawn = [_wedding(rng, index, now, venues, rows) for index in range(weddings)]
    vendors = tuple(seeded_uuid(rng) for _ in range(max(6, weddings // WEDDINGS_PER_VENDOR)))
    rows.extend(_vendor(rng, vendor, now) for vendor in vendors)
    return Cast(weddings=tuple(drawn), vendors=vendors, platform_rows=tuple(rows))


def coming_saturday(today: dt.date) -> dt.date:
    """Return the Saturday that `today` is, or the next one."""
    return today + dt.timedelta(days=(SATURDAY - today.weekday()) % 7)


def wedding_row(rng: random.Random, wedding: SampleWedding, now: dt.datetime) -> Statement:
    """Return the statement that adds a wedding to the calendar."""
    return Statement(
        sql=say.WEDDING_ADDED,
        parameters=(
            wedding.id,
            *wedding.partners,
            wedding.day,
            wedding.venue,
            wedding.zone,
            wedding.country,
            "celebrated" if wedding.day < now.date() else "planning",
            f"{rng.randrange(500_00, 90_000_00) / 100:.2f}",
            preferences(rng),
            rng.sample(("beach", "garden", "two days", "kids", "vegan"), k=rng.randrange(4)),
            now - dt.timedelta(days=rng.randrange(1, 500), microseconds=rng.randrange(10**9)),
        ),
    )


def preferences(rng: random.Random) -> str:
    """Return a couple's wishes as JSON text, nested and with numbers a float cannot hold."""
    return orjson.dumps(
        {
            "music": rng.choice(["jazz", "bhangra", "none"]),
            "palette": [f"#{rng.randrange(16**6):06x}" for _ in range(rng.randrange(1, 4))],
            "first_dance": {"song": 'Só "Tinha" de Ser', "bars": rng.randrange(2**60)},
            "no_list": None,
        }
    ).decode()


def _wedding(
    rng: random.Random, index: int, now: dt.datetime, venues: dict[str, list[str]], rows: list[Statement]
) -> SampleWedding:
    places = EU_PLACES if index % 10 in EU_TENTHS else OTHER_PLACES
    city, country, zone = places[(index // 3) % len(places)]
    today = now.astimezone(zoneinfo.ZoneInfo(zone)).date()
    halls = venues.setdefault(city, [])
    if not halls or rng.randrange(WEDDINGS_PER_VENUE) == 0:
        halls.append(seeded_uuid(rng))
        rows.append(_venue(rng, halls[-1], (city, country, zone)))
    return SampleWedding(
        id=seeded_uuid(rng),
        partners=(full_name(rng), full_name(rng)),
        day=_day(rng, index % 20, today),
        venue=rng.choice(halls),
        zone=None if index == ZONELESS_WEDDING else zone,
        country=country,
        is_coming_saturday=index % 20 in SATURDAY_TWENTIETHS,
    )


def _day(rng: random.Random, twentieth: int, today: dt.date) -> dt.date:
    if twentieth in TODAY_TWENTIETHS:
        return today
    if twentieth in SATURDAY_TWENTIETHS:
        return coming_saturday(today)
    if twentieth in WEEK_TWENTIETHS:
        return today + dt.timedelta(days=rng.randrange(1, 8))
    if twentieth in PAST_TWENTIETHS:
        return today - dt.timedelta(days=rng.randrange(1, 900))
    return today + dt.timedelta(days=rng.randrange(9, 540))


def _venue(rng: random.Random, venue: str, place: tuple[str, str, str]) -> Statement:
    city, country, zone = place
    return Statement(
        sql=say.VENUE_ADDED,
        parameters=(
            venue,
            f"{rng.choice(LAST_NAMES)} House",
            city,
            country,
            zone,
            rng.randrange(20, 800),
            rng.uniform(-90, 90),
            rng.uniform(-180, 180),
            dt.time(rng.randrange(6, 12), 30),
            rng.sample(AMENITIES, k=rng.randrange(len(AMENITIES))),
        ),
    )


def _vendor(rng: random.Random, vendor: str, now: dt.datetime) -> Statement:
    return Statement(
        sql=say.VENDOR_ADDED,
        parameters=(
            vendor,
            rng.choice(VENDOR_KINDS),
            f"{rng.choice(LAST_NAMES)} & {rng.choice(LAST_NAMES)}",
            f"{vendor[:8]}@vendors.example",
            f"{rng.randrange(100, 500) / 100:.2f}",
            rng.sample(("IT", "FR", "US", "JP", "NZ"), k=rng.randrange(1, 4)),
            None if happens(rng, 0.2) else sorted(rng.choices(range(100, 9_000), k=3)),
            happens(rng, 0.5),
            rng.randbytes(rng.randrange(200)),
            now - dt.timedelta(days=rng.randrange(2_000), microseconds=rng.randrange(10**6)),
        ),
    )
