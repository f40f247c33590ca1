"""Owed copies are made up as soon as they can be, and nobody waits for those that cannot."""

from __future__ import annotations

from sinks import owed
from tests.builders import a_record, change_value
from tests.unit.sinks.rigs import EU, Rig


async def protect(rig: Rig, windows: int = 1, *, residency: str = "eu", topic: str = "backup.critical") -> None:
    """Protect windows of one change each."""
    for number in range(windows):
        await rig.protect([a_record(number, change_value(position=number, residency=residency))], topic)
    await rig.replicator.settle()
    rig.clock.move(seconds=10)


def owing(rig: Rig) -> int:
    """Return how many packs owe copies."""
    return int(rig.rows("SELECT count(*) FROM packs WHERE NOT is_full")[0][0])


async def test_a_store_that_comes_back_gets_what_it_missed() -> None:
    """From a good copy."""
    rig = Rig()
    rig.break_stores("eu-a")
    await protect(rig)
    assert owing(rig) == 1
    rig.break_stores("eu-a", is_down=False)
    rig.clock.move(seconds=10)

    assert (await rig.owed.make_up(), owing(rig), rig.holders("log/")) == (2, 0, set(EU))


async def test_young_packs_are_left_alone() -> None:
    """Their copies are probably still under way."""
    rig = Rig()
    rig.break_stores("eu-a")
    await protect(rig)
    rig.break_stores("eu-a", is_down=False)

    assert await rig.owed.make_up(patience_seconds=3600) == 0


async def test_a_rotten_copy_is_not_copied() -> None:
    """The next holder is read."""
    rig = Rig()
    rig.break_stores("eu-e")
    await protect(rig)
    for name in ("eu-a", "eu-b", "eu-c"):
        objects = rig.stores[name].inner.objects
        objects.update({each: b"rotten" for each in objects if each.startswith("log/")})
    rig.break_stores("eu-e", is_down=False)
    rig.clock.move(seconds=10)

    assert await rig.owed.make_up() == 2
    good, copied = rig.stores["eu-d"].inner.objects, rig.stores["eu-e"].inner.objects
    assert all(copied[name] == content for name, content in good.items() if name.startswith("log/"))


async def test_residency_holds_for_owed_copies() -> None:
    """Rather owe for ever."""
    rig = Rig()
    rig.break_stores("eu-a", "eu-b")
    await protect(rig)

    assert (await rig.owed.make_up(), rig.holders("log/")) == (0, {"eu-c", "eu-d", "eu-e"})


async def test_those_that_cannot_be_helped_do_not_keep_the_others_waiting() -> None:
    """More of them than one round looks at."""
    rig = Rig()
    rig.break_stores("eu-a")
    await protect(rig, owed._PACKS_AT_ONCE + 5)
    while await rig.owed.make_up():
        rig.clock.move(seconds=1)
    *names, _last = sorted(name for name in rig.stores["eu-b"].inner.objects if name.startswith("log/"))
    rig.stores["eu-a"].inner.objects.update(dict.fromkeys(names, b"in the way"))
    rig.break_stores("eu-a", is_down=False)
    rig.clock.move(seconds=60)

    assert sum([await rig.owed.make_up() for _ in range(3)]) == 1
