"""Whose an object is: by its key, by its metadata, or by the row that holds its key, whichever comes first."""

from __future__ import annotations

import dataclasses

import pytest

from connectors.storage import ObjectAction, encode_notice
from schemas.backup import PLATFORM, QUARANTINE
from schemas.mapping import ObjectReference
from streams.router import Router
from tests import builders
from tests.builders import OBJECTS, a_row
from tests.unit.streams.test_router import PARTITIONS, Rig

KEY = "uploads/1.jpg"
REFERENCE = ObjectReference(table="public.meals", column="photo")


@pytest.fixture
def rig() -> Rig:
    """Return a rig where a meal's row may hold an object's key; a meal follows its guest."""
    rig = Rig()
    rig.router = Router(
        mapping=dataclasses.replace(builders.a_mapping(), object_references=(REFERENCE,)),
        state=rig.state,
        producer=rig.producer,
        partitions=PARTITIONS,
        now=rig.clock,
    )
    return rig


def a_put(key: str = KEY, *, wedding: str = "") -> bytes:
    """Return the record of a put."""
    return encode_notice(builders.a_notice(key=key, wedding=wedding))


def a_deletion() -> bytes:
    """Return the record of a deletion: it knows no metadata."""
    return encode_notice(builders.a_notice(key=KEY, version="", action=ObjectAction.DELETE))


async def test_metadata_names_the_wedding_also_of_the_deletion() -> None:
    """What was learned of a key at its put is remembered."""
    rig = Rig()
    put, gone = await rig.route(a_put(wedding="w7"), a_deletion(), topic=OBJECTS)

    assert (put["wedding"], gone["wedding"]) == ("w7", "w7")


async def test_nobody_may_name_a_pseudo_wedding() -> None:
    """Metadata is written by strangers."""
    (put,) = await Rig().route(a_put(wedding=QUARANTINE), topic=OBJECTS)

    assert put["wedding"] == PLATFORM


async def test_an_object_follows_the_row_that_holds_its_key(rig: Rig) -> None:
    """Put and deleted after the row came."""
    await rig.route(a_row("public.guests", after={"id": 1, "wedding_id": "w1"}, order=1))
    await rig.route(a_row("public.meals", after={"id": 1, "guest_id": 1, "photo": KEY}, order=2))
    put, gone = await rig.route(a_put(), a_deletion(), topic=OBJECTS)

    assert (put["wedding"], gone["wedding"]) == ("w1", "w1")


async def test_an_object_that_comes_before_its_row_is_sealed_again(rig: Rig) -> None:
    """Once the row is known, and whose that is: first the object, then the meal, then the guest."""
    (put,) = await rig.route(a_put(), topic=OBJECTS)
    meal = await rig.route(a_row("public.meals", after={"id": 1, "guest_id": 1, "photo": KEY}, order=1))
    found = await rig.route(a_row("public.guests", after={"id": 1, "wedding_id": "w1"}, order=2))
    (again,) = (each for each in found if each["kind"] == "object_put")

    assert [put["wedding"], *(each["wedding"] for each in meal)] == [QUARANTINE, QUARANTINE]
    assert (again["wedding"], again["again"], again["payload"]) == ("w1", True, put["payload"])
    assert (again["source"], again["position"]) == (put["source"], put["position"])
    assert rig.state.waiting() == 0


async def test_a_prefix_is_asked_first(rig: Rig) -> None:
    """It says so at once, whatever row or metadata may say."""
    (put,) = await rig.route(a_put("weddings/w2/a.jpg", wedding="w7"), topic=OBJECTS)

    assert put["wedding"] == "w2"
