"""Records of a backup topic that are gone from Kafka before they were protected: filed, and never passed over. Pure.

The first window behind a hole files it, as a gap of the partition: sealed with the window's own changes, so that
the offset and the gap move together, and that whoever rebuilds the catalog finds it. Rows mean nothing
without the ones before them: the frontier of every epoch of the platform that had begun by then stands still in
this partition, so no restore goes beyond the hole, until the guard's new epoch has copied every table. What
objects and events were in it is not said again by anybody, so later restores tell of it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connectors.ledger import Gap, gap_message
from schemas import codec
from schemas.backup import PLATFORM, Residency
from streams.lost_records import goes_on

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sinks.receipts import FrontierMark, PartitionMark
    from streams.records import Record

_MICRO: Final = 1_000_000
_BACKUP: Final = "backup."


def gap_source(topic: str, partition: int) -> str:
    """Return under which source the gap ledger files a hole in a backup partition."""
    return f"{topic}/{partition}"


def is_partition(source: str) -> bool:
    """Return whether the ledger's source is a partition of a backup topic."""
    return source.startswith(_BACKUP)


def hole_before(mark: PartitionMark, first: Record) -> Gap | None:
    """Return what is gone between a partition's mark and the first record there is; None when nothing is.

    Whatever was in the hole was appended before that record was: the gap ends at its instant.
    """
    if first.offset <= mark.next_offset:
        return None
    known = max((each for each in mark.frontiers if not goes_on(each.source)), key=_age, default=None)
    lost = f"records {mark.next_offset} to {first.offset - 1} of {gap_source(mark.topic, mark.partition)}"
    return Gap(
        gap=f"{mark.topic_id}/{mark.partition}-{mark.next_offset}",
        source=gap_source(mark.topic, mark.partition),
        from_epoch=known.epoch if known is not None else 0,
        to_epoch=0,
        from_us=known.committed_us if known is not None else 0,
        to_us=first.timestamp_ms * 1000,
        from_lsn=mark.next_offset,
        to_lsn=first.offset - 1,
        reason=f"{lost} were gone from Kafka before they were protected",
        found_us=first.timestamp_ms * 1000,
    )


def filing(gap: Gap) -> bytes:
    """Return the change that files a partition's gap: it belongs to nobody's log, and stands where the hole is."""
    change = {
        "source": gap.source,
        "epoch": 0,
        "position": gap.to_lsn,
        "kind": "message",
        "wedding": PLATFORM,
        "residency": Residency.UNKNOWN.value,
        "table": "",
        "transaction": 0,
        "order": 0,
        "committed_at": max(0, gap.from_us),
        "captured_at": gap.found_us,
        "again": True,
        "also": [],
        "payload": gap_message(gap),
    }
    return codec.encode("BackupChange", change)


def is_stopped(source: str, epoch: int, holed_us: int) -> bool:
    """Return whether a source's frontier may move no more in a partition whose last hole ended then (0: it has none).

    An epoch that began later lost nothing in it.
    """
    return not goes_on(source) and epoch * _MICRO <= holed_us


def newest_hole(gaps: Iterable[Gap], epoch: int) -> Gap | None:
    """Return the latest hole in any partition by which this epoch's log is not whole."""
    holes = [each for each in gaps if is_partition(each.source) and epoch * _MICRO <= each.found_us]
    return max(holes, key=lambda each: each.found_us, default=None)


def _age(mark: FrontierMark) -> tuple[int, int]:
    return mark.epoch, mark.position
