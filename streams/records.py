"""Records and batches of records, as they are read and as they are to be written. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Headers = tuple[tuple[str, bytes], ...]

RANK_HEADER: Final = "wedsync.rank"
"""Tells a sink what to take first of what it has read ahead in one lane; see `rank_of`."""
_RANK_UNKNOWN: Final = 0xFFFF


class Record(NamedTuple):
    """One record as a broker handed it out; named tuples, since the hot path makes many."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class RecordBatch(NamedTuple):
    """Consecutive records of one partition, in offset order; `generation` counts assignments."""

    topic: str
    partition: int
    records: Sequence[Record]
    generation: int = 0


class Outgoing(NamedTuple):
    """One record to be produced; a partition of None lets the key decide."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def rank_headers(rank: int) -> Headers:
    """Return the headers by which a record carries its rank."""
    return ((RANK_HEADER, b"%d" % rank),)


def rank_of(record: Record) -> int:
    """Return a record's rank (the lower goes first): 0 urgent, 1 same day, then the hours; the last for none."""
    for name, value in record.headers:
        if name == RANK_HEADER and value.isdigit():
            return min(int(value[:5]), _RANK_UNKNOWN)
    return _RANK_UNKNOWN
