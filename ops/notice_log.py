"""Object notices into Kafka, and what no notice could be made of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from confluent_kafka.admin import AdminClient

from connectors.storage import encode_notice
from schemas.errors import ConfigError, FormatError, TransientError
from schemas.topics import parse_capture_topic
from streams.objects import UNREADABLE
from streams.produce import BatchProducer
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connectors.channels.port import Message
    from connectors.storage import ObjectNotice

_TIMEOUT_SECONDS: Final = 15.0


class RenewedProducer:
    """A `BatchProducer` that begins anew after a failure: one that failed once never delivers again.

    What the failed one may still have written comes a second time, which every reader of notices bears.
    """

    def __init__(self, make: Callable[[], ClosableProducer]) -> None:
        self._make = make
        self._producer: ClosableProducer | None = None

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        if self._producer is None:
            self._producer = self._make()
        try:
            await self._producer.deliver(records)
        except TransientError:
            failed, self._producer = self._producer, None
            await asyncio.to_thread(failed.close)
            raise


class ClosableProducer(BatchProducer, Protocol):
    """A producer that holds a thread and connections."""

    def close(self) -> None:
        """Let them go, within a bounded time."""
        ...


class KafkaNoticeLog:
    """See `connectors.folder.NoticeLog`: one topic, one partition, acks=all."""

    def __init__(self, producer: BatchProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    async def append(self, notices: Sequence[ObjectNotice]) -> None:
        """See `NoticeLog.append`."""
        await self._producer.deliver(
            [Outgoing(self._topic, 0, notice.key.encode(), encode_notice(notice)) for notice in notices]
        )


class KafkaDeadLetters:
    """See `connectors.bucket.DeadLetters`: onto the capture topic, where the router makes a letter of it.

    So it is archived, counted and shown like every record that nobody can read.
    """

    def __init__(self, producer: BatchProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    async def bury(self, message: Message, reason: str) -> None:
        """See `DeadLetters.bury`."""
        headers = (
            *((f"attribute.{name}", value.encode()) for name, value in sorted(message.attributes.items())),
            (UNREADABLE, reason.encode(errors="replace")),
            ("wedsync.position", message.position.encode()),
        )
        await self._producer.deliver([Outgoing(self._topic, 0, None, message.payload, headers)])


def newest_epoch_topic(brokers: str, source: str) -> str:
    """Return the capture topic of a source's newest epoch.

    Raises:
        ConfigError: there is none yet.
    """
    admin = AdminClient({"bootstrap.servers": brokers})
    found: list[tuple[int, str]] = []
    for topic in admin.list_topics(timeout=_TIMEOUT_SECONDS).topics:
        try:
            name, epoch = parse_capture_topic(topic)
        except FormatError:
            continue
        if name == source:
            found.append((epoch, topic))
    if not found:
        raise ConfigError(f"source {source} has no capture topic yet", hint="`wedsync-backup up` makes it")
    return max(found)[1]
