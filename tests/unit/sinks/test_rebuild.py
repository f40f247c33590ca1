"""Rebuilds: the stores and the master key alone give the same catalog again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from schemas.errors import ConfigError, CorruptionError, RefusedError
from schemas.pack import NO_PREVIOUS, chain_head, parse_pack_name
from sinks.catalog_tables import COPIES, FRAMES, FRONTIERS, GAPS, KEYS, OBJECTS, PACKS, PARTITIONS
from sinks.key_wrapping import MasterKeyWrapper
from sinks.keyring import keyring_name
from sinks.rebuild import rebuild
from sinks.rebuild_chain import FoundPack, follow
from tests.fakes import BrokenStore
from tests.unit.sinks.archive import NOON_US, Archive, added, changed, guest, wedding

if TYPE_CHECKING:
    import pathlib

COMPARED: dict[str, sa.Select[Any]] = {
    "packs": sa.select(
        *(PACKS.c[name] for name in PACKS.c.keys() if name not in ("durable_us", "protected_us", "is_full"))  # noqa: SIM118 - a collection of columns
    ).order_by(PACKS.c.name),
    "frames": sa.select(FRAMES).order_by(FRAMES.c.pack_hash, FRAMES.c.number),
    "copies": sa.select(COPIES.c.pack_hash, COPIES.c.store).order_by(COPIES.c.pack_hash, COPIES.c.store),
    "partitions": sa.select(
        PARTITIONS.c.topic_id, PARTITIONS.c.partition, PARTITIONS.c.topic, PARTITIONS.c.next_offset, PARTITIONS.c.head
    ).order_by(PARTITIONS.c.topic_id, PARTITIONS.c.partition),
    "frontiers": sa.select(FRONTIERS).order_by(*FRONTIERS.primary_key),
    "objects": sa.select(
        *(OBJECTS.c[name] for name in OBJECTS.c.keys() if name not in ("sealed", "protected_us"))  # noqa: SIM118 - as above
    ).order_by(OBJECTS.c.wedding, OBJECTS.c.name),
    "keys": sa.select(KEYS).order_by(KEYS.c.wedding),
}
"""What a rebuilt catalog must hold again; the instants of protection and the salts of notes are its own."""


async def content_of(archive: Archive) -> dict[str, list[Any]]:
    """Return what is compared of an archive's catalog."""

    def read(connection: sa.Connection) -> dict[str, list[Any]]:
        return {name: [tuple(row) for row in connection.execute(query)] for name, query in COMPARED.items()}

    return await archive.catalog.run(read)


@pytest.fixture
async def archive() -> Archive:
    """Return an archive of several weddings, windows and photos, with a checkpoint."""
    archive = Archive()
    archive.commit(*(added("weddings", wedding(f"w{n}", "FR" if n % 2 else "US")) for n in range(6)))
    for number in range(24):
        archive.commit(added("guests", guest(number, f"guest {number}", f"w{number % 6}")))
    archive.photo("weddings/w1/cake.jpg", random.Random(2).randbytes(2 << 20))
    archive.photo("weddings/w2/hat.jpg", b"hat")
    await archive.settle()
    archive.photo("weddings/w3/owed.jpg", b"owed")
    archive.commit(changed("guests", guest(1, "guest 1", "w1"), guest(1, "guest 1", "w2")))
    archive.beat()
    await archive.settle(with_blobs=False)
    await archive.checkpoints.write()
    return archive


async def test_the_lost_catalog_comes_back(archive: Archive) -> None:
    """Packs, frames, copies, marks, frontiers, objects and keys are the same as before."""
    lost = await content_of(archive)

    report = await archive.rebuild()

    assert await content_of(archive) == lost
    assert report.is_whole
    assert (report.objects_protected, report.objects_owed, report.orphans) == (2, 1, ())


async def test_a_rebuild_is_the_same_every_time(archive: Archive) -> None:
    """Two rebuilds of the same stores agree, whether every copy is read or one of each."""
    await archive.rebuild()
    first = await content_of(archive)

    await archive.rebuild(read_all_copies=True)

    assert await content_of(archive) == first


async def test_a_restore_after_a_rebuild_is_identical(archive: Archive, tmp_path: pathlib.Path) -> None:
    """Rows and bytes of a wedding are what they were before the catalog was lost."""
    before = await archive.restorer().state_at("w1", None)
    await archive.rebuild()

    after = await archive.restorer().state_at("w1", None)
    await archive.restorer().restore("w1", None, restore_id="r", rows=None, folder=tmp_path)

    assert (after.rows, after.objects, after.cut) == (before.rows, before.objects, before.cut)
    assert (tmp_path / "weddings/w1/cake.jpg").read_bytes() == random.Random(2).randbytes(2 << 20)


async def test_the_sink_goes_on_after_a_rebuild(archive: Archive) -> None:
    """The chain continues where it stood, and what was owed is protected."""
    await archive.rebuild()
    archive.commit(added("guests", guest(50, "late")))
    archive.beat()
    await archive.settle()

    state = await archive.restorer().state_at("w1", None)

    assert "late" in [row["name"] for row in state.tables()["public.guests"]]
    assert (await archive.rebuild()).objects_owed == 0


async def test_an_orphan_stays_out(archive: Archive) -> None:
    """Packs of an attempt that died before the catalog knew them leave the chain to those that came after."""
    archive.commit(added("guests", guest(60, "once")))
    await archive.route()
    mark = await archive.catalog.mark("backup.critical", "id-critical", 0)
    records = archive.topics.records["backup.critical", 0][mark.next_offset :]
    dead = await archive.protector.prepare(records[:2], mark)
    for pack in dead.packs:
        await archive.stores["eu-a"].create(pack.name, pack.content, digest=pack.pack_hash)
    archive.clock.move(seconds=1)
    archive.beat()
    await archive.settle()
    await archive.checkpoints.write()
    lost = await content_of(archive)

    report = await archive.rebuild()

    assert report.orphans == tuple(pack.name for pack in dead.packs)
    assert await content_of(archive) == lost


async def test_damaged_copies_are_not_counted(archive: Archive) -> None:
    """A copy that is cut off is told and left out; the others carry the pack."""
    name = archive.names("log/")[0]
    store = archive.holders(name)[0]
    archive.stores[store].objects[name] = archive.stores[store].objects[name][:-1]

    report = await archive.rebuild()

    holders = await archive.catalog.run(
        lambda connection: set(
            connection.execute(
                sa.select(COPIES.c.store).where(COPIES.c.pack_hash == parse_pack_name(name).pack_hash)
            ).scalars()
        )
    )
    assert report.damaged == ((store, name),)
    assert holders == set(archive.holders(name)) - {store}
    assert report.is_whole


async def test_a_lost_window_is_a_hole_and_the_chain_goes_on_behind_it(archive: Archive) -> None:
    """What lies behind the hole is catalogued, and the hole is filed so that restores warn of it."""
    names = [each for each in archive.names("log/id-critical/") if "/0/" in each]
    victim = parse_pack_name(names[len(names) // 2])
    for store in archive.stores.values():
        for name in [each for each in store.objects if f"{victim.first:020d}-{victim.last:020d}" in each]:
            if name.startswith("log/id-critical/0/"):
                del store.objects[name]

    report = await archive.rebuild()

    gaps = await archive.catalog.run(lambda connection: connection.execute(sa.select(GAPS.c.source)).scalars().all())
    assert report.holes == (("backup.critical/0", victim.first, victim.last),)
    assert gaps == ["backup.critical/0"]
    assert not report.is_whole
    state = await archive.restorer().state_at(None, None)
    assert not state.is_whole
    assert any("no store has any more" in each for each in state.warnings)


async def test_a_chain_that_ends_before_its_checkpoint_is_told(archive: Archive) -> None:
    """The frontier stays where the packs end, so no restore relies on what is not there."""
    names = [each for each in archive.names("log/id-critical/") if "/0/" in each]
    last = parse_pack_name(names[-1])
    for store in archive.stores.values():
        for name in [each for each in names if parse_pack_name(each).last == last.last]:
            store.objects.pop(name, None)

    report = await archive.rebuild()

    assert [each[0] for each in report.behind] == ["backup.critical/0"]
    assert 0 < (await archive.catalog.mark("backup.critical", "id-critical", 0)).next_offset <= last.first


async def test_stores_that_are_down_do_not_stop_a_rebuild(archive: Archive) -> None:
    """Three copies of everything: any two stores may be away; the report says which."""
    stores = {**archive.stores, **{name: BrokenStore(archive.stores[name]) for name in ("eu-a", "us-a")}}

    report = await archive.rebuild(stores=stores)

    assert report.silent == ("eu-a", "us-a")
    assert (report.lost, report.holes, report.objects_protected) == ((), (), 2)


async def test_foreign_objects_are_told_and_left_alone(archive: Archive) -> None:
    """Somebody else's file among the packs is no pack."""
    archive.stores["eu-a"].objects["log/readme.txt"] = b"hello"

    assert (await archive.rebuild()).foreign == ("log/readme.txt",)


async def test_another_master_key_rebuilds_nothing(archive: Archive) -> None:
    """The wrong key is told at once, not found out as an empty catalog."""
    with pytest.raises(ConfigError, match="another master key"):
        await archive.rebuild(wrapper=MasterKeyWrapper(bytes(32)))


async def test_without_the_keyring_nothing_is_called_a_rebuild(archive: Archive) -> None:
    """Packs whose keys are gone are not an empty archive."""
    for store in archive.stores.values():
        for name in [each for each in store.objects if each.startswith("keyring/")]:
            del store.objects[name]

    with pytest.raises(CorruptionError, match="no key of the archive"):
        await archive.rebuild()


async def test_a_catalog_that_holds_something_is_not_touched(archive: Archive) -> None:
    """A rebuild fills an empty catalog only."""
    with pytest.raises(RefusedError, match="not empty"):
        await rebuild(
            catalog=archive.catalog,
            stores=archive.stores,
            wrapper=archive.wrapper,
            cpu=archive.cpu,
            now=archive.clock,
            randomness=archive.randomness,
        )


async def test_empty_stores_give_an_empty_catalog() -> None:
    """A first start and a rebuild of nothing are the same."""
    report = await Archive().rebuild()

    assert (report.packs, report.keys, report.checkpoint_us, report.is_whole) == (0, 0, None, True)


async def test_a_stray_key_object_does_not_mislead(archive: Archive) -> None:
    """An attempt to make a key may have left a second object: the one that opens something is right."""
    lost = await content_of(archive)
    name = next(each[1] for each in lost["keys"] if each[0] == "w1")
    stray = await archive.wrapper.wrap(bytes(32), context=b"w1")

    for store in archive.stores.values():
        store.objects[keyring_name("w1", stray)] = stray

    await archive.rebuild()

    assert next(each[1] for each in (await content_of(archive))["keys"] if each[0] == "w1") == name


def a_pack(name: int, previous: bytes, first: int, last: int, **fields: Any) -> FoundPack:
    """Return a found pack of a window of its own."""
    given = {"part": 0, "parts": 1, "created_us": NOON_US + name, "copies": 3}
    return FoundPack(pack_hash=bytes([name]) * 32, previous=previous, first=first, last=last, **{**given, **fields})


def test_two_attempts_within_one_microsecond_are_told_apart_by_what_follows() -> None:
    """Their parts look alike; only one pairing leads on to the next window."""
    about = {"parts": 2, "created_us": NOON_US}
    parts = [a_pack(n, NO_PREVIOUS, 0, 4, part=n % 2, **about) for n in (2, 3, 4, 5)]
    head = chain_head(NO_PREVIOUS, [parts[2].pack_hash, parts[1].pack_hash])
    chain = follow([*parts, a_pack(9, head, 5, 9)])

    assert [each.pack_hash[0] for each in chain.packs] == [4, 3, 9]
    assert [each.pack_hash[0] for each in chain.orphans] == [2, 5]


def test_a_window_with_a_missing_part_is_a_hole() -> None:
    """Half a window cannot be continued from: the way goes on behind it."""
    chain = follow([a_pack(1, NO_PREVIOUS, 0, 4, parts=2), a_pack(2, b"x" * 32, 5, 9)])

    assert chain.holes == ((0, 4),)
    assert (chain.last, [each.pack_hash[0] for each in chain.orphans]) == (9, [1])
