"""The canary: some beats of our own go the whole way before anybody is told that it works.

They begin as messages in Postgres' log, are sealed, stored and catalogued like any change, and show as
frontiers, which only capture, Kafka, router, sink and stores together can bring about. With updates of
the heartbeat row between them they also warm the engines up: the first thousand events of a cold JVM
take a second or two, and should not be a wedding's.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg
import sqlalchemy as sa

from connectors.connector_config import PLATFORM_SOURCE
from ops.guard_rules import lsn_text
from schemas.errors import TransientError
from schemas.topics import BACKUP_TOPICS
from sinks.catalog import open_engine
from sinks.catalog_tables import FRONTIERS
from streams.observed import observe_router

if TYPE_CHECKING:
    from ops.config import Settings

_BEATS: Final = 40
_UPDATES_A_BEAT: Final = 60
_MESSAGE: Final = "SELECT pg_logical_emit_message(true, 'wedsync.canary', '')"
_STILL_SECONDS: Final = 60.0
_LOOKS_EVERY_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.1
_HINT: Final = "wedsync-backup controls show; else see connect.log, router.log and sink.log below the state folder"
_BEAT: Final = (
    "INSERT INTO wedsync.heartbeat (id, beat_at) VALUES (1, clock_timestamp())"
    " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
)


class Place(NamedTuple):
    """How far things are: LSNs that the router has routed to and that the archive knows, and partitions passed."""

    routed_lsn: int
    archived_lsn: int
    passed: int


class Patience:
    """Ends when nothing has moved on for a minute: a backlog may take long, a stall may not."""

    def __init__(self, now: float) -> None:
        self._last: Place | None = None
        self._since = now

    def is_over(self, place: Place, now: float) -> bool:
        """Take where things are now; return whether it was the same for too long."""
        if place != self._last:
            self._last, self._since = place, now
        return now - self._since > _STILL_SECONDS


async def fly(settings: Settings, dsn: str, epoch: int) -> None:
    """Return once every partition's frontier has passed a commit of ours, however much is before it.

    Raises:
        TransientError: nothing moved on for a minute: changes are captured perhaps, but not protected yet.
    """
    lsn = await _beat(dsn)
    partitions = settings.archive.partitions * len(BACKUP_TOPICS)
    engine = open_engine(settings.catalog_file)
    patience, look_at = Patience(time.monotonic()), 0.0
    try:
        while (passed := await asyncio.to_thread(_passed, engine, epoch, lsn)) < partitions:
            if (now := time.monotonic()) > look_at:
                place = await asyncio.to_thread(_place, settings, engine, (epoch, lsn), passed)
                look_at = now + _LOOKS_EVERY_SECONDS
                if patience.is_over(place, now):
                    raise TransientError(stalled(place, lsn, partitions), hint=_HINT)
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        engine.dispose()


def stalled(place: Place, lsn: int, partitions: int) -> str:
    """Return which part stands still."""
    if place.routed_lsn < lsn:
        where = f"the router is at {lsn_text(place.routed_lsn)} of {lsn_text(lsn)}"
    else:
        where = f"the router has passed it, the archive is at {lsn_text(place.archived_lsn)} of {lsn_text(lsn)}"
    return f"a canary reached {place.passed} of {partitions} partitions and stands still: {where}"


async def _beat(dsn: str) -> int:
    """Update the heartbeat row many times, and return the log's place before the last transaction."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for _ in range(_BEATS):
            async with connection.transaction(), connection.pipeline():
                await connection.execute(_MESSAGE)
                for _ in range(_UPDATES_A_BEAT):
                    await connection.execute(_BEAT)
        found = await (await connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")).fetchone()
        await connection.execute(_MESSAGE)
    assert found is not None
    return int(found[0])


def _passed(engine: sa.Engine, epoch: int, lsn: int) -> int:
    wanted = sa.select(sa.func.count()).where(FRONTIERS.c.epoch == epoch, FRONTIERS.c.lsn > lsn)
    with engine.connect() as connection:
        return int(connection.execute(wanted).scalar_one())


def _place(settings: Settings, engine: sa.Engine, beat: tuple[int, int], passed: int) -> Place:
    """Return how far things are, and no farther than the beat: what goes on behind it is no progress."""
    epoch, lsn = beat
    view = observe_router(settings.router_file, PLATFORM_SOURCE)
    routed = view.progress[epoch].whole_lsn if epoch in view.progress else 0
    with engine.connect() as connection:
        wanted = sa.select(sa.func.min(FRONTIERS.c.lsn)).where(FRONTIERS.c.epoch == epoch)
        archived = int(connection.execute(wanted).scalar_one() or 0)
    return Place(min(routed, lsn), min(archived, lsn), passed)
