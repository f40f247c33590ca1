"""The doctor: may this database be captured, and can this installation keep what it gets? Examines, changes nothing.

Before a connector is registered the same checks decide: one that fails means that data would be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import psycopg

from connectors.connector_config import PLATFORM_SOURCE
from ops import bootstrap, bringup, hidden_columns
from ops.doctor_facts import read_source
from ops.doctor_machine import examine_machine
from ops.doctor_rules import Check, Outcome, check_source, failed, passed, warned
from ops.doctor_types import check_columns, read_columns
from ops.stack import control
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from ops.config import Settings
    from schemas.mapping import TableMapping


async def examine(settings: Settings) -> list[Check]:
    """Return every check, of this machine, of the stack as far as it is up, and of the database."""
    state = await control.status(bootstrap.stack_settings(settings))
    checks = await examine_machine(settings, is_up=state is not None)
    dsn = settings.source.url
    if state is not None:
        checks += await _capture(state.ports.bootstrap_servers)
        dsn = bringup.database_dsn(settings, state)
    if not dsn:
        return [
            *checks,
            warned("database", "the local stack is down: its database was not examined", "wedsync-backup up"),
        ]
    try:
        return [*checks, *await examine_database(settings, dsn, is_prepared=state is not None)]
    except ConfigError as error:
        return [*checks, failed("database", str(error), error.hint)]


async def examine_database(settings: Settings, dsn: str, *, is_prepared: bool) -> list[Check]:
    """Return the checks of a database.

    Raises:
        ConfigError: it cannot be reached.
    """
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=10) as connection:
            facts = await read_source(connection, now=bootstrap.now)
            columns = await read_columns(connection)
    except psycopg.OperationalError as error:
        raise ConfigError(f"the database is not reachable: {error}", hint="check source.url") from error
    dropped = {(each.table, each.column) for each in settings.source.columns if each.action == "drop"}
    mapping = bootstrap.mapping(settings)
    checks = [*check_source(facts, mapping, is_prepared=is_prepared), *check_columns(columns, dropped=dropped)]
    return [*checks, *await _hidden(dsn, mapping)]


async def _hidden(dsn: str, mapping: TableMapping) -> list[Check]:
    """Return whether the columns that shall be hidden can be."""
    try:
        await hidden_columns.check(dsn, mapping.hidden)
    except ConfigError as error:
        return [failed("hidden_columns", str(error), error.hint)]
    return [passed("hidden_columns", f"{len(mapping.hidden)} columns hidden")] if mapping.hidden else []


async def refuse_unfit(settings: Settings, dsn: str) -> None:
    """Fail closed: no connector is registered for a database whose changes would be lost.

    Raises:
        ConfigError: what failed, and, line by line, what mends it.
    """
    bad = [check for check in await examine_database(settings, dsn, is_prepared=True) if check.outcome is Outcome.FAIL]
    # A slot that cannot go on is no reason to stay away: a new epoch begins.
    bad = [check for check in bad if check.name != "slot"]
    if bad:
        found = "; ".join(f"{check.name}: {check.says}" for check in bad)
        fixes = "\n  ".join(check.fix for check in bad)
        raise ConfigError(f"the database would lose data: {found}", hint=f"`wedsync-backup doctor` says all\n  {fixes}")


async def _capture(brokers: str) -> list[Check]:
    """Return whether the topics are there that capture needs."""
    with contextlib.suppress(TransientError):
        epochs = await asyncio.to_thread(bringup.newest_epochs, brokers)
        if PLATFORM_SOURCE in epochs:
            return [passed("topics", f"capture topic of epoch {epochs[PLATFORM_SOURCE]}")]
    return [failed("topics", f"no capture topic of {PLATFORM_SOURCE}", "wedsync-backup up")]
