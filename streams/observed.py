"""What a router has seen, read by others from its state: how far, which holes, which notices. Changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from typing import TYPE_CHECKING, Final

import orjson

from connectors.connector_config import PLATFORM_SOURCE
from connectors.table_copies import CopyNotice
from schemas.live_mapping import LiveMapping
from schemas.shapes import Schema, parse_shape
from streams import moves
from streams.moves import Moves
from streams.state import Progress
from streams.witness import Hole

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

    from schemas.mapping import TableMapping

_BUSY_SECONDS: Final = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouterView:
    """One source as its router has seen it, by epoch."""

    progress: Mapping[int, Progress] = dataclasses.field(default_factory=dict)
    holes: Mapping[int, Hole] = dataclasses.field(default_factory=dict)
    notices: Mapping[int, tuple[CopyNotice, ...]] = dataclasses.field(default_factory=dict)

    def last_whole(self, before_epoch: int) -> tuple[int, int, int]:
        """Return (epoch, commit time in microseconds, LSN) up to which the epochs before one are whole; 0s for none."""
        earlier = [epoch for epoch in self.progress if epoch < before_epoch]
        if not earlier:
            return 0, 0, 0
        newest = max(earlier)
        hole, progress = self.holes.get(newest), self.progress[newest]
        if hole is not None:
            return newest, hole.committed_us, hole.lsn
        return newest, progress.committed_us, progress.whole_lsn


def observe_router(path: pathlib.Path, source: str) -> RouterView:
    """Return what the router's state file says of a source; nothing where there is none (yet). Blocks briefly."""
    if not path.exists():
        return RouterView()
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            return _read(db, source)
    except sqlite3.OperationalError:  # Not made yet, or by an older version: its router will complete it.
        return RouterView()


def observe_mapping(path: pathlib.Path, source: str, declared: TableMapping) -> TableMapping:
    """Return the mapping that a router now holds of a source, after every change of its schema. Blocks briefly."""
    live, schema, mapping = LiveMapping(declared), Schema(), declared
    for content in _schema_messages(path, source):
        schema = schema.after(parse_shape(content))
        mapping = live.at(schema)
    return mapping


def _schema_messages(path: pathlib.Path, source: str) -> list[bytes]:
    if not path.exists():
        return []
    query = "SELECT content FROM schema_messages WHERE source = ? ORDER BY epoch, position"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            return [row[0] for row in db.execute(query, (source,))]
    except sqlite3.OperationalError:  # As above.
        return []


def ended_logs(path: pathlib.Path) -> list[Hole]:
    """Return the logs, other than the platform's, that are read no more and have no later epoch. Blocks briefly."""
    if not path.exists():
        return []
    query = (
        "SELECT holes.* FROM holes JOIN sources USING (source, epoch) WHERE position >= next_offset AND source <> ?"
        " AND epoch = (SELECT max(epoch) FROM sources AS any WHERE any.source = holes.source) ORDER BY source"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            return [Hole(*row) for row in db.execute(query, (PLATFORM_SOURCE,))]
    except sqlite3.OperationalError:
        return []


def newest_hole(path: pathlib.Path, source: str, epoch: int) -> int:
    """Return at which position a log that goes on last lost records; -1 for never. Blocks briefly."""
    hole = observe_router(path, source).holes.get(epoch)
    return -1 if hole is None else hole.position


def observe_moves(path: pathlib.Path, epoch: int, after: int, *, limit: int) -> Moves:
    """Return the parent rows of an epoch that moved to another wedding behind a position. Blocks briefly."""
    if not path.exists():
        return Moves()
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            return moves.behind(db, epoch, after, limit=limit)
    except sqlite3.OperationalError:
        return Moves()


def _read(db: sqlite3.Connection, source: str) -> RouterView:
    progress = {
        epoch: Progress(next_offset, committed_us, whole_lsn)
        for epoch, next_offset, committed_us, whole_lsn in db.execute(
            "SELECT epoch, next_offset, committed_us, whole_lsn FROM sources WHERE source = ?", (source,)
        )
    }
    holes = {row[1]: Hole(*row) for row in db.execute("SELECT * FROM holes WHERE source = ?", (source,))}
    notices: dict[int, list[CopyNotice]] = {}
    for epoch, copy, type_, table, position, fields in db.execute(
        "SELECT epoch, copy, type, name, position, fields FROM copies WHERE source = ? ORDER BY position", (source,)
    ):
        notices.setdefault(epoch, []).append(
            CopyNotice(copy=copy, type=type_, table=table, position=position, fields=orjson.loads(fields))
        )
    return RouterView(progress=progress, holes=holes, notices={epoch: tuple(those) for epoch, those in notices.items()})
