"""With a registry: framed on the lanes, our own encoding behind them, and never a guess."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from ops.config import load_settings
from schemas import codec, wire
from schemas.errors import ConfigError, TransientError
from schemas.topics import BACKUP_TOPICS, DEAD_LETTERS
from streams.records import Outgoing, Record
from streams.schema_registry import ConfluentRegistry, RegisteredProducer, unframed
from tests.builders import CAPTURE, change_value, frontier_value
from tests.fakes import RecordingProducer
from tests.registry import Contents, served

if TYPE_CHECKING:
    from collections.abc import Iterator

LANE = BACKUP_TOPICS[0]


class Rig:
    """A producer that frames, over real HTTP."""

    def __init__(self, url: str, contents: Contents, **producer: Any) -> None:
        self.url, self.contents = url, contents
        self.registry = ConfluentRegistry(url, timeout_seconds=2)
        self.inner = RecordingProducer()
        self.producer = RegisteredProducer(inner=self.inner, registry=self.registry, **producer)

    async def framed(self, value: bytes, topic: str = LANE) -> bytes:
        """Return what reaches Kafka."""
        await self.producer.deliver([Outgoing(topic, 0, b"w1", value)])
        return self.inner.delivered[-1].value or b""

    async def read(self, value: bytes, **headers: bytes) -> Record:
        """Return what a worker sees of a value."""
        (record,) = await unframed([Record(0, 0, None, value, tuple(headers.items()))], self.registry)
        return record


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Return a rig with a registry of its own."""
    contents = Contents()
    with served(contents) as url:
        rig = Rig(url, contents)
        yield rig
        rig.registry.close()


@pytest.mark.parametrize("value", [change_value(), frontier_value()], ids=["change", "frontier"])
async def test_a_value_travels_framed_and_arrives_as_it_was(rig: Rig, value: bytes) -> None:
    """The body between is Confluent's: a zero, the id, the branch, and ours byte for byte."""
    framed = await rig.framed(value)

    assert (framed[:5], framed[6:]) == (b"\x00\x00\x00\x00\x01", value[10:])
    assert (await rig.read(framed)).value == value


async def test_each_lane_has_its_subject_and_backward_compatibility(rig: Rig) -> None:
    """Named as the topic is, a union of what the topic carries; each registered once."""
    for topic in BACKUP_TOPICS * 2:
        await rig.framed(change_value(), topic)

    assert list(rig.contents.subjects) == [f"{topic}-value" for topic in BACKUP_TOPICS]
    assert set(rig.contents.levels.values()) == {"BACKWARD"}
    assert len(rig.contents.asked) == 2 * len(BACKUP_TOPICS)


async def test_subjects_may_be_named_after_records() -> None:
    """RecordNameStrategy: one record a subject, no union."""
    with served(contents := Contents()) as url:
        rig = Rig(url, contents, by_record=True)
        framed = await rig.framed(frontier_value())

        assert (list(contents.subjects), framed[5:]) == (["wedsync.Frontier"], frontier_value()[10:])
        assert (await rig.read(framed)).value == frontier_value()


async def test_what_anybody_s_client_registers_and_frames_is_read(rig: Rig) -> None:
    """By the id before the value, by the id in a header, by the GUID in a header."""
    framed = await rig.framed(change_value())
    guid = uuid.UUID(rig.contents.guid(1)).bytes

    by_number = await rig.read(framed[5:], **{wire.ID_HEADER: framed[:5]})
    by_guid = await rig.read(framed[5:], **{wire.ID_HEADER: b"\x01" + guid})
    assert (by_number.value, by_guid.value) == (change_value(), change_value())
    assert by_number.headers == ()


@pytest.mark.parametrize(
    "value", [b"\x00\x00\x00\x00\x63body", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x01\x40body"]
)
async def test_an_unknown_id_or_branch_stays_as_it_came(rig: Rig, value: bytes) -> None:
    """It will be a dead letter, with all its bytes."""
    await rig.framed(change_value())

    assert (await rig.read(value)).value == value


async def test_a_registered_schema_that_was_never_ours_is_not_guessed_at(rig: Rig) -> None:
    """Even where its fields have our names."""
    rig.contents.schemas[7] = '{"type":"record","name":"wedsync.Frontier","fields":[{"name":"source","type":"string"}]}'

    assert (await rig.read(b"\x00\x00\x00\x00\x07\x02a")).value == b"\x00\x00\x00\x00\x07\x02a"


async def test_an_incompatible_schema_is_refused_by_name(rig: Rig) -> None:
    """The worker stops before it writes what others cannot read."""
    rig.contents.subjects["wedsync.Frontier"] = [3]
    rig.contents.schemas[3] = '{"type":"record","name":"Frontier","fields":[{"name":"source","type":"long"}]}'
    with pytest.raises(ConfigError, match=r"incompatible: Frontier\.source"):
        await rig.registry.register(wire.Subject(name="wedsync.Frontier", records=("Frontier",)))


async def test_a_registry_that_fails_is_a_reason_to_wait(rig: Rig) -> None:
    """Nothing is produced, nothing is guessed, and later it goes on."""
    rig.contents.is_down = True
    with pytest.raises(TransientError, match="no leader"):
        await rig.framed(change_value())
    with pytest.raises(TransientError):
        await rig.read(b"\x00\x00\x00\x00\x01\x00body")
    rig.contents.is_down = False

    assert (await rig.framed(change_value()))[0] == 0


async def test_a_registry_that_is_not_there_is_named_without_its_password() -> None:
    """The operator sees which address did not answer."""
    registry = ConfluentRegistry("http://user:secret@127.0.0.1:9", timeout_seconds=1)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9") as caught:
        await registry.headers_of(1)

    assert "secret" not in str(caught.value)


async def test_an_id_is_asked_for_once(rig: Rig) -> None:
    """It never changes its meaning; also of one that is unknown."""
    for _ in range(3):
        await rig.read(b"\x00\x00\x00\x00\x09body")

    assert rig.contents.asked == ["GET /schemas/ids/9"]


@pytest.mark.parametrize("topic", [DEAD_LETTERS, CAPTURE])
async def test_other_topics_are_not_framed(rig: Rig, topic: str) -> None:
    """A dead letter is its record's own bytes; what Debezium captures is JSON."""
    assert await rig.framed(change_value(), topic) == change_value()


async def test_without_frames_nobody_is_asked(rig: Rig) -> None:
    """JSON and our own encoding begin with other bytes."""
    records = [Record(0, 0, None, b"{}"), Record(1, 0, None, change_value()), Record(2, 0, None, None)]

    assert await unframed(records, rig.registry) is records
    assert rig.contents.asked == []


async def test_confluent_s_own_twin_of_a_registry_answers_as_ours_does() -> None:
    """Their in-memory client takes our subjects, too."""
    client = SchemaRegistryClient.new_client({"url": "mock://twin"})
    client.set_compatibility = lambda *_args, **_named: None  # It has no such call.
    registry = ConfluentRegistry("mock://twin", timeout_seconds=1, client=client)
    subject = wire.Subject(name=f"{LANE}-value", records=wire.LANE_RECORDS)
    number = await registry.register(subject)

    assert await registry.headers_of(number) == tuple(codec.header(name) for name in wire.LANE_RECORDS)


def test_the_registry_is_set_as_everybody_s_tools_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its usual name in the environment."""
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://registry:8081")

    assert load_settings().registry.url == "http://registry:8081"
