"""The sink: partitions in, windows out, and nothing acknowledged that is not protected.

Each partition gathers records into a window, which closes by age or size. A window stays open
longer when the last one took long to be protected: under load windows grow, they do not pile up. Pending
records are bounded: a partition that has enough says so (`full`), the intake reads only the others, and Kafka
keeps the rest. `accept` never waits for room: behind a full partition stand the batches of other lanes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Final

import structlog

from schemas import codec
from schemas.backup import Priority
from schemas.errors import CorruptionError, TransientError
from schemas.topics import priority_of_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sinks.catalog import Catalog
    from sinks.protect import Prepared, Protected, Protector
    from sinks.receipts import PartitionMark
    from streams.intake import Partition
    from streams.records import Record, RecordBatch

log = structlog.get_logger(__name__)

_ATTEMPTS_MAX: Final = 20
"""Then the worker exits and begins again: a stuck library is not cured by trying harder."""
_BACKOFF_SECONDS: Final = 0.05
_BACKOFF_SECONDS_MAX: Final = 5.0
_FRONTIER_AGE: Final = dt.timedelta(milliseconds=500)
"""How long frontiers alone may wait: they protect nothing, they only say how far restore may go."""
_STRETCH: Final = 2.0
"""How often the time of the last window the next one stays open: at most a third of the time goes into windows."""
_STRETCHED_SECONDS_MAX: Final = 0.25
"""How long a slow store may stretch the next window."""
_FRONTIER_HEADER: Final = codec.header("Frontier")
_WATCH_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 5.0
"""For the window under way: it may be waiting for stores that are down, or for an operator."""
_RECORD_BYTES: Final = 200
"""What a record costs in memory beside its value."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimits:
    """When a window closes, by lane, and how much may be pending in one partition."""

    age: Mapping[Priority, dt.timedelta] = dataclasses.field(
        default_factory=lambda: {
            Priority.CRITICAL: dt.timedelta(milliseconds=20),
            Priority.HIGH: dt.timedelta(milliseconds=100),
            Priority.STANDARD: dt.timedelta(milliseconds=250),
        }
    )
    window_bytes_max: int = 4 << 20
    pending_bytes_max: int = 16 << 20
    pending_bytes_total: int = 64 << 20
    """All partitions together; each gets its share, however many there are."""


class Sink:
    """All partitions of one worker."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        protector: Protector,
        topic_ids: Mapping[str, str],
        limits: WindowLimits,
        protected: Callable[[Priority, Protected], None] = lambda _lane, _window: None,
    ) -> None:
        self._catalog, self._protector = catalog, protector
        self._topic_ids, self._limits, self._protected = topic_ids, limits, protected
        self._partitions: dict[Partition, PartitionWindow] = {}

    async def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Begin these partitions where the catalog stands: see `streams.intake.Watermarks`."""
        room = self._limits.pending_bytes_total // max(1, len(self._partitions) + len(partitions))
        for topic, number in partitions:
            mark = await self._catalog.mark(topic, self._topic_ids[topic], number)
            window = PartitionWindow(
                mark=mark, protector=self._protector, limits=self._limits, protected=self._protected, room=room
            )
            window.start()
            self._partitions[topic, number] = window
        return await self.next_offsets()

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Drop what is pending and wait for the windows under way."""
        gone = [self._partitions.pop(each) for each in partitions if each in self._partitions]
        await asyncio.gather(*(each.stop() for each in gone))

    async def next_offsets(self) -> Mapping[Partition, int]:
        """Return the watermark of each partition."""
        return {each: window.mark.next_offset for each, window in self._partitions.items()}

    async def outrun(self, at: Partition, wanted: int, first: int, end: int) -> int | None:
        """Go on behind records that are gone before they were protected; the next window files the hole.

        Raises:
            CorruptionError: Kafka lost the end of the partition. Its offsets would be given out again, and two packs
                of one name would hold different records: nobody may go on with this topic.
        """
        place = f"{at[0]} partition {at[1]}"
        if wanted > end:
            raise CorruptionError(
                f"{place}: Kafka lost records {end} to {wanted - 1}, protected before: their numbers come anew",
                hint="delete the backup topics, then `up` and `epoch begin --yes --lost`: all tables are copied again",
            )
        log.error("records are gone", action="sink.hole", place=place, first=wanted, last=first - 1)
        self._partitions[at].skip_to(first)
        return first

    def full(self) -> frozenset[Partition]:
        """Return the partitions that have enough for now: see `streams.intake.Watermarks`."""
        return frozenset(each for each, window in list(self._partitions.items()) if window.is_full)

    async def accept(self, batch: RecordBatch) -> None:
        """Take a batch, and more than its partition has room for: the intake hears of it before it reads on.

        Raises:
            WedSyncError: a window of this partition has failed for good, or records were left out; the
                worker must stop.
        """
        window = self._partitions.get((batch.topic, batch.partition))
        if window is not None:  # A partition that was just revoked: its next owner reads the same records.
            await window.add(batch.records)

    async def watch(self) -> None:
        """Look after the partitions for ever: one that failed must end the worker even if nothing more arrives.

        Raises:
            WedSyncError: a window has failed for good.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for window in list(self._partitions.values()):
                window.raise_if_failed()

    async def drain(self) -> None:
        """Wait until everything accepted is protected."""
        for window in list(self._partitions.values()):
            await window.drained()

    async def stop(self) -> None:
        """Stop all partitions; pending records are read again by whoever comes next."""
        await self.revoked(list(self._partitions))


class PartitionWindow:
    """One partition: what is pending, and the task that protects it."""

    def __init__(
        self,
        *,
        mark: PartitionMark,
        protector: Protector,
        limits: WindowLimits,
        protected: Callable[[Priority, Protected], None],
        room: int,
    ) -> None:
        self.mark = mark
        self.is_full = False
        self._room = min(room, limits.pending_bytes_max)
        self._protector, self._limits, self._protected = protector, limits, protected
        self._lane = priority_of_topic(mark.topic)
        self._pending: list[Record] = []
        self._pending_bytes = 0
        self._next_offset = mark.next_offset
        self._changed = asyncio.Condition()
        self._is_busy = self._is_stopping = self._has_changes = False
        self._last_seconds = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to protect."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish the window under way, unless it takes long, and drop the rest.

        What is called off has not moved its offset, or has: either way the catalog knows.
        """
        async with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])

    def skip_to(self, offset: int) -> None:
        """Take the record at `offset` as the next one: those before it are gone, and the window it opens says so."""
        self._next_offset = max(self._next_offset, offset)

    async def add(self, records: Sequence[Record]) -> None:
        """Append records in offset order.

        Raises:
            TransientError: records are missing before these; begun again from the watermark, none will be.
        """
        self.raise_if_failed()
        async with self._changed:
            new = [each for each in records if each.offset >= self._next_offset]
            if new:
                self._refuse_gap(new[0].offset)
                self._pending.extend(new)
                self._pending_bytes += sum(_RECORD_BYTES + len(each.value or b"") for each in new)
                self._next_offset = new[-1].offset + 1
                self._has_changes = self._has_changes or any(map(_is_change, new))
                self.is_full = self._pending_bytes >= self._room
                self._protector.expect(new)
                self._changed.notify_all()

    async def drained(self) -> None:
        """Wait until nothing is pending."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_ended() or not (self._pending or self._is_busy))
        self.raise_if_failed()

    def _refuse_gap(self, offset: int) -> None:
        if offset != self._next_offset:
            raise TransientError(
                f"{self.mark.topic} partition {self.mark.partition}: offset {offset} follows {self._next_offset - 1}",
                hint="records were left out on the way; the worker begins again where the catalog stands",
            )

    def _has_ended(self) -> bool:
        return self._is_stopping or self._task is None or self._task.done()

    def raise_if_failed(self) -> None:
        """Raise what ended this partition's task, if anything did."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            if error is not None:
                raise error

    async def _run(self) -> None:
        try:
            while records := await self._next_window():
                began = asyncio.get_running_loop().time()
                protected = await self._protect(records)
                self._last_seconds = asyncio.get_running_loop().time() - began
                self.mark = protected.mark
                self._protected(self._lane, protected)
                async with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
        finally:
            # Whoever waits for room must learn that this partition has ended.
            asyncio.get_running_loop().call_soon(asyncio.ensure_future, self._wake())

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _next_window(self) -> list[Record]:
        """Return the next window's records, or none when stopping."""
        age = max(
            self._limits.age[self._lane].total_seconds(), min(_STRETCH * self._last_seconds, _STRETCHED_SECONDS_MAX)
        )
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._pending) or self._is_stopping)
        await self._until(lambda: self._has_changes, max(age, _FRONTIER_AGE.total_seconds()))
        if self._has_changes and age:
            await self._until(lambda: self._pending_bytes >= self._limits.window_bytes_max, age)
        async with self._changed:
            if self._is_stopping:
                return []
            records = self._take()
            self._is_busy = True
            self._changed.notify_all()
        return records

    async def _until(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Wait until it is enough, the time is over, or this partition stops."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: is_enough() or self._is_stopping)
        except TimeoutError:
            return

    def _take(self) -> list[Record]:
        taken_bytes, count = 0, 0
        for record in self._pending:
            size = _RECORD_BYTES + len(record.value or b"")
            if count and taken_bytes + size > self._limits.window_bytes_max:
                break
            taken_bytes, count = taken_bytes + size, count + 1
        records, self._pending = self._pending[:count], self._pending[count:]
        self._pending_bytes -= taken_bytes
        # Half empty before it is read on: each pause throws away what the client had fetched ahead.
        self.is_full = self.is_full and self._pending_bytes > self._room // 2
        self._has_changes = any(map(_is_change, self._pending))
        return records

    async def _protect(self, records: list[Record]) -> Protected:
        prepared: Prepared | None = None
        for attempt in range(_ATTEMPTS_MAX):
            try:
                # Prepared once, so that every attempt writes the same objects and leaves no orphans.
                prepared = prepared or await self._protector.prepare(records, self.mark)
                return await self._protector.protect(prepared)
            except TransientError as error:
                log.warning("a window waits", action="sink.retry", attempt=attempt, reason=str(error))
                last = error
            await asyncio.sleep(min(_BACKOFF_SECONDS * 2**attempt, _BACKOFF_SECONDS_MAX))
        raise last


def _is_change(record: Record) -> bool:
    return not (record.value or b"").startswith(_FRONTIER_HEADER)
