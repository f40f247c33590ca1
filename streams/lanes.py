"""Lanes: who may send the next unit. Pure but for its memory; the clock comes in as seconds.

A *transfer* is one object on its way to one store. It is paid for in *units* of at most 8 MiB, and
occupies one of a few places while its last unit is under way. Which lane gets the next unit is decided by
start-time fair queueing: each lane has a virtual time that advances by the bytes it was granted divided by its share,
and the lane that is least advanced goes first. So lanes with work get 50/30/20, what a lane does not use the
others have, a lane that was idle is not in debt, and it waits for one unit at most.

Inside a lane: changes before objects before copies, then by rank, then first come first served; whoever has
waited for long comes before all that.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
from typing import TYPE_CHECKING, Final

from schemas.backup import SERVICE_LEVELS, Priority
from schemas.work import STREAMS, Limit, Mode, Stream, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UNIT_BYTES_MAX: Final = 8 << 20
_UNIT_BYTES_MIN: Final = 64 << 10
_UNIT_SECONDS: Final = 0.05
"""With little bandwidth units are smaller: one takes no longer than this."""
PATIENCE_SECONDS: Final = 20.0
"""Whoever has waited so long goes first in its lane: a stream of urgent work starves nobody."""
RESERVED: Final = 4
"""Places that only changes may take: a store that hangs cannot occupy them all with an album."""
_ORDER: Final = {work: number for number, work in enumerate(Work)}
_STREAMS_OF: Final = {lane: tuple(each for each in STREAMS if each.lane is lane) for lane in Priority}
_SHARE: Final = {lane: level.bandwidth_percent / 100 for lane, level in SERVICE_LEVELS.items()}


@dataclasses.dataclass(eq=False, slots=True, kw_only=True)
class Transfer:
    """One transfer that waits or is under way; a lower `rank` is more urgent."""

    stream: Stream
    size_bytes: int
    rank: int = 0
    number: int = 0
    since: float = 0.0
    left_bytes: int = 0
    is_held: bool = False
    is_gone: bool = False


@dataclasses.dataclass(slots=True)
class _Bucket:
    """Bytes that may be spent; a unit may overdraw it, and the next one waits until that is made good."""

    rate: float
    burst: float
    credit: float = 0.0
    at: float = 0.0

    def fill(self, now: float) -> None:
        self.credit = min(self.burst, self.credit + (now - self.at) * self.rate)
        self.at = now

    @property
    def is_empty(self) -> bool:
        return self.credit <= -1  # Less than a byte is a rounding error, and would be waited for in vain.

    def ready_at(self) -> float:
        return self.at - self.credit / self.rate if self.is_empty else self.at


class _Queue:
    """The waiting transfers of one stream, by rank and by age."""

    def __init__(self) -> None:
        self._ranked: list[tuple[int, int, Transfer]] = []
        self._oldest: collections.deque[Transfer] = collections.deque()

    def put(self, transfer: Transfer) -> None:
        heapq.heappush(self._ranked, (transfer.rank, transfer.number, transfer))
        self._oldest.append(transfer)

    def head(self, now: float, *, may_be_held: bool) -> Transfer | None:
        """Return who is next, or None; `may_be_held` is false while nothing new shall begin."""
        while self._ranked and self._ranked[0][2].is_gone:
            heapq.heappop(self._ranked)
        while self._oldest and self._oldest[0].is_gone:
            self._oldest.popleft()
        if not self._ranked:
            return None
        oldest = self._oldest[0]
        best = oldest if not may_be_held or _is_overdue(oldest, now) else self._ranked[0][2]
        return None if best.is_held and not may_be_held else best


def _is_overdue(transfer: Transfer, now: float) -> bool:
    return now - transfer.since >= PATIENCE_SECONDS


class Lanes:
    """All transfers of one process. Calls come from one thread; `now` never goes back."""

    def __init__(self, *, places: int = 12, bytes_per_second: float | None = None) -> None:
        assert places > RESERVED
        self._places = places
        self._queues = {stream: _Queue() for stream in STREAMS}
        self._waiting = dict.fromkeys(STREAMS, 0)
        self._under_way = dict.fromkeys(STREAMS, 0)
        self._all_waiting = self._all_under_way = self._bulk_under_way = 0
        self._advanced = dict.fromkeys(Priority, 0.0)
        self._virtual = 0.0
        self._numbers = itertools.count()
        self._limits: list[tuple[Limit, _Bucket | None]] = []
        self._modes = dict.fromkeys(STREAMS, Mode.RUN)
        self.granted_bytes = dict.fromkeys(STREAMS, 0)
        self._unit = UNIT_BYTES_MAX
        self._bucket: _Bucket | None = None
        self.set_bandwidth(bytes_per_second, now=0.0)

    def set_bandwidth(self, bytes_per_second: float | None, *, now: float) -> None:
        """Grant so much in all from now on; None is as much as the places allow."""
        self._bucket, self._unit = None, UNIT_BYTES_MAX
        if bytes_per_second is not None:
            self._unit = unit_bytes(bytes_per_second)
            self._bucket = _Bucket(bytes_per_second, self._unit, at=now)

    def obey(self, limits: Iterable[Limit], *, now: float) -> None:
        """Follow these rules from now on, and no others; what is under way is finished."""
        known = dict(self._limits)
        self._limits = [(limit, known.get(limit) or _bucket_of(limit, now)) for limit in limits]
        self._modes = {
            stream: max(
                (limit.mode for limit, _ in self._limits if stream in limit.streams),
                default=Mode.RUN,
                key=list(Mode).index,
            )
            for stream in STREAMS
        }

    def mode(self, stream: Stream) -> Mode:
        """Return what a stream may do now."""
        return self._modes[stream]

    def waiting(self, lane: Priority) -> int:
        """Return how many transfers of a lane wait."""
        return sum(self._waiting[stream] for stream in _STREAMS_OF[lane])

    def ask(self, transfer: Transfer, *, now: float) -> None:
        """Let a transfer wait for its turn."""
        transfer.number, transfer.since, transfer.left_bytes = next(self._numbers), now, transfer.size_bytes
        transfer.is_held = self._modes[transfer.stream] is not Mode.RUN
        self._queues[transfer.stream].put(transfer)
        self._count_waiting(transfer, 1)

    def withdraw(self, transfer: Transfer) -> None:
        """Forget one that waits."""
        transfer.is_gone = True
        self._count_waiting(transfer, -1)

    def finished(self, transfer: Transfer) -> None:
        """Free the place of one that was under way."""
        self._count_under_way(transfer, -1)

    def grant(self, *, now: float) -> list[Transfer]:
        """Return the transfers that may begin now; each calls `finished` in the end."""
        if not self._all_waiting:
            return []
        for bucket in self._buckets():
            bucket.fill(now)
        begun = []
        while (transfer := self._next(now)) is not None:
            if self._pay(transfer):
                begun.append(transfer)
        return begun

    def ready_at(self, *, now: float) -> float | None:
        """Return when bytes that were overdrawn are made good, if anything waits for that; else only events matter."""
        if not self._all_waiting:
            return None
        return min((at for bucket in self._buckets() if (at := bucket.ready_at()) > now), default=None)

    def _buckets(self) -> list[_Bucket]:
        own = [] if self._bucket is None else [self._bucket]
        return own + [bucket for _, bucket in self._limits if bucket is not None]

    def _next(self, now: float) -> Transfer | None:
        if self._bucket is not None and self._bucket.is_empty:
            return None
        best: Transfer | None = None
        for lane in Priority:
            heads = self._heads(lane, now)
            if not heads:
                continue
            # Who was idle or stopped until now has nothing to catch up with.
            self._advanced[lane] = max(self._advanced[lane], self._virtual)
            heads = [each for each in heads if self._has_place(each)]
            if heads and (best is None or self._advanced[lane] < self._advanced[best.stream.lane]):
                best = min(heads, key=lambda each: _turn(each, now))
        return best

    def _heads(self, lane: Priority, now: float) -> list[Transfer]:
        heads = []
        for stream in _STREAMS_OF[lane]:
            if not self._waiting[stream] or self._modes[stream] is Mode.PAUSE or not self._is_within_limits(stream):
                continue
            head = self._queues[stream].head(now, may_be_held=self._modes[stream] is Mode.RUN)
            if head is not None:
                heads.append(head)
        return heads

    def _is_within_limits(self, stream: Stream) -> bool:
        for limit, bucket in self._limits:
            if stream not in limit.streams:
                continue
            if bucket is not None and bucket.is_empty:
                return False
            if limit.at_once is not None and sum(self._under_way[each] for each in limit.streams) >= limit.at_once:
                return False
        return True

    def _has_place(self, transfer: Transfer) -> bool:
        if transfer.left_bytes > self._unit:
            return True
        if self._all_under_way >= self._places:
            return False
        return transfer.stream.work is Work.LOG or self._bulk_under_way < self._places - RESERVED

    def _pay(self, transfer: Transfer) -> bool:
        """Grant one unit, and return whether it was the last."""
        lane, size = transfer.stream.lane, min(self._unit, transfer.left_bytes)
        self._virtual = self._advanced[lane]
        self._advanced[lane] += size / _SHARE[lane]
        self.granted_bytes[transfer.stream] += size
        for bucket in self._paid_from(transfer.stream):
            bucket.credit -= size
        transfer.left_bytes -= size
        if transfer.left_bytes > 0:
            return False
        self.withdraw(transfer)
        self._count_under_way(transfer, 1)
        return True

    def _count_waiting(self, transfer: Transfer, by: int) -> None:
        self._waiting[transfer.stream] += by
        self._all_waiting += by

    def _count_under_way(self, transfer: Transfer, by: int) -> None:
        self._under_way[transfer.stream] += by
        self._all_under_way += by
        self._bulk_under_way += by * (transfer.stream.work is not Work.LOG)

    def _paid_from(self, stream: Stream) -> Sequence[_Bucket]:
        own = [] if self._bucket is None else [self._bucket]
        return own + [bucket for limit, bucket in self._limits if bucket is not None and stream in limit.streams]


def unit_bytes(bytes_per_second: float) -> int:
    """Return how many bytes one unit has at a bandwidth."""
    return int(min(UNIT_BYTES_MAX, max(_UNIT_BYTES_MIN, bytes_per_second * _UNIT_SECONDS)))


def _bucket_of(limit: Limit, now: float) -> _Bucket | None:
    rate = limit.bytes_per_second
    return None if rate is None else _Bucket(max(1, rate), unit_bytes(rate), at=now)


def _turn(transfer: Transfer, now: float) -> tuple[bool, float, int, int, int]:
    """Return a transfer's place in its lane."""
    is_overdue = _is_overdue(transfer, now)
    since = transfer.since if is_overdue else 0.0
    return not is_overdue, since, _ORDER[transfer.stream.work], transfer.rank, transfer.number
