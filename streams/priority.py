"""How soon a change must be safe. Pure: no clock, no Kafka, no Faust.

A change is as urgent as its wedding is near, counted in days at the venue: "same day" in Sydney
begins while it is still yesterday in London, and lasts until noon of the day after. A venue whose
zone nobody knows gets the widest day the Earth has.

The rules are data, read from top to bottom: the first that holds decides lane and rank; where none
holds the change is standard. A *rank* orders what waits inside one lane: the lower goes first.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import zoneinfo
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.backup import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.wedding import Wedding

RANK_URGENT: Final = 0
RANK_SAME_DAY: Final = 1
RANK_LAST: Final = 0xFFFF
"""Of a wedding that is over, or whose date nobody knows."""
_RANK_NEAR: Final = 2
"""Of a wedding that begins within the hour; one more for each hour to go."""

_DAY_HOURS: Final = 24
_QUARTER: Final = dt.timedelta(minutes=15)
_SATURDAY: Final = 5
_EARLIEST_ZONE: Final = dt.timezone(dt.timedelta(hours=14))
_LATEST_ZONE: Final = dt.timezone(dt.timedelta(hours=-12))
_LOOK_AHEAD: Final = dt.timedelta(days=400)


class Condition(enum.StrEnum):
    """What a rule may ask of a wedding, at an instant."""

    URGENT = "wedding_day_urgent"
    SAME_DAY = "same_day"
    COMING_SATURDAY = "coming_saturday"
    WITHIN_DAYS = "within_days"
    ACTIVE_UPLOADS = "active_uploads"
    DELIVERY_DUE = "delivery_due"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaneRule:
    """One line of the table: where `when` holds, changes travel in `lane`.

    `days` is how far ahead a wedding may lie (`within_days`) or how far ahead exactly a delivery lies
    (`delivery_due`; 0 is today); `until_hour` when the day after a wedding ceases to count (`same_day`);
    `minutes` how long an upload counts (`active_uploads`). A `rank` of None counts the hours to the wedding.
    """

    when: Condition
    lane: Priority
    rank: int | None = None
    days: int = 0
    until_hour: int = 0
    minutes: int = 0


DEFAULT_RULES: Final = (
    LaneRule(when=Condition.URGENT, lane=Priority.CRITICAL, rank=RANK_URGENT),
    LaneRule(when=Condition.SAME_DAY, lane=Priority.CRITICAL, rank=RANK_SAME_DAY, until_hour=12),
    LaneRule(when=Condition.COMING_SATURDAY, lane=Priority.CRITICAL),
    LaneRule(when=Condition.WITHIN_DAYS, lane=Priority.CRITICAL, days=7),
    LaneRule(when=Condition.ACTIVE_UPLOADS, lane=Priority.CRITICAL, minutes=30),
    LaneRule(when=Condition.DELIVERY_DUE, lane=Priority.CRITICAL, days=0),
    LaneRule(when=Condition.DELIVERY_DUE, lane=Priority.HIGH, days=1),
)


class Decision(NamedTuple):
    """A wedding's lane and rank at one instant; `rule` is None where none holds."""

    lane: Priority
    rank: int
    rule: LaneRule | None


def decide(wedding: Wedding, *, now: dt.datetime, rules: Sequence[LaneRule] = DEFAULT_RULES) -> Decision:
    """Return where a wedding's changes travel at `now` (aware)."""
    local = [now.astimezone(zone) for zone in zones_of(wedding.venue_zone)]
    for rule in rules:
        if any(holds(rule, wedding, at) for at in local):
            return Decision(rule.lane, _rank(wedding, local) if rule.rank is None else rule.rank, rule)
    return Decision(Priority.STANDARD, _rank(wedding, local), None)


def classify(wedding: Wedding, *, now: dt.datetime, rules: Sequence[LaneRule] = DEFAULT_RULES) -> Priority:
    """Return the lane of a wedding's changes at `now` (aware)."""
    return decide(wedding, now=now, rules=rules).lane


def valid_until(wedding: Wedding | None, now: dt.datetime, rules: Sequence[LaneRule] = DEFAULT_RULES) -> dt.datetime:
    """Return until when (exclusive) a decision made at `now` holds, unless the wedding changes.

    Days, noons and hours begin on a quarter of an hour of UTC, since every zone's offset is a multiple of 15 minutes.
    """
    whole = now.replace(minute=now.minute - now.minute % 15, second=0, microsecond=0)
    ends = [each for each in _ends(wedding, rules) if each > now] if wedding is not None else []
    return min([whole + _QUARTER, *ends])


def next_change(
    wedding: Wedding, *, now: dt.datetime, rules: Sequence[LaneRule] = DEFAULT_RULES
) -> tuple[dt.datetime, Decision] | None:
    """Return when the passing of time alone next changes the lane, and to which; None: not within 400 days."""
    lane, at = decide(wedding, now=now, rules=rules).lane, now
    while at < now + _LOOK_AHEAD:
        at = valid_until(wedding, at, rules)
        decision = decide(wedding, now=at, rules=rules)
        if decision.lane is not lane:
            return at, decision
    return None


def holds(rule: LaneRule, wedding: Wedding, local: dt.datetime) -> bool:
    """Return whether a rule holds for a wedding at an instant told in the venue's time."""
    match rule.when:
        case Condition.URGENT:
            return wedding.urgent_until is not None and local < wedding.urgent_until
        case Condition.ACTIVE_UPLOADS:
            return wedding.uploaded_at is not None and local < wedding.uploaded_at + dt.timedelta(minutes=rule.minutes)
        case Condition.DELIVERY_DUE:
            # `date.toordinal` is compared, since the last day there is has no day after it.
            return local.date().toordinal() + rule.days in map(dt.date.toordinal, wedding.deliveries_due)
    return wedding.day is not None and _is_near(rule, (wedding.day - local.date()).days, local)


def _is_near(rule: LaneRule, days_ahead: int, local: dt.datetime) -> bool:
    if rule.when is Condition.SAME_DAY:
        return days_ahead == 0 or (days_ahead == -1 and local.hour < rule.until_hour)
    if rule.when is Condition.COMING_SATURDAY:
        return days_ahead == (_SATURDAY - local.weekday()) % 7
    return 0 <= days_ahead <= rule.days


def hours_ahead(wedding: Wedding, local: dt.datetime) -> int | None:
    """Return the whole hours, by the venue's clock, until the wedding's day begins; negative once it has begun."""
    return None if wedding.day is None else (wedding.day - local.date()).days * _DAY_HOURS - local.hour


def _rank(wedding: Wedding, local: Sequence[dt.datetime]) -> int:
    ahead = [hours for at in local if (hours := hours_ahead(wedding, at)) is not None and hours > -_DAY_HOURS]
    return min(_RANK_NEAR + max(0, min(ahead)), RANK_LAST) if ahead else RANK_LAST


def _ends(wedding: Wedding, rules: Sequence[LaneRule]) -> Iterator[dt.datetime]:
    """Yield the instants at which a condition that is no matter of days ends."""
    if wedding.urgent_until is not None:
        yield wedding.urgent_until
    if wedding.uploaded_at is not None:
        for rule in rules:
            if rule.when is Condition.ACTIVE_UPLOADS:
                yield wedding.uploaded_at + dt.timedelta(minutes=rule.minutes)


@functools.lru_cache(maxsize=1024)
def zones_of(name: str | None) -> tuple[dt.tzinfo, ...]:
    """Return the venue's zone, or the two between which it lies when nobody knows it."""
    if name:
        try:
            return (zoneinfo.ZoneInfo(name),)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    return (_EARLIEST_ZONE, _LATEST_ZONE)
