"""What the guard makes of what it sees. Pure: facts in, alarms and at most one action out.

The slot is the only memory of what was not captured yet. It may vanish in four ways, and Debezium 3.7
tells of one: a dropped slot fails the task after ten seconds; a lost one leaves a connector that is
RUNNING without a task for half an hour; one that was moved on is read from there as if nothing were between.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import TYPE_CHECKING, Final

from connectors.ledger import Gap
from connectors.table_copies import ENDS, asked_us, failures

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from connectors.connect import ConnectorStatus
    from connectors.table_copies import CopyProgress
    from streams.witness import Hole

WARN_PERCENT: Final = 50
CRITICAL_PERCENT: Final = 80
LAG_WARN: Final = dt.timedelta(seconds=30)
RESTARTS_MAX: Final = 8
COPIES_MAX: Final = 6
_BACKOFF_MAX: Final = dt.timedelta(seconds=60)
# Another epoch so soon means that something undoes them: then a person decides.
EPOCH_EVERY: Final = dt.timedelta(seconds=20)


class Level(enum.StrEnum):
    """How bad an alarm is."""

    WARN = "warn"
    CRITICAL = "critical"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What is wrong, and what to do; `what` is a word of ours, the same for the same trouble."""

    level: Level
    what: str
    text: str
    hint: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SlotFacts:
    """The replication slot as the server shows it: places in the log as numbers; `keep_bytes` None is without limit."""

    is_there: bool
    current_lsn: int
    keep_bytes: int | None = None
    active_pid: int | None = None
    restart_lsn: int | None = None
    confirmed_lsn: int | None = None
    wal_status: str = ""

    @property
    def is_usable(self) -> bool:
        """Return whether a connector can go on where the slot stands."""
        return self.is_there and self.wal_status != "lost" and self.restart_lsn is not None

    @property
    def kept_bytes(self) -> int:
        """Return how much log the server keeps back for the slot."""
        return max(0, self.current_lsn - self.restart_lsn) if self.restart_lsn is not None else 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """Tables capture would not see whole, and whether the event trigger watches for new ones."""

    unpublished: tuple[str, ...] = ()
    not_full: tuple[str, ...] = ()
    has_trigger: bool = True


class LagClock:
    """Turns places in the log into seconds: since when has what is not confirmed yet been there?"""

    def __init__(self) -> None:
        self._seen: list[tuple[int, dt.datetime]] = []

    def lag(self, current_lsn: int, confirmed_lsn: int | None, now: dt.datetime) -> dt.timedelta:
        """Return for how long the first log that is not confirmed has been waiting, as far as was watched."""
        if not self._seen or current_lsn > self._seen[-1][0]:
            self._seen.append((current_lsn, now))
        # Halved when long: the oldest instants matter, and those between them hardly.
        if len(self._seen) > 4096:  # noqa: PLR2004 - some hours of ticks
            self._seen = [self._seen[0], *self._seen[1:-1:2], self._seen[-1]]
        confirmed = confirmed_lsn or 0
        while self._seen and self._seen[0][0] <= confirmed:
            self._seen.pop(0)
        return now - self._seen[0][1] if self._seen else dt.timedelta()


@dataclasses.dataclass(slots=True, kw_only=True)
class Restarts:
    """How often a failed task was started again in a row; forgotten once it has run for a while."""

    count: int = 0
    next_at: dt.datetime | None = None

    def may(self, now: dt.datetime) -> bool:
        """Return whether it is time for another; if so it counts."""
        if self.count >= RESTARTS_MAX or (self.next_at is not None and now < self.next_at):
            return False
        self.next_at = now + min(_BACKOFF_MAX, dt.timedelta(seconds=2**self.count))
        self.count += 1
        return True

    def ran(self, now: dt.datetime) -> None:
        """Forget, once it has run for longer than the longest pause."""
        if self.next_at is not None and now > self.next_at + _BACKOFF_MAX:
            self.count, self.next_at = 0, None


def epoch_reason(slot: SlotFacts, captured_lsn: int | None, hole: Hole | None) -> str | None:
    """Return why this epoch cannot go on, or None.

    `captured_lsn` is the farthest place Connect has recorded, asked for after the slot: the server never
    confirms more than that, unless somebody moved the slot.
    """
    if not slot.is_there:
        return "the replication slot was dropped"
    if not slot.is_usable:
        return f"the replication slot was invalidated (wal_status {slot.wal_status}): the server removed log it needed"
    if captured_lsn is not None and slot.confirmed_lsn is not None and slot.confirmed_lsn > captured_lsn:
        return f"the replication slot was moved on to {lsn_text(slot.confirmed_lsn)}, past {lsn_text(captured_lsn)}"
    return hole.what if hole is not None else None


def copy_alarms(copies: Sequence[CopyProgress], there: Collection[str]) -> list[Alarm]:
    """Return what is to be said of tables whose copy failed and that are still there."""
    failed = {table: count for table, count in failures(copies).items() if table in there}
    if not failed:
        return []
    is_over = max(failed.values()) >= COPIES_MAX
    return [
        Alarm(
            level=Level.CRITICAL if is_over else Level.WARN,
            what="copy_failed",
            text=f"not copied: {', '.join(sorted(failed))}: rows older than the capture are missing until they are",
            hint="see connect.log, then `wedsync-backup snapshot start --table …`" if is_over else "it is tried again",
        )
    ]


def copy_again(copies: Sequence[CopyProgress], there: Collection[str], now: dt.datetime) -> list[str]:
    """Return the tables to copy once more; nothing while a copy runs, too soon, or when it failed too often.

    A failed table that is gone may have been renamed: then those are meant whose names nobody asked for yet.
    """
    failed = {table: count for table, count in failures(copies).items() if count < COPIES_MAX}
    if not failed or any(copy.state not in ENDS for copy in copies):
        return []
    pause = dt.timedelta(seconds=2 ** max(failed.values()))
    if dt.datetime.fromtimestamp(asked_us(copies[-1].copy) / 1_000_000, dt.UTC) + pause > now:
        return []
    wanted = failed.keys() & set(there)
    if wanted != failed.keys():
        wanted |= set(there) - {table.table for copy in copies for table in copy.tables}
    return sorted(wanted)


def slot_alarms(slot: SlotFacts, lag: dt.timedelta) -> list[Alarm]:
    """Return what is to be said of a slot that is there."""
    alarms = []
    if not slot.active_pid:
        text = "nothing reads the replication slot: the server keeps its log meanwhile"
        alarms.append(Alarm(level=Level.WARN, what="slot_idle", text=text, hint="`wedsync-backup up`"))
    if lag > LAG_WARN:
        text = f"capture is {lag.total_seconds():.0f} s behind the server"
        alarms.append(Alarm(level=Level.WARN, what="slot_lag", text=text, hint="see connect.log; is Kafka up?"))
    percent = 100 * slot.kept_bytes // slot.keep_bytes if slot.keep_bytes else 0
    if percent >= WARN_PERCENT:
        level = Level.CRITICAL if percent >= CRITICAL_PERCENT else Level.WARN
        text = f"the slot keeps {slot.kept_bytes >> 20} MiB, {percent} % of max_slot_wal_keep_size; at 100 % it is lost"
        hint = "get capture going, or raise max_slot_wal_keep_size for now"
        alarms.append(Alarm(level=level, what="slot_full", text=text, hint=hint))
    return alarms


def table_alarms(tables: TableFacts) -> list[Alarm]:
    """Return what is to be said of tables that capture would not see whole."""
    alarms = []
    if tables.unpublished:
        text = f"not in the publication: {', '.join(tables.unpublished)}"
        hint = "CREATE PUBLICATION … FOR ALL TABLES; see `doctor`"
        alarms.append(Alarm(level=Level.CRITICAL, what="unpublished", text=text, hint=hint))
    if tables.not_full:
        text = f"without REPLICA IDENTITY FULL: {', '.join(tables.not_full)}"
        alarms.append(
            Alarm(level=Level.CRITICAL, what="identity", text=text, hint="ALTER TABLE … REPLICA IDENTITY FULL")
        )
    if not tables.has_trigger:
        text = "the event trigger is missing or disabled: new tables and changed schemas go unseen"
        alarms.append(Alarm(level=Level.CRITICAL, what="trigger", text=text, hint="`wedsync-backup up` makes it again"))
    return alarms


def connector_alarms(status: ConnectorStatus | None, restarts: Restarts) -> list[Alarm]:
    """Return what is to be said of a connector."""
    if status is None:
        text = "no connector is registered for the newest epoch"
        return [Alarm(level=Level.CRITICAL, what="connector_gone", text=text, hint="`wedsync-backup up`")]
    if status.failure:
        more = "given up" if restarts.count >= RESTARTS_MAX else f"started again {restarts.count} times"
        text = f"the connector failed ({more}): {status.failure}"
        return [Alarm(level=Level.CRITICAL, what="connector_failed", text=text, hint="see connect.log")]
    if not status.is_running:
        states = {status.state, *(task.state for task in status.tasks)} if status.tasks else {"without a task"}
        text = f"the connector does not run: {', '.join(sorted(states))}"
        return [Alarm(level=Level.WARN, what="connector_idle", text=text, hint="see connect.log")]
    return []


def log_alarms(ended: Sequence[Hole]) -> list[Alarm]:
    """Return what is to be said of logs of objects and events that are read no more."""
    hint = "`wedsync-backup epoch begin --yes --lost` makes new ones; then `down` and `up`"
    return [
        Alarm(
            level=Level.CRITICAL,
            what=f"log_over_{each.source}",
            text=f"nothing of {each.source} is routed or protected any more: {each.what}",
            hint=hint,
        )
        for each in ended
    ]


def gap_of_ended(hole: Hole) -> Gap:
    """Return the gap in which a log ended: its places are numbers of records."""
    return Gap(
        gap=f"{hole.source}-e{hole.epoch}-over",
        source=hole.source,
        from_epoch=hole.epoch,
        to_epoch=hole.epoch,
        from_us=max(0, hole.committed_us),
        to_us=hole.found_us,
        from_lsn=hole.position,
        to_lsn=hole.position,
        reason=hole.what,
        found_us=hole.found_us,
    )


def lsn_text(lsn: int) -> str:
    """Return a place in the log as Postgres writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
