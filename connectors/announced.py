"""What has been announced of a bucket, remembered in SQLite: the sweep compares the listing with it.

Of each key the newest state stands here, by the store's own order; in a versioned bucket every version
besides. A bucket of any size fits: nothing but pages of it is ever in memory. Losing the file costs one sweep
that announces all again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from connectors.known_objects import said_again
from connectors.storage import ObjectAction

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

    from connectors.storage import ObjectNotice

_BOUND_MAX: Final = 500
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS known (
    key TEXT PRIMARY KEY, version TEXT NOT NULL, sequencer TEXT NOT NULL, modified_us INTEGER NOT NULL,
    noticed_us INTEGER NOT NULL, swept INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (key TEXT, version TEXT, PRIMARY KEY (key, version)) WITHOUT ROWID;
"""
_TAKE: Final = """
INSERT INTO known (key, version, sequencer, modified_us, noticed_us) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (key) DO UPDATE SET version = ?2, sequencer = ?3, modified_us = ?4, noticed_us = ?5
WHERE CASE WHEN ?3 <> '' AND sequencer <> '' THEN ?3 > sequencer ELSE ?4 >= modified_us END
"""
"""As restore does: by the store's own order where both have one, else by time."""


_UNSAID: Final = "?"
"""The version of a key that was announced into a hole of the log: none that a store gives."""


class Known(NamedTuple):
    """The newest announced state of a key; an empty version is a deletion."""

    version: str
    sequencer: str
    modified_us: int
    noticed_us: int


class Announced:
    """One bucket's memory. One caller at a time."""

    def __init__(self, path: pathlib.Path | str, *, is_versioned: bool) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        self._is_versioned = is_versioned

    def known(self, keys: Sequence[str]) -> dict[str, Known]:
        """Return the newest announced state of each key that has one."""
        found: dict[str, Known] = {}
        for some in _parts(keys):
            marks = ",".join("?" * len(some))
            query = f"SELECT key, version, sequencer, modified_us, noticed_us FROM known WHERE key IN ({marks})"
            found.update({key: Known(*rest) for key, *rest in self._db.execute(query, some)})
        return found

    def has_version(self, key: str, version: str) -> bool:
        """Return whether a version, not necessarily the newest, has been announced."""
        query = "SELECT 1 FROM versions WHERE key = ? AND version = ?"
        return self._db.execute(query, (key, version)).fetchone() is not None

    def remember(self, notices: Sequence[ObjectNotice]) -> None:
        """Remember what was announced."""
        with self._transaction():
            for each in notices:
                self._db.execute(_TAKE, (each.key, each.version, each.sequencer, each.modified_us, each.noticed_us))
                if self._is_versioned and each.action is ObjectAction.PUT:
                    self._db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?)", (each.key, each.version))

    def mark(self, keys: Sequence[str], sweep: int) -> None:
        """Remember that a sweep met these keys."""
        with self._transaction():
            self._db.executemany("UPDATE known SET swept = ? WHERE key = ?", [(sweep, key) for key in keys])

    def unmet(self, sweep: int, *, before_us: int, after: str, limit: int) -> list[tuple[str, Known]]:
        """Return living keys, in order, that a sweep did not meet and whose last notice is older than `before_us`."""
        query = (
            "SELECT key, version, sequencer, modified_us, noticed_us FROM known"
            " WHERE key > ? AND swept <> ? AND version <> '' AND noticed_us < ? ORDER BY key LIMIT ?"
        )
        return [(key, Known(*rest)) for key, *rest in self._db.execute(query, (after, sweep, before_us, limit))]

    def forget_deletions(self, *, before_us: int) -> None:
        """Forget deletions noticed so long ago that no late notice will contradict them."""
        self._db.execute("DELETE FROM known WHERE version = '' AND noticed_us < ?", (before_us,))

    def say_again(self, hole: int) -> bool:
        """See `SqliteKnownObjects.say_again`: the next sweep announces every version that there is."""
        return said_again(
            self._db, hole, [f"UPDATE known SET version = '{_UNSAID}' WHERE version <> ''", "DELETE FROM versions"]
        )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(keys), _BOUND_MAX):
        yield keys[at : at + _BOUND_MAX]
