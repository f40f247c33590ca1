"""Intake's decisions; the thread itself is shown on the real broker."""

from __future__ import annotations

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from schemas.errors import CorruptionError, TransientError
from streams.intake import consumer_settings, group
from streams.produce import KafkaProducer, producer_settings
from streams.records import Outgoing

MOCK = {"test.mock.num.brokers": 1, "bootstrap.servers": "unused"}


class FakeMessage:
    """What a consumer hands out."""

    def __init__(self, topic: str, partition: int, offset: int, error: int | None = None) -> None:
        self._place, self._error = (topic, partition, offset), error

    def error(self) -> KafkaError | None:
        """Return what is wrong."""
        return None if self._error is None else KafkaError(self._error)

    def topic(self) -> str:
        """Return the topic."""
        return self._place[0]

    def partition(self) -> int:
        """Return the partition."""
        return self._place[1]

    def offset(self) -> int:
        """Return the offset."""
        return self._place[2]

    def timestamp(self) -> tuple[int, int]:
        """Return kind and instant."""
        return 2, 1000

    def key(self) -> bytes | None:
        """Return no key."""
        return None

    def value(self) -> bytes:
        """Return a value."""
        return b"v"

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return a header without a value."""
        return [("h", None)]


def test_a_poll_is_split_by_partition_in_order() -> None:
    """Nothing is left out."""
    messages = [FakeMessage("t", 0, 5), FakeMessage("t", 1, 9), FakeMessage("t", 0, 6)]
    batches = group(messages, generation=3)

    assert [(each.partition, [record.offset for record in each.records]) for each in batches] == [(0, [5, 6]), (1, [9])]
    assert {each.generation for each in batches} == {3}


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_records_that_are_gone_are_a_hole_and_never_skipped(code: int) -> None:
    """Retention has outrun the backup."""
    with pytest.raises(CorruptionError):
        group([FakeMessage("t", 0, 5, code)], generation=1)


def test_a_broker_that_is_away_is_waited_for() -> None:
    """The client connects again by itself."""
    assert group([FakeMessage("t", 0, 5, KafkaError._TRANSPORT)], generation=1) == []


def test_any_other_error_stops_the_worker() -> None:
    """It begins again where its state stands."""
    with pytest.raises(TransientError):
        group([FakeMessage("t", 0, 5, KafkaError.TOPIC_AUTHORIZATION_FAILED)], generation=1)


def test_the_client_knows_all_settings() -> None:
    """A misspelt setting would be found at the first start only."""
    confluent_kafka.Consumer(consumer_settings({**MOCK, "group.id": "g"})).close()
    assert producer_settings({})["acks"] == "all"


async def test_delivered_means_on_the_topic() -> None:
    """On a broker inside the client library."""
    producer = KafkaProducer(MOCK)
    await producer.deliver([Outgoing("t", 0, b"k", b"v"), Outgoing("t", None, b"k", None, (("h", b"x"),))])
    producer.close()


async def test_a_record_that_was_not_taken_is_an_error() -> None:
    """A partition that does not exist takes nothing."""
    producer = KafkaProducer(MOCK)
    with pytest.raises(TransientError):
        await producer.deliver([Outgoing("t", 77, b"k", b"v")])
    producer.close()
