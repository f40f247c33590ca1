"""Reading the bytes an object notice claims, and cutting them into chunks.

The port gives a version's bytes or nothing: when the store no longer has exactly the announced
version, that is said by `CorruptionError`, never answered with other bytes.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

import blake3
import pyfastcdc

from connectors.folder import version_of
from schemas.errors import ConfigError, CorruptionError, TransientError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from connectors.storage import ObjectNotice

CHUNK_BYTES: Final = 1 << 20
_CHUNK_BYTES_MIN: Final = CHUNK_BYTES // 4
CHUNK_BYTES_MAX: Final = CHUNK_BYTES * 4

if "cy" not in pyfastcdc.FastCDC.__module__:  # pragma: no cover - depends on the platform's wheel
    raise ConfigError("pyfastcdc is the pure Python one, 200 times slower", hint="install its compiled wheel")


class ObjectSource(Protocol):
    """Where claimed objects are fetched. Calls block, and are made in a worker thread."""

    def open(self, notice: ObjectNotice) -> contextlib.AbstractContextManager[BinaryIO]:
        """Return the announced version's bytes; leaving the context checks that it still was that version.

        Raises:
            CorruptionError: the store has another version, or none: these bytes are lost.
            TransientError: the store does not answer.
        """
        ...


class FolderObjects:
    """Objects in a folder; a version is the file's modification time, size and inode."""

    def __init__(self, roots: dict[str, pathlib.Path]) -> None:
        self._roots = roots

    @contextlib.contextmanager
    def open(self, notice: ObjectNotice) -> Iterator[BinaryIO]:
        """See `ObjectSource.open`."""
        root = self._roots.get(notice.bucket)
        if root is None:
            raise ConfigError(
                f"no folder is configured for bucket {notice.bucket!r}", hint="see [objects] in the settings"
            )
        path = (root / notice.key).resolve()
        if not path.is_relative_to(root.resolve()):
            raise CorruptionError(
                "an object key leads out of its folder", hint="links out of the folder are not followed"
            )
        try:
            with path.open("rb", buffering=0) as file:
                _check(file, notice)
                yield file
                _check(file, notice)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise CorruptionError("the object is gone", hint="it was deleted or moved before it was read") from error
        except OSError as error:
            raise TransientError(
                f"reading from the folder failed: {error.strerror}", hint="is the disk healthy?"
            ) from error


def _check(file: object, notice: ObjectNotice) -> None:
    if version_of(os.fstat(file.fileno())) != notice.version:  # type: ignore[attr-defined]
        raise CorruptionError(
            "the object has changed since it was announced", hint="its newer version is announced too"
        )


class ChunkReader:
    """Cuts a stream into content-defined chunks and hashes the whole; holds one group of chunks at a time."""

    def __init__(self, stream: BinaryIO, *, naming_key: bytes) -> None:
        cutter = pyfastcdc.FastCDC(CHUNK_BYTES, min_size=_CHUNK_BYTES_MIN, max_size=CHUNK_BYTES_MAX)
        self._chunks = iter(cutter.cut_stream(stream))
        self._naming_key = naming_key
        self._whole = blake3.blake3()
        self._held_back: bytes | None = None
        self.is_done = False
        self.size_bytes = 0
        self.references: list[dict[str, object]] = []

    def next_group(self, bytes_max: int, *, at_least_one: bool = True) -> list[tuple[bytes, bytes]]:
        """Return the next (chunk id, content) pairs, up to `bytes_max`; a first one may be larger if it is wanted.

        None are left once `is_done`; without that, the next chunk did not fit.
        """
        group: list[tuple[bytes, bytes]] = []
        group_bytes = 0
        while (content := self._next_chunk()) is not None:
            if group_bytes + len(content) > bytes_max and (group or not at_least_one):
                self._held_back = content
                break
            name = blake3.blake3(content, key=self._naming_key).digest()
            self._whole.update(content)
            self.size_bytes += len(content)
            self.references.append({"chunk": name, "size": len(content)})
            group.append((name, content))
            group_bytes += len(content)
        return group

    def _next_chunk(self) -> bytes | None:
        if self._held_back is not None:
            content, self._held_back = self._held_back, None
            return content
        chunk = next(self._chunks, None)
        self.is_done = chunk is None
        return None if chunk is None else bytes(chunk.data)

    @property
    def checksum(self) -> bytes:
        """Return BLAKE3 of all that was read."""
        return self._whole.digest()
