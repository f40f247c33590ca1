"""The guard: a worker that watches whether everything is being captured, and acts when it is not.

Every second it beats and looks at the slot, the connector, and what the router has seen; every ten at the
tables. It starts failed tasks again, has tables copied again whose copy failed, says once more that a copy
is paused (Debezium forgets it when it restarts), writes the sequences into the log, and begins a new epoch
when the log cannot go on. What it sees stands in `run/guard.json`, for `status`; a file that is old means
that nobody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog

from connectors import moved_rows
from connectors.connect import ConnectClient
from connectors.connector_config import PLATFORM_SOURCE
from connectors.ledger import GAP_PREFIX, SEQUENCES_PREFIX, encode_gap, encode_sequences
from connectors.table_copies import (
    ENDS,
    EXECUTE,
    PAUSE,
    STEERING_DATA,
    WHOLE,
    execute_data,
    is_copiable,
    is_pause_wanted,
    progress_of,
    signal_name,
)
from ops import bootstrap, controlling, copy_rules, epochs, guard_rules, moved_copies, source_facts
from ops.guard_rules import Alarm, LagClock, Level, Restarts, SlotFacts, TableFacts
from ops.stack.state import replace_file
from schemas.errors import WedSyncError
from schemas.work import Mode
from streams.moves import Moves
from streams.observed import RouterView, ended_logs, observe_mapping, observe_moves, observe_router

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connectors.connect import ConnectorStatus
    from connectors.ledger import Gap
    from connectors.table_copies import CopyProgress, Signal
    from ops.config import Settings
    from ops.epochs import Where
    from schemas.controls import Control
    from streams.witness import Hole

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
STALE_AFTER: Final = dt.timedelta(seconds=15)
_TABLES_EVERY: Final = dt.timedelta(seconds=10)
_EPOCH_EVERY: Final = dt.timedelta(seconds=5)
_SEQUENCES_EVERY: Final = dt.timedelta(seconds=15)
_PRUNE_EVERY: Final = dt.timedelta(minutes=10)
_PATIENCE: Final = dt.timedelta(seconds=3)
_TICK_SECONDS_MAX: Final = 30.0
_MICRO: Final = 1_000_000
_EMIT: Final = "SELECT pg_logical_emit_message(true, %s, %s::text)"
_SIGNAL: Final = "INSERT INTO wedsync.debezium_signal (id, type, data) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"


@dataclasses.dataclass(slots=True, kw_only=True)
class Seen:
    """What one look has seen."""

    slot: SlotFacts | None = None
    lag: dt.timedelta = dataclasses.field(default_factory=dt.timedelta)
    connector: ConnectorStatus | None = None
    captured_lsn: int | None = None
    view: RouterView = dataclasses.field(default_factory=RouterView)
    ended: Sequence[Hole] = ()
    moves: Moves = dataclasses.field(default_factory=Moves)
    signals: Sequence[Signal] = ()
    keyed: Sequence[str] = ()
    alarms: list[Alarm] = dataclasses.field(default_factory=list)

    def copies(self, epoch: int) -> list[CopyProgress]:
        """Return the copies of an epoch."""
        return progress_of(self.signals, self.view.notices.get(epoch, ()))


class Guard:
    """Watches one source; `newest_epoch` says which log it is in now."""

    def __init__(
        self,
        settings: Settings,
        where: Where,
        *,
        newest_epoch: Callable[[], int],
        now: Callable[[], dt.datetime],
        rule: Callable[[], Control | None] = lambda: None,
    ) -> None:
        self._rule = rule
        self._settings, self._where, self._newest_epoch, self._now = settings, where, newest_epoch, now
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lag, self._restarts, self._tables = LagClock(), Restarts(), TableFacts()
        self._tables_at = self._sequences_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._epoch_at, self._epoch_now, self._pruned_at = self._tables_at, 0, self._tables_at
        self._sequences: dict[str, int] = {}
        self._paused_under: int | None = -1
        self._said: set[str] = set()
        self._told: set[str] = set()
        self._partition_hole: Gap | None = None
        self._no_followers = (0, -1)
        self.seen, self.epochs_begun, self.restarts = Seen(), 0, 0

    async def run(self) -> None:
        """Look every second, for ever; what goes wrong in a look is an alarm of its own."""
        async with ConnectClient(self._where.connect_url, retry_for=_PATIENCE) as connect:
            while True:
                await self.tick(connect)
                await asyncio.sleep(EVERY_SECONDS)

    async def tick(self, connect: ConnectClient) -> Seen:
        """Look once, act at most once, and write down what was seen."""
        seen = Seen()
        try:
            epoch = await self._epoch()
            async with asyncio.timeout(_TICK_SECONDS_MAX):
                await self._look(seen, connect, epoch)
            await self._act(seen, connect, epoch)
        except (WedSyncError, psycopg.Error, TimeoutError, OSError) as error:
            # This loop is what repairs: it must outlive whatever it watches.
            await self._forget_connection()
            text = f"the guard cannot see everything: {type(error).__name__} {error}".strip()
            seen.alarms.append(Alarm(level=Level.CRITICAL, what="blind", text=text, hint=getattr(error, "hint", "")))
            epoch = 0
        self.seen = seen
        self._say(seen.alarms)
        replace_file(self._settings.state_dir / "run" / "guard.json", json.dumps(report(seen, epoch, self._now())))
        return seen

    async def _epoch(self) -> int:
        """Return the newest epoch; asked for every few seconds, since others may begin one too."""
        if self._now() - self._epoch_at > _EPOCH_EVERY:
            self._epoch_now, self._epoch_at = await asyncio.to_thread(self._newest_epoch), self._now()
        return self._epoch_now

    async def _look(self, seen: Seen, connect: ConnectClient, epoch: int) -> None:
        now, database = self._now(), await self._database()
        # The slot before the connector: `uninstall` takes the connector away first, so this order never sees
        # a slot that is missing beside a connector that is still there.
        seen.slot = await source_facts.slot_facts(database)
        if seen.slot.is_there:
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                await source_facts.beat(database)
        name = f"{PLATFORM_SOURCE}-e{epoch}"
        seen.connector = await connect.status(name)
        if seen.connector is not None:
            seen.captured_lsn = await connect.captured_lsn(name)
        path = self._settings.router_file
        seen.view = await asyncio.to_thread(observe_router, path, PLATFORM_SOURCE)
        seen.ended = await asyncio.to_thread(ended_logs, path)
        seen.lag = self._lag.lag(seen.slot.current_lsn, seen.slot.confirmed_lsn, now)
        if now - self._tables_at > _TABLES_EVERY:
            self._tables, self._tables_at = await source_facts.table_facts(database), now
            self._partition_hole = await asyncio.to_thread(epochs.partition_hole, self._settings, epoch)
        seen.signals = await source_facts.signals(database, epoch)
        copies = seen.copies(epoch)
        seen.keyed = [each for each in await source_facts.keyed_tables(database) if is_copiable(each)]
        seen.alarms += guard_rules.copy_alarms(copies, seen.keyed)
        done = moved_rows.done_up_to(copies)
        done = max(done, self._no_followers[1]) if self._no_followers[0] == epoch else done
        limit = moved_copies.READ_AT_ONCE
        seen.moves = await asyncio.to_thread(observe_moves, path, epoch, done, limit=limit)
        seen.alarms += guard_rules.slot_alarms(seen.slot, seen.lag) if seen.slot.is_usable else []
        seen.alarms += guard_rules.table_alarms(self._tables)
        seen.alarms += guard_rules.connector_alarms(seen.connector, self._restarts)
        seen.alarms += guard_rules.log_alarms(seen.ended)
        if (rule := self._rule()) is not None and (seen.moves.owed or any(c.state not in ENDS for c in copies)):
            text = f"table copies wait: {controlling.sentence(rule)}"
            hint = "`wedsync-backup controls resume`"
            seen.alarms.append(Alarm(level=Level.WARN, what="copies_held", text=text, hint=hint))

    async def _act(self, seen: Seen, connect: ConnectClient, epoch: int) -> None:
        slot, now = seen.slot, self._now()
        assert slot is not None
        if seen.connector is None and epochs.read_intent(self._settings) is None:
            return  # Nobody wants anything captured: never registered, or taken away on purpose.
        if epochs.read_intent(self._settings) is not None:
            await self._forget_connection()
            await epochs.finish(self._settings, self._where)
            return
        reason = epochs.read_broken(self._settings, epoch)
        reason = reason or guard_rules.epoch_reason(slot, seen.captured_lsn, seen.view.holes.get(epoch))
        if reason is None and self._partition_hole is not None and self._partition_hole.found_us >= epoch * _MICRO:
            reason = self._partition_hole.reason
        if reason is not None:
            await self._new_epoch(seen, reason, epoch)
            return
        if seen.connector is not None and seen.connector.failure and self._restarts.may(now):
            log.error("a task failed", action="guard.restart", attempt=self._restarts.count)
            self.restarts += 1
            await connect.restart_failed(seen.connector.name)
        elif seen.connector is not None and seen.connector.is_running:
            self._restarts.ran(now)
        await self._keep_paused(seen)
        await self._obey(seen, epoch)
        if self._rule() is None and not await self._copy_again(seen, epoch):
            await self._copy_moved(seen, epoch)
        await self._tell_ended(seen.ended)
        await self._write_sequences(now)
        await self._prune_signals(seen, epoch, now)

    async def _new_epoch(self, seen: Seen, reason: str, epoch: int) -> None:
        epochs.mark_broken(self._settings, epoch, reason)
        asked = self._settings.source.new_epoch == "ask"
        is_soon = self._now().timestamp() - epoch < guard_rules.EPOCH_EVERY.total_seconds()
        hint = "`wedsync-backup epoch begin --yes`" if asked else "the guard begins a new epoch: all tables are copied"
        text = f"capture cannot go on: {reason}"
        seen.alarms.append(Alarm(level=Level.CRITICAL, what="epoch", text=text, hint=hint))
        self._say(seen.alarms)
        if asked or is_soon:
            return
        await self._forget_connection()
        self._epoch_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        await epochs.begin(self._settings, self._where, reason=reason, newest=epoch, loses=True)
        self.epochs_begun += 1
        self._restarts = Restarts()

    async def _keep_paused(self, seen: Seen) -> None:
        """Say "pause" again whenever another session reads the slot, and when none does: it reads that first of all."""
        assert seen.slot is not None
        if not is_pause_wanted(seen.signals):
            self._paused_under = seen.slot.active_pid
        elif seen.slot.active_pid != self._paused_under:
            database = await self._database()
            name = signal_name(copy_rules.prefix(seen.signals, PAUSE), int(self._now().timestamp() * 1_000_000))
            await database.execute(_SIGNAL, (name, PAUSE, STEERING_DATA))
            self._paused_under = seen.slot.active_pid

    async def _copy_again(self, seen: Seen, epoch: int) -> bool:
        """Ask once more for tables whose copy failed, if any did: their older rows are nowhere else."""
        tables = guard_rules.copy_again(seen.copies(epoch), seen.keyed, self._now())
        if tables:
            database = await self._database()
            name = signal_name(WHOLE, int(self._now().timestamp() * 1_000_000))
            await database.execute(_SIGNAL, (name, EXECUTE, execute_data(tables)))
            log.warning("tables are copied once more", action="guard.copy", copy=name, tables=tables)
        return bool(tables)

    async def _obey(self, seen: Seen, epoch: int) -> None:
        """Pause and resume copies as the controls say."""
        rule = self._rule()
        word = copy_rules.word(seen.signals, seen.copies(epoch), rule.mode if rule is not None else Mode.RUN)
        if word is not None:
            name = signal_name(copy_rules.prefix(seen.signals, word), int(self._now().timestamp() * _MICRO))
            log.warning("the controls steer the copies", action=f"guard.{word}", rule=rule.name if rule else "")
            await (await self._database()).execute(_SIGNAL, (name, word, STEERING_DATA))

    async def _copy_moved(self, seen: Seen, epoch: int) -> None:
        """Ask for a copy of what follows rows that moved to another wedding; its signal says what it is about."""
        now_us = int(self._now().timestamp() * _MICRO)
        if not seen.moves.owed or is_pause_wanted(seen.signals):
            return
        if not moved_rows.may_ask(seen.copies(epoch), now_us):
            return
        declared, path = bootstrap.mapping(self._settings), self._settings.router_file
        mapping = await asyncio.to_thread(observe_mapping, path, PLATFORM_SOURCE, declared)
        asked = moved_copies.next_copy(mapping, seen.moves, now_us)
        if asked is None:
            self._no_followers = (epoch, seen.moves.last)
            return
        database = await self._database()
        await database.execute(_SIGNAL, (asked[0], EXECUTE, asked[1]))

    async def _tell_ended(self, ended: Sequence[Hole]) -> None:
        """File the gap in which a log ended; again after a restart, which changes nothing."""
        for gap in map(guard_rules.gap_of_ended, ended):
            if gap.gap not in self._told:
                database = await self._database()
                await database.execute(_EMIT, (GAP_PREFIX, encode_gap(gap)))
                self._told.add(gap.gap)

    async def _write_sequences(self, now: dt.datetime) -> None:
        if now - self._sequences_at < _SEQUENCES_EVERY:
            return
        database = await self._database()
        values = await source_facts.sequences(database)
        if values != self._sequences:
            await database.execute(_EMIT, (SEQUENCES_PREFIX, encode_sequences(values)))
        self._sequences, self._sequences_at = values, now

    async def _prune_signals(self, seen: Seen, epoch: int, now: dt.datetime) -> None:
        if now - self._pruned_at < _PRUNE_EVERY:
            return
        pruned = await source_facts.prune_signals(await self._database(), seen.copies(epoch), epoch, now)
        self._pruned_at = now
        if pruned:
            log.info("old signals are gone", action="guard.pruned", count=pruned)

    async def _database(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._where.dsn, autocommit=True, connect_timeout=5, application_name="wedsync-guard"
            )
            await self._connection.execute(source_facts.STATEMENT_TIMEOUT)
        return self._connection

    async def _forget_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None

    def _say(self, alarms: Sequence[Alarm]) -> None:
        """Log each alarm when it begins."""
        for alarm in alarms:
            if alarm.what not in self._said:
                say = log.error if alarm.level is Level.CRITICAL else log.warning
                say("an alarm", action=f"guard.{alarm.what}", reason=alarm.text, hint=alarm.hint)
        self._said = {alarm.what for alarm in alarms}


def report(seen: Seen, epoch: int, now: dt.datetime) -> dict[str, Any]:
    """Return what was seen as plain values."""
    slot = seen.slot
    return {
        "at": now.isoformat(timespec="milliseconds"),
        "epoch": epoch,
        "verdict": _verdict(seen.alarms),
        "alarms": [dataclasses.asdict(alarm) for alarm in seen.alarms],
        "slot": None
        if slot is None
        else {
            "is_there": slot.is_there,
            "is_active": slot.active_pid is not None,
            "wal_status": slot.wal_status,
            "kept_bytes": slot.kept_bytes,
            "keep_bytes_max": slot.keep_bytes,
            "lag_seconds": round(seen.lag.total_seconds(), 1),
        },
        "connector": seen.connector.state if seen.connector else None,
        "moved_rows_owed": seen.moves.owed,
        "copies": [
            {"copy": each.copy, "state": each.state.value, "percent": each.percent} for each in seen.copies(epoch)
        ],
    }


def _verdict(alarms: Sequence[Alarm]) -> str:
    if any(alarm.level is Level.CRITICAL for alarm in alarms):
        return "failing"
    return "strained" if alarms else "ok"


def read_report(settings: Settings, now: dt.datetime) -> dict[str, Any] | None:
    """Return what the guard last wrote; its verdict is `silent` when that is too long ago. None: it never ran."""
    try:
        found: dict[str, Any] = json.loads((settings.state_dir / "run" / "guard.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if now - dt.datetime.fromisoformat(found["at"]) > STALE_AFTER:
        found["verdict"] = "silent"
    return found
