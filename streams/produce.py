"""Producing in batches: everything delivered, or an error that stops the worker.

`flush` is the only proof of delivery. A timed-out record leaves a gap even with an idempotent
producer, so any failed delivery is fatal here: the worker exits, and begins again where its state stands.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import confluent_kafka

from schemas.errors import TransientError
from schemas.topics import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.records import Outgoing

_FLUSH_SECONDS: Final = 30.0
_LINGER_MILLISECONDS: Final = 50
"""Records gather until they are flushed, which sends them at once: few large requests, however many partitions."""
_NOW: Final = 0
"""As a record's timestamp: when it is produced."""


class BatchProducer(Protocol):
    """Writes records durably (acks=all). One caller at a time; order is kept within a partition."""

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """Return when every record is on its topic.

        Raises:
            TransientError: at least one may not be; the caller must not go on as if it were.
        """
        ...


class InTurn:
    """Delivers one part of a batch while its caller decides the next: never two at a time, and in order.

    A part is begun only once all of the one before is on its topic, so a failure leaves no gap before a part that
    arrived. Use as a context; left without an error, everything has been delivered.
    """

    def __init__(self, producer: BatchProducer) -> None:
        self._producer = producer
        self._under_way: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            await self._finish()
        elif self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """Begin with these, after what was begun before.

        Raises:
            TransientError: of what was begun before, something may not be on its topic.
        """
        await self._finish()
        self._under_way = asyncio.ensure_future(self._producer.deliver(records))
        # It starts here; then its thread goes on while the caller computes.
        await asyncio.sleep(0)

    async def _finish(self) -> None:
        if self._under_way is not None:
            await self._under_way
            self._under_way = None


class KafkaProducer:
    """The idempotent producer of librdkafka, driven from a thread of its own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._producer = confluent_kafka.Producer(producer_settings({"linger.ms": _LINGER_MILLISECONDS, **settings}))
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="producer")
        self._failures: list[str] = []

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._deliver, records)

    def close(self) -> None:
        """Flush for a bounded time and let the thread go."""
        self._thread.submit(self._producer.flush, _FLUSH_SECONDS)
        self._thread.shutdown(wait=True)

    def _deliver(self, records: Sequence[Outgoing]) -> None:
        produce, failed = self._producer.produce, self._on_failure
        for topic, partition, key, value, headers in records:
            # By position (partitioner, then timestamp before the headers): by name each costs half as much again.
            whole = (topic, value, key, -1 if partition is None else partition, failed, None, _NOW, list(headers))
            try:
                produce(*whole)
            except BufferError:
                self._produce_later(whole)
        left = self._producer.flush(_FLUSH_SECONDS)
        if left or self._failures:
            reason = (
                self._failures[0] if self._failures else f"{left} records not acknowledged in {_FLUSH_SECONDS:.0f} s"
            )
            raise TransientError(
                f"Kafka did not take all records: {reason}", hint="is the broker up? the worker will begin again"
            )

    def _produce_later(self, whole: tuple[Any, ...]) -> None:
        """Wait until the client has room again, and produce."""
        while True:
            self._producer.poll(_FLUSH_SECONDS)
            try:
                self._producer.produce(*whole)
            except BufferError:
                continue
            return

    def _on_failure(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._failures.append(error.str())


def producer_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return librdkafka settings that lose nothing, over which `given` (brokers) is laid."""
    return {
        "acks": "all",
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "partitioner": "murmur2_random",
        "delivery.report.only.error": True,
        "linger.ms": 0,
        "compression.type": "lz4",
        "message.max.bytes": RECORD_BYTES_MAX,
        "delivery.timeout.ms": 25_000,
        "queue.buffering.max.kbytes": 65_536,
        "log_level": 3,
        **given,
    }
