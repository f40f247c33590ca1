"""Verify finds what is missing, short or damaged, and repairs it from a good copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schemas.errors import CorruptionError
from sinks.verify import Failure, Fault, verify
from tests.fakes import BrokenStore
from tests.unit.sinks.archive import Archive, added, guest, wedding

if TYPE_CHECKING:
    from sinks.verify import VerifyReport


@pytest.fixture
async def archive() -> Archive:
    """Return an archive with packs of both kinds."""
    archive = Archive()
    archive.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Ann")))
    archive.photo("weddings/w1/cake.jpg", b"cake")
    archive.beat()
    await archive.settle()
    return archive


async def check(archive: Archive, *, read_data: bool = True, **settings: Any) -> VerifyReport:
    """Verify the archive."""
    given: dict[str, Any] = {"stores": archive.stores, "sites": archive.sites, "cpu": archive.cpu}
    return await verify(catalog=archive.catalog, now=archive.clock, read_data=read_data, **{**given, **settings})


def a_copy(archive: Archive, prefix: str = "blob/") -> tuple[str, str]:
    """Return (store, name) of some copy of a pack."""
    name = archive.names(prefix)[0]
    return archive.holders(name)[0], name


@pytest.mark.parametrize("read_data", [False, True])
async def test_a_sound_archive_passes(archive: Archive, *, read_data: bool) -> None:
    """Every pack has three copies or more, and every copy is what it was."""
    report = await check(archive, read_data=read_data)

    assert report.is_passed
    assert (report.packs, report.objects_protected) == (len(archive.names("log/")) + 1, 1)
    assert (report.bytes_read > 0) == read_data


@pytest.mark.parametrize("prefix", ["log/", "blob/"])
async def test_a_missing_copy_is_found_by_a_question(archive: Archive, prefix: str) -> None:
    """The cheap depth is enough for that."""
    store, name = a_copy(archive, prefix)
    del archive.stores[store].objects[name]

    assert Failure(Fault.MISSING, store, name) in (await check(archive, read_data=False)).failures


async def test_a_short_copy_is_found_by_its_size(archive: Archive) -> None:
    """A copy that is cut off needs no reading either."""
    store, name = a_copy(archive)
    archive.stores[store].objects[name] = archive.stores[store].objects[name][:-1]

    assert Failure(Fault.SHORT, store, name) in (await check(archive, read_data=False)).failures


async def test_one_flipped_bit_is_found_by_reading(archive: Archive) -> None:
    """Only the deep depth sees it; `by_store` says where."""
    store, name = a_copy(archive)
    archive.damage(store, name)

    assert (await check(archive, read_data=False)).is_passed
    report = await check(archive)
    assert Failure(Fault.DAMAGED, store, name) in report.failures
    assert report.by_store()[store] == {Fault.DAMAGED: 1}


@pytest.mark.parametrize("harm", ["missing", "short", "damaged"])
async def test_repair_makes_the_copy_again(archive: Archive, harm: str) -> None:
    """From a good copy; afterwards nothing is wrong any more."""
    store, name = a_copy(archive)
    whole = archive.stores[store].objects.pop(name)
    if harm != "missing":
        archive.stores[store].objects[name] = whole[:-1] if harm == "short" else whole[:-1] + b"!"

    report = await check(archive, repair=True)

    assert report.is_passed
    assert [each.is_repaired for each in report.failures] == [True]
    assert archive.stores[store].objects[name] == whole
    assert (await check(archive)).failures == ()


async def test_a_pack_lost_everywhere_cannot_be_repaired(archive: Archive) -> None:
    """It is told, and the last damaged copies are left for whoever can make something of them."""
    _, name = a_copy(archive)
    for store in archive.holders(name):
        archive.damage(store, name)

    report = await check(archive, repair=True)

    assert not report.is_passed
    assert Failure(Fault.TOO_FEW, "", name) in report.failures
    assert archive.holders(name)


async def test_a_silent_store_is_not_a_missing_copy(archive: Archive) -> None:
    """Nothing is deleted or made again on a store that does not answer."""
    store, _ = a_copy(archive)
    stores = {**archive.stores, store: BrokenStore(archive.stores[store])}

    report = await check(archive, stores=stores, repair=True)

    assert {each.fault for each in report.failures if each.store == store} == {Fault.SILENT}


async def test_copies_in_one_failure_domain_count_once(archive: Archive) -> None:
    """Three copies that fall together protect nothing."""
    sites = [type(site)(**{**_fields(site), "domain": "one"}) for site in archive.sites]

    report = await check(archive, sites=sites)

    assert {each.fault for each in report.failures} == {Fault.TOO_FEW}


def _fields(site: Any) -> dict[str, Any]:
    return {name: getattr(site, name) for name in ("name", "provider", "region", "domain", "is_eu")}


async def test_a_damaged_key_is_found(archive: Archive) -> None:
    """A key that cannot be read any more makes all that it seals unreadable."""
    name = archive.names("keyring/")[0]
    for store in archive.holders(name)[2:]:
        archive.damage(store, name)

    report = await check(archive, read_data=False)

    assert Failure(Fault.TOO_FEW, "", name) in report.failures


async def test_a_store_nobody_configured_is_an_error(archive: Archive) -> None:
    """A verify that passes over the copies it cannot see would be no verify."""
    store, _ = a_copy(archive)
    stores = {name: each for name, each in archive.stores.items() if name != store}

    with pytest.raises(CorruptionError, match="not configured"):
        await check(archive, stores=stores)
