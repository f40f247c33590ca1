"""Making the replication slot, so that nothing which it will hand out was decoded with a catalog of before.

Postgres (15 to 17 at least) begins a slot's log beside transactions that are under way. When one of them had
already changed the catalog (a TRUNCATE is enough) and commits while the slot is made, those that began meanwhile keep
a view of the catalog from before that commit: decoding them fails for ever ("could not map filenode"), or leaves
changes out; and each session that reads the slot begins there again, until its restart point has moved on. So the slot
is made, they are waited for, and it is moved past them, restart point and all; the copy of every table comes after.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final

import psycopg
from psycopg import errors, pq, sql

from schemas.errors import TransientError

_WITHIN_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_CONNECT_SECONDS: Final = 10
_DUPLICATE: Final = b"42710"
_NEXT: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_OLDEST: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_HERE: Final = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
_RESTART: Final = "SELECT (restart_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s"
_MAKE_OTHER: Final = "SELECT pg_create_logical_replication_slot(%s, 'pgoutput', true)"
_DROP_OTHER: Final = "SELECT pg_drop_replication_slot(%s)"
_MOVE: Final = "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())"


async def make(dsn: str, slot: str) -> None:
    """Make a slot, unless somebody else just did, whose log begins when all that was open meanwhile has ended.

    Raises:
        TransientError: a transaction is open for longer than a minute.
    """
    await _create(dsn, slot)
    await _settle(dsn, slot)


async def _settle(dsn: str, slot: str) -> None:
    """Move a slot nobody reads past the transactions that are open now."""
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, connect_timeout=_CONNECT_SECONDS, options="-c statement_timeout=60s"
    ) as connection:
        behind = await _number(connection, _NEXT)
        deadline = time.monotonic() + _WITHIN_SECONDS
        while await _number(connection, _OLDEST) < behind:
            if time.monotonic() > deadline:
                raise _too_long()
            await asyncio.sleep(_POLL_SECONDS)
        wanted = await _number(connection, _HERE)
        while await _moved(connection, slot) < wanted:
            if time.monotonic() > deadline:
                raise _too_long()


async def _moved(connection: psycopg.AsyncConnection[Any], slot: str) -> int:
    """Move a slot to where the log ends, and return its restart point.

    That moves only to where the server has written which transactions run; making a slot writes it.
    """
    with contextlib.suppress(errors.ConfigurationLimitExceeded):  # Else it writes it every 15 seconds by itself.
        await connection.execute(_MAKE_OTHER, (f"{slot}_settling",))
        await connection.execute(_DROP_OTHER, (f"{slot}_settling",))
    await connection.execute(_MOVE, (slot,))
    row = await (await connection.execute(_RESTART, (slot,))).fetchone()
    assert row is not None
    await asyncio.sleep(_POLL_SECONDS)
    return int(row[0])


async def _create(dsn: str, slot: str) -> None:
    """Have the slot made over the replication protocol: only so does it follow every transaction from the first on."""
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput").format(sql.Identifier(slot)).as_bytes(None)
    connection = await asyncio.to_thread(_replication, dsn)
    asked = asyncio.create_task(asyncio.to_thread(connection.pgconn.exec_, command))
    try:
        result = await asyncio.wait_for(asyncio.shield(asked), _WITHIN_SECONDS)
    except BaseException as error:
        connection.cancel()  # Nobody may close a connection in which a thread still waits.
        await asked
        if isinstance(error, TimeoutError):
            raise _too_long() from None
        raise
    finally:
        connection.close()
    if result.status == pq.ExecStatus.TUPLES_OK or result.error_field(pq.DiagnosticField.SQLSTATE) == _DUPLICATE:
        return
    reason = result.error_message.decode(errors="replace").strip()
    raise TransientError(f"the replication slot could not be made: {reason}", hint="`wedsync-backup doctor`")


def _replication(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, replication="database", autocommit=True, connect_timeout=_CONNECT_SECONDS)


async def _number(connection: psycopg.AsyncConnection[tuple[int]], query: str) -> int:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


def _too_long() -> TransientError:
    return TransientError(
        "the replication slot could not be made within a minute",
        hint="a long transaction is open: end it; whoever comes next tries again",
    )
