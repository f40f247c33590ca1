"""The catalog's lines of promotions: what of a wedding is still to be fetched out of slower lanes.

A line is written in the transaction that moves its partition past the promotion's record, so no
crash can forget it; doing it twice is harmless. Not async: they run in the catalog's thread.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from schemas.backup import SERVICE_LEVELS, Priority
from schemas.topics import backup_topic, priority_of_topic
from sinks.catalog_tables import OBJECTS, PROMOTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinks.receipts import PartitionMark

KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long a finished promotion is shown."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PromotedWedding:
    """One promotion, as the window that held its record tells it; `offset` is the record's own."""

    offset: int
    wedding: str
    rank: int
    decided_us: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One wedding to be fetched from one slower lane's partition, from `next_offset` to `end_offset`, exclusive.

    Both are None until the scan begins. `found` counts what was fetched.
    """

    topic: str
    topic_id: str
    partition: int
    offset: int
    slow_topic: str
    wedding: str
    rank: int
    decided_us: int
    next_offset: int | None = None
    end_offset: int | None = None
    found: int = 0
    done_us: int | None = None


_NEW: Final = insert(PROMOTIONS).on_conflict_do_nothing()


def add(connection: sa.Connection, mark: PartitionMark, promoted: Iterable[PromotedWedding]) -> None:
    """Write what the records of one window ask for, and let objects still owed their bytes change lanes at once."""
    lane = priority_of_topic(mark.topic)
    of = {"topic": mark.topic, "topic_id": mark.topic_id, "partition": mark.partition, "found": 0}
    lines = [
        {**of, "slow_topic": slow, **dataclasses.asdict(each)} for each in promoted for slow in slower_topics(lane)
    ]
    if lines:
        connection.execute(_NEW, lines)
        raise_claims(connection, {line["wedding"] for line in lines}, lane)


def slower_topics(lane: Priority) -> list[str]:
    """Return the topics of the lanes a change may have waited in before its wedding came to this one."""
    lanes = list(Priority)
    return [backup_topic(each) for each in lanes[lanes.index(lane) + 1 :]]


def raise_claims(connection: sa.Connection, weddings: Iterable[str], lane: Priority) -> None:
    """Let objects of these weddings whose bytes are still owed travel in a lane, if theirs is slower."""
    slower = [priority_of_topic(topic).value for topic in slower_topics(lane)]
    copies = SERVICE_LEVELS[lane].copies
    is_slower = sa.or_(*(OBJECTS.c.lane == each for each in slower))
    for wedding in weddings:
        connection.execute(
            sa.update(OBJECTS)
            .where(OBJECTS.c.wedding == wedding, OBJECTS.c.state == "claimed", is_slower)
            .values(lane=lane.value, copies=sa.func.max(OBJECTS.c.copies, copies))
        )


def pending(connection: sa.Connection, limit: int) -> list[Promotion]:
    """Return what is still to be done, oldest first."""
    rows = connection.execute(
        sa.select(PROMOTIONS).where(PROMOTIONS.c.done_us.is_(None)).order_by(PROMOTIONS.c.decided_us).limit(limit)
    )
    return [Promotion(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented way


def write(connection: sa.Connection, lines: Sequence[Promotion], now_us: int) -> None:
    """Write how far lines have come; the finished ones raise their objects once more and old ones are forgotten."""
    for each in lines:
        connection.execute(
            sa.update(PROMOTIONS)
            .where(
                PROMOTIONS.c.topic_id == each.topic_id,
                PROMOTIONS.c.partition == each.partition,
                PROMOTIONS.c.offset == each.offset,
                PROMOTIONS.c.slow_topic == each.slow_topic,
            )
            .values(next_offset=each.next_offset, end_offset=each.end_offset, found=each.found, done_us=each.done_us)
        )
        if each.done_us is not None:
            # A claim that its own lane's window wrote while the scan was under way.
            raise_claims(connection, [each.wedding], priority_of_topic(each.topic))
    connection.execute(sa.delete(PROMOTIONS).where(PROMOTIONS.c.done_us < now_us - KEPT_US))


def summary(connection: sa.Connection) -> dict[str, int]:
    """Return how promotions stand: those under way, records still to look at, and what was fetched in a day."""
    is_pending = PROMOTIONS.c.done_us.is_(None)
    count = sa.func.count(sa.distinct(PROMOTIONS.c.wedding))
    left = sa.func.coalesce(sa.func.sum(PROMOTIONS.c.end_offset - PROMOTIONS.c.next_offset), 0)
    found = sa.func.coalesce(sa.func.sum(PROMOTIONS.c.found), 0)
    return {
        "weddings_under_way": int(connection.execute(sa.select(count).where(is_pending)).scalar_one()),
        "records_to_look_at": int(connection.execute(sa.select(left).where(is_pending)).scalar_one()),
        "weddings_done": int(connection.execute(sa.select(count).where(~is_pending)).scalar_one()),
        "changes_promoted": int(connection.execute(sa.select(found)).scalar_one()),
    }
