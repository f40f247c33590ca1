"""What the guard asks the source's database: the slot, the tables, the sequences, the signals. Reads, and beats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

from connectors.connector_config import PUBLICATION, SLOT
from connectors.signal_pruning import old_signals, old_windows
from connectors.table_copies import Signal, asked_us
from ops.guard_rules import SlotFacts, TableFacts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    import psycopg

    from connectors.table_copies import CopyProgress

STATEMENT_TIMEOUT: Final[LiteralString] = "SET statement_timeout = '5s'"

_SLOT: Final[LiteralString] = """
SELECT s.slot_name IS NOT NULL, (pg_current_wal_lsn() - '0/0')::bigint,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
       s.active_pid, (s.restart_lsn - '0/0')::bigint, (s.confirmed_flush_lsn - '0/0')::bigint, s.wal_status
FROM (VALUES (1)) AS one LEFT JOIN pg_replication_slots s ON s.slot_name = %s
"""
_USER_TABLES: Final[LiteralString] = """
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'wedsync') AND n.nspname NOT LIKE 'pg\\_%%'
"""
_UNPUBLISHED: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname {_USER_TABLES}
  AND NOT EXISTS (SELECT FROM pg_publication_tables p
                  WHERE p.pubname = %s AND (p.schemaname, p.tablename) = (n.nspname, c.relname))
ORDER BY 1
"""
_NOT_FULL: Final[LiteralString] = (
    f"SELECT n.nspname || '.' || c.relname {_USER_TABLES} AND c.relreplident <> 'f' ORDER BY 1"
)
_TRIGGERS: Final[LiteralString] = (
    "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'wedsync%%' AND evtenabled IN ('O', 'A')"
)
_BEAT: Final[LiteralString] = """
INSERT INTO wedsync.heartbeat (id, beat_at) VALUES (1, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at
"""
_SEQUENCES: Final[LiteralString] = """
SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences
WHERE last_value IS NOT NULL AND schemaname NOT IN ('pg_catalog', 'information_schema', 'wedsync') ORDER BY 1
"""
_KEYED_TABLES: Final = (
    "SELECT shape->>'name' FROM wedsync.shape_now WHERE kind = 'table' AND shape->>'sort' = 'r' AND shape ? 'key'"
)
_SIGNALS: Final[LiteralString] = "SELECT id, type, data FROM wedsync.debezium_signal WHERE type LIKE '%%-snapshot'"
_WINDOWS: Final[LiteralString] = """
SELECT id, type, data FROM wedsync.debezium_signal WHERE type LIKE 'snapshot-window-%%' ORDER BY data LIMIT %s
"""
_PRUNE: Final[LiteralString] = "DELETE FROM wedsync.debezium_signal WHERE id = ANY(%s)"
_PRUNED_AT_ONCE: Final = 5_000
_MIB_SHIFT: Final = 20

Connection = "psycopg.AsyncConnection[Any]"


async def slot_facts(connection: psycopg.AsyncConnection[Any], slot: str = SLOT) -> SlotFacts:
    """Return the slot as the server shows it now."""
    row = await (await connection.execute(_SLOT, (slot,))).fetchone()
    assert row is not None
    is_there, current, keep_mib, pid, restart, confirmed, wal_status = row
    return SlotFacts(
        is_there=is_there,
        current_lsn=current,
        keep_bytes=keep_mib << _MIB_SHIFT if keep_mib >= 0 else None,
        active_pid=pid,
        restart_lsn=restart,
        confirmed_lsn=confirmed,
        wal_status=wal_status or "",
    )


async def table_facts(connection: psycopg.AsyncConnection[Any], publication: str = PUBLICATION) -> TableFacts:
    """Return which tables capture would not see whole."""
    unpublished = await (await connection.execute(_UNPUBLISHED, (publication,))).fetchall()
    not_full = await (await connection.execute(_NOT_FULL, ())).fetchall()
    triggers = await (await connection.execute(_TRIGGERS, ())).fetchone()
    return TableFacts(
        unpublished=tuple(row[0] for row in unpublished),
        not_full=tuple(row[0] for row in not_full),
        has_trigger=bool(triggers and triggers[0]),
    )


async def beat(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let the heartbeat row beat, whether a connector runs or not: what is skipped meanwhile takes a beat with it."""
    await connection.execute(_BEAT)


async def sequences(connection: psycopg.AsyncConnection[Any]) -> dict[str, int]:
    """Return the last value of every sequence that has one, by `schema.name`."""
    rows = await (await connection.execute(_SEQUENCES)).fetchall()
    return {str(name): int(value) for name, value in rows}


async def signals(connection: psycopg.AsyncConnection[Any], epoch: int) -> list[Signal]:
    """Return an epoch's signals about table copies, oldest first."""
    found = await _all_signals(connection)
    return sorted(
        (each for each in found if asked_us(each.name) >= asked_us(f"-e{epoch}")), key=lambda each: asked_us(each.name)
    )


async def keyed_tables(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Return the tables that can be copied as the schema was last told: those with a key."""
    return [row[0] for row in await (await connection.execute(_KEYED_TABLES)).fetchall()]


async def prune_signals(
    connection: psycopg.AsyncConnection[Any], copies: Sequence[CopyProgress], epoch: int, now: dt.datetime
) -> int:
    """Take old rows out of the signal table, some thousands at most, and return how many."""
    rows = await (await connection.execute(_WINDOWS, (_PRUNED_AT_ONCE,))).fetchall()
    old = old_windows([Signal(name=row[0], type=row[1], data=row[2] or "") for row in rows], now)
    old += old_signals(await _all_signals(connection), copies, epoch, now)
    return (await connection.execute(_PRUNE, (old,))).rowcount if old else 0


async def _all_signals(connection: psycopg.AsyncConnection[Any]) -> list[Signal]:
    rows = await (await connection.execute(_SIGNALS, ())).fetchall()
    return [Signal(name=row[0], type=row[1], data=row[2] or "") for row in rows]
