"""What the intake reads while one partition has enough: on a broker inside the client library."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import TYPE_CHECKING, Any

import confluent_kafka

from streams.intake import BATCH_RECORDS_MAX, Intake
from tests.builders import a_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from streams.intake import Partition
    from streams.records import RecordBatch

CRITICAL, STANDARD = ("critical", 0), ("standard", 0)
BACKLOG = 20 * BATCH_RECORDS_MAX


class Receiver:
    """Channel and owner of the offsets in one: keeps what came, and says which partitions are full."""

    has_subscriber = True

    def __init__(self) -> None:
        self.offsets: dict[Partition, list[int]] = collections.defaultdict(list)
        self.full_ones: frozenset[Partition] = frozenset()
        self.fills_up_at: dict[Partition, int] = {}
        self.begin = {CRITICAL: 0, STANDARD: 0}
        self._changed = asyncio.Condition()

    async def put(self, batch: RecordBatch) -> None:
        """Take a batch, as the agent would."""
        at = (batch.topic, batch.partition)
        async with self._changed:
            self.offsets[at] += [each.offset for each in batch.records]
            if len(self.offsets[at]) >= self.fills_up_at.get(at, 1 << 60):
                self.full_ones |= {at}
            self._changed.notify_all()

    async def has(self, at: Partition, count: int) -> None:
        """Wait until a partition has so many records."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.offsets[at]) >= count)

    async def assigned(self, _partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """See `Watermarks.assigned`."""
        return self.begin

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """See `Watermarks.revoked`."""

    async def next_offsets(self) -> Mapping[Partition, int]:
        """See `Watermarks.next_offsets`."""
        return {}

    def full(self) -> frozenset[Partition]:
        """See `Watermarks.full`."""
        return self.full_ones


@contextlib.asynccontextmanager
async def an_intake(receiver: Receiver, **more: Any) -> AsyncIterator[confluent_kafka.Producer]:
    """Run an intake over both topics, and yield a producer to them; the cluster lives in the producer."""
    producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    (broker,) = producer.list_topics(timeout=5).brokers.values()
    for topic, partition in (CRITICAL, STANDARD):
        producer.produce(topic, b"first", partition=partition)
    producer.flush(5)
    channel: Any = receiver
    intake = Intake(
        channel=channel,
        watermarks=receiver,
        consumer_settings={"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "g"},
        topics=[CRITICAL[0], STANDARD[0]],
        **more,
    )
    await intake.start()
    try:
        yield producer
    finally:
        await intake.stop()


async def test_critical_passes_by_a_lane_that_is_full_and_nothing_of_that_is_lost() -> None:
    """The full partition is paused in the client and goes on where it stopped; polling never ends."""
    receiver = Receiver()
    receiver.fills_up_at[STANDARD] = 1000
    async with an_intake(receiver) as producer:
        for _ in range(BACKLOG):
            producer.produce(STANDARD[0], b"bulk", partition=0)
        producer.flush(10)
        await receiver.has(STANDARD, 1000)
        producer.produce(CRITICAL[0], b"now", partition=0)
        producer.flush(5)
        await receiver.has(CRITICAL, 2)
        held = len(receiver.offsets[STANDARD])
        assert held < BACKLOG
        receiver.fills_up_at, receiver.full_ones = {}, frozenset()
        await receiver.has(STANDARD, BACKLOG + 1)

    assert receiver.offsets[STANDARD] == list(range(BACKLOG + 1))


async def test_records_that_are_gone_are_told_of_and_the_rest_is_read() -> None:
    """Whoever owns the offsets files the hole and says where to go on."""
    receiver = Receiver()
    told: list[tuple[Partition, int, int, int]] = []
    receiver.begin = {CRITICAL: 7, STANDARD: 0}

    async def outrun(at: Partition, wanted: int, first: int, end: int) -> int | None:
        told.append((at, wanted, first, end))
        return 0

    async with an_intake(receiver, outrun=outrun):
        await receiver.has(CRITICAL, 1)
        await receiver.has(STANDARD, 1)

    assert told == [(CRITICAL, 7, 0, 1)]


async def test_a_batch_from_before_a_rebalance_is_not_current_any_more() -> None:
    """Its partition begins again at the watermark, which lies before it: handled now, it would leave a gap."""
    channel: Any = Receiver()
    intake = Intake(channel=channel, watermarks=channel, consumer_settings={}, topics=[])
    intake._loop = asyncio.get_running_loop()
    partitions = [confluent_kafka.TopicPartition(*CRITICAL)]
    await asyncio.to_thread(intake._on_assign, FakeConsumer(), partitions)
    batch = a_batch(CRITICAL[0], [b"1"])._replace(generation=intake._generation)
    assert intake.is_current(batch)
    await asyncio.to_thread(intake._on_revoke, FakeConsumer(), partitions)
    assert not intake.is_current(batch)
    await asyncio.to_thread(intake._on_assign, FakeConsumer(), partitions)

    assert not intake.is_current(batch)


class FakeConsumer:
    """A consumer that agrees to everything."""

    def assign(self, partitions: Sequence[Any]) -> None:
        """Agree."""

    def resume(self, partitions: Sequence[Any]) -> None:
        """Agree."""
