"""Copies of tables on demand, asked for by signal: whole tables, or one wedding's rows of them."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from connectors.connector_config import PLATFORM_SOURCE
from connectors.table_copies import (
    ENDS,
    EXECUTE,
    PART,
    PAUSE,
    RESUME,
    STEERING_DATA,
    WHOLE,
    CopyState,
    execute_data,
    is_copiable,
    progress_of,
    signal_name,
)
from ops import bootstrap, bringup, controlling, source_facts
from ops.copy_rules import COPIES
from schemas.controls import strictest
from schemas.errors import ConfigError, RefusedError
from sinks.wedding_rows import wedding_condition
from streams.observed import observe_mapping, observe_router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.table_copies import CopyProgress
    from ops.config import Settings
    from schemas.mapping import TableMapping

_SIGNAL: Final = "INSERT INTO wedsync.debezium_signal (id, type, data) VALUES (%s, %s, %s)"


async def start(settings: Settings, *, tables: Sequence[str], wedding: str | None) -> str:
    """Ask for a copy of these tables (none: all that capture knows), or of one wedding's rows in them; return its name.

    Raises:
        ConfigError: a table that capture does not know, or the stack is down.
        RefusedError: another copy is under way: Debezium would mix their names up; or the controls hold copies up.
    """
    declared = bootstrap.mapping(settings)
    mapping = await asyncio.to_thread(observe_mapping, settings.router_file, PLATFORM_SOURCE, declared)
    chosen = _chosen(mapping, tables, wedding)
    platform = await bringup.running(settings)
    await _refuse_held(platform.brokers)
    for copy in await _progress(settings, platform):
        if copy.state not in ENDS:
            raise RefusedError(
                f"copy {copy.copy} is {copy.state.value}", hint="wait for it, or `wedsync-backup snapshot stop`"
            )
    name = signal_name(WHOLE if wedding is None else PART, _now_us())
    async with await psycopg.AsyncConnection.connect(platform.dsn, autocommit=True) as connection:
        conditions = None if wedding is None else _conditions(connection, mapping, chosen, wedding)
        await connection.execute(_SIGNAL, (name, EXECUTE, execute_data(chosen, conditions)))
    return name


async def steer(settings: Settings, word: str) -> str:
    """Pause, resume or stop the copy that is under way, and return its name; the guard remembers a pause.

    Raises:
        RefusedError: there is none, or it is not what could be steered so; or the controls hold it up.
    """
    platform = await bringup.running(settings)
    if word == RESUME:
        await _refuse_held(platform.brokers)
    wanted = {PAUSE: {CopyState.ASKED, CopyState.RUNNING}, RESUME: {CopyState.PAUSED}}
    open_states = set(CopyState) - ENDS
    open_copies = [copy for copy in await _progress(settings, platform) if copy.state in wanted.get(word, open_states)]
    if not open_copies:
        raise RefusedError(
            f"there is no copy to {word.partition('-')[0]}", hint="`wedsync-backup snapshot status` lists them"
        )
    prefix = f"{word.partition('-')[0]}-"
    async with await psycopg.AsyncConnection.connect(platform.dsn, autocommit=True) as connection:
        await connection.execute(_SIGNAL, (signal_name(prefix, _now_us()), word, STEERING_DATA))
    return open_copies[-1].copy


async def _refuse_held(brokers: str) -> None:
    rules, _ = await controlling.read(brokers)
    rule = strictest(rules, COPIES, now_us=_now_us())
    if rule is not None:
        raise RefusedError(f"copies are held: {controlling.sentence(rule)}", hint="`wedsync-backup controls resume`")


async def status(settings: Settings) -> list[dict[str, Any]]:
    """Return the copies of the present epoch with their progress, oldest first.

    Raises:
        ConfigError: the stack is down.
    """
    copies = await _progress(settings, await bringup.running(settings))
    return [
        {
            "copy": copy.copy,
            "state": copy.state.value,
            "percent": copy.percent,
            "tables": [dataclasses.asdict(table) for table in copy.tables],
        }
        for copy in copies
    ]


async def _progress(settings: Settings, platform: bringup.Running) -> list[CopyProgress]:
    epoch = platform.epochs[PLATFORM_SOURCE]
    async with await psycopg.AsyncConnection.connect(platform.dsn, autocommit=True) as connection:
        signals = await source_facts.signals(connection, epoch)
    view = await asyncio.to_thread(observe_router, settings.router_file, PLATFORM_SOURCE)
    return progress_of(signals, view.notices.get(epoch, ()))


def _chosen(mapping: TableMapping, tables: Sequence[str], wedding: str | None) -> list[str]:
    unknown = sorted(set(tables) - mapping.tables.keys())
    if unknown:
        raise ConfigError(
            f"capture knows no table {', '.join(unknown)}", hint="names are schema.table; a new one takes a second"
        )
    if odd := sorted(name for name in tables if not is_copiable(name)):
        raise ConfigError(
            f"Debezium cannot copy a table with a space, a dot or a double quote in its name: {', '.join(odd)}",
            hint="ALTER TABLE … RENAME TO …; what changes in it is captured all the same",
        )
    own = [name for name, rule in mapping.tables.items() if wedding is None or not rule.is_platform]
    chosen = [name for name in own if not tables or name in tables]
    if not chosen:
        raise ConfigError("these tables hold no wedding's rows", hint="leave --wedding out to copy them whole")
    return chosen


def _conditions(
    connection: psycopg.AsyncConnection[Any], mapping: TableMapping, tables: Sequence[str], wedding: str
) -> dict[str, str]:
    """Return which rows of each table are a wedding's, as SQL without an alias: Debezium gives the table none."""
    conditions = {}
    for name in tables:
        alias = name.partition(".")[2]
        condition = wedding_condition(mapping, mapping.tables[name], alias=alias, wedding=wedding)
        conditions[name] = sql.Composed([condition]).as_string(connection)
    return conditions


def _now_us() -> int:
    return int(bootstrap.now().timestamp() * 1_000_000)
