"""Events in the archive: every one is found again, once, up to the instant; none is ever a row."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from connectors.application import ApplicationEvent, encode_event
from schemas.mapping import OutboxRule
from sinks.cut import instant
from sinks.restored_events import ndjson
from sinks.targets import FileTarget
from tests.unit.sinks.archive import EPOCH, Archive, added, guest, removed, wedding

TOPIC = f"capture.application.e{EPOCH}"


def outbox(number: int, wedding_id: str = "w1") -> dict[str, Any]:
    """Return a row of the outbox."""
    about = {"aggregatetype": "wedding", "aggregateid": wedding_id, "type": "guest.invited"}
    return {"id": f"o{number}", **about, "payload": '{"n": 1}'}


@pytest.fixture
def archive() -> Archive:
    """Return an archive of one wedding, whose platform has an outbox."""
    new = Archive()
    new.mapping = dataclasses.replace(new.mapping, outbox=OutboxRule(table="public.outbox"))
    new.router._mapping = new.mapping
    new.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Zoë")))
    return new


def send(archive: Archive, name: str, at_us: int, **fields: Any) -> None:
    """Let an event be captured."""
    given: dict[str, Any] = {"source": "/app", "type": "t", "wedding": "w1", "payload": b"1.10"}
    event = ApplicationEvent(id=name, received_us=at_us, **{"content_type": "application/json", **given, **fields})
    archive.capture(TOPIC, encode_event(event))


async def test_an_event_is_found_up_to_the_instant_it_was_received(archive: Archive) -> None:
    """Of its own wedding, and no other."""
    first_us = archive.commit(added("guests", guest(2, "Ann")))
    send(archive, "e1", first_us)
    send(archive, "e2", first_us + 1)
    send(archive, "e3", first_us, wedding="w2")
    archive.beat()
    await archive.settle()
    state = await archive.restorer().state_at("w1", instant(first_us))

    assert [each.id for each in state.events] == ["e1"]
    assert [each.id for each in (await archive.restorer().state_at(None, None)).events] == ["e1", "e3", "e2"]


async def test_an_event_recorded_twice_is_one(archive: Archive) -> None:
    """A client that sent again after a lost answer doubles nothing."""
    first_us = archive.beat()
    send(archive, "e1", first_us)
    send(archive, "e1", first_us + 5)
    await archive.settle()
    (event,) = (await archive.restorer().state_at("w1", None)).events

    assert (event.order.position, event.committed_us) == (0, first_us)


async def test_a_row_of_the_outbox_is_an_event_and_never_a_row(archive: Archive) -> None:
    """Though it was deleted in the next transaction; and its transactions' counts still hold."""
    archive.commit(added("guests", guest(2, "Ann")), added("outbox", outbox(1)))
    archive.commit(removed("outbox", outbox(1)))
    await archive.settle()
    state = await archive.restorer().state_at("w1", None)
    whole = await archive.restorer().state_at(None, None)

    assert [(each.id, each.type, each.payload) for each in state.events] == [("o1", "guest.invited", b'{"n": 1}')]
    assert "public.outbox" not in whole.rows
    assert whole.audit.is_passed
    assert whole.audit.is_exact


async def test_an_outbox_row_after_the_cut_is_not_there(archive: Archive) -> None:
    """It counts with its transaction."""
    before_us = archive.commit(added("outbox", outbox(1)))
    archive.commit(added("outbox", outbox(2)))
    await archive.settle()
    state = await archive.restorer().state_at("w1", instant(before_us))

    assert [each.id for each in state.events] == ["o1"]


async def test_events_survive_the_loss_of_the_catalog(archive: Archive) -> None:
    """They lie in the packs like every change."""
    send(archive, "e1", archive.beat())
    await archive.settle()
    await archive.checkpoints.write()
    await archive.rebuild()

    assert [each.id for each in (await archive.restorer().state_at("w1", None)).events] == ["e1"]


async def test_a_file_target_holds_the_events_as_they_were_sent(archive: Archive, tmp_path: Any) -> None:
    """A number keeps its digits, other data its bytes; whatever the sender claimed, a line is JSON."""
    at_us = archive.beat()
    send(archive, "e1", at_us, payload=b'{"a":\n1.10}', extensions={"weddingid": "w1"})
    send(archive, "e2", at_us, payload=b"\xff\n", content_type="application/json")
    await archive.settle()
    await archive.restorer().restore(
        "w1",
        None,
        restore_id="r1",
        rows=lambda state: FileTarget(tmp_path / "rows", events=ndjson(state.events)),
        folder=None,
    )
    first, second = (tmp_path / "rows" / "events.ndjson").read_bytes().splitlines()

    assert b'"data":{"a": 1.10}' in first
    assert orjson.loads(first)["weddingid"] == "w1"
    assert orjson.loads(second)["data_base64"] == "/wo="
