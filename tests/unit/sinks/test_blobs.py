"""Blobs: the bytes that were announced, once, or a filed loss; and nobody waits for somebody else's file."""

from __future__ import annotations

import random

import pytest

from connectors.storage import encode_notice
from schemas.errors import TransientError
from tests import builders
from tests.builders import a_record, change_value
from tests.unit.sinks.rigs import EU, Rig

BIG = random.Random(3).randbytes(5 << 20)
SMALL = b"a small photo"


async def announce(rig: Rig, *contents: bytes | None, wedding: str = "w1", **fields: object) -> None:
    """Announce a photo for each content; None is announced and not there."""
    mark = await rig.catalog.mark("backup.critical", "id-critical", 0)
    notices = []
    for number, content in enumerate(contents, start=mark.next_offset):
        key = f"weddings/{wedding}/{number}.jpg"
        notice = builders.a_notice(key=key, version="1", size=len(content or b""))
        if content is not None:
            rig.photos.versions[key, "1"] = content
        about = {"kind": "object_put", "source": "objects", "wedding": wedding, "position": number, **fields}
        notices.append(a_record(number, change_value(payload=encode_notice(notice), **about)))
    await rig.protect(notices)


async def run_dry(rig: Rig) -> None:
    """Protect until nothing is claimed that can be had."""
    while await rig.blobs.run_once():
        pass
    await rig.replicator.settle()


def states(rig: Rig) -> list[str]:
    """Return the objects' states in order of announcement."""
    return [row[0] for row in rig.rows("SELECT state FROM objects ORDER BY position")]


def chunks(rig: Rig) -> int:
    """Return how many chunks were written."""
    return int(rig.rows("SELECT count(*) FROM frames WHERE kind = 'chunk'")[0][0])


async def test_a_claimed_object_becomes_protected() -> None:
    """With its manifest and its chunks on the stores."""
    rig = Rig()
    await announce(rig, SMALL, BIG)
    assert states(rig) == ["claimed", "claimed"]
    await run_dry(rig)

    assert states(rig) == ["protected", "protected"]
    assert len(rig.holders("blob/")) >= 3
    assert rig.holders("blob/") <= set(EU)


async def test_the_same_bytes_of_a_wedding_are_written_once() -> None:
    """In one batch and in later ones."""
    rig = Rig()
    await announce(rig, BIG, BIG)
    await run_dry(rig)
    once = chunks(rig)
    await announce(rig, BIG)
    await run_dry(rig)

    assert (chunks(rig), states(rig)) == (once, ["protected"] * 3)


async def test_two_weddings_share_no_bytes() -> None:
    """Or erasing one would tear the other."""
    rig = Rig()
    await announce(rig, SMALL)
    await announce(rig, SMALL, wedding="w2")
    await run_dry(rig)

    assert chunks(rig) == 2


async def test_a_version_that_is_gone_is_a_filed_loss() -> None:
    """The others are protected."""
    rig = Rig()
    await announce(rig, SMALL, None, BIG)
    await run_dry(rig)

    assert states(rig) == ["protected", "lost", "protected"]
    assert len(rig.rows("SELECT * FROM gaps")) == 1


@pytest.mark.parametrize("changing", [0, 1])
async def test_a_version_that_changes_while_it_is_read_is_not_protected(changing: int) -> None:
    """Also when packs of it have been written already; what comes after it is whole."""
    rig = Rig()
    await announce(rig, BIG, BIG[::-1], SMALL)
    rig.photos.changing.add(f"weddings/w1/{changing}.jpg")
    await run_dry(rig)

    assert states(rig) == ["lost" if at == changing else "protected" for at in range(3)]
    packs = rig.rows("SELECT pack_hash, count(*), sum(kind = 'manifest') FROM frames WHERE kind != 'log' GROUP BY 1")
    assert sum(row[2] for row in packs) == 2


async def test_a_file_that_cannot_be_read_keeps_nobody_waiting() -> None:
    """It is tried again later."""
    rig = Rig()
    await announce(rig, SMALL, BIG)
    rig.photos.unreadable.add("weddings/w1/0.jpg")
    await run_dry(rig)
    assert states(rig) == ["claimed", "protected"]
    rig.photos.unreadable.clear()
    rig.clock.move(minutes=1)
    await run_dry(rig)

    assert states(rig) == ["protected", "protected"]


async def test_an_outage_of_the_stores_loses_no_claim() -> None:
    """It is found again when they are back."""
    rig = Rig()
    await announce(rig, SMALL)
    rig.break_stores(*EU)
    with pytest.raises(TransientError):
        await rig.blobs.run_once()
    assert states(rig) == ["claimed"]
    rig.break_stores(*EU, is_down=False)
    await run_dry(rig)

    assert states(rig) == ["protected"]


async def test_a_key_that_is_gone_is_not_taken_for_a_lost_photo() -> None:
    """The photo is still there; somebody must look after the key."""
    rig = Rig()
    await announce(rig, SMALL)
    for store in rig.stores.values():
        store.inner.objects.clear()
    after = rig.again()
    with pytest.raises(Exception, match="key"):
        await after.blobs.run_once()

    assert states(rig) == ["claimed"]


async def test_the_most_urgent_come_first() -> None:
    """Whatever was announced before."""
    rig = Rig()
    await announce(rig, SMALL)
    with rig.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE objects SET lane = 'standard', copies = 3")
    await announce(rig, BIG)
    await rig.blobs.run_once()

    assert states(rig) == ["claimed", "protected"]
