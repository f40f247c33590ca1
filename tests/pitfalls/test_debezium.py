"""Debezium's and Connect's traps; those about the engine on the real engine."""

from __future__ import annotations

import asyncio
import pathlib
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from connectors import debezium
from connectors.connector_config import PostgresSource, connector_config
from connectors.debezium import UNAVAILABLE, Boundary, Change, Notice
from connectors.log_order import LogOrder
from ops.stack import connect_worker, postgres
from ops.stack.settings import StackPorts, StackSettings
from schemas.backup import UNREAD
from schemas.topics import capture_topic
from sinks.catalog import Catalog, open_engine
from tests.builders import a_row, an_end
from tests.fakes import InlineExecutor
from tests.integration.conftest import stack  # noqa: F401 - a fixture
from tests.integration.test_connector import DATABASE, source  # noqa: F401 - a fixture
from tests.unit.streams.test_router import Rig

if TYPE_CHECKING:
    from tests.integration.conftest import LocalStack

ROOT = pathlib.Path(__file__).parents[2]
POM = (ROOT / "ops" / "stack" / "pom.xml").read_text(encoding="utf-8")
PORTS = StackPorts(kafka=1, kafka_controller=2, connect=3, postgres=4)
SOURCE = PostgresSource(
    host="127.0.0.1", port=1, user="u", password="p", database="d", epoch=1, name="platform", slot="s", publication="p"
)
GUEST = {"id": 1, "wedding_id": "w1", "name": "Ann"}


def pom_version(name: str) -> tuple[int, ...]:
    """Return a version the stack's jars have."""
    (text,) = re.findall(rf"<{name}\.version>([0-9.]+)", POM)
    return tuple(int(each) for each in text.rstrip(".").split("."))


def test_the_connector_is_no_version_that_loses_rows_on_restart() -> None:
    """3.6 loses rows of interleaved transactions, and of rows that share an LSN, when it is started again."""
    assert pom_version("debezium") >= (3, 7, 0)


def test_kafka_s_clients_are_no_version_that_mistakes_the_topic_of_an_expired_batch() -> None:
    """It reports success of a batch that went elsewhere."""
    assert pom_version("kafka") >= (4, 2)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("publication.autocreate.mode", "disabled"),
        ("skipped.operations", "none"),
        ("offset.mismatch.strategy", "trust_offset"),
        ("slot.drop.on.stop", "false"),
        ("snapshot.mode", "no_data"),
        ("event.processing.failure.handling.mode", "fail"),
        ("event.converting.failure.handling.mode", "fail"),
    ],
)
def test_no_default_of_debezium_s_that_loses_in_silence_is_left(setting: str, value: str) -> None:
    """New tables not captured, TRUNCATE dropped, a start where the slot stands, a slot dropped in passing."""
    assert connector_config(SOURCE)[setting] == value


def test_the_heartbeat_is_on_and_writes() -> None:
    """Off by default; without a write of its own an idle database keeps its log back for ever."""
    config = connector_config(SOURCE)

    assert int(config["heartbeat.interval.ms"]) > 0
    assert "wedsync.heartbeat" in config["heartbeat.action.query"]


def test_the_local_database_does_not_let_a_slot_fill_its_disk() -> None:
    """A lost slot is loud, a full disk stops the weddings."""
    assert postgres.server_options(PORTS)["max_slot_wal_keep_size"]


def test_connect_s_rest_interface_without_a_login_listens_on_loopback() -> None:
    """Whoever reaches it can read the source's password."""
    settings = StackSettings(state_dir=pathlib.Path("/state"))

    assert "127.0.0.1" in connect_worker.worker_properties(settings, PORTS)["listeners"]


@pytest.mark.parametrize("form", [UNAVAILABLE, "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", [UNAVAILABLE]])
async def test_an_unchanged_toast_value_that_was_not_sent_is_never_stored_as_data(form: object) -> None:
    """It is taken from the image before; where that has none either, the record is a dead letter."""
    rig = Rig()
    (letter,) = await rig.route(a_row("public.guests", before={"id": 1}, after={**GUEST, "note": form}))
    whole = debezium.parse(a_row("public.guests", before={**GUEST, "note": "kept"}, after={**GUEST, "note": form}))
    assert isinstance(whole, Change)

    assert letter["wedding"] == UNREAD
    assert (debezium.with_whole_images(whole).after or {})["note"] == "kept"


async def test_an_erased_person_s_delete_is_an_event_with_all_that_was_erased() -> None:
    """Its before-image is whole, so it is sealed under the wedding's key as any other change is."""
    (change,) = await Rig().route(a_row("public.guests", before=GUEST))

    assert (change["wedding"], b"Ann" in change["payload"]) == ("w1", True)


async def test_a_moved_parent_row_is_an_event_of_both_weddings() -> None:
    """Its children send nothing of their own; restore asks both histories."""
    found = await Rig().route(a_row("public.guests", before=GUEST, after={**GUEST, "wedding_id": "w2"}))

    assert [(each["wedding"], each["also"]) for each in found] == [("w1", ["w2"]), ("w2", ["w1"])]


async def test_a_topic_recreated_under_its_old_name_is_another_log() -> None:
    """The catalog knows topics by the id Kafka gave them: offsets of the old one mean nothing in the new."""
    catalog = Catalog(open_engine(None), executor=InlineExecutor())
    old, new = await catalog.mark("backup.critical", "old-id", 0), await catalog.mark("backup.critical", "new-id", 0)

    assert (old.topic_id, new.topic_id, new.next_offset) == ("old-id", "new-id", 0)


async def test_what_connect_sends_again_after_its_crash_is_told_by_two_numbers() -> None:
    """Under other offsets, from the middle of a transaction, without its BEGIN."""
    rig = Rig()
    log = [a_row("public.vendors", after={"id": n}, order=n) for n in (1, 2)] + [an_end({"public.vendors": 2})]
    await rig.route(*log)

    assert await rig.route(*log[1:]) == []


INTERLEAVED = 6
COPIED = 400


@pytest.mark.integration
@pytest.mark.timeout(280)
def test_interleaved_transactions_and_copy_lose_no_row_when_connect_is_killed(
    stack: LocalStack,  # noqa: F811
    source: PostgresSource,  # noqa: F811
) -> None:
    """Open at the same time, in rows that share an LSN, committed in another order than begun: every row once."""
    for round_ in range(3):
        _commit_interleaved(stack, first=round_ * 10_000)
        if round_ < 2:
            asyncio.run(stack.restart("connect"))
    wanted = {
        round_ * 10_000 + n * 1000 + row for round_ in range(3) for n in range(INTERLEAVED) for row in range(COPIED)
    }
    found = _rows_once(stack, source, len(wanted))

    assert len(found) == len(set(found)) == len(wanted)
    assert set(found) == wanted


def _commit_interleaved(stack: LocalStack, *, first: int) -> None:  # noqa: F811
    """Write through several connections in turns, some of it by COPY, and commit in the opposite order."""
    connections = [psycopg.connect(stack.dsn(DATABASE)) for _ in range(INTERLEAVED)]
    for half in (range(COPIED // 2), range(COPIED // 2, COPIED)):
        for number, connection in enumerate(connections):
            with connection.cursor().copy("COPY guests FROM STDIN") as copy:
                for row in half:
                    copy.write_row((first + number * 1000 + row, "x"))
    for connection in reversed(connections):
        connection.commit()
        connection.close()


def _rows_once(stack: LocalStack, source: PostgresSource, count: int) -> list[int]:  # noqa: F811
    """Return the ids of rows in the capture topic, without what came again; a hole is an error."""
    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "p", "enable.auto.commit": False})
    consumer.assign([TopicPartition(capture_topic(source.name, source.epoch), 0, 0)])
    order, found, is_ended = LogOrder(), list[int](), False
    try:
        while len(found) < count or not is_ended:
            message = consumer.poll(60)
            assert message is not None, f"{len(found)} of {count} rows came"
            captured: Any = debezium.parse(message.value() or b"")
            if isinstance(captured, Notice) or order.is_repeated(captured):
                continue
            is_ended = isinstance(captured, Boundary)
            if isinstance(captured, Change) and captured.table == "public.guests":
                found.append(int(captured.image["id"]))
    finally:
        consumer.close()
    return found
