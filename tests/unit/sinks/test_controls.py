"""Following the controls: on a broker inside the client library."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from schemas import controls
from schemas.errors import TransientError
from schemas.topics import CONTROLS
from schemas.work import Mode
from sinks.controls import Board, ControlsFollower
from tests.unit.schemas.test_controls import NOW_US, a_rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.controls import Control
    from schemas.work import Limit


class Topic:
    """The controls' topic, in a cluster that lives in its producer."""

    def __init__(self) -> None:
        self._producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
        (broker,) = self._producer.list_topics(timeout=5).brokers.values()
        self.settings = {"bootstrap.servers": f"{broker.host}:{broker.port}"}

    def order(self, *rules: Control) -> None:
        """Publish rules."""
        for rule in rules:
            self.write(*controls.encode(rule))

    def write(self, key: bytes, value: bytes | None) -> None:
        """Publish a record."""
        self._producer.produce(CONTROLS, key=key, value=value, partition=0)
        assert self._producer.flush(5) == 0


@pytest.fixture
def topic() -> Topic:
    """Return a topic on which one rule has been made, and taken back."""
    made = Topic()
    made.order(a_rule(), a_rule(mode=Mode.RUN))
    return made


@contextlib.contextmanager
def a_follower(topic: Topic, followed: list[Sequence[Limit]]) -> Iterator[ControlsFollower]:
    """Run a follower's life."""
    follower = ControlsFollower(topic.settings, now_us=lambda: NOW_US, obey=followed.append)
    try:
        yield follower
    finally:
        follower.close()


def test_whoever_begins_knows_the_latest_rules_before_it_begins(topic: Topic) -> None:
    """Again after every restart: nothing is remembered but the topic."""
    assert _caught_up(topic) == []
    topic.order(a_rule(is_emergency=True))

    assert _caught_up(topic) == _caught_up(topic) == [controls.EMERGENCY]


def _caught_up(topic: Topic) -> list[str]:
    with a_follower(topic, []) as follower:
        return [limit.name for limit in follower.catch_up()]


async def test_a_rule_holds_within_a_second(topic: Topic) -> None:
    """And what cannot be read changes nothing, but is counted."""
    followed: list[Sequence[Limit]] = []
    with a_follower(topic, followed) as follower:
        follower.catch_up()
        following = asyncio.ensure_future(follower.run())
        topic.write(b"*/*", b"\xc3\x01 nonsense")
        topic.order(a_rule())
        async with asyncio.timeout(1):
            while not followed:  # noqa: ASYNC110 - nothing tells but the rule itself
                await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.wait([following])

    assert ([[limit.name for limit in each] for each in followed], follower.board.refused) == ([["*/*"]], 1)


def test_a_record_that_cannot_be_read_leaves_the_last_good_rule() -> None:
    """Of the same name; and no value takes the rule away."""
    board = Board()
    key, value = controls.encode(a_rule())
    for each in (value, b"", b"\xc3\x01", value[:-1], value + b"\x00"):
        board.take(key, each)
    assert (board.rules, board.refused) == ([a_rule()], 4)
    board.take(key, None)
    board.take(b"urgent/w1", b"somebody else's")

    assert (board.rules, board.refused) == ([], 4)


def test_a_worker_does_not_begin_by_rules_it_cannot_know() -> None:
    """Kafka is away: it ends, and is started again."""
    follower = ControlsFollower({"bootstrap.servers": "127.0.0.1:1"}, now_us=lambda: NOW_US)
    with pytest.raises(TransientError):
        follower.catch_up(within_seconds=0.1)
    follower.close()
