"""Parent rows that moved to another wedding: what follows them must be read again, to lie in its history too.

A change of the parent says nothing of its children: they keep their frames under the wedding of then, and their own
children would be routed there for ever. So each move is remembered beside the membership it changed, in the
same transaction, until a copy of what follows it has been made (`connectors.moved_rows`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS moves (
    epoch INTEGER, parent BLOB, position INTEGER NOT NULL, PRIMARY KEY (epoch, parent)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS moves_in_order ON moves (epoch, position);
"""


class Moves(NamedTuple):
    """Moves of one epoch behind a position: how many, up to where, and the first of them by their parents' names."""

    owed: int = 0
    last: int = -1
    first: tuple[tuple[int, bytes], ...] = ()


def remember(db: sqlite3.Connection, parent: bytes, epoch: int, position: int) -> None:
    """Remember a move; those of earlier epochs are over, since a new one begins by copying every table."""
    db.execute("DELETE FROM moves WHERE epoch < ?", (epoch,))
    db.execute("INSERT OR REPLACE INTO moves VALUES (?, ?, ?)", (epoch, parent, position))


def behind(db: sqlite3.Connection, epoch: int, position: int, *, limit: int) -> Moves:
    """Return the moves of an epoch behind a position, oldest first; of a longer list only so many by name."""
    owed, last = db.execute(
        "SELECT count(*), coalesce(max(position), -1) FROM moves WHERE epoch = ? AND position > ?", (epoch, position)
    ).fetchone()
    first = db.execute(
        "SELECT position, parent FROM moves WHERE epoch = ? AND position > ? ORDER BY position LIMIT ?",
        (epoch, position, limit),
    ).fetchall()
    return Moves(owed, last, tuple((at, bytes(parent)) for at, parent in first))
