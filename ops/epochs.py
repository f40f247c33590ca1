"""A new epoch of the platform's log, correct wherever it is killed.

What is meant to happen is written down first (`guard/epoch.json`), then done step by step, each of which
finds out whether it has been done; whoever comes next (`up`, the guard, the verb) finishes it under the
same number. Order: connectors of earlier epochs go, the slot is made anew if it cannot go on, topic and
connector of the new epoch come, and one transaction writes the schema, the gap, the sequences and
the signal to copy every table. The old capture topic stays until its retention: it is still being drained.

A slot that can go on is kept: then the new log begins where the old one was confirmed, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa
import structlog

from connectors.connect import ConnectClient
from connectors.connector_config import PLATFORM_SOURCE, SLOT, connector_config, connector_name
from connectors.ledger import Gap
from connectors.table_copies import epoch_copy
from ops import bootstrap, bringup, hidden_columns, onboarding, slots, source_facts
from ops.guard_rules import epoch_reason
from ops.stack.state import replace_file
from ops.stack.topics import TopicPlan, ensure_topics
from schemas.errors import ConfigError, TransientError
from schemas.topics import capture_topic
from sinks import gap_rows
from sinks.catalog import open_engine
from sinks.catalog_tables import FRONTIERS
from sinks.partition_holes import newest_hole
from streams.observed import observe_router

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from ops.config import Settings

log = structlog.get_logger(__name__)

_LOCK_TRIES: Final = 900
_POLL_SECONDS: Final = 0.1
_BEGUN: Final = "SELECT 1 FROM wedsync.debezium_signal WHERE id = %s"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where the parts of one platform are reached."""

    dsn: str
    brokers: str
    connect_url: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A new epoch that is to be; `loses` says whether commits between the two logs may be missing."""

    epoch: int
    reason: str
    loses: bool


async def establish(settings: Settings, where: Where, epoch: int) -> int:
    """Make capture run, in this epoch or, where its log cannot go on, in a new one; return which.

    Again it changes nothing.

    Raises:
        ConfigError: the connector fails, or a new epoch is needed and the settings want to be asked.
        TransientError: a part did not answer in time.
    """
    async with _alone(settings):
        intent = read_intent(settings)
        if intent is None:
            reason = read_broken(settings, epoch) or await _broken(where, epoch)
            if reason is not None:
                _refuse_unasked(settings, reason)
                intent = _intend(settings, epoch, reason, loses=True)
        if intent is None and not await _has_begun(where, epoch):
            view = observe_router(settings.router_file, PLATFORM_SOURCE)
            if view.last_whole(epoch)[0] or _last_protected(settings, epoch)[0]:
                reason = "Kafka no longer had the log of the epoch before"
                intent = _write_intent(settings, Intent(epoch=epoch, reason=reason, loses=True))
        if intent is None:
            if not await _take_others_away(where, epoch):
                await _renew_slot(settings, where)
            await bringup.register(settings, where.connect_url, where.dsn, epoch)
            return epoch
        return await _complete(settings, where, intent)


async def begin(settings: Settings, where: Where, *, reason: str, newest: int, loses: bool) -> int:
    """Begin a new epoch after `newest`, or finish one that was begun; return its number.

    When somebody else was quicker, theirs is as good: it is returned.

    Raises:
        ConfigError: the connector fails.
        TransientError: a part did not answer in time: begin again, it goes on where it was.
    """
    async with _alone(settings):
        intent = read_intent(settings)
        if intent is None:
            there = (await asyncio.to_thread(bringup.newest_epochs, where.brokers)).get(PLATFORM_SOURCE, 0)
            if there > newest:
                return there
            # Whoever asks may not know what was seen: it is why the log ends, and a gap.
            broken = read_broken(settings, newest)
            intent = _intend(settings, newest, broken or reason, loses=loses or broken is not None)
        return await _complete(settings, where, intent)


async def finish(settings: Settings, where: Where) -> None:
    """Finish an epoch that was begun by whoever died over it; without one there is nothing to do.

    Raises:
        ConfigError: the connector fails.
        TransientError: a part did not answer in time.
    """
    async with _alone(settings):
        intent = read_intent(settings)
        if intent is not None:
            await _complete(settings, where, intent)


def read_intent(settings: Settings) -> Intent | None:
    """Return the epoch that was begun and not finished."""
    try:
        return Intent(**json.loads(_intent_file(settings).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def mark_broken(settings: Settings, epoch: int, reason: str) -> None:
    """Remember that an epoch's log cannot go on: what shows it may be seen for a moment only."""
    if read_broken(settings, epoch) is None:
        replace_file(_broken_file(settings), json.dumps({"epoch": epoch, "reason": reason}))


def read_broken(settings: Settings, epoch: int) -> str | None:
    """Return why this epoch's log cannot go on, if it was ever seen."""
    try:
        found = json.loads(_broken_file(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return str(found["reason"]) if found["epoch"] == epoch else None


def _broken_file(settings: Settings) -> pathlib.Path:
    return settings.state_dir / "guard" / "broken.json"


def _intend(settings: Settings, newest: int, reason: str, *, loses: bool) -> Intent:
    epoch = max(int(bootstrap.now().timestamp()), newest + 1)
    return _write_intent(settings, Intent(epoch=epoch, reason=reason, loses=loses))


def _write_intent(settings: Settings, intent: Intent) -> Intent:
    replace_file(_intent_file(settings), json.dumps(dataclasses.asdict(intent)))
    log.error("a new epoch begins", action="epoch.begin", epoch=intent.epoch, reason=intent.reason)
    return intent


def _intent_file(settings: Settings) -> pathlib.Path:
    return settings.state_dir / "guard" / "epoch.json"


def _refuse_unasked(settings: Settings, reason: str) -> None:
    if settings.source.new_epoch == "ask":
        raise ConfigError(f"capture cannot go on: {reason}", hint="`wedsync-backup epoch begin --yes` copies all anew")


async def _broken(where: Where, epoch: int) -> str | None:
    """Return why an epoch that had begun cannot go on: its slot is gone."""
    if not await _has_begun(where, epoch):
        return None
    async with await _connected(where) as connection:
        slot = await source_facts.slot_facts(connection)
    async with ConnectClient(where.connect_url) as connect:
        captured_lsn = await connect.captured_lsn(f"{PLATFORM_SOURCE}-e{epoch}")
    return epoch_reason(slot, captured_lsn, None)


async def _has_begun(where: Where, epoch: int) -> bool:
    async with await _connected(where) as connection:
        return await (await connection.execute(_BEGUN, (epoch_copy(epoch),))).fetchone() is not None


async def _complete(settings: Settings, where: Where, intent: Intent) -> int:
    name = connector_name(bringup.postgres_source(settings, where.dsn, intent.epoch))
    is_registered = await _take_others_away(where, intent.epoch)
    slot_is_new = False
    if not is_registered:
        slot_is_new = await _renew_slot(settings, where)
    await ensure_topics(where.brokers, [TopicPlan(name=capture_topic(PLATFORM_SOURCE, intent.epoch))])
    source = bringup.postgres_source(settings, where.dsn, intent.epoch)
    await hidden_columns.check(where.dsn, source.hidden)
    async with ConnectClient(where.connect_url) as connect:
        await connect.put(name, connector_config(source))
        await connect.wait_running(name, within=bringup.CONNECTOR_WITHIN)
    await bringup.wait_for_slot(where.dsn)
    gap = await _gap(settings, where, intent) if intent.loses or slot_is_new else None
    await bringup.begin_epoch(where.dsn, bootstrap.mapping(settings), intent.epoch, gap=gap)
    _intent_file(settings).unlink(missing_ok=True)
    log.warning("a new epoch has begun", action="epoch.begun", epoch=intent.epoch, has_gap=gap is not None)
    return intent.epoch


async def _take_others_away(where: Where, epoch: int) -> bool:
    """Remove the connectors of all other epochs: two would fight for one slot. Return whether ours is there."""
    ours = f"{PLATFORM_SOURCE}-e{epoch}"
    async with ConnectClient(where.connect_url) as connect:
        names = [name for name in await connect.statuses() if name.startswith(f"{PLATFORM_SOURCE}-e")]
        for name in names:
            if name != ours:
                await connect.delete(name)
    return ours in names


async def _renew_slot(settings: Settings, where: Where) -> bool:
    """Make the slot anew if it cannot go on, and return whether that was so.

    One that was made and not settled, because somebody died over it, cannot.

    Raises:
        TransientError: a long transaction keeps the slot from being made.
    """
    being_made = settings.state_dir / "guard" / "slot-being-made"
    async with await _connected(where) as connection:
        if (await source_facts.slot_facts(connection)).is_usable and not being_made.exists():
            return False
    replace_file(being_made, SLOT)
    await onboarding.drop_slot(where.dsn)
    await slots.make(where.dsn, SLOT)
    being_made.unlink()
    return True


async def _gap(settings: Settings, where: Where, intent: Intent) -> Gap:
    """Return the gap between what the old log had and this very moment, at which the new one runs."""
    async with await _connected(where) as connection:
        row = await (
            await connection.execute(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,"
                " (pg_current_wal_lsn() - '0/0')::bigint"
            )
        ).fetchone()
    assert row is not None
    from_epoch, from_us, from_lsn = _last_known(settings, intent.epoch)
    return Gap(
        gap=f"{PLATFORM_SOURCE}-e{intent.epoch}",
        source=PLATFORM_SOURCE,
        from_epoch=from_epoch,
        to_epoch=intent.epoch,
        from_us=from_us,
        to_us=int(row[0]),
        from_lsn=from_lsn,
        to_lsn=int(row[1]),
        reason=intent.reason,
        found_us=int(row[0]),
    )


def _last_known(settings: Settings, epoch: int) -> tuple[int, int, int]:
    """Return (epoch, commit time, LSN) up to which the log before is surely there."""
    routed = observe_router(settings.router_file, PLATFORM_SOURCE).last_whole(epoch)
    protected = _last_protected(settings, epoch)
    # What was routed may have been lost with Kafka; the catalog knows what lies on the stores.
    return min((each for each in (routed, protected) if each[0] and each[1]), default=(0, 0, 0))


def partition_hole(settings: Settings, epoch: int) -> Gap | None:
    """Return the hole in a partition of a backup topic by which an epoch's log is not whole, if any. Blocks."""
    if not settings.catalog_file.exists():
        return None
    engine = open_engine(settings.catalog_file)
    try:
        with engine.connect() as connection:
            return newest_hole(gap_rows.known(connection), epoch)
    finally:
        engine.dispose()


def _last_protected(settings: Settings, epoch: int) -> tuple[int, int, int]:
    if not settings.catalog_file.exists():
        return 0, 0, 0
    engine = open_engine(settings.catalog_file)
    own = (FRONTIERS.c.source == PLATFORM_SOURCE, FRONTIERS.c.epoch < epoch, FRONTIERS.c.lsn > 0)
    newest = sa.select(sa.func.max(FRONTIERS.c.epoch)).where(*own).scalar_subquery()
    query = sa.select(FRONTIERS.c.epoch, sa.func.min(FRONTIERS.c.committed_us), sa.func.min(FRONTIERS.c.lsn)).where(
        *own, FRONTIERS.c.epoch == newest
    )
    try:
        with engine.connect() as connection:
            row = connection.execute(query.group_by(FRONTIERS.c.epoch)).one_or_none()
        return (row[0], row[1], row[2]) if row is not None else (0, 0, 0)
    finally:
        engine.dispose()


async def _connected(where: Where) -> psycopg.AsyncConnection[Any]:
    try:
        return await psycopg.AsyncConnection.connect(where.dsn, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise TransientError(f"the database is not reachable: {error}", hint="is it up?") from error


@contextlib.asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator[None]:
    """Be the only one who begins an epoch: `up`, the guard and the verb may come at once."""
    path = settings.state_dir / "guard" / "epoch.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as held:
        for _ in range(_LOCK_TRIES):
            if _try_lock(held.fileno()):
                break
            await asyncio.sleep(_POLL_SECONDS)
        else:
            raise TransientError("another process begins an epoch", hint="see `wedsync-backup status`")
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
