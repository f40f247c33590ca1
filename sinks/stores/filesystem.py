"""A folder as a store: temporary file, fsync, read back, link under its name, fsync of the folder.

`link` instead of `rename`, because it refuses to overwrite. The proof is reading back: large files
from the disk itself, small ones perhaps from the page cache; a scrub reads again later.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import uuid
from typing import TYPE_CHECKING, Final, TypeVar

import blake3

from schemas.errors import CorruptionError, TransientError
from sinks.stores import direct_io
from sinks.stores.port import Proof

if TYPE_CHECKING:
    import concurrent.futures
    import pathlib
    from collections.abc import AsyncIterator, Callable

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_NAME: Final = re.compile(r"^[A-Za-z0-9_@-][A-Za-z0-9._@-]*(/[A-Za-z0-9_@-][A-Za-z0-9._@-]*)*$")
"""No empty part, none that begins with a dot: no name leads out of the folder or to a temporary file."""

T = TypeVar("T")


class FilesystemStore:
    """Objects as files below `root`, which must exist: a missing one means that the disk is not mounted."""

    def __init__(self, root: pathlib.Path, *, executor: concurrent.futures.Executor) -> None:
        self._root = root
        self._executor = executor

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """See `ObjectStore.create`."""
        return await self._in_thread(lambda: self._create(self._path(name), content, digest))

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        return await self._in_thread(lambda: self._read(self._path(name), offset, length))

    async def size_bytes(self, name: str) -> int | None:
        """See `ObjectStore.size_bytes`."""
        return await self._in_thread(lambda: self._size(self._path(name)))

    async def names(self, prefix: str) -> AsyncIterator[str]:
        """See `ObjectStore.names`."""
        for name in await self._in_thread(lambda: self._names(prefix)):
            yield name

    async def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        await self._in_thread(lambda: self._path(name).unlink(missing_ok=True))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except OSError as error:
            raise TransientError(
                f"store folder {self._root}: {error.strerror or error}",
                hint="is the disk mounted, writable and not full?",
            ) from error

    def _path(self, name: str) -> pathlib.Path:
        if not _NAME.match(name):
            raise CorruptionError(f"{name!r} is not an object name", hint="a manifest was altered")
        return self._root / name

    def _create(self, path: pathlib.Path, content: bytes | memoryview, digest: bytes) -> Proof:
        # Plain strings and system calls: this is the hottest path of a sink, and pathlib would double its cost.
        final, folder = str(path), str(path.parent)
        temporary = f"{folder}/.{uuid.uuid4().hex}.tmp"
        descriptor = self._open_new(temporary, folder)
        try:
            _write_durably(descriptor, temporary, memoryview(content))
            # Checked before it gets its name: what was damaged on the way must not lie there for ever.
            _check_digest(temporary, path.name, len(content), digest)
            try:
                os.link(temporary, final)
            except FileExistsError:  # The bytes decide: the same mean a lost reply.
                _check_digest(final, path.name, len(content), digest)
            _sync_folder(folder)
        finally:
            os.unlink(temporary)  # noqa: PTH108
        return Proof.READ_BACK

    def _open_new(self, path: str, folder: str) -> int:
        """Open a new file; its folders are made, the store's own never: it is missing when its disk is."""
        try:
            return os.open(path, _NEW_FILE, 0o600)
        except FileNotFoundError:
            if not self._root.is_dir():
                raise FileNotFoundError(errno.ENOENT, "the store's folder is missing") from None
            self._make_folders(folder)
            return os.open(path, _NEW_FILE, 0o600)

    def _make_folders(self, folder: str) -> None:
        """Make folders that outlive a power cut, too: each is synced into the one that holds it."""
        missing = []
        while not os.path.isdir(folder):  # noqa: PTH112
            missing.append(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120
        for each in reversed(missing):
            with contextlib.suppress(FileExistsError):  # Another writer was faster.
                os.mkdir(each)  # noqa: PTH102
            _sync_folder(os.path.dirname(each))  # noqa: PTH120

    def _read(self, path: pathlib.Path, offset: int, length: int | None) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                found = file.read() if length is None else file.read(length)
        except FileNotFoundError as error:
            if not self._root.is_dir():
                raise
            raise CorruptionError(f"{path.name} is missing", hint="repair it from another copy") from error
        if length is not None and len(found) != length:
            raise CorruptionError(f"{path.name} is cut off", hint="repair it from another copy")
        return found

    def _size(self, path: pathlib.Path) -> int | None:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            if not self._root.is_dir():
                raise
            return None

    def _names(self, prefix: str) -> list[str]:
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the store's folder is missing")
        found = (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(prefix) and _NAME.match(name))


def _write_durably(descriptor: int, path: str, content: memoryview) -> None:
    is_large = len(content) >= direct_io.BYTES_MIN
    if is_large:
        descriptor = direct_io.reopen(descriptor, path, os.O_WRONLY)
    try:
        if is_large:
            direct_io.write(descriptor, content)
            return
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_digest(path: str, name: str, size_bytes: int, digest: bytes) -> None:
    if _digest(path, size_bytes) != digest:
        raise CorruptionError(f"{name} does not hold the bytes that were sent", hint="scrub this store")


def _digest(path: str, size_bytes: int) -> bytes:
    hasher = blake3.blake3()
    descriptor = os.open(path, os.O_RDONLY)
    if size_bytes >= direct_io.BYTES_MIN:
        descriptor = direct_io.reopen(descriptor, path, os.O_RDONLY)
    try:
        direct_io.hash_file(descriptor, hasher)
    finally:
        os.close(descriptor)
    return hasher.digest()
