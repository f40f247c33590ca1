"""What is true now: what runs, how far each lane is protected, what is owed. Observes, changes nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ops import bootstrap, controlling
from ops.guard import read_report
from ops.stack import control
from schemas.backup import COPIES_PROTECTED, SERVICE_LEVELS, UNREAD, Priority
from schemas.controls import strictest
from schemas.errors import TransientError, WedSyncError
from schemas.topics import backup_topic
from schemas.work import Stream, Work
from sinks import promotion_rows
from sinks.catalog import open_engine
from sinks.catalog_tables import CAPTURE_GAPS, COPIES, FRAMES, FRONTIERS, GAPS, OBJECTS, PACKS, PARTITIONS

if TYPE_CHECKING:
    from ops.config import Settings
    from ops.stack.state import StackState
    from schemas.controls import Control

_KAFKA_SECONDS: Final = 5.0
_MICRO: Final = 1_000_000


async def observe(settings: Settings) -> dict[str, Any]:
    """Return the present state as plain values.

    Raises:
        ConfigError: there is no catalog.
    """
    state = await control.status(bootstrap.stack_settings(settings))
    engine = open_engine(settings.catalog_file, must_exist=True)
    ends = {}
    rules, refused = await _rules(state)
    if state is not None:
        partitions = settings.archive.partitions
        ends = await asyncio.to_thread(log_ends, state.ports.bootstrap_servers, partitions)
    with engine.connect() as connection:
        found = {
            "is_up": state is not None,
            "parts": [
                {"part": name, "status": part.status.value, "restarts": part.restarts}
                for name, part in (state.parts.items() if state else ())
            ],
            "guard": read_report(settings, bootstrap.now()),
            "lanes": [_lane(connection, lane, ends, rules or []) for lane in Priority],
            "controls": None if rules is None else controlling.told(rules, now_us=bootstrap.now_us()),
            "controls_refused": refused,
            "promotions": promotion_rows.summary(connection),
            **archive_counts(connection),
        }
    engine.dispose()
    return {**found, "dead_letters": await unresolved_letters(settings) if found["letter_frames"] else 0}


async def unresolved_letters(settings: Settings) -> int | None:
    """Return how many dead letters nobody has resolved: each is unprotected. None: they cannot be read now."""
    from ops import dead_letters  # noqa: PLC0415 - only where there are any

    try:
        return len(await dead_letters.listed(settings))
    except WedSyncError:  # Without key or stores everything else is still worth knowing.
        return None


async def _rules(state: StackState | None) -> tuple[list[Control] | None, int]:
    """Return an operator's rules, or None when nobody can be asked."""
    if state is None:
        return None, 0
    try:
        return await controlling.read(state.ports.bootstrap_servers)
    except TransientError:
        return None, 0


def archive_counts(connection: sa.Connection) -> dict[str, int]:
    """Return what the archive holds and owes."""
    count = sa.func.count()
    few = sa.select(COPIES.c.pack_hash).group_by(COPIES.c.pack_hash).having(count < COPIES_PROTECTED).subquery()
    statements = {
        "objects_protected": sa.select(count).where(OBJECTS.c.state == "protected"),
        "objects_claimed": sa.select(count).where(OBJECTS.c.state == "claimed"),
        "objects_lost": sa.select(count).where(OBJECTS.c.state == "lost"),
        "packs": sa.select(count).select_from(PACKS),
        "packs_owed": sa.select(count).where(PACKS.c.is_full.is_(False)),
        "packs_below_three": sa.select(count).select_from(few),
        "gaps": sa.select(count).select_from(GAPS),
        "capture_gaps": sa.select(count).select_from(CAPTURE_GAPS),
        "letter_frames": sa.select(count).where(FRAMES.c.wedding == UNREAD, FRAMES.c.kind == "log"),
        "bytes": sa.select(sa.func.coalesce(sa.func.sum(PACKS.c.size_bytes), 0)),
        "events": sa.select(sa.func.coalesce(sa.func.sum(PACKS.c.events), 0)),
    }
    return {name: int(connection.execute(statement).scalar_one()) for name, statement in statements.items()}


def _lane(
    connection: sa.Connection, lane: Priority, ends: dict[tuple[str, int], int], rules: list[Control]
) -> dict[str, Any]:
    """Return one lane of the newest epoch: what an earlier Kafka left behind is over and cannot lag."""
    topic = backup_topic(lane)
    newest = sa.select(sa.func.max(FRONTIERS.c.epoch)).where(FRONTIERS.c.lsn > 0).scalar_subquery()
    rows = connection.execute(
        sa.select(PARTITIONS.c.partition, PARTITIONS.c.next_offset, FRONTIERS.c.committed_us)
        .join(
            FRONTIERS,
            sa.and_(FRONTIERS.c.topic_id == PARTITIONS.c.topic_id, FRONTIERS.c.partition == PARTITIONS.c.partition),
        )
        .where(PARTITIONS.c.topic == topic, FRONTIERS.c.epoch == newest, FRONTIERS.c.lsn > 0)
    ).all()
    marks = {(topic, row.partition): row.next_offset for row in rows}
    lag = sum(max(0, end - marks.get(at, 0)) for at, end in ends.items() if at[0] == topic)
    until_us = min((row.committed_us for row in rows), default=None)
    until = dt.datetime.fromtimestamp(until_us / _MICRO, dt.UTC) if until_us else None
    behind = (bootstrap.now() - until).total_seconds() if until else None
    return {
        "lane": lane.value,
        "lag_messages": lag if ends else None,
        "protected_until": until.isoformat(timespec="milliseconds") if until else None,
        "behind_seconds": round(behind, 3) if behind is not None else None,
        **_judged(lane, behind, lag if ends else None, rules),
    }


def _judged(
    lane: Priority, behind_seconds: float | None, lag_messages: int | None, rules: list[Control]
) -> dict[str, Any]:
    """Return the verdict and what an operator has to do with it; whatever was ordered, a broken promise is told."""
    promised = SERVICE_LEVELS[lane].durable_within.total_seconds()
    is_breached = behind_seconds is None or behind_seconds > promised
    found = {"verdict": verdict(lane, behind_seconds, lag_messages), "is_breached": is_breached, "because": ""}
    rule = strictest(rules, Stream(lane, Work.LOG), now_us=bootstrap.now_us())
    if rule is not None:
        found |= {"verdict": "stopped" if rule.is_emergency else "paused", "because": controlling.sentence(rule)}
    return found


def verdict(lane: Priority, behind_seconds: float | None, lag_messages: int | None) -> str:
    """Return ok, slow, stalled or stopped. An idle source beats every second, so silence is never health."""
    if lag_messages is None:
        return "stopped"
    if behind_seconds is None:
        return "stalled"
    promised = SERVICE_LEVELS[lane].durable_within.total_seconds()
    if behind_seconds <= promised:
        return "ok"
    return "slow" if behind_seconds <= 2 * promised else "stalled"


def group_size(brokers: str, group: str) -> int:
    """Return how many members a consumer group has; 0 when Kafka does not say. Blocks."""
    # Kept in a name: the answer never comes when the client is collected first.
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 3})
    try:
        futures = admin.describe_consumer_groups([group], request_timeout=_KAFKA_SECONDS)
        return len(futures[group].result(_KAFKA_SECONDS).members)
    except (KafkaException, TimeoutError):
        return 0


def log_ends(brokers: str, partitions: int) -> dict[tuple[str, int], int]:
    """Return the end of each partition of the backup topics; nothing when Kafka does not answer. Blocks."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "wedsync-status", "log_level": 3})
    try:
        topics = [backup_topic(lane) for lane in Priority]
        return {
            (topic, number): consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_KAFKA_SECONDS)[1]
            for topic in topics
            for number in range(partitions)
        }
    except KafkaException:
        return {}
    finally:
        consumer.close()
