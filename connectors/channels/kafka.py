"""Notifications over Kafka, as versitygw, MinIO and Ceph send them.

The group's committed offset is the acknowledgement; it moves only forwards, behind the notices. A topic
may carry the events of many buckets: each bucket's connector is a group of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka

from connectors.channels.port import CALL_SECONDS, RECEIVE_SECONDS, Message
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BATCH_MAX: Final = 500
_LINGER_SECONDS: Final = 0.01
_UNKNOWN: Final = frozenset(
    {
        confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
        confluent_kafka.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's names of its own errors begin so
    }
)


class KafkaChannel:
    """See `connectors.channels.port.Channel`; the consumer lives in a thread of its own."""

    def __init__(self, settings: Mapping[str, Any], *, topic: str, group: str) -> None:
        self._settings, self._topic = {**_consumer_settings(group), **settings}, topic
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="notices")
        self._consumer: Any = None

    async def receive(self) -> Sequence[Message]:
        """See `Channel.receive`."""
        found: list[Message] = await self._in_thread(self._receive)
        return found

    async def extend(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `Channel.extend`: an offset that is not committed has no end."""
        return messages

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Channel.acknowledge`."""
        if messages:
            await self._in_thread(self._commit, messages)

    async def close(self) -> None:
        """See `Channel.close`."""
        if self._consumer is not None:
            await self._in_thread(self._consumer.close)
        self._thread.shutdown(wait=False)

    def _receive(self) -> list[Message]:
        if self._consumer is None:
            self._consumer = confluent_kafka.Consumer(self._settings)
            self._consumer.subscribe([self._topic])
        first = self._consumer.poll(RECEIVE_SECONDS)
        if first is None:
            return []
        found = [first, *self._consumer.consume(_BATCH_MAX - 1, _LINGER_SECONDS)]
        messages = []
        for each in found:
            if each.error() is not None:
                self._refuse(each.error())
            messages.append(
                Message(
                    payload=each.value() or b"",
                    attributes={},
                    receipt=(each.partition(), each.offset()),
                    position=f"{self._topic}/{each.partition()}/{each.offset()}",
                )
            )
        return messages

    def _refuse(self, error: Any) -> None:
        """Leave the consumer behind, so that the next one begins at the last commit."""
        self._consumer.close()
        self._consumer = None
        if error.code() in _UNKNOWN:
            raise ConfigError(
                f"topic {self._topic} does not exist", hint="create it, or name the one the store sends to"
            )
        raise TransientError(f"reading {self._topic} failed: {error.str()}", hint="is that Kafka up?")

    def _commit(self, messages: Sequence[Message]) -> None:
        ends: dict[int, int] = {}
        for each in messages:
            partition, offset = each.receipt
            ends[partition] = max(offset + 1, ends.get(partition, 0))
        offsets = [confluent_kafka.TopicPartition(self._topic, *each) for each in ends.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except confluent_kafka.KafkaException as error:
            raise TransientError(
                f"the offset of {self._topic} did not move: {error.args[0].str()}", hint="the notices will come again"
            ) from error

    async def _in_thread(self, call: Any, *args: Any) -> Any:
        running = asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
        try:
            return await asyncio.wait_for(running, CALL_SECONDS + RECEIVE_SECONDS)
        except TimeoutError as error:
            raise TransientError(f"Kafka did not answer about {self._topic}", hint="is that Kafka up?") from error


def _consumer_settings(group: str) -> dict[str, Any]:
    return {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # The first start must hear of what was sent before it.
        "auto.offset.reset": "earliest",
        "check.crcs": True,
        "allow.auto.create.topics": False,
        "queued.max.messages.kbytes": 8192,
        "fetch.wait.max.ms": 50,
        "session.timeout.ms": 10_000,
        "log_level": 3,
    }
