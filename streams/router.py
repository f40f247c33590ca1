"""The router: batches of a capture log in, backup topics out, the state kept between.

A batch is one transaction of the state: decided, delivered, remembered, in this order; a large one is decided
in parts, each while the part before is delivered. Dying
anywhere in it means that the batch is routed again, under the same positions. The frontier is
announced only with nothing outstanding, so it never claims a record that is not on its topic.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from schemas import codec
from schemas.backup import PLATFORM
from schemas.topics import BACKUP_TOPICS, parse_capture_topic
from streams import lost_records
from streams.destinations import Destinations
from streams.lost_records import Lost
from streams.priority import DEFAULT_RULES
from streams.produce import InTurn
from streams.records import Outgoing
from streams.routing import SourceRouting

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from schemas.mapping import TableMapping
    from streams.intake import Partition
    from streams.priority import LaneRule
    from streams.produce import BatchProducer
    from streams.records import Record, RecordBatch
    from streams.state import Progress, RouterState

FRONTIER_EVERY_SECONDS: Final = 0.1
RECORDS_AT_ONCE: Final = 2_000
"""Decided while the ones before are on their way; some thirty milliseconds, longer than a broker takes to answer."""


class Router:
    """Routes the batches of any number of sources, one at a time."""

    def __init__(
        self,
        *,
        mapping: TableMapping,
        state: RouterState,
        producer: BatchProducer,
        partitions: int,
        now: Callable[[], dt.datetime],
        rules: Sequence[LaneRule] = DEFAULT_RULES,
        records_at_once: int = RECORDS_AT_ONCE,
    ) -> None:
        self._mapping, self._state, self._producer = mapping, state, producer
        self._destinations = Destinations(state, partitions=partitions, rules=rules)
        self._partitions, self._now, self._at_once = partitions, now, records_at_once
        self._routings: dict[tuple[str, int], SourceRouting] = {}
        self._announced: dict[tuple[str, int], int] = {}
        self._assigned: set[Partition] = set()
        self._one_at_a_time = asyncio.Lock()
        self.routed = self.promoted = 0
        self.waiting = state.waiting()

    @property
    def dead_letters(self) -> int:
        """Return how many records became dead letters."""
        return sum(routing.dead_letters for routing in self._routings.values())

    @property
    def holes(self) -> int:
        """Return in how many logs a hole was found: each needs a new epoch."""
        return sum(self._state.witness.has_hole(*key) for key in self._routings)

    async def route(self, batch: RecordBatch) -> int:
        """Route a batch and return how many records were produced; on any error nothing is remembered.

        Records before the remembered offset are passed over; a batch that leaves a gap is our mistake.
        """
        source, epoch = parse_capture_topic(batch.topic)
        async with self._one_at_a_time:
            progress = self._state.progress(source, epoch)
            records = batch.records
            if progress is not None and records and records[0].offset < progress.next_offset:
                records = [each for each in records if each.offset >= progress.next_offset]
            if not records:
                return 0
            produced = await self._route(source, epoch, batch.topic, records, progress)
        self.routed += produced
        return produced

    async def _route(
        self,
        source: str,
        epoch: int,
        topic: str,
        records: Sequence[Record],
        progress: Progress | None,
    ) -> int:
        routing = self._routing(source, epoch, topic)
        committed_us, produced = progress.committed_us if progress else 0, 0
        with self._state.one_batch():
            if progress is not None:
                for first, last in lost_records.jumps(records, progress.next_offset):
                    await self._file(source, epoch, first, last, progress)
            async with InTurn(self._producer) as deliveries:
                for begin in range(0, len(records), self._at_once):
                    some = records[begin : begin + self._at_once]
                    outgoing, committed_us = routing.decide(some, committed_us=committed_us, now=self._now())
                    produced += len(outgoing)
                    await deliveries.deliver(outgoing)
            await self._promote()
            self._state.advance(source, epoch, next_offset=records[-1].offset + 1, committed_us=committed_us)
        self.waiting = self._state.waiting()
        return produced

    async def _promote(self) -> None:
        """Tell the sinks of weddings in a faster lane than before; only now, with nothing outstanding."""
        promoted = self._destinations.take_promoted()
        if promoted:
            await self._producer.deliver(promoted)
            self.promoted += len(promoted)

    async def make_urgent(self, wedding: str, until: dt.datetime) -> None:
        """Let a wedding's changes go before all others until then, and promote what waits; the past takes it back."""
        now = self._now()
        async with self._one_at_a_time:
            line = self._state.wedding(wedding)
            known = line.urgent_until if line is not None else None
            if known == until or (known is None and until <= now):
                return
            with self._state.one_batch():
                self._destinations.of(wedding, now)
                self._state.remember_urgent(wedding, until if until > now else None)
                self._destinations.of(wedding, now)
                await self._promote()

    async def renew_lanes(self) -> None:
        """Let the passing of time promote weddings of which nothing new is routed."""
        now = self._now()
        if not self._destinations.is_to_renew(now):
            return
        async with self._one_at_a_time:
            with self._state.one_batch():
                self._destinations.renew(now)
                await self._promote()

    async def announce_frontiers(self) -> int:
        """Tell every partition of every backup topic how far each source has been routed; return how many moved."""
        async with self._one_at_a_time:
            moved = {
                key: progress
                for key in self._routings
                if (progress := self._state.progress(*key)) is not None
                and self._announced.get(key) != progress.next_offset
                # What lies behind a hole is protected, but nobody may be told that everything is.
                and (lost_records.goes_on(key[0]) or not self._state.witness.has_hole(*key))
            }
            if moved:
                await self._producer.deliver(
                    [record for key, progress in moved.items() for record in self._frontiers(key, progress)]
                )
            self._announced.update({key: progress.next_offset for key, progress in moved.items()})
        return len(moved)

    async def announce_for_ever(self) -> None:
        """Announce frontiers ten times a second, and promote whom time has brought nearer."""
        while True:
            await asyncio.sleep(FRONTIER_EVERY_SECONDS)
            await self.announce_frontiers()
            await self.renew_lanes()

    async def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Return where to begin: see `streams.intake.Watermarks`."""
        async with self._one_at_a_time:
            # Another router may have written since we last did: what is remembered here may be another day's.
            self._state.reread()
            self._assigned = set(partitions)
            for topic, _ in partitions:
                self._routing(*parse_capture_topic(topic), topic)
        return await self.next_offsets()

    async def outrun(self, at: Partition, wanted: int, first: int, end: int) -> int | None:
        """File that records of a log are gone before they were routed, and return where to go on.

        Retention outran the router, or the broker lost the end of the topic: then its offsets would be given out
        again, and this log is over. The platform's frontier stands still either way, and a new epoch is due; any
        other log goes on behind what it lost.
        """
        source, epoch = parse_capture_topic(at[0])
        async with self._one_at_a_time:
            progress = self._state.progress(source, epoch)
            with self._state.one_batch():
                if wanted > end:
                    self._end(self._lost(source, epoch, end, wanted - 1, progress), progress)
                    return None
                await self._file(source, epoch, wanted, first - 1, progress)
                committed_us = progress.committed_us if progress is not None else 0
                self._state.advance(source, epoch, next_offset=first, committed_us=committed_us)
        return first

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Wait for the batch in flight: what comes later of these partitions is routed by another."""
        async with self._one_at_a_time:
            self._assigned -= set(partitions)
            for topic, _ in partitions:
                self._routings.pop(parse_capture_topic(topic), None)

    async def next_offsets(self) -> Mapping[Partition, int]:
        """Return the next offset of each assigned partition that has one."""
        found = {each: self._state.progress(*parse_capture_topic(each[0])) for each in self._assigned}
        return {each: progress.next_offset for each, progress in found.items() if progress is not None}

    def full(self) -> frozenset[Partition]:
        """Return nothing: what is routed is never kept, so the queue of batches is bound enough."""
        return frozenset()

    def _end(self, lost: Lost, progress: Progress | None) -> None:
        """Remember that a log is over, whose next offset was beyond its end."""
        what = f"the log has a hole: Kafka lost records {lost.first} to {lost.last} of it"
        hole = lost_records.hole_of(lost, progress)._replace(position=lost.last + 1, what=what)
        if lost_records.goes_on(lost.source):
            self._state.witness.end_log(hole)
        else:
            self._state.witness.file_hole(hole)

    async def _file(self, source: str, epoch: int, first: int, last: int, progress: Progress | None) -> None:
        """Remember and tell that records are gone; inside the state's batch."""
        lost = self._lost(source, epoch, first, last, progress)
        self._state.witness.file_hole(lost_records.hole_of(lost, progress), is_newest=lost_records.goes_on(source))
        if lost_records.goes_on(source):
            await self._producer.deliver([lost_records.filed(lost, self._destinations.of(PLATFORM, self._now()))])

    def _lost(self, source: str, epoch: int, first: int, last: int, progress: Progress | None) -> Lost:
        committed_us = progress.committed_us if progress is not None else 0
        return Lost(source, epoch, first, last, committed_us, int(self._now().timestamp() * 1_000_000))

    def _routing(self, source: str, epoch: int, topic: str) -> SourceRouting:
        if (source, epoch) not in self._routings:
            self._routings[source, epoch] = SourceRouting(
                source=source,
                epoch=epoch,
                mapping=self._mapping,
                state=self._state,
                destinations=self._destinations,
                topic=topic,
            )
        return self._routings[source, epoch]

    def _frontiers(self, key: tuple[str, int], progress: Progress) -> list[Outgoing]:
        value = codec.encode(
            "Frontier",
            {
                "source": key[0],
                "epoch": key[1],
                "position": progress.next_offset - 1,
                "lsn": progress.whole_lsn,
                "committed_at": progress.committed_us,
            },
        )
        return [
            Outgoing(topic, partition, None, value) for topic in BACKUP_TOPICS for partition in range(self._partitions)
        ]
