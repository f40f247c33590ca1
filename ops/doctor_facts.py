"""What the doctor asks a database: everything that decides whether its changes can be captured whole. Reads only."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, LiteralString

from connectors.connector_config import PUBLICATION
from ops import source_facts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    import psycopg

    from ops.guard_rules import SlotFacts, TableFacts

USER_SCHEMA: Final[LiteralString] = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema', 'wedsync') AND n.nspname NOT LIKE 'pg\\_%%'"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableKind:
    """One relation of a user's: `kind` is Postgres' relkind, `persistence` its relpersistence."""

    name: str
    kind: str
    persistence: str
    has_key: bool
    is_inherited: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """A database as far as capture is concerned; `skew` is its clock minus ours, as far as the round trip tells."""

    settings: Mapping[str, str]
    slots_used: int
    senders_used: int
    is_superuser: bool
    may_replicate: bool
    may_read_all: bool
    publication: bool | None
    slot: SlotFacts
    tables: tuple[TableKind, ...]
    watched: TableFacts
    has_heartbeat: bool
    has_signals: bool
    large_objects: int
    references: tuple[tuple[str, str], ...]
    skew: dt.timedelta


_SETTINGS: Final[LiteralString] = """
SELECT name, setting FROM pg_settings WHERE name IN (
    'wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size', 'server_version_num',
    'idle_replication_slot_timeout', 'wal_sender_timeout')
"""
_USED: Final[LiteralString] = (
    "SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication)"
)
_ROLE: Final[LiteralString] = """
SELECT rolsuper, rolreplication OR rolsuper,
       (SELECT coalesce(bool_and(has_table_privilege(c.oid, 'SELECT')), true)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {USER_SCHEMA})
FROM pg_roles WHERE rolname = current_user
"""
_PUBLICATION: Final[LiteralString] = "SELECT puballtables FROM pg_publication WHERE pubname = %s"
_TABLES: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname, c.relkind::text, c.relpersistence::text,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
       EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid AND c.relkind = 'r')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND {USER_SCHEMA} ORDER BY 1
"""
_OURS: Final[LiteralString] = """
SELECT coalesce(bool_or(c.relname = 'heartbeat'), false), coalesce(bool_or(c.relname = 'debezium_signal'), false)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'wedsync' AND c.relkind = 'r'
"""
_LARGE_OBJECTS: Final[LiteralString] = "SELECT count(*) FROM pg_largeobject_metadata"
_REFERENCES: Final[LiteralString] = f"""
SELECT n.nspname || '.' || c.relname, tn.nspname || '.' || t.relname
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class t ON t.oid = f.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE f.contype = 'f' AND f.conrelid <> f.confrelid AND {USER_SCHEMA}
"""


async def read_source(connection: psycopg.AsyncConnection[Any], *, now: Callable[[], dt.datetime]) -> SourceFacts:
    """Return the facts of one database."""

    async def row(query: LiteralString, *values: Any) -> tuple[Any, ...] | None:
        found = await (await connection.execute(query, values)).fetchone()
        return tuple(found) if found is not None else None

    async def rows(query: LiteralString) -> list[tuple[Any, ...]]:
        return [tuple(each) for each in await (await connection.execute(query, ())).fetchall()]

    used = await row(_USED) or (0, 0)
    role = await row(_ROLE.replace("{USER_SCHEMA}", USER_SCHEMA)) or (False, False, False)
    publication = await row(_PUBLICATION, PUBLICATION)
    ours = await row(_OURS) or (False, False)
    large = await row(_LARGE_OBJECTS) or (0,)
    before, clock, after = now(), await row("SELECT clock_timestamp()"), now()
    assert clock is not None
    return SourceFacts(
        settings=dict(await rows(_SETTINGS)),
        slots_used=used[0],
        senders_used=used[1],
        is_superuser=role[0],
        may_replicate=role[1],
        may_read_all=role[2],
        publication=publication[0] if publication is not None else None,
        slot=await source_facts.slot_facts(connection),
        tables=tuple(
            TableKind(name=name, kind=kind, persistence=persistence, has_key=key, is_inherited=inherited)
            for name, kind, persistence, key, inherited in await rows(_TABLES)
        ),
        watched=await source_facts.table_facts(connection),
        has_heartbeat=ours[0],
        has_signals=ours[1],
        large_objects=large[0],
        references=tuple((each[0], each[1]) for each in await rows(_REFERENCES)),
        skew=clock[0] - (before + (after - before) / 2),
    )
