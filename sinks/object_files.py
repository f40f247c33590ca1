"""Objects back into a folder: chunk by chunk, verified, each file whole or not there at all.

Every chunk is checked against its keyed name and the whole against its manifest, so that what lies in
the folder afterwards is what was in the bucket. A key becomes a path below the folder; one that could
lead out of it, or that no file system can hold, is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import blake3

from schemas import codec
from schemas.errors import CorruptionError, RefusedError
from sinks.in_order import in_order
from sinks.protect import object_name
from sinks.receipts import ObjectState
from sinks.seal import naming_key

if TYPE_CHECKING:
    import concurrent.futures
    import pathlib
    from collections.abc import AsyncGenerator, Callable, Sequence

    from sinks.history import History
    from sinks.receipts import FrameAt
    from sinks.restore_plan import ObjectVersion

T = TypeVar("T")

_CHUNKS_AT_ONCE: Final = 6
"""Chunks of one object read ahead, of up to 4 MiB each."""
_PART_BYTES_MAX: Final = 255
_NANO: Final = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An object that existed at T and is not restored, and why."""

    wedding: str
    key: str
    version: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReadyObject:
    """A version whose bytes are protected: its manifest, and where its chunks lie."""

    version: ObjectVersion
    manifest: dict[str, Any]


class ObjectFiles:
    """Finds the bytes of object versions and writes them below a folder."""

    def __init__(self, *, history: History, files: concurrent.futures.Executor) -> None:
        self._history, self._files = history, files

    async def find(self, version: ObjectVersion) -> ReadyObject | Missing:
        """Return where a version's bytes are, or why they cannot be had.

        Raises:
            TransientError: the stores do not answer.
        """
        key = await self._history.key(version.wedding)
        notice = version.notice
        name = object_name(key, version.source, notice.key, notice.version)
        row = await self._history.object_row(version.wedding, name)
        if row is None or row.state != ObjectState.PROTECTED.value:
            return missing(version, _why(None if row is None else row.state))
        at = await self._history.manifest(row.manifest_pack, row.manifest_frame)
        if at is None:
            return missing(version, "its manifest is not in the catalog: run `catalog rebuild`")
        try:
            plain = await self._history.reader.frame([at], key)
        except CorruptionError as error:
            return missing(version, str(error))
        return ReadyObject(version=version, manifest=codec.decode("BlobManifest", plain))

    async def write(self, ready: ReadyObject, folder: pathlib.Path, wrote: Callable[[int], None]) -> Missing | None:
        """Write one object below the folder; `wrote` hears of each chunk's bytes. Return why it could not be.

        Raises:
            TransientError: the stores do not answer; no part of the object is left behind.
        """
        notice = ready.version.notice
        try:
            path = target_path(folder, notice.key)
            await self._write(ready, path, wrote)
        except (CorruptionError, RefusedError) as error:
            return missing(ready.version, str(error))
        except OSError as error:
            return missing(ready.version, f"the folder does not take it: {error.strerror or error}")
        return None

    async def _write(self, ready: ReadyObject, path: pathlib.Path, wrote: Callable[[int], None]) -> None:
        await self._in_thread(lambda: path.parent.mkdir(parents=True, exist_ok=True))
        temporary = path.parent / f".{blake3.blake3(path.name.encode()).hexdigest()[:16]}.wedsync-part"
        try:
            file = await self._in_thread(lambda: temporary.open("wb"))
            try:
                await self._copy(ready, file, wrote)
                await self._in_thread(lambda: _sync(file))
            finally:
                await self._in_thread(file.close)
            stamp_ns = ready.version.notice.modified_us * _NANO
            await self._in_thread(lambda: _publish(temporary, path, stamp_ns))
        except BaseException:
            await self._in_thread(lambda: temporary.unlink(missing_ok=True))
            raise

    async def _copy(self, ready: ReadyObject, file: BinaryIO, wrote: Callable[[int], None]) -> None:
        """Copy all chunks in order, and compare the whole with the manifest."""
        whole = blake3.blake3()
        read = _ChunkReading(self._history, ready, await self._history.key(ready.version.wedding))
        async with contextlib.aclosing(await read.chunks()) as contents:
            async for content in contents:
                await self._in_thread(_append, file, whole, content)
                wrote(len(content))
        if whole.digest() != ready.manifest["checksum"]:
            raise CorruptionError("its chunks do not make the object they were cut from", hint="run `verify`")

    async def _in_thread(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, call, *args)


class _ChunkReading:
    """The chunks of one object, read a few ahead."""

    def __init__(self, history: History, ready: ReadyObject, key: bytes) -> None:
        self._history, self._ready, self._key = history, ready, key
        self._naming = naming_key(key)
        self._places: dict[bytes, list[FrameAt]] = {}

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        references = self._ready.manifest["chunks"]
        names = [each["chunk"] for each in references]
        self._places = await self._history.chunks(self._ready.version.wedding, names)
        return in_order(self._chunk, references, at_once=_CHUNKS_AT_ONCE)

    async def _chunk(self, reference: dict[str, Any]) -> bytes:
        places: Sequence[FrameAt] = self._places.get(reference["chunk"], ())
        if not places:
            raise CorruptionError("one of its chunks is in no known pack", hint="run `verify`")
        content = await self._history.reader.frame(places, self._key)
        if blake3.blake3(content, key=self._naming).digest() != reference["chunk"]:
            raise CorruptionError("a chunk is not the one its name says", hint="run `verify`")
        return content


def missing(version: ObjectVersion, reason: str) -> Missing:
    """Return that a version is missing."""
    return Missing(wedding=version.wedding, key=version.notice.key, version=version.notice.version, reason=reason)


def target_path(folder: pathlib.Path, key: str) -> pathlib.Path:
    """Return where below the folder an object goes.

    Raises:
        RefusedError: the key is no plain relative path, or links already there lead out of the folder.
    """
    parts = key.split("/")
    if any(_is_odd(part) for part in parts):
        raise RefusedError("its key is not a plain relative path", hint="fetch it under another name")
    path = folder.joinpath(*parts)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise RefusedError("a link below the folder leads out of it", hint="restore into an empty folder")
    return path


def _is_odd(part: str) -> bool:
    is_dots = part in ("", ".", "..")
    is_unwritable = "\x00" in part or "\\" in part or len(part.encode(errors="replace")) > _PART_BYTES_MAX
    return is_dots or is_unwritable


def _why(state: str | None) -> str:
    if state == ObjectState.CLAIMED.value:
        return "its bytes are still owed: they were announced, but are not protected yet"
    if state == ObjectState.LOST.value:
        return "its bytes were lost: the object changed or vanished before they were read"
    return "the catalog does not know it"


def _append(file: BinaryIO, whole: Any, content: bytes) -> None:
    whole.update(content)
    file.write(content)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(temporary: pathlib.Path, path: pathlib.Path, stamp_ns: int) -> None:
    os.utime(temporary, ns=(stamp_ns, stamp_ns))
    temporary.replace(path)
