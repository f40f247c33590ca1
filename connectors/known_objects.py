"""Announced objects, remembered in SQLite. Losing the file costs one sweep that announces all again."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from connectors.storage import ObjectAction

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping, Sequence

    from connectors.storage import ObjectNotice

_BOUND_MAX: Final = 500


def said_again(db: sqlite3.Connection, hole: int, statements: Sequence[str]) -> bool:
    """Run these statements once for each hole of the log, its position given; return whether this one was new."""
    db.execute("CREATE TABLE IF NOT EXISTS said_again (hole INTEGER PRIMARY KEY)")
    db.execute("BEGIN IMMEDIATE")
    if db.execute("SELECT 1 FROM said_again WHERE hole >= ?", (hole,)).fetchone():
        db.execute("COMMIT")
        return False
    for statement in (*statements, "DELETE FROM said_again"):
        db.execute(statement)
    db.execute("INSERT INTO said_again VALUES (?)", (hole,))
    db.execute("COMMIT")
    return True


class SqliteKnownObjects:
    """See `connectors.folder.KnownObjects`."""

    def __init__(self, path: pathlib.Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS known (key TEXT PRIMARY KEY, version TEXT NOT NULL) WITHOUT ROWID")

    def versions(self, keys: Sequence[str]) -> Mapping[str, str]:
        """See `KnownObjects.versions`."""
        found: dict[str, str] = {}
        for at in range(0, len(keys), _BOUND_MAX):
            some = keys[at : at + _BOUND_MAX]
            marks = ",".join("?" * len(some))
            found.update(self._db.execute(f"SELECT key, version FROM known WHERE key IN ({marks})", some))
        return found

    def keys(self) -> Iterator[str]:
        """See `KnownObjects.keys`."""
        for (key,) in self._db.execute("SELECT key FROM known"):
            yield key

    def remember(self, notices: Sequence[ObjectNotice]) -> None:
        """See `KnownObjects.remember`."""
        self._db.execute("BEGIN IMMEDIATE")
        for notice in notices:
            if notice.action is ObjectAction.DELETE:
                self._db.execute("DELETE FROM known WHERE key = ?", (notice.key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (notice.key, notice.version))
        self._db.execute("COMMIT")

    def say_again(self, hole: int) -> bool:
        """Forget which versions were announced, once for each hole of the log; return whether this one was new."""
        return said_again(self._db, hole, ["UPDATE known SET version = ''"])

    def close(self) -> None:
        """Close the file."""
        self._db.close()
