"""Checkpoints say where every partition stood, and only to whoever has the index key."""

from __future__ import annotations

import pytest

from schemas.errors import CorruptionError, FormatError
from schemas.pack import NO_PREVIOUS
from sinks.checkpoint import Checkpoint, build, open_checkpoint, read_marks
from sinks.receipts import FrontierMark, PartitionMark
from tests.unit.sinks.archive import NOON_US, Archive, added, wedding

MARK = PartitionMark(
    topic="backup.high",
    topic_id="id-high",
    partition=1,
    next_offset=8,
    head=NO_PREVIOUS,
    frontiers=(FrontierMark(source="platform", epoch=3, position=5, lsn=9, committed_us=NOON_US),),
)
CHECKPOINT = Checkpoint(created_us=NOON_US, partitions=2, marks=(MARK,))
KEY, SALT = bytes(32), bytes(range(32))


async def a_live_archive() -> Archive:
    """Return an archive that has begun."""
    archive = Archive()
    archive.commit(added("weddings", wedding("w1")))
    await archive.settle()
    return archive


def test_a_checkpoint_opens_to_what_was_written() -> None:
    """Every field comes back."""
    _, content, _ = build(CHECKPOINT, index_key=KEY, salt=SALT)

    assert open_checkpoint(content, index_key=KEY) == CHECKPOINT


def test_a_checkpoint_tells_nothing_without_the_key() -> None:
    """Topics and sources stand nowhere in the clear."""
    _, content, _ = build(CHECKPOINT, index_key=KEY, salt=SALT)

    assert b"platform" not in content
    with pytest.raises(CorruptionError):
        open_checkpoint(content, index_key=b"k" * 32)


@pytest.mark.parametrize("at", [0, 8, 60, -90, -1])
def test_an_altered_checkpoint_does_not_open(at: int) -> None:
    """Wherever one bit has changed."""
    content = bytearray(build(CHECKPOINT, index_key=KEY, salt=SALT)[1])
    content[at] ^= 1

    with pytest.raises((CorruptionError, FormatError)):
        open_checkpoint(bytes(content), index_key=KEY)


async def test_it_lies_on_three_stores_of_the_eu() -> None:
    """It names sources of everybody, so the strictest class holds it."""
    archive = await a_live_archive()

    name = await archive.checkpoints.write()

    assert name is not None
    holders = archive.holders(name)
    assert len(holders) >= 3
    assert all(store.startswith("eu") for store in holders)


async def test_it_is_what_the_catalog_says() -> None:
    """Read back with the key, it holds the catalog's marks."""
    archive = await a_live_archive()
    name = await archive.checkpoints.write()
    assert name is not None
    key = await archive.keyring.existing_key("@index-eu")
    assert key is not None

    content = archive.stores[archive.holders(name)[0]].objects[name]

    assert open_checkpoint(content, index_key=key).marks == await archive.catalog.run(read_marks)


async def test_nothing_new_writes_nothing() -> None:
    """A platform at rest does not fill its stores."""
    archive = await a_live_archive()

    assert await archive.checkpoints.write() is not None
    assert await archive.checkpoints.write() is None


async def test_only_the_last_ones_are_kept() -> None:
    """Newer checkpoints replace older ones; a few remain in case the newest is damaged."""
    archive = await a_live_archive()
    for _ in range(12):
        archive.beat()
        await archive.settle()
        archive.clock.move(seconds=5)
        await archive.checkpoints.write()

    assert len(archive.names("checkpoint/")) == 8


async def test_the_newest_that_is_whole_counts() -> None:
    """A damaged newest checkpoint is passed over for the one before it."""
    archive = await a_live_archive()
    first = await archive.checkpoints.write()
    archive.beat()
    await archive.settle()
    archive.clock.move(seconds=5)
    second = await archive.checkpoints.write()
    assert first is not None
    assert second is not None
    for store in archive.holders(second):
        archive.damage(store, second, at=70)

    assert (await archive.rebuild()).checkpoint_us == int(first.split("/")[1][:20])
