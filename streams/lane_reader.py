"""Reading a partition of a backup topic beside its consumer: no group, no offsets, nothing moves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka

from schemas.errors import TransientError
from streams.intake import consumer_settings, group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.records import Record

_ANSWER_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_POLL_RECORDS: Final = 500
_BYTES_AT_ONCE: Final = 8 << 20


class KafkaLaneReader:
    """One consumer of librdkafka, assigned by hand, in a thread of its own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._consumer = confluent_kafka.Consumer(
            consumer_settings(
                # Retention may have taken what nobody needs any more: begin where something is left.
                {"group.id": "wedsync-lane-reader", "auto.offset.reset": "earliest", **settings}
            )
        )
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="lane-reader")
        self._at: tuple[str, int, int] | None = None

    async def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record.

        Raises:
            TransientError: the broker does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._end, topic, partition)

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Return at least one and about `limit` records from `offset` on, or from the first that is still there.

        Raises:
            TransientError: none came in time.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._read, topic, partition, offset, limit
        )

    def close(self) -> None:
        """Let consumer and thread go."""
        self._thread.submit(self._consumer.close)
        self._thread.shutdown(wait=True)

    def _end(self, topic: str, partition: int) -> int:
        try:
            ends = self._consumer.get_watermark_offsets(
                confluent_kafka.TopicPartition(topic, partition), timeout=_ANSWER_SECONDS
            )
        except confluent_kafka.KafkaException as error:
            raise TransientError(f"Kafka does not say where {topic} ends: {error}", hint="is the broker up?") from error
        return int(ends[1])

    def _read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        if self._at != (topic, partition, offset):
            self._consumer.assign([confluent_kafka.TopicPartition(topic, partition, offset)])
        found: list[Record] = []
        size, deadline = 0, time.monotonic() + _ANSWER_SECONDS
        while len(found) < limit and size < _BYTES_AT_ONCE and time.monotonic() < deadline:
            messages = self._consumer.consume(min(_POLL_RECORDS, limit - len(found)), _POLL_SECONDS)
            new = [record for batch in group(messages, generation=0) for record in batch.records]
            if found and not new:
                break
            found += new
            size += sum(len(record.value or b"") for record in new)
        if not found:
            raise TransientError(f"nothing came of {topic} at {offset}", hint="is the broker up?")
        self._at = (topic, partition, found[-1].offset + 1)
        return found
