"""Urgency on demand: a request moves a wedding to the front, and what waits of it with it."""

from __future__ import annotations

import datetime as dt

import pytest

from schemas.errors import FormatError
from streams import events, urgency
from tests import builders
from tests.builders import NOON
from tests.unit.streams.test_events import an_event
from tests.unit.streams.test_router import GUEST, Rig

HOURS = dt.timedelta(hours=2)


@pytest.fixture
def rig() -> Rig:
    """Return a new router's rig."""
    return Rig()


async def test_a_request_makes_a_wedding_urgent_until_it_ends(rig: Rig) -> None:
    """Its changes go first in the critical lane; afterwards everything is as before."""
    await rig.router.make_urgent("w1", NOON + HOURS)
    (guest,) = await rig.route(builders.a_row("public.guests", after=GUEST, order=1))
    rig.clock.move(hours=3)
    (later,) = await rig.route(builders.a_row("public.guests", after=GUEST, order=2))

    assert (guest["topic"], later["topic"]) == ("backup.critical", "backup.standard")
    assert [wedding for _, _, wedding in rig.promoted()] == ["w1"]


async def test_a_request_is_taken_back(rig: Rig) -> None:
    """By one whose time is over."""
    await rig.router.make_urgent("w1", NOON + HOURS)
    await rig.router.make_urgent("w1", NOON - HOURS)
    (guest,) = await rig.route(builders.a_row("public.guests", after=GUEST, order=1))

    assert guest["topic"] == "backup.standard"


async def test_requests_read_again_after_a_restart_promote_nobody_twice(rig: Rig) -> None:
    """The follower always begins at the beginning."""
    for _ in range(2):
        await rig.router.make_urgent("w1", NOON + HOURS)
    await rig.router.make_urgent("w2", NOON - HOURS)

    assert [wedding for _, _, wedding in rig.promoted()] == ["w1"]


async def test_an_application_asks_by_an_event(rig: Rig) -> None:
    """For two hours from when it came."""
    event = an_event(type=events.URGENT, wedding="w1", received_us=int(NOON.timestamp() * 1e6))
    rig.clock.at = dt.datetime.fromtimestamp(1_781_000_000, dt.UTC)
    (change,) = await rig.route(event, topic=builders.OBJECTS)
    rig.clock.move(hours=2, minutes=1)
    (guest,) = await rig.route(builders.a_row("public.guests", after=GUEST, order=1))

    assert (change["topic"], guest["topic"]) == ("backup.critical", "backup.standard")


def test_a_request_is_read_as_it_was_written() -> None:
    """Key and value name the wedding; a removed key takes it back."""
    record = urgency.request("Zoë", until=NOON, by="ops", now=NOON)

    assert urgency.asked(record.key, record.value) == ("Zoë", NOON)
    found = urgency.asked(record.key, None)
    assert found is not None
    assert found[1] < NOON
    assert urgency.asked(b"some control", b"...") is None


@pytest.mark.parametrize("value", [b"", b"garbage", builders.promotion_value()])
def test_a_request_that_is_none_is_refused(value: bytes) -> None:
    """Nobody guesses at what was meant."""
    with pytest.raises(FormatError):
        urgency.asked(b"urgent/w1", value)
