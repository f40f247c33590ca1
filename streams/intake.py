"""Intake: from a Kafka consumer thread, in batches, onto a channel that Faust's agents read.

Faust's own consumer commits past an in-flight event, and its channels drop what they hold at every
rebalance; so the records come by `confluent_kafka` and lie in a queue of our own, four batches
deep. A partition whose owner has enough is paused in the client, and Kafka keeps the rest; the others are read
on, and polling never stops: neither does one lane wait behind another, nor does the group take us for dead.
Offsets are never stored here: whoever acknowledges says where to begin.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import confluent_kafka
import structlog
from faust.channels import Channel
from mode import Service
from mode.utils.locks import Event
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from schemas.errors import CorruptionError, TransientError
from schemas.topics import FETCH_BYTES
from streams.records import Headers, Record, RecordBatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

log = structlog.get_logger(__name__)

BATCH_RECORDS_MAX: Final = 500
"""Records of a batch, unless whoever reads is served better by more; and what is taken from the client at once."""
_BATCH_BYTES_MAX: Final = 8 << 20
"""No batch grows beyond this by more than what is taken at once."""
_QUEUED_BATCHES_MAX: Final = 4
_POLL_SECONDS: Final = 0.05
_LINGER_SECONDS: Final = 0.002
_HANDOVER_SECONDS: Final = 60.0
_WATERMARKS_SECONDS: Final = 10.0
_COMMIT_EVERY_SECONDS: Final = 1.0

_new: Final = tuple.__new__
"""What a named tuple does in the end, without the call between: there is one for every record."""

Partition = tuple[str, int]


class Watermarks(Protocol):
    """Who owns the offsets: asked where to begin, told what was lost."""

    async def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Return the next offset wanted of each; a missing one begins at the earliest."""
        ...

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Finish or drop what is in flight; nothing of these may be acknowledged afterwards."""
        ...

    async def next_offsets(self) -> Mapping[Partition, int]:
        """Return the next offset wanted of each assigned partition."""
        ...

    def full(self) -> frozenset[Partition]:
        """Return the partitions that shall not be read on for now; called from the intake's thread."""
        ...


Outrun: TypeAlias = "Callable[[Partition, int, int, int], Awaitable[int | None]]"
"""Told (partition, wanted, first there, end): where to go on although records are gone, or None: read it no more."""


class BatchChannel(Channel[RecordBatch]):  # type: ignore[misc]
    """A Faust channel with a bounded queue that no rebalance empties."""

    _queue: Any

    @property
    def queue(self) -> Any:
        """Return the queue behind this channel."""
        if self._queue is None:
            self._queue = ThrowableQueue(
                maxsize=_QUEUED_BATCHES_MAX, flow_control=FlowControlEvent(initially_suspended=False)
            )
        return self._queue

    @property
    def has_subscriber(self) -> bool:
        """Return whether an agent listens: what is put before is lost."""
        return bool(self._subscribers)


class Intake(Service):  # type: ignore[misc]
    """Polls a consumer in a thread of its own and puts batches on the channel.

    Within a partition and a generation batches arrive in order and without gaps. A rebalance begins the next
    generation: what still lies on the channel from before is not current any more, since its partition
    begins again where the watermark stands. Any error of the consumer that is not a mere retry stops the worker.
    """

    def __init__(
        self,
        *,
        channel: BatchChannel,
        watermarks: Watermarks,
        consumer_settings: Mapping[str, Any],
        topics: Sequence[str],
        outrun: Outrun | None = None,
        batch_records_max: int = BATCH_RECORDS_MAX,
    ) -> None:
        super().__init__()
        self._batch_max = batch_records_max
        self._outrun = outrun
        self._channel = channel
        self._watermarks = watermarks
        self._settings = consumer_settings
        self._topics = list(topics)
        self._stop_polling = threading.Event()
        self._generation = 0
        self._owned: set[Partition] = set()
        self._paused: frozenset[Partition] = frozenset()
        self._finished = Event()

    def is_current(self, batch: RecordBatch) -> bool:
        """Return whether a batch may be handled: no rebalance has come between its reading and now."""
        return batch.generation == self._generation and (batch.topic, batch.partition) in self._owned

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._channel.has_subscriber and not self.should_stop:
            await self.sleep(_POLL_SECONDS)
        thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="intake")
        try:
            await self._loop.run_in_executor(thread, self._poll_until_stopped)
        except BaseException as error:
            await self.crash(error)
            raise
        finally:
            thread.shutdown(wait=False)
            self._finished.set()

    async def on_stop(self) -> None:
        """Stop polling and leave the group; what is queued stays with the agent."""
        self._stop_polling.set()
        await asyncio.wait_for(self._finished.wait(), _HANDOVER_SECONDS)

    def _poll_until_stopped(self) -> None:
        consumer = confluent_kafka.Consumer(consumer_settings(self._settings))
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
            )
            commit_after = 0.0
            while not self._stop_polling.is_set():
                self._pause_full(consumer)
                self._hand_over(_next_messages(consumer, self._batch_max, lambda: self._generation))
                if self._owned and time.monotonic() > commit_after:
                    commit_after = time.monotonic() + _COMMIT_EVERY_SECONDS
                    self._mirror_watermarks(consumer)
        finally:
            consumer.close()

    def _pause_full(self, consumer: Any) -> None:
        """Stop fetching what nobody has room for, and go on with what was emptied; where it stops, it goes on."""
        full = self._watermarks.full() & self._owned
        if full == self._paused:
            return
        if begin := full - self._paused:
            consumer.pause([confluent_kafka.TopicPartition(*each) for each in begin])
        if end := self._paused - full:
            consumer.resume([confluent_kafka.TopicPartition(*each) for each in end])
        self._paused = full

    def _hand_over(self, messages: Sequence[Any]) -> None:
        if messages:
            self._in_loop(self._put(group(messages, generation=self._generation)))

    async def _put(self, batches: Sequence[RecordBatch]) -> None:
        for batch in batches:
            await self._channel.put(batch)

    def _in_loop(self, coroutine: Any) -> Any:
        """Run a coroutine in the worker's loop, waiting for as long as the worker lives."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while True:
            try:
                return future.result(timeout=_POLL_SECONDS)
            except concurrent.futures.TimeoutError:
                if self._stop_polling.is_set():
                    future.cancel()
                    return None

    def _on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        self._generation += 1
        self._owned = {(each.topic, each.partition) for each in partitions}
        begin = self._in_loop(self._watermarks.assigned(sorted(self._owned))) or {}
        for each in partitions:
            each.offset = begin.get((each.topic, each.partition), confluent_kafka.OFFSET_BEGINNING)
        partitions = [each for each in partitions if self._is_there(consumer, each)]
        consumer.assign(partitions)
        # A new assignment is read from its beginning; the client may remember what was paused in the last one.
        consumer.resume(partitions)
        self._paused = frozenset()
        log.info("partitions assigned", action="intake.assigned", count=len(partitions), generation=self._generation)

    def _is_there(self, consumer: Any, wanted: Any) -> bool:
        """Return whether a partition can be read; what is wanted and gone is filed, and read on if it may be."""
        if self._outrun is None:
            return True
        first, end = consumer.get_watermark_offsets(wanted, timeout=_WATERMARKS_SECONDS, cached=False)
        next_offset = max(0, wanted.offset)  # A log that nobody has read yet began at 0 all the same.
        if first <= next_offset <= end:
            return True
        begin = self._in_loop(self._outrun((wanted.topic, wanted.partition), next_offset, first, end))
        wanted.offset = wanted.offset if begin is None else begin
        return begin is not None

    def _on_revoke(self, _consumer: Any, partitions: list[Any]) -> None:
        gone = [(each.topic, each.partition) for each in partitions]
        self._generation += 1
        self._owned -= set(gone)
        self._paused -= set(gone)
        self._in_loop(self._watermarks.revoked(gone))
        log.info("partitions revoked", action="intake.revoked", count=len(gone))

    def _mirror_watermarks(self, consumer: Any) -> None:
        """Let lag tools see our watermarks; nothing ever reads these offsets back."""
        marks = self._in_loop(self._watermarks.next_offsets()) or {}
        offsets = [
            confluent_kafka.TopicPartition(topic, number, mark)
            for (topic, number), mark in marks.items()
            if (topic, number) in self._owned
        ]
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=True)


def _next_messages(
    consumer: Any, count_max: int = BATCH_RECORDS_MAX, generation: Callable[[], int] = lambda: 0
) -> list[Any]:
    """Return what is there, waiting only for the first: `consume` alone would wait for the batch to fill.

    What follows within a moment comes along: a batch costs as much as its records. A rebalance in between begins
    anew: the records from before it would count as read behind it, and those between would be missed.
    """
    first = consumer.poll(_POLL_SECONDS)
    if first is None:
        return []
    begun = generation()
    messages, size = [first], len(first)
    while len(messages) < count_max and size < _BATCH_BYTES_MAX:
        wanted = min(BATCH_RECORDS_MAX, count_max - len(messages))
        more = consumer.consume(wanted, _LINGER_SECONDS)
        if generation() != begun:
            messages, begun = [], generation()
        messages += more
        if len(more) < wanted:
            break
        size += sum(map(len, more))
    return messages


def consumer_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return librdkafka settings that lose nothing, over which `given` (brokers, group) is laid."""
    return {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "allow.auto.create.topics": False,
        "partition.assignment.strategy": "range",
        "session.timeout.ms": 10_000,
        "topic.metadata.refresh.interval.ms": 2_000,
        # The broker gathers for a moment: a fetch for each record would cost it more than the record.
        "fetch.min.bytes": 32_768,
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 32_768,
        "fetch.message.max.bytes": FETCH_BYTES,
        "log_level": 3,
        **given,
    }


def group(messages: Sequence[Any], *, generation: int) -> list[RecordBatch]:
    """Split what one poll returned into batches of one partition each.

    Raises:
        CorruptionError: the broker no longer has what is wanted: a hole, never to be skipped in silence.
        TransientError: any other error of the consumer.
    """
    by_partition: dict[Partition, list[Record]] = {}
    for message in messages:
        if message.error() is not None:
            _raise_unless_harmless(message.error())
            continue
        at, headers = (message.topic(), message.partition()), message.headers()
        records = by_partition.get(at)
        if records is None:
            records = by_partition[at] = []
        fields = (
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
            _headers(headers) if headers else (),
        )
        records.append(_new(Record, fields))
    return [RecordBatch(topic, number, records, generation) for (topic, number), records in by_partition.items()]


def _headers(given: Sequence[tuple[str, bytes | None]]) -> Headers:
    return tuple((name, value or b"") for name, value in given)


_HOLES: Final = frozenset(
    {
        confluent_kafka.KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - librdkafka's names of its own errors begin so
        confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE,
    }
)
_HARMLESS: Final = frozenset(
    {
        confluent_kafka.KafkaError._PARTITION_EOF,  # noqa: SLF001
        confluent_kafka.KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        confluent_kafka.KafkaError._TRANSPORT,  # noqa: SLF001
        confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
        confluent_kafka.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    }
)


def _raise_unless_harmless(error: Any) -> None:
    if error.code() in _HOLES:
        raise CorruptionError(
            f"records this worker still needs are gone from Kafka: {error.str()}",
            hint="retention outran the backup: take a new snapshot (a new epoch) and see the gap ledger",
        )
    if error.code() not in _HARMLESS:
        raise TransientError(f"reading from Kafka failed: {error.str()}", hint="is the broker up and reachable?")
