"""Application events on their way: whose they are, and that they are nobody's rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from connectors.application import ApplicationEvent, encode_event
from schemas import codec
from schemas.backup import PLATFORM, UNREAD
from schemas.errors import ConfigError
from schemas.mapping import OutboxRule, table_mapping
from schemas.topics import DEAD_LETTERS
from streams.router import Router
from streams.state import RouterState
from tests import builders
from tests.builders import CAPTURE, EPOCH, a_batch, a_row
from tests.fakes import HandClock, RecordingProducer

APPLICATION = f"capture.application.e{EPOCH}"
RECEIVED_US = 1_781_000_000_000_000
ROW = {"id": "o1", "aggregatetype": "wedding", "aggregateid": "w1", "type": "guest.invited", "payload": "{}"}


def an_event(**fields: Any) -> bytes:
    """Return a captured event."""
    given: dict[str, Any] = {"id": "e1", "source": "/app", "type": "t", "received_us": RECEIVED_US, "wedding": "w1"}
    return encode_event(ApplicationEvent(**{**given, **fields}))


async def route(*values: bytes, topic: str = APPLICATION, **outbox: Any) -> list[dict[str, Any]]:
    """Route records of one topic, with `outbox` as the outbox's rule, and return the changes."""
    producer = RecordingProducer()
    mapping = dataclasses.replace(builders.a_mapping(), outbox=OutboxRule(table="public.outbox", **outbox))
    router = Router(mapping=mapping, state=RouterState(":memory:"), producer=producer, partitions=2, now=HandClock())
    await router.route(a_batch(topic, values))
    return [
        {**codec.decode("BackupChange", each.value), "topic": each.topic}
        if each.value and each.topic != DEAD_LETTERS
        else {"topic": each.topic}
        for each in producer.delivered
    ]


async def test_an_event_goes_to_its_wedding_with_its_bytes() -> None:
    """At the instant it was received."""
    value = an_event()
    (change,) = await route(value)

    assert (change["kind"], change["wedding"], change["source"]) == ("message", "w1", "application")
    assert (change["committed_at"], change["payload"]) == (RECEIVED_US, value)


@pytest.mark.parametrize("wedding", ["", "@platform", "@index-eu"])
async def test_an_event_of_no_wedding_is_the_platform_s(wedding: str) -> None:
    """Whoever wrote the record: a pseudo-wedding is nobody's to name."""
    (change,) = await route(an_event(wedding=wedding))

    assert change["wedding"] == PLATFORM


async def test_a_cut_event_or_one_of_an_unknown_schema_is_a_dead_letter() -> None:
    """And what comes behind it is routed."""
    found = await route(an_event()[:-1], b"\xc3\x01" + bytes(20), an_event())

    assert [each.get("wedding", each["topic"]) for each in found] == [DEAD_LETTERS, UNREAD, DEAD_LETTERS, UNREAD, "w1"]


async def test_a_row_of_the_outbox_is_an_event_of_its_wedding() -> None:
    """In its transaction's order, and counted in it."""
    value = a_row("public.outbox", after=ROW, order=3)
    (change,) = await route(value, topic=CAPTURE)

    assert (change["kind"], change["table"], change["wedding"]) == ("message", "public.outbox", "w1")
    assert (change["order"], change["payload"]) == (3, value)


async def test_the_outbox_row_s_wedding_may_have_a_column_of_its_own() -> None:
    """Which wins; what names no wedding is the platform's."""
    other = {**ROW, "aggregatetype": "guest", "aggregateid": "9"}
    own, guest, pseudo = await route(
        a_row("public.outbox", after={**other, "wedding_id": 7}, order=1),
        a_row("public.outbox", after=other, order=2),
        a_row("public.outbox", after={**ROW, "aggregateid": "@platform"}, order=3),
        topic=CAPTURE,
        wedding_column="wedding_id",
    )

    assert [each["wedding"] for each in (own, guest, pseudo)] == ["7", PLATFORM, PLATFORM]


async def test_cleaning_the_outbox_is_an_event_too_and_changes_nothing_else() -> None:
    """The DELETE is counted by its transaction's END, so it must be there."""
    (change,) = await route(a_row("public.outbox", before=ROW), topic=CAPTURE)

    assert (change["kind"], change["wedding"]) == ("message", "w1")


def test_an_outbox_is_no_table_of_rows() -> None:
    """A restore would put its rows back, and they would be sent again."""
    mapping = builders.a_mapping()
    with pytest.raises(ConfigError, match="outbox"):
        table_mapping(mapping.tables.values(), calendar=mapping.calendar, outbox=OutboxRule(table="public.guests"))
