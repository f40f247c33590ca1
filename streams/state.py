"""What a router must remember between two records, on disk: one SQLite file beside the position.

Position, order, membership and calendar move together in one transaction, after every
record of a batch is on its backup topic. A crash therefore finds the state behind the topics, never
ahead of them: what is routed again carries the same positions, and the sinks drop it. A lost file
is rebuilt by reading the capture topics from their beginning.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from connectors.log_order import LogOrder
from schemas.backup import QUARANTINE, Residency
from schemas.wedding import Wedding
from streams import moves
from streams.witness import LogWitness

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator, Sequence

MEMBERS_HELD_MAX: Final = 50_000
"""Parents held in memory; 3,000,000 in a dict cost 580 MB, so the rest stays on disk."""

_LOG_PAGES_MAX: Final = 8_000
"""After so many pages (32 MiB) the file's own log is carried over into it."""

_BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ATTEND: Final = (
    "INSERT INTO attention (wedding, {0}) VALUES (?, ?) ON CONFLICT (wedding) DO UPDATE SET {0} = excluded.{0}"
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sources (
    source TEXT, epoch INTEGER, next_offset INTEGER NOT NULL, whole_lsn INTEGER NOT NULL,
    transaction_order INTEGER NOT NULL, committed_us INTEGER NOT NULL, PRIMARY KEY (source, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
    parent BLOB PRIMARY KEY, wedding TEXT NOT NULL, epoch INTEGER NOT NULL, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calendar (
    wedding TEXT PRIMARY KEY, day TEXT, venue_zone TEXT, residency TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
    row BLOB PRIMARY KEY, wedding TEXT NOT NULL, due TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_by_wedding ON deliveries (wedding);
CREATE TABLE IF NOT EXISTS attention (
    wedding TEXT PRIMARY KEY, urgent_until_us INTEGER, uploaded_us INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS renewal (one INTEGER PRIMARY KEY CHECK (one = 1), at_us INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS schema_messages (
    source TEXT, epoch INTEGER, position INTEGER, content BLOB NOT NULL,
    PRIMARY KEY (source, epoch, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    parent BLOB, source TEXT, epoch INTEGER, position INTEGER, change BLOB NOT NULL,
    PRIMARY KEY (parent, source, epoch, position)) WITHOUT ROWID;
"""


class Progress(NamedTuple):
    """How far one source has been routed; `committed_us` is its last whole commit's time."""

    next_offset: int
    committed_us: int
    whole_lsn: int


class Member(NamedTuple):
    """A parent row's wedding, and the change that said so."""

    wedding: str
    epoch: int
    position: int


class RouterState:
    """One router's memory, of which up to `held_max` parents lie in the process. One thread and one batch at a time."""

    def __init__(self, path: pathlib.Path | str, *, held_max: int = MEMBERS_HELD_MAX) -> None:
        self._held_max = held_max
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        # Pages that many batches write again are copied into the file once.
        self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES_MAX}")
        self._db.executescript(_SCHEMA)
        self._db.executescript(moves.SCHEMA)
        self.witness = LogWitness(self._db)
        self._add_columns()
        self._orders: dict[tuple[str, int], LogOrder] = {}
        self._members: collections.OrderedDict[bytes, Member] = collections.OrderedDict()
        self._unwritten: dict[bytes, Member] = {}
        self._load_members()
        self._weddings = dict(self._load_calendar())
        self._followers: list[set[str]] = []
        self.has_waiting = self._any_waiting()
        """Nearly never: asked before anybody looks for what waits."""

    @contextlib.contextmanager
    def one_batch(self) -> Iterator[None]:
        """Make all that is remembered inside one transaction; an error forgets it, and what was cached."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._write_members()
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            self._forget_cached()
            raise

    def reread(self) -> None:
        """Forget what is cached, between two batches: somebody else may have written the file."""
        self._forget_cached()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def progress(self, source: str, epoch: int) -> Progress | None:
        """Return how far a source has come, or None for a new one."""
        row = self._db.execute(
            "SELECT next_offset, committed_us, whole_lsn FROM sources WHERE source = ? AND epoch = ?", (source, epoch)
        ).fetchone()
        return Progress(*row) if row else None

    def advance(self, source: str, epoch: int, *, next_offset: int, committed_us: int) -> None:
        """Remember the next offset wanted, and the order as it stands."""
        order = self.order(source, epoch)
        self._db.execute(
            "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)",
            (source, epoch, next_offset, order.whole_lsn, order.order, committed_us, order.unread),
        )

    def order(self, source: str, epoch: int) -> LogOrder:
        """Return how far a source's log has been read; `advance` keeps what changes in it."""
        if (source, epoch) not in self._orders:
            row = self._db.execute(
                "SELECT whole_lsn, transaction_order, unread FROM sources WHERE source = ? AND epoch = ?",
                (source, epoch),
            ).fetchone()
            whole_lsn, order, unread = row or (0, 0, 0)
            self._orders[source, epoch] = LogOrder(whole_lsn=whole_lsn, order=order, unread=unread)
        return self._orders[source, epoch]

    def wedding_of(self, parent: bytes) -> str | None:
        """Return the wedding of a parent row (named by `parent_name`), or None."""
        member = self._member(parent)
        return member.wedding if member is not None else None

    def remember_member(self, parent: bytes, member: Member, *, may_move: bool = False) -> bool:
        """Remember a parent row's wedding, unless a later change said another; return whether it holds now.

        It outlives the row, since its children's DELETEs come later. With `may_move` another wedding than before is a
        move, and what follows the row is owed to it.
        """
        known = self._member(parent)
        if known is not None and known.wedding == member.wedding != QUARANTINE:
            return True
        if known is not None and known[1:] > member[1:]:
            return False
        if may_move and known is not None and QUARANTINE not in (known.wedding, member.wedding):
            moves.remember(self._db, parent, member.epoch, member.position)
        self._unwritten[parent] = member
        if not self._db.in_transaction:
            self._write_members()
        return True

    def wedding(self, wedding: str) -> Wedding | None:
        """Return a line of the calendar."""
        return self._weddings.get(wedding)

    def follow_weddings(self) -> set[str]:
        """Return a set that from now on names each wedding whose line became another; its owner empties it."""
        moved: set[str] = set()
        self._followers.append(moved)
        return moved

    def weddings(self) -> list[str]:
        """Return every wedding of which anything is known."""
        return list(self._weddings)

    def renewed_at(self) -> dt.datetime | None:
        """Return up to when the passing of time has promoted weddings."""
        row = self._db.execute("SELECT at_us FROM renewal").fetchone()
        return _instant(row[0]) if row else None

    def remember_renewed(self, at: dt.datetime) -> None:
        """Write up to when it has."""
        self._db.execute("INSERT OR REPLACE INTO renewal VALUES (1, ?)", (_microseconds(at),))

    def remember_wedding(self, line: Wedding) -> None:
        """Write a line of the calendar; its deliveries are kept apart."""
        self._db.execute(
            "INSERT OR REPLACE INTO calendar VALUES (?, ?, ?, ?)",
            (line.wedding, line.day and line.day.isoformat(), line.venue_zone, line.residency.value),
        )
        self._reload(line.wedding)

    def remember_urgent(self, wedding: str, until: dt.datetime | None) -> None:
        """Write until when a wedding goes before all others; None takes it back."""
        self._db.execute(_ATTEND.format("urgent_until_us"), (wedding, until and _microseconds(until)))
        self._reload(wedding)

    def remember_upload(self, wedding: str, at_us: int) -> None:
        """Write when a wedding's newest object was put, by the store's clock; an older one changes nothing."""
        at = _instant(at_us)
        known = self._weddings.get(wedding)
        if at is None or (known is not None and known.uploaded_at is not None and known.uploaded_at >= at):
            return
        self._db.execute(_ATTEND.format("uploaded_us"), (wedding, at_us))
        line = known or Wedding(wedding=wedding, day=None, venue_zone=None)
        self._weddings[wedding] = dataclasses.replace(line, uploaded_at=at)
        self._tell_moved([wedding])

    def remember_delivery(self, row: bytes, wedding: str, due: dt.date | None) -> None:
        """Write when something is promised to a wedding's people; None takes the promise back."""
        before = self._db.execute("SELECT wedding FROM deliveries WHERE row = ?", (row,)).fetchone()
        if due is None:
            self._db.execute("DELETE FROM deliveries WHERE row = ?", (row,))
        else:
            self._db.execute("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?)", (row, wedding, due.isoformat()))
        for each in {wedding, *(before or ())}:
            self._reload(each)

    def wait_for_parent(self, parent: bytes, source: str, epoch: int, position: int, change: bytes) -> None:
        """Keep a change whose parent is unknown, so that it can be sealed again under its wedding."""
        self._db.execute(
            "INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?)", (parent, source, epoch, position, change)
        )
        self.has_waiting = True

    def take_waiting(self, parent: bytes) -> list[bytes]:
        """Return and forget the changes that waited for this parent, in order."""
        if not self.has_waiting:  # Nearly always, and asked for every row of a table that others follow.
            return []
        rows = self._db.execute(
            "SELECT change FROM waiting WHERE parent = ? ORDER BY epoch, position", (parent,)
        ).fetchall()
        if rows:
            self._db.execute("DELETE FROM waiting WHERE parent = ?", (parent,))
            self.has_waiting = self._any_waiting()
        return [row[0] for row in rows]

    def waiting(self) -> int:
        """Return how many changes wait for their parent row."""
        if not self.has_waiting:
            return 0
        return int(self._db.execute("SELECT count(*) FROM waiting").fetchone()[0])

    def schema_messages(self, source: str) -> list[tuple[int, int, bytes]]:
        """Return all that a source's log has told of its schema, in order: epoch, position, content."""
        query = "SELECT epoch, position, content FROM schema_messages WHERE source = ? ORDER BY epoch, position"
        return self._db.execute(query, (source,)).fetchall()

    def remember_schema_message(self, source: str, epoch: int, position: int, content: bytes) -> None:
        """Remember what a log has told of its schema."""
        self._db.execute(
            "INSERT OR REPLACE INTO schema_messages VALUES (?, ?, ?, ?)", (source, epoch, position, content)
        )

    def rename_parents(self, old: str, new: str) -> None:
        """Name what is remembered of a table's rows by the table's new name."""
        self._write_members()
        begin, now = (orjson.dumps([name])[:-1] + b"," for name in (old, new))
        for table, column in (("members", "parent"), ("deliveries", "row"), ("waiting", "parent"), ("moves", "parent")):
            self._db.execute(
                f"UPDATE OR REPLACE {table} SET {column} = CAST(? || substr({column}, ?) AS BLOB)"
                f" WHERE {column} >= ? AND {column} < ?",
                (now, len(begin) + 1, begin, begin + b"\xff"),
            )
        self._load_members()

    def counts(self) -> dict[str, int]:
        """Return how much is remembered, by table."""
        tables = ("members", "calendar", "deliveries", "waiting")
        return {table: self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    def _add_columns(self) -> None:
        """Bring a file of an earlier version up to this one's tables."""
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(sources)")}
        if "unread" not in columns:
            self._db.execute("ALTER TABLE sources ADD COLUMN unread INTEGER NOT NULL DEFAULT 0")

    def _member(self, parent: bytes) -> Member | None:
        member = self._unwritten.get(parent) or self._members.get(parent)
        if member is not None:
            return member
        if self._has_all_members:
            return None
        row = self._db.execute("SELECT wedding, epoch, position FROM members WHERE parent = ?", (parent,)).fetchone()
        if row is None:
            return None
        self._cache_member(parent, Member(*row))
        return self._members[parent]

    def _write_members(self) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)",
            [(parent, *member) for parent, member in self._unwritten.items()],
        )
        for parent, member in self._unwritten.items():
            self._cache_member(parent, member)
        self._unwritten.clear()

    def _cache_member(self, parent: bytes, member: Member) -> None:
        # A copy: what orjson returns was cut from a kilobyte and pins it, 235 MB instead of 35 for this cache.
        self._members[bytes(memoryview(parent))] = member
        if len(self._members) > self._held_max:
            self._members.popitem(last=False)
            self._has_all_members = False

    def _load_members(self) -> None:
        """Hold the file's members in memory, if they are so few: whoever is not among them is not in the file."""
        self._members.clear()
        rows = self._db.execute("SELECT * FROM members LIMIT ?", (self._held_max + 1,)).fetchall()
        self._has_all_members = len(rows) <= self._held_max
        for parent, *member in rows[: self._held_max]:
            self._members[parent] = Member(*member)

    def _forget_cached(self) -> None:
        self.witness.forget_cached()
        self._orders.clear()
        self._unwritten.clear()
        self._load_members()
        self._tell_moved(self._weddings)
        self._weddings.clear()
        self._weddings.update(self._load_calendar())
        self._tell_moved(self._weddings)
        self.has_waiting = self._any_waiting()

    def _any_waiting(self) -> bool:
        return self._db.execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None

    def _load_calendar(self, wedding: str | None = None) -> Iterator[tuple[str, Wedding]]:
        """Yield what is known of one wedding or of all: also of those whose calendar row has not come yet."""
        where, bound = ("WHERE wedding = ?", (wedding,)) if wedding is not None else ("", ())
        due: dict[str, set[dt.date]] = collections.defaultdict(set)
        for name, day in self._db.execute(f"SELECT wedding, due FROM deliveries {where}", bound):
            due[name].add(dt.date.fromisoformat(day))
        attention = {row[0]: row[1:] for row in self._db.execute(f"SELECT * FROM attention {where}", bound)}
        lines = {row[0]: row[1:] for row in self._db.execute(f"SELECT * FROM calendar {where}", bound)}
        for name in lines.keys() | due.keys() | attention.keys():
            day, zone, residency = lines.get(name, (None, None, Residency.UNKNOWN))
            urgent_us, uploaded_us = attention.get(name, (None, None))
            yield (
                name,
                Wedding(
                    wedding=name,
                    day=day and dt.date.fromisoformat(day),
                    venue_zone=zone,
                    residency=Residency(residency),
                    deliveries_due=frozenset(due.get(name, ())),
                    urgent_until=urgent_us and _instant(urgent_us),
                    uploaded_at=uploaded_us and _instant(uploaded_us),
                ),
            )

    def _reload(self, wedding: str) -> None:
        self._weddings.pop(wedding, None)
        self._weddings.update(self._load_calendar(wedding))
        self._tell_moved([wedding])

    def _tell_moved(self, weddings: Iterable[str]) -> None:
        for moved in self._followers:
            moved.update(weddings)


def _microseconds(at: dt.datetime) -> int:
    return (at - _BEGINNING) // dt.timedelta(microseconds=1)


def _instant(microseconds: int) -> dt.datetime | None:
    """Return an instant; None beyond the years that there are."""
    try:
        return _BEGINNING + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def parent_name(table: str, values: Sequence[object]) -> bytes:
    """Return the name under which a parent row is remembered: its table and its referenced values."""
    return orjson.dumps([table, *values])
