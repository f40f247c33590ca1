"""What a router has seen, read by others from its state: how far, which holes, which notices. Changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from typing import TYPE_CHECKING, Final, TypeVar

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
    from collections.abc import Callable, Mapping

    from schemas.mapping import TableMapping

_BUSY_SECONDS: Final = 2.0

T = TypeVar("T")


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
    return _asked(path, lambda db: _read(db, source), RouterView())


def observe_mapping(path: pathlib.Path, source: str, declared: TableMapping) -> TableMapping:
    """Return the mapping that a router now holds of a source, after every change of its schema. Blocks briefly."""
    query = "SELECT content FROM schema_messages WHERE source = ? ORDER BY epoch, position"
    told: list[bytes] = _asked(path, lambda db: [row[0] for row in db.execute(query, (source,))], [])
    live, schema, mapping = LiveMapping(declared), Schema(), declared
    for content in told:
        schema = schema.after(parse_shape(content))
        mapping = live.at(schema)
    return mapping


def ended_logs(path: pathlib.Path) -> list[Hole]:
    """Return the logs, other than the platform's, that are read no more and have no later epoch. Blocks briefly."""
    query = (
        "SELECT holes.* FROM holes JOIN sources USING (source, epoch) WHERE position >= next_offset AND source <> ?"
        " AND epoch = (SELECT max(epoch) FROM sources AS any WHERE any.source = holes.source) ORDER BY source"
    )
    return _asked(path, lambda db: [Hole(*row) for row in db.execute(query, (PLATFORM_SOURCE,))], [])


def newest_hole(path: pathlib.Path, source: str, epoch: int) -> int:
    """Return at which position a log that goes on last lost records; -1 for never. Blocks briefly."""
    hole = observe_router(path, source).holes.get(epoch)
    return -1 if hole is None else hole.position


def observe_moves(path: pathlib.Path, epoch: int, after: int, *, limit: int) -> Moves:
    """Return the parent rows of an epoch that moved to another wedding behind a position. Blocks briefly."""
    return _asked(path, lambda db: moves.behind(db, epoch, after, limit=limit), Moves())


def _asked(path: pathlib.Path, ask: Callable[[sqlite3.Connection], T], nothing: T) -> T:
    """Return what the file answers; `nothing` where it is not made yet, or is an older version's, not yet completed."""
    if not path.exists():
        return nothing
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as db:
            return ask(db)
    except sqlite3.OperationalError:
        return nothing


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
