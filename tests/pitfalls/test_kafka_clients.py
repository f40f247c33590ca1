"""Traps of Kafka's clients, on librdkafka's own broker where a broker is needed."""

from __future__ import annotations

import ast
import asyncio
import pathlib
from typing import Any

import confluent_kafka
import pytest

from schemas import codec
from schemas.errors import TransientError
from streams.intake import BATCH_RECORDS_MAX, Intake, _next_messages, consumer_settings
from streams.produce import KafkaProducer, producer_settings
from streams.records import Outgoing
from tests.builders import CAPTURE, a_batch, a_row
from tests.unit.streams.test_router import Rig

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("schemas", "connectors", "streams", "sinks", "ops")
MOCK = {"test.mock.num.brokers": 1, "bootstrap.servers": "unused"}


def imported() -> set[str]:
    """Return every module the product imports."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("auto.offset.reset", "error"),
        ("check.crcs", True),
        ("enable.auto.commit", False),
        ("enable.auto.offset.store", False),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", False),
    ],
)
def test_a_consumer_keeps_no_default_that_loses(setting: str, value: object) -> None:
    """Skipping to the end, storing what was only polled, and reading damaged bytes are all defaults."""
    assert consumer_settings({})[setting] == value


@pytest.mark.parametrize(
    ("setting", "value"), [("acks", "all"), ("enable.idempotence", True), ("enable.gapless.guarantee", True)]
)
def test_a_producer_keeps_no_default_that_loses(setting: str, value: object) -> None:
    """Delivered means on all replicas that are in sync, once, in order."""
    assert producer_settings({})[setting] == value


def test_aiokafka_with_its_defaults_that_lose_carries_nothing_of_ours() -> None:
    """Only Faust itself uses it, for topics of its own."""
    assert not [name for name in imported() if name.split(".")[0] == "aiokafka"]


def test_confluent_s_asyncio_client_that_deadlocks_is_not_used() -> None:
    """The synchronous one runs in a thread."""
    assert not [name for name in imported() if name.startswith("confluent_kafka.aio")]


async def test_a_failed_delivery_is_fatal_for_the_producer_it_happened_to() -> None:
    """Even an idempotent one goes on behind a timed-out record as if it had been there: a gap nobody sees."""
    producer = KafkaProducer(MOCK)
    with pytest.raises(TransientError):
        await producer.deliver([Outgoing("t", 99, b"k", b"lost")])
    with pytest.raises(TransientError):
        await producer.deliver([Outgoing("t", 0, b"k", b"behind it")])
    producer.close()


async def test_an_unanswered_delivery_ends_in_an_error_and_not_in_silence() -> None:
    """The broker is gone: after the time-out the worker learns of every record it may not count on."""
    producer = KafkaProducer({"bootstrap.servers": "127.0.0.1:9", "delivery.timeout.ms": 300})
    with pytest.raises(TransientError, match="not take all records"):
        await producer.deliver([Outgoing("t", 0, b"k", b"v")])
    producer.close()


def test_an_admin_call_raises_only_where_its_result_is_asked_for() -> None:
    """A future nobody asks is a topic nobody made."""
    admin = [(ROOT / name).read_text(encoding="utf-8") for name in ("ops/stack/topics.py",)]

    assert all(text.count(".create_topics(") <= text.count(".result") for text in admin)


class Marks:
    """An owner of offsets that still names partitions it has lost."""

    async def next_offsets(self) -> dict[tuple[str, int], int]:
        """See `Watermarks.next_offsets`."""
        return {("t", 0): 7, ("t", 1): 9}


class Committing:
    """Takes note of what is committed."""

    def __init__(self) -> None:
        self.offsets: list[tuple[int, int]] = []

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> None:
        """See `Consumer.commit`."""
        assert asynchronous
        self.offsets += [(each.partition, each.offset) for each in offsets]


async def test_an_acknowledgement_after_revoke_moves_nobody_else_s_offset() -> None:
    """Fenced by the assignment: what is not owned any more is neither committed nor handled."""
    marks: Any = Marks()
    channel: Any = object()
    intake = Intake(channel=channel, watermarks=marks, consumer_settings={}, topics=[])
    intake._loop, intake._owned, intake._generation = asyncio.get_running_loop(), {("t", 1)}, 2
    consumer = Committing()
    await asyncio.to_thread(intake._mirror_watermarks, consumer)

    assert consumer.offsets == [(1, 9)]
    assert [intake.is_current(a_batch("t", [b""], partition=1)._replace(generation=number)) for number in (1, 2)] == [
        False,
        True,
    ]


class OneByOne:
    """A consumer with more records than a batch, each as large as it is told."""

    def __init__(self, size: int = 9) -> None:
        self._record = "x" * size

    def poll(self, _seconds: float) -> str:
        """Return the first."""
        return self._record

    def consume(self, count: int, _seconds: float) -> list[str]:
        """Return as many as are wanted."""
        return [self._record] * count


def test_records_are_consumed_in_batches() -> None:
    """One at a time the client library costs more than all that is done with a record."""
    assert len(_next_messages(OneByOne())) == BATCH_RECORDS_MAX
    assert len(_next_messages(OneByOne(), 3_700)) == 3_700


def test_a_batch_of_large_records_has_fewer() -> None:
    """However many are allowed: what lies in memory is counted in bytes."""
    assert len(_next_messages(OneByOne(size=100_000), 4_000)) == 1 + BATCH_RECORDS_MAX


class Rebalanced(OneByOne):
    """A consumer whose group hands its partitions out anew while it gathers a batch."""

    generation = 1

    def consume(self, count: int, _seconds: float) -> list[str]:
        """Return what the next generation reads."""
        self.generation = 2
        return ["new"] * min(count, 3)


def test_a_batch_never_spans_a_rebalance() -> None:
    """What was read before it would count as read behind it, and what lies between would be missed."""
    consumer = Rebalanced()

    assert _next_messages(consumer, generation=lambda: consumer.generation) == ["new"] * 3


async def test_what_is_only_passed_on_is_never_serialized_again() -> None:
    """Byte for byte, whitespace and order of keys included: who decodes and encodes alters."""
    odd = a_row("public.guests", after={"id": 1, "wedding_id": "w1"}).replace(b'"op":', b'  "op" :\t')
    (change,) = await Rig().route(odd, topic=CAPTURE)

    assert change["payload"] == odd
    assert codec.decode("BackupChange", codec.encode("BackupChange", {k: change[k] for k in change if k != "topic"}))


def test_a_mistyped_setting_is_found_before_the_first_record() -> None:
    """The client refuses what it does not know."""
    with pytest.raises(confluent_kafka.KafkaException):
        KafkaProducer({**MOCK, "enable.idempotense": True})
