"""Where a wedding's changes go now: topic, partition, rank, and whose they are; decided once, not per change.

An answer holds until the wedding's line in the calendar is another, or time alone may change the lane. One look
into one table finds it, however many weddings there are.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import functools
from typing import TYPE_CHECKING, Final

from schemas import change_encoder, codec
from schemas.backup import PLATFORM, Priority, Residency
from schemas.partitioning import partition_of
from schemas.topics import backup_topic
from streams.priority import DEFAULT_RULES, RANK_LAST, RANK_URGENT, Decision, LaneRule, decide, valid_until
from streams.records import Headers, Outgoing, rank_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.wedding import Wedding
    from streams.state import RouterState

_KNOWN_MAX: Final = 131_072
"""Weddings whose destination is held in memory, some 300 bytes each."""
_ALIKE_MAX: Final = 16_384
"""Decisions held for weddings that differ in nothing a rule asks of: a few years of days in all zones."""
_RENEWED_AT_ONCE: Final = 1_000
_LANES: Final = tuple(Priority)
_OVER: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where one wedding's changes go; `owner` are its encoded fields of a change."""

    topic: str
    partition: int
    key: bytes
    headers: Headers
    owner: bytes
    residency: str
    lane: Priority
    rank: int
    decided_at: dt.datetime
    until: dt.datetime


class Destinations:
    """Answers for all weddings of one router; all its sources share one."""

    def __init__(self, state: RouterState, *, partitions: int, rules: Sequence[LaneRule] = DEFAULT_RULES) -> None:
        self._state, self._partitions, self.rules = state, partitions, rules
        self._known: collections.OrderedDict[str, Destination] = collections.OrderedDict()
        self._moved = state.follow_weddings()
        self._alike: dict[tuple[dt.date | None, str | None, dt.datetime], Decision] = {}
        self._promoted: dict[str, Destination] = {}
        self._renew_at = self._renewing_at = self._until = _OVER
        self._to_renew: list[str] = []

    def of(self, wedding: str, now: dt.datetime) -> Destination:
        """Return where a change of this wedding goes at `now`."""
        if self._moved:
            self._forget_moved()
        known = self._known.get(wedding)
        if known is not None and now < known.until:
            return known
        found = self._known[wedding] = self._decide(wedding, known, now)
        if known is not None and _LANES.index(found.lane) < _LANES.index(known.lane):
            self._promoted[wedding] = found
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return found

    def _forget_moved(self) -> None:
        """Let what was decided by another line hold no longer; its lane is still what the next is compared with."""
        for wedding in self._moved:
            known = self._known.get(wedding)
            if known is not None:
                self._known[wedding] = dataclasses.replace(known, until=_OVER)
        self._moved.clear()

    def take_promoted(self) -> list[Outgoing]:
        """Return, and forget, what tells the sinks of weddings that came into a faster lane.

        To be produced once everything routed before has been delivered: a sink looks for what waits up
        to the end its slower lanes have then.
        """
        promoted, self._promoted = self._promoted, {}
        return [_promotion(wedding, to) for wedding, to in promoted.items()]

    def is_to_renew(self, now: dt.datetime) -> bool:
        """Return whether `renew` has anything to do."""
        return bool(self._to_renew) or now >= self._renew_at

    def renew(self, now: dt.datetime, limit: int = _RENEWED_AT_ONCE) -> None:
        """Promote weddings that time alone has brought nearer, also while no router ran; a few at each call."""
        since = self._state.renewed_at()
        if not self._to_renew:
            # A router that never ran has left nobody behind.
            self._renewing_at, self._to_renew = now, [] if since is None else self._state.weddings()
        since, now = since or now, self._renewing_at
        some, self._to_renew = self._to_renew[:limit], self._to_renew[limit:]
        for wedding in some:
            self._renew(wedding, since, now)
        if not self._to_renew:
            self._state.remember_renewed(now)
            self._renew_at = valid_until(None, now)

    def _renew(self, wedding: str, since: dt.datetime, now: dt.datetime) -> None:
        line = self._state.wedding(wedding)
        before, after = self.decision(wedding, line, since).lane, self.decision(wedding, line, now).lane
        if _LANES.index(after) < _LANES.index(before):
            self._promoted[wedding] = self.of(wedding, now)

    def _decide(self, wedding: str, known: Destination | None, now: dt.datetime) -> Destination:
        line = self._state.wedding(wedding)
        lane, rank, _ = self.decision(wedding, line, now)
        residency = (line.residency if line is not None else Residency.UNKNOWN).value
        # What lies in memory once for all of them is found in the cache of the processor.
        return Destination(
            topic=backup_topic(lane),
            partition=known.partition if known is not None else partition_of(wedding, self._partitions),
            key=known.key if known is not None else wedding.encode(),
            headers=_headers(rank),
            owner=known.owner
            if known is not None and known.residency == residency
            else change_encoder.whose(wedding, residency),
            residency=residency,
            lane=lane,
            rank=rank,
            decided_at=now,
            until=self._shared(valid_until(line, now, self.rules)),
        )

    def decision(self, wedding: str, line: Wedding | None, now: dt.datetime) -> Decision:
        """Return lane and rank of a wedding whose line of the calendar is `line`."""
        if wedding == PLATFORM:
            # Ends and schemas are needed by every restore, so they travel with the most urgent.
            return Decision(Priority.CRITICAL, RANK_URGENT, None)
        if line is None:
            return Decision(Priority.STANDARD, RANK_LAST, None)
        if line.deliveries_due or line.urgent_until is not None or line.uploaded_at is not None:
            return decide(line, now=now, rules=self.rules)
        return self._decide_alike(line, now)

    def _shared(self, until: dt.datetime) -> dt.datetime:
        """Return the one instant that lies in memory for all decisions that hold until then."""
        if until != self._until:
            self._until = until
        return self._until

    def _decide_alike(self, line: Wedding, now: dt.datetime) -> Decision:
        """Decide by day and zone alone, once for all weddings that share them and for the quarter of an hour."""
        alike = (line.day, line.venue_zone, valid_until(None, now))
        found = self._alike.get(alike)
        if found is None:
            if len(self._alike) >= _ALIKE_MAX:
                self._alike.clear()
            found = self._alike[alike] = decide(line, now=now, rules=self.rules)
        return found


_headers: Final = functools.lru_cache(maxsize=4096)(rank_headers)


def _promotion(wedding: str, to: Destination) -> Outgoing:
    value = codec.encode(
        "Promotion", {"wedding": wedding, "rank": to.rank, "decided_at": int(to.decided_at.timestamp() * 1_000_000)}
    )
    return Outgoing(to.topic, to.partition, to.key, value, to.headers)
