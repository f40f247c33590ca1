"""Intake's decisions; the thread itself is shown on the real broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import confluent_kafka
import pytest
from confluent_kafka import KafkaError

from schemas.errors import CorruptionError, TransientError
from streams.intake import consumer_settings, group
from streams.produce import InTurn, KafkaProducer, producer_settings
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class SlowProducer:
    """Delivers when it is let; notes what was begun and what is through."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.through: list[int] = []
        self.gate = asyncio.Event()

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        self.begun += [each.partition or 0 for each in records]
        await self.gate.wait()
        self.through += [each.partition or 0 for each in records]


async def test_one_part_is_under_way_while_the_next_is_made_and_never_two() -> None:
    """Begun at once, waited for before the next begins and at the end."""
    producer = SlowProducer()
    async with InTurn(producer) as deliveries:
        await deliveries.deliver([Outgoing("t", 1, None, b"v")])
        assert (producer.begun, producer.through) == ([1], [])
        second = asyncio.ensure_future(deliveries.deliver([Outgoing("t", 2, None, b"v")]))
        await asyncio.sleep(0)
        assert producer.begun == [1]
        producer.gate.set()
        await second

    assert producer.through == [1, 2]


async def test_who_gives_up_in_between_leaves_nothing_under_way() -> None:
    """The error that ended it is the one that is told."""
    producer = SlowProducer()
    with pytest.raises(ZeroDivisionError):
        await _give_up(producer)
    producer.gate.set()
    await asyncio.sleep(0)

    assert producer.through == []


async def _give_up(producer: SlowProducer) -> None:
    async with InTurn(producer) as deliveries:
        await deliveries.deliver([Outgoing("t", 1, None, b"v")])
        raise ZeroDivisionError
