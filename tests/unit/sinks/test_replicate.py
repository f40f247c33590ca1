"""Three verified copies in three domains, or no word of protection."""

from __future__ import annotations

import pytest

from schemas.backup import PlacementClass
from schemas.errors import TransientError
from tests.unit.sinks.rigs import EU, Rig, an_item


async def test_protected_means_three_copies_where_residency_allows() -> None:
    """Each proven, each in a domain of its own."""
    rig = Rig()
    copies = await rig.replicator.replicate(an_item())

    assert len({copy.store for copy in copies}) == 3
    assert rig.holders("log/") == {copy.store for copy in copies} <= set(EU)


async def test_a_store_that_fails_is_replaced_at_once() -> None:
    """By the next that residency allows."""
    rig = Rig()
    rig.break_stores("eu-a", "eu-b")

    assert {copy.store for copy in await rig.replicator.replicate(an_item())} == {"eu-c", "eu-d", "eu-e"}


async def test_two_copies_are_not_three() -> None:
    """However many stores there are elsewhere."""
    rig = Rig()
    rig.break_stores("eu-a", "eu-b", "eu-c")

    with pytest.raises(TransientError, match="2 of 3"):
        await rig.replicator.replicate(an_item())


async def test_trying_again_is_harmless() -> None:
    """What lies there already counts: its bytes are compared."""
    rig = Rig()
    rig.break_stores("eu-a", "eu-b", "eu-c")
    with pytest.raises(TransientError):
        await rig.replicator.replicate(an_item())
    rig.break_stores("eu-a", is_down=False)

    assert {copy.store for copy in await rig.replicator.replicate(an_item())} == {"eu-a", "eu-d", "eu-e"}


async def test_a_foreign_content_under_the_name_is_no_copy() -> None:
    """And no reason to think the store down for other names."""
    rig = Rig()
    for name in ("eu-a", "eu-b"):
        rig.stores[name].inner.objects["log/a.pack"] = b"other bytes"
    copies = await rig.replicator.replicate(an_item())

    assert {copy.store for copy in copies} == {"eu-c", "eu-d", "eu-e"}
    assert rig.health.suspects() == frozenset()


async def test_copies_beyond_the_third_may_be_late() -> None:
    """They are made all the same."""
    rig = Rig()
    await rig.replicator.replicate(an_item(copies=5))
    await rig.replicator.settle()

    assert rig.holders("log/") == set(EU)


async def test_what_may_lie_anywhere_may_leave_the_eu() -> None:
    """When the EU's stores are down."""
    rig = Rig()
    rig.break_stores(*EU)
    copies = await rig.replicator.replicate(an_item(placement=PlacementClass.ANYWHERE))

    assert {copy.store for copy in copies} == {"us-a", "us-b", "ap-a"}


async def test_a_store_that_keeps_failing_is_not_asked_first() -> None:
    """Its time-outs would be everybody's."""
    rig = Rig()
    rig.break_stores("eu-a")
    for number in range(12):
        await rig.replicator.replicate(an_item(f"{number}".encode(), name=f"log/{number}"))
    calls = rig.stores["eu-a"].calls
    await rig.replicator.replicate(an_item(b"next", name="log/next"))

    assert rig.stores["eu-a"].calls == calls <= 6
