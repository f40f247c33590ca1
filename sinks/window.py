"""A window: the records of one partition that are protected together. Pure.

Sorting a window tells apart what is new from what was routed again, whose it is, where it may lie,
and what it says of frontiers and objects. Nothing here knows keys or stores.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from connectors.ledger import gap_of
from connectors.storage import decode_notice
from schemas import codec
from schemas.backup import Residency
from schemas.errors import FormatError
from schemas.pack import LogEntry
from sinks.packer import WeddingEvents, WindowPart
from sinks.partition_holes import filing, hole_before, is_stopped
from sinks.promotion_rows import PromotedWedding
from sinks.receipts import FrontierMark, PartitionMark
from streams.dead_letters import Place, letter_changes, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from connectors.ledger import Gap
    from schemas.backup import PlacementClass
    from streams.records import Record

_Source = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewObject:
    """An object version announced in the window; `change` is its record."""

    change: dict[str, Any]
    placement: PlacementClass


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SortedWindow:
    """What a window holds. `instants` are (committed, routed) in microseconds of each new change."""

    first: int
    last: int
    parts: tuple[WindowPart, ...]
    objects: tuple[NewObject, ...]
    frontiers: tuple[FrontierMark, ...]
    recent: tuple[tuple[str, int, tuple[tuple[int, str], ...]], ...]
    instants: tuple[tuple[int, int], ...]
    repeated: int
    undecodable: int
    promoted: tuple[PromotedWedding, ...] = ()
    gaps: tuple[Gap, ...] = ()
    holed_us: int = 0


def sort_window(records: Sequence[Record], mark: PartitionMark) -> SortedWindow:
    """Sort consecutive records that begin at the partition's mark, or behind a hole, which is filed."""
    assert records
    sorting = _Sorting(mark)
    if (hole := hole_before(mark, records[0])) is not None:
        sorting.file(hole, records[0])
    for record in records:
        sorting.take(record)
    return sorting.finish(records[0].offset, records[-1].offset)


class _Sorting:
    def __init__(self, mark: PartitionMark) -> None:
        self._place = Place(origin=f"{mark.topic}@{mark.topic_id}", partition=mark.partition)
        self._frontiers = {(each.source, each.epoch): each for each in mark.frontiers}
        self._recent = {(source, epoch): dict.fromkeys(pairs) for source, epoch, pairs in mark.recent}
        self._parts: dict[PlacementClass, dict[str, WeddingEvents]] = {}
        self._objects: list[NewObject] = []
        self._instants: list[tuple[int, int]] = []
        self._promoted: list[PromotedWedding] = []
        self._gaps: list[Gap] = []
        self._holed_us = mark.holed_us
        self._repeated = self._undecodable = 0

    def file(self, hole: Gap, record: Record) -> None:
        """Keep among the changes that records are gone before this one, and take no word for theirs any more."""
        self._holed_us = max(self._holed_us, hole.found_us)
        value = filing(hole)
        self._add(codec.decode("BackupChange", value), record, value)

    def take(self, record: Record) -> None:
        value = record.value or b""
        try:
            name = codec.name_of(value)
            if name == "Frontier":
                self._move_frontier(codec.decode("Frontier", value))
                return
            if name == "Promotion":
                self._promote(record.offset, codec.decode("Promotion", value))
                return
            change = codec.decode("BackupChange", value)
            if change["kind"] == "object_put":
                decode_notice(change["payload"])  # Its bytes are fetched by it: what does not say whose is no claim.
        except FormatError as error:
            self._undecodable += 1
            for letter in letter_changes(record, self._place, reason_of(error)):
                self._add(codec.decode("BackupChange", letter), record, letter)
            return
        if self._is_repeated(change):
            self._repeated += 1
        else:
            self._add(change, record, value)

    def _move_frontier(self, frontier: dict[str, Any]) -> None:
        source = (frontier["source"], frontier["epoch"])
        known = self._frontiers.get(source)
        if known is not None and known.position >= frontier["position"]:
            return
        if not is_stopped(*source, self._holed_us):
            self._frontiers[source] = FrontierMark(
                source=source[0],
                epoch=source[1],
                position=frontier["position"],
                lsn=frontier["lsn"],
                committed_us=frontier["committed_at"],
            )
        beyond = {pair: None for pair in self._recent.get(source, ()) if pair[0] > frontier["position"]}
        self._recent[source] = beyond

    def _promote(self, offset: int, promotion: dict[str, Any]) -> None:
        self._promoted.append(
            PromotedWedding(
                offset=offset,
                wedding=promotion["wedding"],
                rank=promotion["rank"],
                decided_us=promotion["decided_at"],
            )
        )

    def _is_repeated(self, change: dict[str, Any]) -> bool:
        """Return whether this change was received before; if not, it counts as received.

        At or before the frontier everything has been received; beyond it the pairs are remembered.
        A change sealed again on purpose is never a repetition.
        """
        if change["again"]:
            return False
        source = (change["source"], change["epoch"])
        frontier = self._frontiers.get(source)
        if frontier is not None and change["position"] <= frontier.position:
            return True
        recent = self._recent.setdefault(source, {})
        pair = (change["position"], change["wedding"])
        is_repeated = pair in recent
        recent[pair] = None
        return is_repeated

    def _add(self, change: dict[str, Any], record: Record, value: bytes) -> None:
        placement = Residency(change["residency"]).placement_class
        committed_us = change["committed_at"]
        events = self._parts.setdefault(placement, {}).setdefault(
            change["wedding"], WeddingEvents(entries=[], earliest_us=committed_us, latest_us=committed_us)
        )
        events.entries.append(LogEntry(offset=record.offset, timestamp_ms=record.timestamp_ms, value=value))
        events.earliest_us = min(events.earliest_us, committed_us)
        events.latest_us = max(events.latest_us, committed_us)
        if change["kind"] == "row" or change["kind"].startswith("object"):
            self._instants.append((committed_us, record.timestamp_ms * 1000))
        if change["kind"] == "object_put":
            self._objects.append(NewObject(change=change, placement=placement))
        elif change["kind"] == "message":
            self._gaps += gaps_filed([change])

    def finish(self, first: int, last: int) -> SortedWindow:
        return SortedWindow(
            first=first,
            last=last,
            parts=tuple(WindowPart(placement=name, weddings=self._parts[name]) for name in sorted(self._parts)),
            objects=tuple(self._objects),
            frontiers=tuple(self._frontiers.values()),
            recent=tuple((*source, tuple(pairs)) for source, pairs in sorted(self._recent.items()) if pairs),
            instants=tuple(self._instants),
            repeated=self._repeated,
            undecodable=self._undecodable,
            promoted=tuple(self._promoted),
            gaps=tuple(self._gaps),
            holed_us=self._holed_us,
        )


def gaps_filed(changes: Iterable[Mapping[str, Any]]) -> list[Gap]:
    """Return the gaps that changes file; a message that only looks like one is a message."""
    found = []
    for change in changes:
        if change["kind"] == "message":
            with contextlib.suppress(FormatError):
                found += [gap for gap in [gap_of(change["payload"])] if gap is not None]
    return found
