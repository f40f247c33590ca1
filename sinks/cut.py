"""From an instant to a position: where the log is cut. Pure.

The cut is the commit before the first commit, in the order of the log, that is later than T; commit
times are not monotonic in the log, so this is Postgres' own rule for `recovery_target_time`. T may also
be a place in Postgres' own log: then every transaction counts whose commit ends there or before. The cut lies
at or below the *least frontier*: the least of what the wedding's own partitions have protected. Up to
there nothing can still be missing.

    Commit   the end of one transaction: where it stands in the log, and when it was committed
    Known    how far one epoch of the source is known without holes, as the least frontier says
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.backup import PLATFORM, UNREAD
from schemas.errors import RefusedError
from schemas.partitioning import partition_of
from schemas.topics import BACKUP_TOPICS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_MICRO: Final = 1_000_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_WAIT: Final = "wait a moment, or ask for an earlier time"


class Order(NamedTuple):
    """Where something stands in a source's whole history, over all its epochs."""

    epoch: int
    position: int


class Commit(NamedTuple):
    """One transaction's end."""

    order: Order
    committed_us: int
    lsn: int
    transaction: int


class LogPlace(NamedTuple):
    """A place in the source's own log (Postgres' LSN): what is committed at or before it counts."""

    lsn: int

    def __str__(self) -> str:
        return f"{self.lsn >> 32:X}/{self.lsn & 0xFFFFFFFF:X}"


class TransactionId(NamedTuple):
    """One transaction of the source (Postgres' xid): it and all committed before it count."""

    xid: int


Moment = dt.datetime | LogPlace | TransactionId | None
"""What a restore is asked for; None is the latest there is."""


class FrontierRow(NamedTuple):
    """A line of the catalog's frontiers, with the name of its topic."""

    topic: str
    topic_id: str
    partition: int
    source: str
    epoch: int
    position: int
    committed_us: int
    lsn: int = 0


class Known(NamedTuple):
    """An epoch's least frontier: all up to `position` is there; its last commit stands at `lsn`, at `committed_us`."""

    position: int
    committed_us: int
    lsn: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a restore cuts; `at_us` is the instant asked for, None for the latest there is.

    `order` is the last transaction's end that counts; before the first of an epoch its position is -1. Changes
    outside of transactions (rows of a table's first copy) count up to `until`, exclusive: they lie between
    the last transaction that counts and the first that does not, which was committed at `until_us`.
    """

    source: str
    order: Order
    until: Order
    until_us: int
    lsn: int
    committed_us: int
    at_us: int | None

    @property
    def committed_at(self) -> dt.datetime:
        """When the last transaction that is part of the restore was committed."""
        return instant(self.committed_us)

    def has(self, order: Order, transaction: int) -> bool:
        """Return whether a change is part of the restore; `transaction` is 0 outside of any."""
        return order <= self.order or (not transaction and order < self.until)


def instant(microseconds: int) -> dt.datetime:
    """Return microseconds since 1970 UTC as an instant, exactly."""
    return _EPOCH + dt.timedelta(microseconds=microseconds)


def microseconds(at: dt.datetime) -> int:
    """Return an instant in microseconds since 1970 UTC, exactly.

    Raises:
        RefusedError: it has no time zone, so nobody knows which instant is meant.
    """
    if at.tzinfo is None:
        raise RefusedError(f"{at} has no time zone", hint="write it with one: 2026-06-21T10:00:00+02:00, or …Z")
    return (at - _EPOCH) // dt.timedelta(microseconds=1)


def relevant_partitions(weddings: Collection[str] | None, partitions: int) -> frozenset[int]:
    """Return in which partitions of a backup topic the changes of weddings, the platform's and dead letters lie.

    Of no particular weddings (None) they lie in all.
    """
    if weddings is None:
        return frozenset(range(partitions))
    return frozenset(partition_of(each, partitions) for each in (*weddings, PLATFORM, UNREAD))


def partition_count(rows: Iterable[FrontierRow], epoch: int) -> int:
    """Return how many partitions the backup topics had in an epoch: each of them has heard of its frontier."""
    return 1 + max((row.partition for row in rows if row.epoch == epoch), default=-1)


def least_frontiers(
    rows: Sequence[FrontierRow], *, source: str, weddings: Collection[str] | None, partitions: int | None = None
) -> dict[int, Known]:
    """Return, for each epoch of a source, how far the partitions of these weddings (None: of all) know it.

    `partitions` is the present number, where it is known; epochs before the newest tell theirs by
    the frontiers they left. An epoch that one of the partitions has never heard of is not known at all.
    """
    own = [row for row in rows if row.source == source]
    newest = max((row.epoch for row in own), default=0)
    known = {}
    for epoch in sorted({row.epoch for row in own}):
        count = partition_count(own, epoch)
        if partitions is not None and epoch == newest:
            count = max(count, partitions)
        least = _least([row for row in own if row.epoch == epoch], relevant_partitions(weddings, count))
        if least is not None:
            known[epoch] = least
    return known


def _least(rows: Iterable[FrontierRow], partitions: frozenset[int]) -> Known | None:
    """Return the least frontier; where a topic was made anew within the epoch, the farthest of the two counts."""
    farthest: dict[tuple[str, int], Known] = {}
    for row in rows:
        place, mark = (row.topic, row.partition), Known(row.position, row.committed_us, row.lsn)
        farthest[place] = max(mark, farthest.get(place, mark))
    needed = {(topic, partition) for topic in BACKUP_TOPICS for partition in partitions}
    return min(farthest[place] for place in needed) if needed <= farthest.keys() else None


def decide_cut(
    commits: Iterable[Commit],
    known: Mapping[int, Known],
    *,
    source: str,
    at_us: int | None = None,
    place: LogPlace | None = None,
) -> Cut:
    """Return the cut of T, given as an instant or as a place in the log; with neither, the latest.

    `commits` need not be all: those around T suffice, which are the first later than T and the last before it.

    Raises:
        RefusedError: T is beyond what is protected, before it began, or falls into a hole between epochs.
    """
    assert at_us is None or place is None, "one T"
    if not known:
        raise RefusedError(f"nothing of source {source!r} is protected on all its partitions yet", hint=_WAIT)
    ordered = sorted({each for each in commits if _is_known(each.order, known)})
    later = next((each for each in ordered if is_later(each, at_us=at_us, place=place)), None)
    before = [each for each in ordered if later is None or each.order < later.order]
    if later is None and at_us is not None:
        _require_known(at_us, known, before)
    if later is None and place is not None:
        _require_place_known(place, known)
    epoch = _epoch_of(at_us, place, known, before, later)
    if at_us is not None:
        _refuse_hole(at_us, epoch, later, known)
    is_within = later is not None and later.order.epoch == epoch
    until = later.order if later is not None and is_within else Order(epoch, known[epoch].position + 1)
    last = before[-1] if before and before[-1].order.epoch == epoch else _begin(epoch)
    return Cut(
        source=source,
        order=last.order,
        until=until,
        until_us=later.committed_us if later is not None and is_within else known[epoch].committed_us,
        lsn=last.lsn,
        committed_us=last.committed_us,
        # Objects know no place in a database's log: they count up to the time of its commit.
        at_us=at_us if place is None else last.committed_us,
    )


def is_later(commit: Commit, *, at_us: int | None, place: LogPlace | None) -> bool:
    """Return whether a commit is beyond T; nothing is beyond the latest."""
    if place is not None:
        return commit.lsn > place.lsn
    return at_us is not None and commit.committed_us > at_us


def _epoch_of(
    at_us: int | None,
    place: LogPlace | None,
    known: Mapping[int, Known],
    before: Sequence[Commit],
    later: Commit | None,
) -> int:
    """Return the epoch T falls into: the last that had begun, perhaps without a commit of its own yet."""
    if place is not None:
        return _epoch_of_place(place, known, before, later)
    ends_at = max(known) if later is None else later.order.epoch
    begun = [epoch for epoch in known if epoch <= ends_at and (at_us is None or epoch * _MICRO <= at_us)]
    begun += [each.order.epoch for each in before[-1:]]
    if not begun:
        raise RefusedError(
            f"nothing was captured then: the archive begins at {instant(min(known) * _MICRO).isoformat()}",
            hint="ask for a later time",
        )
    return max(begun)


def _epoch_of_place(place: LogPlace, known: Mapping[int, Known], before: Sequence[Commit], later: Commit | None) -> int:
    """Return the epoch of the last commit at or before a place, unless the log was lost between."""
    if not before:
        raise RefusedError(f"nothing was captured at {place} of the log yet", hint="ask for a later place")
    epoch = before[-1].order.epoch
    if later is not None and later.order.epoch != epoch and place.lsn > known[epoch].lsn:
        raise RefusedError(
            f"nothing was captured from {LogPlace(known[epoch].lsn)} to {LogPlace(later.lsn)}: the log was lost there",
            hint=f"ask for {LogPlace(known[epoch].lsn)} or earlier, or for a place after the next epoch began",
        )
    return epoch


def _begin(epoch: int) -> Commit:
    return Commit(Order(epoch, -1), epoch * _MICRO, 0, 0)


def restorable_until_us(known: Mapping[int, Known], last: Commit | None) -> int:
    """Return the latest instant whose cut is certain.

    A frontier may lie within a transaction committed at that very instant, so the instant itself is
    certain only where a whole transaction bears it.
    """
    farthest = known[max(known)].committed_us
    return farthest if last is not None and last.committed_us == farthest else farthest - 1


def _is_known(order: Order, known: Mapping[int, Known]) -> bool:
    return order.epoch in known and order.position <= known[order.epoch].position


def _require_known(at_us: int, known: Mapping[int, Known], before: Sequence[Commit]) -> None:
    until_us = restorable_until_us(known, before[-1] if before else None)
    if at_us > until_us:
        raise RefusedError(
            f"{instant(at_us).isoformat()} is not protected yet: restorable up to {instant(until_us).isoformat()}",
            hint=_WAIT,
        )


def _require_place_known(place: LogPlace, known: Mapping[int, Known]) -> None:
    farthest = LogPlace(known[max(known)].lsn)
    if place > farthest:
        raise RefusedError(f"{place} of the log is not protected yet: restorable up to {farthest}", hint=_WAIT)


def _refuse_hole(at_us: int, epoch: int, later: Commit | None, known: Mapping[int, Known]) -> None:
    """Refuse an instant after an epoch's end and before the next one's begin: nobody recorded it."""
    end_us = known[epoch].committed_us
    if epoch != max(known) and at_us > end_us:
        begin = f" to {instant(later.committed_us).isoformat()}" if later is not None else ""
        raise RefusedError(
            f"nothing was captured from {instant(end_us).isoformat()}{begin}: the log was lost there",
            hint=f"ask for {instant(end_us).isoformat()} or earlier, or for a time after the next epoch began",
        )
