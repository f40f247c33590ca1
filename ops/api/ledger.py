"""Which events the log holds, and which requests were answered: what makes a retry harmless.

The log is the truth; this file is an index of it, moved on in the same transaction as the offset up to which
it is complete. Dying between log and ledger leaves it behind, and who begins again reads the rest of the log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import sqlite3
from typing import TYPE_CHECKING, Final

from schemas.errors import RefusedError, TransientError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator

KEPT_US: Final = 14 * 86_400 * 1_000_000
"""How long a retry is recognised: twice as long as a client's spool keeps trying."""

_PRUNE_EVERY: Final = 1000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events
  (identity BLOB PRIMARY KEY, digest BLOB NOT NULL, at_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_age ON events (at_us);
CREATE TABLE IF NOT EXISTS requests (mark BLOB PRIMARY KEY, body BLOB NOT NULL, at_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_age ON requests (at_us);
CREATE TABLE IF NOT EXISTS logs (topic TEXT PRIMARY KEY, next_offset INTEGER NOT NULL);
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An event that the log holds: 32 bytes that tell it, 32 that say what it says."""

    identity: bytes
    digest: bytes
    at_us: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RequestMark:
    """A client's Idempotency-Key and the request it came with, 32 bytes each."""

    mark: bytes
    body: bytes


def identity_hash(source: str, event_id: str) -> bytes:
    """Return the 32 bytes that tell an event."""
    return hashlib.sha256(f"{len(source)}:{source}{event_id}".encode()).digest()


class Ledger:
    """One SQLite file, owned by one process; all methods are called from one thread."""

    def __init__(self, path: pathlib.Path) -> None:
        """Raises: RefusedError when another process owns the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise RefusedError("another process receives events already", hint="one a state folder") from error
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        self._written = 0

    def close(self) -> None:
        """Let the file go."""
        self._database.close()
        self._lock.close()

    def next_offset(self, topic: str) -> int:
        """Return up to where of a log this is complete."""
        row = self._database.execute("SELECT next_offset FROM logs WHERE topic = ?", (topic,)).fetchone()
        return 0 if row is None else int(row[0])

    def digest_of(self, identity: bytes) -> bytes | None:
        """Return what an event says that the log holds, or None."""
        row = self._database.execute("SELECT digest FROM events WHERE identity = ?", (identity,)).fetchone()
        return None if row is None else bytes(row[0])

    def body_of(self, mark: bytes) -> bytes | None:
        """Return which request came with a key, or None."""
        row = self._database.execute("SELECT body FROM requests WHERE mark = ?", (mark,)).fetchone()
        return None if row is None else bytes(row[0])

    def remember(
        self, topic: str, next_offset: int, entries: Iterable[Entry], requests: Iterable[RequestMark], *, now_us: int
    ) -> None:
        """Remember what the log holds up to an offset: all of it or nothing.

        Raises:
            TransientError: the disk did not take it.
        """
        with self._transaction():
            self._database.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?)",
                [(each.identity, each.digest, each.at_us) for each in entries],
            )
            self._database.executemany(
                "INSERT OR IGNORE INTO requests VALUES (?, ?, ?)", [(each.mark, each.body, now_us) for each in requests]
            )
            self._database.execute(
                "INSERT INTO logs VALUES (?, ?) ON CONFLICT (topic) DO UPDATE"
                " SET next_offset = max(next_offset, excluded.next_offset)",
                (topic, next_offset),
            )
            if self._written % _PRUNE_EVERY == 0:
                for table in ("events", "requests"):
                    self._database.execute(f"DELETE FROM {table} WHERE at_us < ?", (now_us - KEPT_US,))
        self._written += 1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise TransientError(f"the ledger did not take it: {error}", hint="is the disk full?") from error
