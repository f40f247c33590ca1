"""Where a wedding's changes go now: topic, partition, rank, and whose they are; decided once, not per change.

An answer holds until the wedding's line in the calendar is another, or time alone may change the lane.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas import change_encoder
from schemas.backup import PLATFORM, Priority, Residency
from schemas.partitioning import partition_of
from schemas.topics import backup_topic
from streams.priority import DEFAULT_RULES, RANK_LAST, RANK_URGENT, Decision, LaneRule, decide, valid_until
from streams.records import Headers, rank_headers

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from schemas.wedding import Wedding
    from streams.state import RouterState

_KNOWN_MAX: Final = 131_072
"""Weddings whose destination is held in memory, some 300 bytes each."""


class Destination(NamedTuple):
    """Where one wedding's changes go; `owner` are its encoded fields of a change."""

    topic: str
    partition: int
    key: bytes
    headers: Headers
    owner: bytes
    residency: str
    lane: Priority
    line: Wedding | None
    until: dt.datetime


class Destinations:
    """Answers for all weddings of one router; all its sources share one."""

    def __init__(self, state: RouterState, *, partitions: int, rules: Sequence[LaneRule] = DEFAULT_RULES) -> None:
        self._state, self._partitions, self.rules = state, partitions, rules
        self._known: collections.OrderedDict[str, Destination] = collections.OrderedDict()

    def of(self, wedding: str, now: dt.datetime) -> Destination:
        """Return where a change of this wedding goes at `now`."""
        line = self._state.wedding(wedding)
        known = self._known.get(wedding)
        if known is not None and known.line is line and now < known.until:
            return known
        found = self._decide(wedding, line, now)
        self._known[wedding] = found
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return found

    def _decide(self, wedding: str, line: Wedding | None, now: dt.datetime) -> Destination:
        lane, rank, _ = self.decision(wedding, line, now)
        residency = (line.residency if line is not None else Residency.UNKNOWN).value
        return Destination(
            backup_topic(lane),
            partition_of(wedding, self._partitions),
            wedding.encode(),
            rank_headers(rank),
            change_encoder.whose(wedding, residency),
            residency,
            lane,
            line,
            valid_until(line, now, self.rules),
        )

    def decision(self, wedding: str, line: Wedding | None, now: dt.datetime) -> Decision:
        """Return lane and rank of a wedding whose line of the calendar is `line`."""
        if wedding == PLATFORM:
            # Ends and schemas are needed by every restore, so they travel with the most urgent.
            return Decision(Priority.CRITICAL, RANK_URGENT, None)
        if line is None:
            return Decision(Priority.STANDARD, RANK_LAST, None)
        return decide(line, now=now, rules=self.rules)
