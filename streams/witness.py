"""What bears witness to a log: whether it is whole, and how the copies of its tables go.

Two things tell of a hole. The order of the log (`connectors.log_order`) shows a change or a count
that is missing. It cannot show a slot that was moved on: Debezium takes up the log there as if
nothing were between. So each beat of the heartbeat row is compared with the one it replaced, which the
row's before-image names. Behind a hole the log goes on and is protected, but its frontier is
never announced again: the hole is where this epoch ends for every restore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import structlog

from schemas.errors import CorruptionError

if TYPE_CHECKING:
    import datetime as dt
    import sqlite3
    from collections.abc import Mapping

    from connectors.debezium import Boundary, Change
    from connectors.log_order import LogOrder

log = structlog.get_logger(__name__)

_HEARTBEAT: Final = "wedsync.heartbeat"
_BEAT_AT: Final = "beat_at"
_MICRO: Final = 1_000_000

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS holes (
    source TEXT, epoch INTEGER, position INTEGER NOT NULL, lsn INTEGER NOT NULL, committed_us INTEGER NOT NULL,
    found_us INTEGER NOT NULL, what TEXT NOT NULL, PRIMARY KEY (source, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS beats (
    source TEXT, epoch INTEGER, beat TEXT NOT NULL, committed_us INTEGER NOT NULL,
    PRIMARY KEY (source, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (
    source TEXT, epoch INTEGER, copy TEXT, type TEXT, name TEXT, position INTEGER NOT NULL, at_us INTEGER NOT NULL,
    fields TEXT NOT NULL, PRIMARY KEY (source, epoch, copy, type, name)) WITHOUT ROWID;
"""


class Hole(NamedTuple):
    """Where an epoch's log stopped being whole: what came before `position` is, up to `lsn` and `committed_us`."""

    source: str
    epoch: int
    position: int
    lsn: int
    committed_us: int
    found_us: int
    what: str


class Beat(NamedTuple):
    """One beat of the heartbeat row, as its image has it, and when it was committed."""

    beat: str
    committed_us: int


class LogWitness:
    """The witness of one router's logs, in its state's file and transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(SCHEMA)
        self._beats: dict[tuple[str, int], Beat] = {}
        self._holed = self._load_holed()

    def forget_cached(self) -> None:
        """Read again what the transaction that was undone may have changed."""
        self._beats.clear()
        self._holed = self._load_holed()

    def has_hole(self, source: str, epoch: int) -> bool:
        """Return whether a hole was found in this log."""
        return (source, epoch) in self._holed

    def file_hole(self, hole: Hole, *, is_newest: bool = False) -> None:
        """Remember that an epoch's log is not whole; its first hole is where it ends for every restore.

        Of a log that goes on behind its holes the newest is remembered: whoever writes it says again what was in them.
        """
        if not self.has_hole(hole.source, hole.epoch):
            log.error("a hole in the log", action="router.hole", source=hole.source, epoch=hole.epoch, reason=hole.what)
        or_what = "REPLACE" if is_newest else "IGNORE"
        self._db.execute(f"INSERT OR {or_what} INTO holes VALUES (?, ?, ?, ?, ?, ?, ?)", hole)
        self._holed.add((hole.source, hole.epoch))

    def end_log(self, hole: Hole) -> None:
        """Remember that a log is over: it is read no more from the hole's position on, whatever is written there."""
        log.error("a log is over", action="router.over", source=hole.source, epoch=hole.epoch, reason=hole.what)
        self._db.execute("INSERT OR REPLACE INTO holes VALUES (?, ?, ?, ?, ?, ?, ?)", hole)
        self._holed.add((hole.source, hole.epoch))

    def beat(self, source: str, epoch: int) -> Beat | None:
        """Return the last beat of the heartbeat row."""
        if (source, epoch) not in self._beats:
            row = self._db.execute(
                "SELECT beat, committed_us FROM beats WHERE source = ? AND epoch = ?", (source, epoch)
            ).fetchone()
            if row is None:
                return None
            self._beats[source, epoch] = Beat(*row)
        return self._beats[source, epoch]

    def remember_beat(self, source: str, epoch: int, beat: Beat) -> None:
        """Remember the last beat: the next one names it."""
        self._db.execute("INSERT OR REPLACE INTO beats VALUES (?, ?, ?, ?)", (source, epoch, *beat))
        self._beats[source, epoch] = beat

    def note_copy(self, source: str, epoch: int, position: int, at_us: int, notice: Mapping[str, Any]) -> None:
        """Keep the last notification of each kind about a table copy, by table: the progress somebody may ask for."""
        about = notice.get("additional_data") or {}
        name = str(about.get("scanned_collection") or about.get("current_collection_in_progress") or "")
        what = (str(notice.get("id", "")), str(notice.get("type", "")), name)
        self._db.execute(
            "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (source, epoch, *what, position, at_us, orjson.dumps(about).decode()),
        )

    def _load_holed(self) -> set[tuple[str, int]]:
        return set(self._db.execute("SELECT source, epoch FROM holes"))


class Continuity:
    """Watches one source's log for repetitions and holes, event by event."""

    def __init__(self, source: str, epoch: int, witness: LogWitness) -> None:
        self._source, self._epoch, self._witness = source, epoch, witness
        self._unread = 0

    def is_repeated(
        self, order: LogOrder, captured: Change | Boundary, position: int, *, committed_us: int, now: dt.datetime
    ) -> bool:
        """Return whether this came before; behind a hole the log goes on, but it is whole no more."""
        self._unread += order.unread
        try:
            return order.is_repeated(captured)
        except CorruptionError as error:
            self._file(str(error), position, now, lsn=order.whole_lsn, committed_us=committed_us)
            order.resume_at(captured)
            return False

    def check_beat(self, change: Change, position: int, *, now: dt.datetime) -> None:
        """Compare a beat of the heartbeat row with the one it replaced; other tables of ours say nothing."""
        if change.table != _HEARTBEAT or _BEAT_AT not in (change.after or {}):
            return
        before, last = (change.before or {}).get(_BEAT_AT), self._witness.beat(self._source, self._epoch)
        # The beat itself may be among the dead letters: then it was kept, and nothing is missing.
        is_passed_over, self._unread = self._unread > 0, 0
        if before is not None and last is not None and before != last.beat and not is_passed_over:
            what = f"the log has a hole: the heartbeat after {last.beat} never came (was the slot moved on?)"
            self._file(what, position, now, lsn=0, committed_us=last.committed_us)
        self._witness.remember_beat(self._source, self._epoch, Beat(str(change.image[_BEAT_AT]), change.committed_us))

    def note_copy(self, notice: Mapping[str, Any], position: int, *, now: dt.datetime) -> None:
        """Remember what Debezium says of a copy."""
        if "aggregate_type" in notice:
            self._witness.note_copy(self._source, self._epoch, position, int(now.timestamp() * _MICRO), notice)

    def _file(self, what: str, position: int, now: dt.datetime, *, lsn: int, committed_us: int) -> None:
        found_us = int(now.timestamp() * _MICRO)
        self._witness.file_hole(Hole(self._source, self._epoch, position, lsn, committed_us, found_us, what))
