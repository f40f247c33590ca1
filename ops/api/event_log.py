"""The log events are appended to: a port, and Kafka behind it. Calls block and are made from one thread."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import confluent_kafka
from confluent_kafka.admin import AdminClient

from connectors.application import APPLICATION_SOURCE
from schemas.errors import FormatError, TransientError
from schemas.topics import parse_capture_topic
from streams.produce import producer_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DELIVERY_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = DELIVERY_SECONDS + 3.0
_ASK_SECONDS: Final = 3.0
_READ_SECONDS: Final = 10.0
_AWAY: Final = dt.timedelta(seconds=2)
_HINT: Final = "send it again later: nothing was lost, an event that arrived after all is recognised"
REQUEST_HEADER: Final = "wedsync.request"


class LogRecord(NamedTuple):
    """One record: `request` is what tells the request it came with, empty where there is none."""

    key: bytes
    value: bytes
    request: bytes = b""


class EventLog(Protocol):
    """An ordered, durable log with one writer."""

    def name(self) -> str:
        """Return the log's name; another one holds other offsets.

        Raises:
            TransientError: it cannot be found out now.
        """
        ...

    def append(self, records: Sequence[LogRecord]) -> int:
        """Return the offset after the last record, once all are on stable storage of every replica.

        Raises:
            TransientError: some, all or none may be there: read the end of the log before going on.
        """
        ...

    def read(self, first: int) -> Iterator[tuple[int, LogRecord]]:
        """Yield (offset, record) from `first` to the present end; what retention removed is passed over.

        Raises:
            TransientError: it cannot be read now.
        """
        ...

    def end(self) -> int:
        """Return the offset of the next record.

        Raises:
            TransientError: it cannot be found out now.
        """
        ...


class KafkaEventLog:
    """The capture topic of the newest epoch; found when first needed, since Kafka may be away by then."""

    def __init__(self, brokers: str) -> None:
        self._brokers, self._topic = brokers, ""
        self._producer: Any = None

    def name(self) -> str:
        """See `EventLog.name`."""
        if not self._topic:
            self._topic = _newest_topic(self._brokers)
        return self._topic

    def append(self, records: Sequence[LogRecord]) -> int:
        """See `EventLog.append`."""
        offsets: list[int] = []
        failures: list[str] = []

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                failures.append(error.str())
            else:
                offsets.append(message.offset())

        try:
            self._produce(records, delivered)
        except (confluent_kafka.KafkaException, BufferError) as error:
            failures.append(str(error))
        if failures or len(offsets) != len(records):
            self._abandon()
            reason = failures[0] if failures else f"{len(records) - len(offsets)} records not acknowledged"
            raise TransientError(f"Kafka did not take all events: {reason}", hint=_HINT, retry_after=_AWAY)
        return max(offsets) + 1

    def _produce(self, records: Sequence[LogRecord], delivered: Any) -> None:
        if self._producer is None:
            self._producer = confluent_kafka.Producer(_settings(self._brokers))
        for record in records:
            headers = [(REQUEST_HEADER, record.request)] if record.request else []
            self._producer.produce(
                self.name(), value=record.value, key=record.key, partition=0, headers=headers, on_delivery=delivered
            )
        self._producer.flush(_FLUSH_SECONDS)

    def _abandon(self) -> None:
        """Drop the producer with all it still tries to send: what it could not say is read from the log."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            with contextlib.suppress(confluent_kafka.KafkaException):
                producer.flush(0.5)

    def end(self) -> int:
        """See `EventLog.end`."""
        with self._consumer() as (_, _low, high):
            return high

    def read(self, first: int) -> Iterator[tuple[int, LogRecord]]:
        """See `EventLog.read`."""
        with self._consumer() as (consumer, low, high):
            at = max(first, low)
            if at >= high:
                return
            consumer.assign([confluent_kafka.TopicPartition(self.name(), 0, at)])
            while at < high:
                messages = consumer.consume(1000, _READ_SECONDS)
                if not messages:
                    raise TransientError("the log's end cannot be read", hint=_HINT, retry_after=_AWAY)
                for message in messages:
                    _raise_error(message)
                    at = message.offset() + 1
                    headers = dict(message.headers() or ())
                    yield (
                        message.offset(),
                        LogRecord(message.key() or b"", message.value() or b"", headers.get(REQUEST_HEADER) or b""),
                    )

    @contextlib.contextmanager
    def _consumer(self) -> Iterator[tuple[Any, int, int]]:
        """Open a consumer that commits nothing, with the log's first offset and its end."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self._brokers,
                "group.id": "wedsync-api",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "log_level": 2,
            }
        )
        try:
            place = confluent_kafka.TopicPartition(self.name(), 0)
            low, high = consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
            yield consumer, low, high
        except confluent_kafka.KafkaException as error:
            raise TransientError(f"Kafka does not answer: {error}", hint=_HINT, retry_after=_AWAY) from error
        finally:
            consumer.close()


def _settings(brokers: str) -> dict[str, Any]:
    return producer_settings(
        {
            "bootstrap.servers": brokers,
            # A client waits for the answer: better to tell it soon, it keeps what it has.
            "delivery.timeout.ms": int(DELIVERY_SECONDS * 1000),
            "delivery.report.only.error": False,
            "log_level": 2,
        }
    )


def _newest_topic(brokers: str) -> str:
    try:
        topics = AdminClient({"bootstrap.servers": brokers, "log_level": 2}).list_topics(timeout=_ASK_SECONDS).topics
    except confluent_kafka.KafkaException as error:
        raise TransientError(f"Kafka does not answer: {error}", hint=_HINT, retry_after=_AWAY) from error
    found: list[tuple[int, str]] = []
    for topic in topics:
        with contextlib.suppress(FormatError):
            source, epoch = parse_capture_topic(topic)
            found += [(epoch, topic)] if source == APPLICATION_SOURCE else []
    if not found:
        raise TransientError("there is no topic for events yet", hint="`wedsync-backup up` makes it", retry_after=_AWAY)
    return max(found)[1]


def _raise_error(message: Any) -> None:
    if message.error() is not None:
        raise TransientError(f"reading the log failed: {message.error().str()}", hint=_HINT, retry_after=_AWAY)
