"""The log of notices: a producer that failed is never asked again, and what is unreadable stays as it came."""

from __future__ import annotations

import pytest

from connectors.channels.port import Message
from ops.notice_log import KafkaDeadLetters, KafkaNoticeLog, RenewedProducer
from schemas.errors import TransientError
from streams.objects import UNREADABLE
from tests import builders
from tests.fakes import RecordingProducer


class Closable(RecordingProducer):
    """A producer that fails for ever once it failed, as librdkafka's does here."""

    def __init__(self, *, is_broken: bool) -> None:
        super().__init__()
        self.failures = 1 << 30 if is_broken else 0
        self.is_closed = False

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True


async def test_after_a_failure_a_new_producer_takes_over() -> None:
    """The failed one is closed; the caller hears of the failure, and tries again."""
    made = [Closable(is_broken=True), Closable(is_broken=False)]
    waiting = list(made)
    log = KafkaNoticeLog(RenewedProducer(lambda: waiting.pop(0)), "capture.album.e1")
    with pytest.raises(TransientError):
        await log.append([builders.a_notice()])
    await log.append([builders.a_notice()])

    assert [each.is_closed for each in made] == [True, False]
    assert [len(each.delivered) for each in made] == [0, 1]


async def test_what_nobody_can_read_goes_onto_the_log_as_it_came() -> None:
    """With the reason, its attributes and its place beside it."""
    producer = RecordingProducer()
    letters = KafkaDeadLetters(producer, "capture.album.e1")
    await letters.bury(Message(b"\xff", {"eventType": "X"}, None, "topic/0/7"), "not JSON")
    (record,) = producer.delivered

    assert (record.topic, record.value) == ("capture.album.e1", b"\xff")
    assert dict(record.headers) == {
        "attribute.eventType": b"X",
        UNREADABLE: b"not JSON",
        "wedsync.position": b"topic/0/7",
    }
