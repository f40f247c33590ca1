"""Records and batches of records, as they are read and as they are to be written. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Headers = tuple[tuple[str, bytes], ...]


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
