"""Scanning the stores: what lies there, and which packs are whole.

Of each pack one copy is read from end to end and held against the hash in its name; the others are
compared by size, or read as well if asked. A large pack is hashed as it streams, so memory stays flat.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from typing import TYPE_CHECKING, Any, Final, TypeVar

import blake3

from schemas import pack
from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, FormatError, TransientError, WedSyncError
from sinks.packer import INDEX_KEYS, open_frame, open_index
from sinks.replicate import Copy
from sinks.stores.port import Proof

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schemas.pack import PackName
    from sinks.rebuild_keys import KeyFinder
    from sinks.stores.port import ObjectStore

T = TypeVar("T")

_BLOCK_BYTES: Final = 4 << 20
_IN_MEMORY_BYTES: Final = 8 << 20
_CALL_SECONDS: Final = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScannedPack:
    """One pack that is whole somewhere; `content` only if it is small."""

    name: str
    about: PackName
    size_bytes: int
    salt: bytes
    previous: bytes
    index: dict[str, Any]
    copies: tuple[Copy, ...]
    content: bytes | None


@dataclasses.dataclass(slots=True, kw_only=True)
class Findings:
    """What was found wrong on the way: (store, name) of damaged copies, names of lost packs, silent stores."""

    damaged: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    lost: list[str] = dataclasses.field(default_factory=list)
    foreign: list[str] = dataclasses.field(default_factory=list)
    silent: set[str] = dataclasses.field(default_factory=set)


async def list_names(stores: Mapping[str, ObjectStore], prefix: str, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Return every name under a prefix, in order, with the stores that list it; a silent store is noted."""
    found = await asyncio.gather(*(_names(name, store, prefix, findings) for name, store in sorted(stores.items())))
    places: dict[str, list[str]] = collections.defaultdict(list)
    for store, names in zip(sorted(stores), found, strict=True):
        for name in names:
            places[name].append(store)
    return {name: tuple(places[name]) for name in sorted(places)}


async def _names(name: str, store: ObjectStore, prefix: str, findings: Findings) -> list[str]:
    try:
        return [each async for each in store.names(prefix)]
    except (WedSyncError, TimeoutError):
        findings.silent.add(name)
        return []


class PackScanner:
    """Reads packs of any kind."""

    def __init__(
        self,
        *,
        stores: Mapping[str, ObjectStore],
        keys: KeyFinder,
        cpu: concurrent.futures.Executor,
        findings: Findings,
        read_all_copies: bool,
    ) -> None:
        self._stores, self._keys, self._cpu = stores, keys, cpu
        self._findings, self._read_all = findings, read_all_copies

    async def scan(self, place: tuple[str, tuple[str, ...]]) -> ScannedPack | None:
        """Return a pack, given its name and the stores that list it; None (and a finding) when it is no good."""
        name, holders = place
        try:
            about = pack.parse_pack_name(name)
        except FormatError:
            self._findings.foreign.append(name)
            return None
        good, size_bytes, content = await self._first_good(name, about.pack_hash, holders)
        if good is None:
            self._findings.lost.append(name)
            return None
        try:
            footer, salt, index = await self._index(name, good, size_bytes, content)
        except (CorruptionError, FormatError):
            # Whole, and still not ours: another master key, or something with our kind of name.
            self._findings.foreign.append(name)
            return None
        others = await self._others(name, about.pack_hash, size_bytes, [each for each in holders if each != good])
        return ScannedPack(
            name=name,
            about=about,
            size_bytes=size_bytes,
            salt=salt,
            previous=footer.previous,
            index=index,
            copies=(Copy(store=good, proof=Proof.READ_BACK), *others),
            content=content,
        )

    async def frame(self, scanned: ScannedPack, number: int) -> bytes | None:
        """Return the plaintext of a frame; None when its wedding has no key any more.

        Raises:
            CorruptionError: it does not open.
            TransientError: the store that has it does not answer.
        """
        entry = scanned.index["frames"][number]
        begin, end = entry["offset"], entry["offset"] + entry["length"]
        if scanned.content is not None:
            sealed = scanned.content[begin:end]
        else:
            sealed = await self._call(
                scanned.copies[0].store, lambda store: store.read(scanned.name, offset=begin, length=end - begin)
            )

        def opens(key: bytes) -> bytes:
            return open_frame(sealed, salt=scanned.salt, number=number, kind=entry["kind"], data_key=key)

        return await self._keys.opened(entry["wedding"], opens)

    async def _first_good(
        self, name: str, digest: bytes, holders: Sequence[str]
    ) -> tuple[str | None, int, bytes | None]:
        for store in holders:
            try:
                size_bytes, content, found = await self._hash(name, store)
            except (TransientError, TimeoutError):
                self._findings.silent.add(store)
                continue
            except CorruptionError:
                found = b""
            if found == digest:
                return store, size_bytes, content
            self._findings.damaged.append((store, name))
        return None, 0, None

    async def _hash(self, name: str, store: str) -> tuple[int, bytes | None, bytes]:
        """Return size, content (of a small pack) and BLAKE3 of a copy, read block by block."""
        size_bytes = await self._call(store, lambda each: each.size_bytes(name)) or 0
        if size_bytes <= _IN_MEMORY_BYTES:
            content = await self._call(store, lambda each: each.read(name))
            return len(content), content, await self._in_thread(lambda: blake3.blake3(content).digest())
        hasher = blake3.blake3()
        for begin in range(0, size_bytes, _BLOCK_BYTES):
            length = min(_BLOCK_BYTES, size_bytes - begin)
            block = await self._block(name, store, begin, length)
            await self._in_thread(lambda block=block: hasher.update(block))  # type: ignore[misc]
        return size_bytes, None, hasher.digest()

    async def _block(self, name: str, store: str, begin: int, length: int) -> bytes:
        return await self._call(store, lambda each: each.read(name, offset=begin, length=length))

    async def _index(
        self, name: str, store: str, size_bytes: int, content: bytes | None
    ) -> tuple[pack.Footer, bytes, dict[str, Any]]:
        if content is None:
            header = await self._block(name, store, 0, pack.HEADER_BYTES)
            tail = await self._block(name, store, max(0, size_bytes - pack.FOOTER_BYTES), pack.FOOTER_BYTES)
        else:
            header, tail = content[: pack.HEADER_BYTES], content[-pack.FOOTER_BYTES :]
        _, salt = pack.decode_header(header)
        footer = pack.decode_footer(tail, pack_size_bytes=size_bytes)
        begin, end = footer.index_offset, footer.index_offset + footer.index_length
        sealed = content[begin:end] if content is not None else await self._block(name, store, begin, end - begin)
        return footer, salt, await self._open_index(sealed, footer, salt)

    async def _open_index(self, sealed: bytes, footer: pack.Footer, salt: bytes) -> dict[str, Any]:
        """Open an index with the key of whichever class it is."""
        for placement in PlacementClass:
            try:
                index = await self._keys.opened(
                    INDEX_KEYS[placement], lambda key: open_index(sealed, footer, salt=salt, index_key=key)
                )
            except CorruptionError:
                continue
            if index is not None:
                return index
        raise CorruptionError("no index key opens this pack's index", hint="is this the right master key?")

    async def _others(self, name: str, digest: bytes, size_bytes: int, holders: Sequence[str]) -> list[Copy]:
        """Return the other copies that are good, as far as they were looked at."""
        found = []
        for store in holders:
            try:
                is_good = await self._is_good(name, digest, size_bytes, store)
            except (TransientError, TimeoutError):
                self._findings.silent.add(store)
                continue
            except CorruptionError:
                is_good = False
            if is_good:
                found.append(Copy(store=store, proof=Proof.READ_BACK if self._read_all else Proof.LISTED))
            else:
                self._findings.damaged.append((store, name))
        return found

    async def _is_good(self, name: str, digest: bytes, size_bytes: int, store: str) -> bool:
        if self._read_all:
            return (await self._hash(name, store))[2] == digest
        return await self._call(store, lambda each: each.size_bytes(name)) == size_bytes

    async def _call(self, store: str, call: Callable[[ObjectStore], Awaitable[T]]) -> T:
        async with asyncio.timeout(_CALL_SECONDS):
            return await call(self._stores[store])

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._cpu, call)
