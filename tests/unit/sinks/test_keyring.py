"""One key for each wedding, for ever; wrapped, and where its residency allows."""

from __future__ import annotations

import asyncio

import pytest

from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, TransientError
from tests.unit.sinks.rigs import EU, Rig

IN_EU, ANYWHERE = PlacementClass.EU, PlacementClass.ANYWHERE


async def test_a_wedding_has_one_key_over_all_lives() -> None:
    """Found again on the stores, not made again."""
    rig = Rig()
    key = await rig.keyring.key_for("w1", IN_EU)

    assert await rig.again().keyring.key_for("w1", IN_EU) == key
    assert await rig.keyring.key_for("w2", IN_EU) != key


async def test_many_who_ask_at_once_get_the_same() -> None:
    """It is made by one of them."""
    rig = Rig()
    found = await asyncio.gather(*(rig.keyring.key_for("w1", IN_EU) for _ in range(20)))

    assert len(set(found)) == 1


async def test_a_key_lies_wrapped_where_its_wedding_may() -> None:
    """Neither the key nor the wedding's name can be read there."""
    rig = Rig()
    key = await rig.keyring.key_for("smith-jones", IN_EU)
    await rig.replicator.settle()

    assert rig.holders("keyring/") == set(EU)
    for store in rig.stores.values():
        for name, content in store.inner.objects.items():
            assert key not in content
            assert "smith" not in name


async def test_a_key_that_cannot_be_found_is_never_made_again() -> None:
    """It is an outage: a second key would make the first one's packs unreadable."""
    rig = Rig()
    await rig.keyring.key_for("w1", IN_EU)
    rig.break_stores(*EU)

    with pytest.raises(TransientError):
        await rig.again().keyring.key_for("w1", IN_EU)


async def test_a_key_that_is_gone_is_damage() -> None:
    """Every store answered, and none has it."""
    rig = Rig()
    await rig.keyring.key_for("w1", IN_EU)
    for store in rig.stores.values():
        store.inner.objects.clear()

    with pytest.raises(CorruptionError):
        await rig.again().keyring.key_for("w1", IN_EU)


async def test_damaged_copies_are_passed_over() -> None:
    """One good one is enough."""
    rig = Rig()
    key = await rig.keyring.key_for("w1", IN_EU)
    await rig.replicator.settle()
    for name in EU[1:]:
        objects = rig.stores[name].inner.objects
        objects.update(dict.fromkeys(objects, b"rotten"))

    assert await rig.again().keyring.key_for("w1", IN_EU) == key


async def test_an_attempt_that_died_is_taken_up() -> None:
    """Two copies are not enough; the next life finishes the same key."""
    rig = Rig()
    rig.break_stores("eu-a", "eu-b", "eu-c")
    with pytest.raises(TransientError):
        await rig.keyring.key_for("w1", IN_EU)
    rig.break_stores("eu-a", is_down=False)
    await rig.again().keyring.key_for("w1", IN_EU)

    assert len({name for each in rig.stores.values() for name in each.inner.objects}) == 1


async def test_an_attempt_without_a_trace_does_not_wait_for_a_store_that_is_down() -> None:
    """Nothing was sealed with that key, so another may be made."""
    rig = Rig()
    rig.break_stores(*EU)
    with pytest.raises(TransientError):
        await rig.keyring.key_for("w1", IN_EU)
    rig.break_stores(*EU[1:], is_down=False)

    assert await rig.again().keyring.key_for("w1", IN_EU)


async def test_two_workers_agree_on_one_key() -> None:
    """Whoever comes second takes over the first one's, or tries again."""
    rig = Rig()
    rivals = [rig, rig.again(), rig.again()]
    found = set()
    for _ in range(3):
        results = await asyncio.gather(*(each.keyring.key_for("w1", IN_EU) for each in rivals), return_exceptions=True)
        found |= {each for each in results if isinstance(each, bytes)}
        assert all(isinstance(each, bytes | TransientError) for each in results)

    assert found == {await rig.again().keyring.key_for("w1", IN_EU)}


async def test_a_wedding_without_a_key_has_none() -> None:
    """Asking does not make one."""
    assert await Rig().keyring.existing_key("w1") is None
    assert await Rig().keyring.keys_for([("w1", ANYWHERE), ("w2", IN_EU)])
