"""What every store must promise, whatever it is made of. A new adapter adds one line to `KINDS`."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import blake3
import pytest

from schemas.errors import CorruptionError
from sinks.stores.filesystem import FilesystemStore
from sinks.stores.memory import MemoryStore
from sinks.stores.port import ObjectStore, Proof
from tests.fakes import InlineExecutor

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

KINDS: Final[dict[str, Callable[[pathlib.Path], ObjectStore]]] = {
    "memory": lambda _folder: MemoryStore(),
    "filesystem": lambda folder: FilesystemStore(folder, executor=InlineExecutor()),
}
NAME, CONTENT = "log/topic/0/a.pack", bytes(range(256)) * 40
DIGEST = blake3.blake3(CONTENT).digest()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> ObjectStore:
    """Return an empty store of each kind."""
    return KINDS[request.param](tmp_path)


async def names(store: ObjectStore, prefix: str = "") -> list[str]:
    """Return all names, sorted."""
    return sorted([name async for name in store.names(prefix)])


async def test_what_was_created_is_read_back(store: ObjectStore) -> None:
    """With a proof that is more than the store's word."""
    assert await store.create(NAME, CONTENT, digest=DIGEST) in (Proof.READ_BACK, Proof.STORE_CHECKSUM)
    assert await store.read(NAME) == CONTENT
    assert await store.size_bytes(NAME) == len(CONTENT)


async def test_any_buffer_may_be_created(store: ObjectStore) -> None:
    """Packs come as views of larger buffers."""
    await store.create(NAME, memoryview(CONTENT), digest=DIGEST)
    assert await store.read(NAME) == CONTENT


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (10, 20), (10_000, 240), (10_240, 0)])
async def test_a_part_is_read(store: ObjectStore, offset: int, length: int) -> None:
    """Offset and length, to the last byte."""
    await store.create(NAME, CONTENT, digest=DIGEST)
    assert await store.read(NAME, offset=offset, length=length) == CONTENT[offset : offset + length]


async def test_a_part_beyond_the_end_is_damage(store: ObjectStore) -> None:
    """A shorter object than was written is never answered as if it were whole."""
    await store.create(NAME, CONTENT, digest=DIGEST)
    with pytest.raises(CorruptionError):
        await store.read(NAME, offset=10_200, length=100)


async def test_a_missing_object_is_damage(store: ObjectStore) -> None:
    """Its size is None."""
    with pytest.raises(CorruptionError):
        await store.read(NAME)
    assert await store.size_bytes(NAME) is None


async def test_creating_the_same_again_succeeds(store: ObjectStore) -> None:
    """The first reply may have been lost."""
    await store.create(NAME, CONTENT, digest=DIGEST)
    await store.create(NAME, CONTENT, digest=DIGEST)
    assert await names(store) == [NAME]


async def test_a_name_never_changes_its_content(store: ObjectStore) -> None:
    """Other bytes under the same name are refused, and change nothing."""
    await store.create(NAME, CONTENT, digest=DIGEST)
    with pytest.raises(CorruptionError):
        await store.create(NAME, b"other", digest=blake3.blake3(b"other").digest())
    assert await store.read(NAME) == CONTENT


async def test_bytes_damaged_on_the_way_are_found_out_and_not_kept(store: ObjectStore) -> None:
    """The name stays free for the right ones."""
    with pytest.raises(CorruptionError):
        await store.create(NAME, CONTENT[:-1], digest=DIGEST)
    assert await names(store) == []
    await store.create(NAME, CONTENT, digest=DIGEST)


async def test_names_are_found_by_prefix(store: ObjectStore) -> None:
    """And nothing else is listed."""
    for name in ("log/a/1.pack", "log/b/2.pack", "keyring/x"):
        await store.create(name, CONTENT, digest=DIGEST)
    assert await names(store, "log/") == ["log/a/1.pack", "log/b/2.pack"]
    assert await names(store, "log/a/1") == ["log/a/1.pack"]
    assert len(await names(store)) == 3


async def test_deleting_is_final_and_may_be_repeated(store: ObjectStore) -> None:
    """A missing object is no error."""
    await store.create(NAME, CONTENT, digest=DIGEST)
    await store.delete(NAME)
    await store.delete(NAME)
    assert await names(store) == []


async def test_many_may_create_the_same_at_once(store: ObjectStore) -> None:
    """All succeed: the bytes are the same."""
    await asyncio.gather(*(store.create(NAME, CONTENT, digest=DIGEST) for _ in range(8)))
    assert await names(store) == [NAME]


@pytest.mark.parametrize("size", [1, 4095, 4096, (256 << 10) - 1, 256 << 10, (1 << 20) + 1, (3 << 20) + 4097])
async def test_objects_of_any_size_are_whole(store: ObjectStore, size: int) -> None:
    """Blocks and buffers have edges; objects have none."""
    content = random.Random(size).randbytes(size)
    await store.create(NAME, content, digest=blake3.blake3(content).digest())

    assert (await store.size_bytes(NAME), await store.read(NAME)) == (size, content)
    assert await store.read(NAME, offset=size - 1, length=1) == content[-1:]


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """Nothing is something, too."""
    await store.create(NAME, b"", digest=blake3.blake3(b"").digest())
    assert (await store.read(NAME), await store.size_bytes(NAME)) == (b"", 0)
