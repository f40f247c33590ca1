"""Kafka as far as we rely on it: ordered partitions, append times, and producers whose replies get lost."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, Final

from schemas.errors import TransientError
from streams.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.records import Outgoing
    from tests.simulation.lives import Life
    from tests.simulation.virtual import VirtualLoop

Partition = tuple[str, int]

_DELIVERY_SECONDS_MAX: Final = 0.01
_LATE_SECONDS_MAX: Final = 3.0


class Log:
    """All topics; what is appended stays. `order` numbers all appends across partitions."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.partitions: dict[Partition, list[Record]] = collections.defaultdict(list)
        self.order: dict[tuple[str, int, int], int] = {}

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> int:
        """Append one record at the present instant, and return its offset."""
        records = self.partitions[topic, partition]
        timestamp_ms = int(self._loop.now().timestamp() * 1000)
        records.append(Record(len(records), timestamp_ms, key, value, headers))
        self.order[topic, partition, len(records) - 1] = len(self.order)
        return len(records) - 1

    def read(self, partition: Partition, offset: int, count: int) -> list[Record]:
        """Return up to `count` records from an offset on."""
        return self.partitions[partition][offset : offset + count]


class SimulatedProducer:
    """A producer that belongs to a life: batches fail, arrive in part, or arrive late, after their producer's death."""

    def __init__(self, log: Log, loop: VirtualLoop, life: Life, *, trouble: float) -> None:
        self._log, self._loop, self._rng, self._life, self._trouble = log, loop, loop.rng, life, trouble

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        self._life.step()
        await asyncio.sleep(self._rng.random() * _DELIVERY_SECONDS_MAX)
        self._life.step()
        if self._rng.random() < self._trouble:
            self._deliver_some(records)
            raise TransientError("the broker did not confirm all records", hint="simulated")
        for record in records:
            self._append(record)
        self._life.step("produced")

    def _deliver_some(self, records: Sequence[Outgoing]) -> None:
        """Let each partition take its first few; the rest is lost, or still under way and arrives later."""
        by_partition: dict[Partition, list[Outgoing]] = collections.defaultdict(list)
        for record in records:
            by_partition[record.topic, record.partition or 0].append(record)
        for taken in by_partition.values():
            count = self._rng.randint(0, len(taken))
            for record in taken[:count]:
                self._append(record)
            if self._rng.random() < 0.5:
                self._loop.call_later(self._rng.random() * _LATE_SECONDS_MAX, self._append_all, taken[count:])

    def _append_all(self, records: Sequence[Outgoing]) -> None:
        for record in records:
            self._append(record)

    def _append(self, record: Outgoing) -> None:
        self._log.append(record.topic, record.partition or 0, record.key, record.value, record.headers)
