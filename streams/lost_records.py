"""Records of a capture log that are gone from Kafka before they were routed: found, and filed. Pure.

A broker numbers a log without gaps, so a number that never came is a record that is lost: retention outran
the router, somebody deleted it, or the broker lost the end of its topic. The platform's log is over there, since
its rows mean nothing without the ones before them: the witness files the hole, and a new epoch copies
every table. Every other log goes on, because its records stand for themselves; what it lost is filed
as a gap in the log itself, so that it lies in the stores and the catalog has it, like the guard's own.

The gap stands at the last number that was lost. A sink whose frontier is there already has had them all from
a router before this one, and passes the gap over like anything that comes a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from connectors.connector_config import PLATFORM_SOURCE
from connectors.ledger import Gap, gap_message
from schemas import codec
from schemas.backup import PLATFORM
from streams.records import Outgoing
from streams.witness import Hole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.destinations import Destination
    from streams.records import Record
    from streams.state import Progress


class Lost(NamedTuple):
    """Records `first` to `last` of one log are gone; `committed_us` is how old the one before them was, 0 unknown."""

    source: str
    epoch: int
    first: int
    last: int
    committed_us: int
    found_us: int

    @property
    def what(self) -> str:
        """Return what the ledger says of it."""
        return f"the log has a hole: records {self.first} to {self.last} are gone from Kafka before they were routed"


def goes_on(source: str) -> bool:
    """Return whether a source's log may be read on behind a hole as if nothing were missing before it."""
    return source != PLATFORM_SOURCE


def jumps(records: Sequence[Record], next_offset: int) -> list[tuple[int, int]]:
    """Return the (first, last) numbers that are missing before or between records, the first of which is expected."""
    if records[-1].offset - next_offset + 1 == len(records):  # Nearly always, and asked for every batch.
        return []
    found = []
    for record in records:
        if record.offset != next_offset:
            found.append((next_offset, record.offset - 1))
        next_offset = record.offset + 1
    return found


def hole_of(lost: Lost, progress: Progress | None) -> Hole:
    """Return what the witness files."""
    whole_lsn = progress.whole_lsn if progress is not None else 0
    return Hole(lost.source, lost.epoch, lost.first, whole_lsn, lost.committed_us, lost.found_us, lost.what)


def gap_of(lost: Lost) -> Gap:
    """Return what the gap ledger says of a log that goes on; its places are numbers of records."""
    return Gap(
        gap=f"{lost.source}-e{lost.epoch}-{lost.first}",
        source=lost.source,
        from_epoch=lost.epoch,
        to_epoch=lost.epoch,
        from_us=max(0, lost.committed_us),
        to_us=lost.found_us,
        from_lsn=lost.first,
        to_lsn=lost.last,
        reason=lost.what,
        found_us=lost.found_us,
    )


def filed(lost: Lost, to: Destination) -> Outgoing:
    """Return the change that files a gap, for the platform's partition of its lane."""
    change = {
        "source": lost.source,
        "epoch": lost.epoch,
        "position": lost.last,
        "kind": "message",
        "wedding": PLATFORM,
        "residency": to.residency,
        "table": "",
        "transaction": 0,
        "order": 0,
        "committed_at": max(0, lost.committed_us),
        "captured_at": lost.found_us,
        "again": False,
        "also": [],
        "payload": gap_message(gap_of(lost)),
    }
    return Outgoing(to.topic, to.partition, to.key, codec.encode("BackupChange", change), to.headers)
