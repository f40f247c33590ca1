"""Writing and hashing large files past the page cache, where the file system can.

Two reasons. What is read back then comes from the disk and not from memory, which is what a proof
should mean; and copying through the cache cost several times the processor time of everything else a
copy needs. Files are written in whole blocks from an aligned buffer and cut to their length at the end.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import blake3

BYTES_MIN: Final = 256 << 10
"""Below, the cache is cheaper."""
_BUFFER_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 4096
_DIRECT: Final = getattr(os, "O_DIRECT", 0)

_buffers = threading.local()


def reopen(descriptor: int, path: str, flags: int) -> int:
    """Return a descriptor of the same file that passes by the cache, or the given one where that cannot be had."""
    if not _DIRECT:
        return descriptor
    try:
        direct = os.open(path, flags | _DIRECT)
    except OSError:  # The file system (tmpfs, some network ones) does not offer it.
        return descriptor
    os.close(descriptor)
    return direct


def write(descriptor: int, content: memoryview) -> None:
    """Write a whole new file and make it durable; the descriptor may pass by the cache or not."""
    buffer, size = _buffer(), len(content)
    for at in range(0, size, _BUFFER_BYTES):
        piece = content[at : at + _BUFFER_BYTES]
        buffer[: len(piece)] = piece
        padded = -(-len(piece) // _BLOCK_BYTES) * _BLOCK_BYTES
        _write_all(descriptor, memoryview(buffer)[:padded])
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)


def hash_file(descriptor: int, hasher: blake3.blake3) -> None:
    """Feed a whole file to a hasher."""
    buffer = _buffer()
    while count := os.readv(descriptor, [buffer]):
        hasher.update(memoryview(buffer)[:count])


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        # A short write ends on a block's boundary, so the rest is still aligned.
        piece = piece[os.write(descriptor, piece) :]


def _buffer() -> mmap.mmap:
    """Return this thread's buffer: anonymous memory is aligned to pages."""
    if not hasattr(_buffers, "own"):
        _buffers.own = mmap.mmap(-1, _BUFFER_BYTES)
    own: mmap.mmap = _buffers.own
    return own
