"""The canary: some beats of our own go the whole way before anybody is told that it works.

They begin as messages in Postgres' log, are sealed, stored and catalogued like any change, and show as
frontiers, which only capture, Kafka, router, sink and stores together can bring about. With updates of
the heartbeat row between them they also warm the engines up: the first thousand events of a cold JVM
take a second or two, and should not be a wedding's.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import psycopg
import sqlalchemy as sa

from schemas.errors import TransientError
from schemas.topics import BACKUP_TOPICS
from sinks.catalog import open_engine
from sinks.catalog_tables import FRONTIERS

if TYPE_CHECKING:
    from ops.config import Settings

_BEATS: Final = 40
_UPDATES_A_BEAT: Final = 60
_MESSAGE: Final = "SELECT pg_logical_emit_message(true, 'wedsync.canary', '')"
_WITHIN_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_BEAT: Final = (
    "INSERT INTO wedsync.heartbeat (id, beat_at) VALUES (1, clock_timestamp())"
    " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
)


async def fly(settings: Settings, dsn: str, epoch: int) -> None:
    """Return once every partition's frontier has passed a commit of ours.

    Raises:
        TransientError: it did not within a minute; changes are captured, but not protected yet.
    """
    lsn = await _beat(dsn)
    partitions = settings.archive.partitions * len(BACKUP_TOPICS)
    engine = open_engine(settings.catalog_file)
    deadline = time.monotonic() + _WITHIN_SECONDS
    try:
        while (passed := await asyncio.to_thread(_passed, engine, epoch, lsn)) < partitions:
            if time.monotonic() > deadline:
                raise TransientError(
                    f"a canary reached {passed} of {partitions} partitions in {_WITHIN_SECONDS:.0f} s",
                    hint="wedsync-backup controls show; else see router.log and sink.log below the state folder",
                )
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        engine.dispose()


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
