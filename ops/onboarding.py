"""A user's own database: what to propose for it, how to prepare it for capture, how to leave it as it was.

proposal = await propose(dsn)      # reads only
print(render_toml(proposal))       # a person corrects it
await prepare(dsn)                 # schema wedsync, publication, REPLICA IDENTITY FULL, event trigger
await uninstall(dsn)               # slot first: an idle slot fills the server's disk
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import errors, sql

from ops import onboarding_sql as statements
from ops.onboarding_catalog import CONNECT_TIMEOUT_S, read_tables
from ops.onboarding_dump import schema_ddl
from ops.onboarding_mapping import mapping_to_toml
from ops.onboarding_propose import Proposal, propose_mapping
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Proposal", "UninstallReport", "prepare", "print_sql", "propose", "render_toml", "schema_ddl", "uninstall"]

SLOT_RELEASED_WITHIN: Final = dt.timedelta(seconds=30)
POLL_S: Final = 0.1
IDENTITIES: Final = {"n": sql.SQL("NOTHING"), "d": sql.SQL("DEFAULT"), "f": sql.SQL("FULL")}
WAL_LEVEL_HINT: Final = "ALTER SYSTEM SET wal_level = 'logical', then restart the server"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UninstallReport:
    """What `uninstall` found and removed; all False and empty when there was nothing of ours."""

    slot: bool
    publication: bool
    event_trigger: bool
    schema: bool
    tables_reset: tuple[str, ...]


async def propose(dsn: str, *, calendar: str | None = None) -> Proposal:
    """Read a database's catalog and propose how its rows find their wedding.

    Raises:
        ConfigError: not reachable, or nothing looks like a calendar and none is named.
    """
    return propose_mapping(await read_tables(dsn), calendar=calendar)


def render_toml(proposal: Proposal) -> str:
    """Return settings text: the mapping, with each warning as a comment above it."""
    warnings = "".join(f"# check: {' '.join(warning.split())}\n" for warning in proposal.warnings)
    return f"{warnings}{mapping_to_toml(proposal.mapping)}"


def print_sql() -> str:
    """Return what `prepare` does as a script for psql, for servers where only somebody else may do it."""
    return ";\n".join(statement.strip() for statement in statements.PREPARATION) + ";\n"


async def prepare(dsn: str) -> None:
    """Make a database ready for capture; run again, it completes what is missing.

    Raises:
        ConfigError: wal_level is not logical, a permission is missing, or a publication of our name is another's.
        TransientError: a table is locked by a long transaction, or the database is not reachable.
    """
    async with _session(dsn) as connection:
        level = await (await connection.execute("SHOW wal_level")).fetchone()
        if level != ("logical",):
            raise ConfigError("the server's wal_level is not logical", hint=WAL_LEVEL_HINT)
        for statement in statements.PREPARATION:
            await connection.execute(statement.encode())


async def uninstall(dsn: str, *, slot: str = statements.SLOT) -> UninstallReport:
    """Remove everything `prepare` and the connector made, and put replica identities back; safe to run again.

    Raises:
        TransientError: the connector keeps the slot or a table is locked: stop it and run again.
        ConfigError: a permission is missing.
    """
    async with _session(dsn) as connection:
        await connection.execute(statements.LOCK_TIMEOUT)
        had_slot = await _drop_slot(connection, slot)
        had = {
            what: await _exists(connection, query)
            for what, query in {
                "event_trigger": "SELECT FROM pg_event_trigger WHERE evtname LIKE 'wedsync\\_%'",
                "publication": "SELECT FROM pg_publication WHERE pubname = 'wedsync_backup'",
                "schema": "SELECT FROM pg_namespace WHERE nspname = 'wedsync'",
                "identities": "SELECT FROM pg_tables WHERE (schemaname, tablename) = ('wedsync', 'replica_identity')",
            }.items()
        }
        for trigger in statements.EVENT_TRIGGERS:
            await connection.execute(sql.SQL("DROP EVENT TRIGGER IF EXISTS {}").format(sql.Identifier(trigger)))
        tables = await _reset_identities(connection) if had["identities"] else ()
        await connection.execute("DROP PUBLICATION IF EXISTS wedsync_backup")
        await connection.execute("DROP SCHEMA IF EXISTS wedsync CASCADE")
        had_slot |= await _drop_slot(connection, slot)  # a connector still running may have made it again
    return UninstallReport(
        slot=had_slot,
        publication=had["publication"],
        event_trigger=had["event_trigger"],
        schema=had["schema"],
        tables_reset=tables,
    )


async def drop_slot(dsn: str, *, slot: str = statements.SLOT) -> bool:
    """Drop the slot alone, and return whether there was one; see `uninstall` for what may go wrong."""
    async with _session(dsn) as connection:
        return await _drop_slot(connection, slot)


async def _drop_slot(connection: psycopg.AsyncConnection[Any], slot: str) -> bool:
    """Drop the slot of this database, ending whoever reads it: it may come back once or twice, not for ever."""
    query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()"
    had = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SLOT_RELEASED_WITHIN.total_seconds()):
            while (row := await (await connection.execute(query, (slot,))).fetchone()) is not None:
                had = True
                if row[0] is not None:
                    await connection.execute("SELECT pg_terminate_backend(%s)", (row[0],))
                with contextlib.suppress(errors.ObjectInUse, errors.UndefinedObject):
                    await connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
                    continue
                await asyncio.sleep(POLL_S)
            return had
    raise TransientError(f"slot {slot} is still in use", hint="stop the connector (`down`), then run uninstall again")


async def _exists(connection: psycopg.AsyncConnection[Any], query: str) -> bool:
    return await (await connection.execute(query.encode())).fetchone() is not None


async def _reset_identities(connection: psycopg.AsyncConnection[Any]) -> tuple[str, ...]:
    """Give every table that still exists the replica identity it had before; one whose index is gone gets DEFAULT."""
    rows = await (await connection.execute(statements.REMEMBERED_IDENTITIES)).fetchall()
    for table, identity, index in rows:
        wanted: sql.Composable = IDENTITIES.get(identity, sql.SQL("DEFAULT"))
        if identity == "i" and index is not None:
            wanted = sql.SQL("USING INDEX {}").format(sql.Identifier(index))
        await connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(sql.SQL(table), wanted))
    return tuple(row[0] for row in rows)


@contextlib.asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        ) as connection:
            yield connection
    except errors.InsufficientPrivilege as error:
        raise ConfigError(
            f"the database refuses: {error.diag.message_primary}",
            hint="connect as a superuser, or give the output of `init --print-sql` to one",
        ) from error
    except errors.LockNotAvailable as error:
        raise TransientError(
            "a long transaction holds a table", hint="run it again: it goes on where it was"
        ) from error
    except errors.RaiseException as error:
        raise ConfigError(str(error.diag.message_primary), hint=error.diag.message_hint or "") from error
    except psycopg.OperationalError as error:
        raise TransientError(f"the database is not reachable: {error}", hint="check --database") from error
