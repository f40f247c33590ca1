"""Sealing: how a frame is compressed, encrypted and bound to its place. Pure.

Each pack has a random 32-byte salt. A frame's key is HKDF-SHA256 of the wedding's data key and that
salt, so it is used in this pack only; its nonce is the frame's number, so it never repeats. The
additional data name the pack (by its salt), the frame's number and its kind: a frame moved anywhere
else does not open. One call seals less than 2^31 bytes.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

import blake3
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import CorruptionError, FormatError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16
FRAME_BYTES_MAX: Final = 256 << 20
"""A decompressed frame above this is a bomb, not a frame of ours."""

_SAMPLE_BYTES: Final = 16 << 10
_SAMPLE_SAVES: Final = 0.97
"""Bytes whose sample does not shrink below this share are stored as they are."""
_ZSTD_LEVEL: Final = 1
_STORED, _ZSTD = b"\x00", b"\x01"


class FrameKind(enum.IntEnum):
    """What a frame holds; part of the additional data."""

    LOG = 1
    CHUNK = 2
    MANIFEST = 3
    INDEX = 4
    NOTE = 5
    CHECKPOINT = 6


def compress(plain: bytes) -> bytes:
    """Return `plain` behind one byte that says how: zstd when a sample shrinks, else as it is."""
    if len(plain) > 2 * _SAMPLE_BYTES and not _shrinks(plain):
        return _STORED + plain
    packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True).compress(plain)
    return _ZSTD + packed if len(packed) < len(plain) else _STORED + plain


def _shrinks(plain: bytes) -> bool:
    middle = len(plain) // 2
    sample = plain[:_SAMPLE_BYTES] + plain[middle : middle + _SAMPLE_BYTES]
    return len(zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(sample)) < _SAMPLE_SAVES * len(sample)


def decompress(packed: bytes) -> bytes:
    """Return what `compress` was given.

    Raises:
        FormatError: an unknown codec, damage, or more than `FRAME_BYTES_MAX` bytes.
    """
    codec, body = packed[:1], memoryview(packed)[1:]
    if codec == _STORED:
        return bytes(body)
    if codec != _ZSTD:
        raise FormatError(f"unknown frame codec {codec!r}", hint="use a newer wedsync-backup")
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if size > FRAME_BYTES_MAX:
            raise FormatError(f"a frame claims {size} bytes", hint="the pack is hostile or damaged")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=FRAME_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise FormatError(f"a frame does not decompress: {error}", hint="repair the pack from another copy") from error


class PackSealer:
    """Seals and opens the frames of one pack, given its salt."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._ciphers: dict[bytes, AESGCM] = {}

    def seal(self, data_key: bytes, *, number: int, kind: FrameKind, plain: bytes) -> bytes:
        """Return the sealed frame; `number` must not have been used in this pack before."""
        return self._cipher(data_key).encrypt(_nonce(number), plain, self._bound_to(number, kind))

    def open(self, data_key: bytes, *, number: int, kind: FrameKind, sealed: bytes | memoryview) -> bytes:
        """Return the plaintext of a frame.

        Raises:
            CorruptionError: altered, moved, or sealed with another key.
        """
        try:
            return self._cipher(data_key).decrypt(_nonce(number), sealed, self._bound_to(number, kind))
        except InvalidTag as error:
            raise CorruptionError(
                f"frame {number} does not open: altered, moved, or under another key", hint="try another copy"
            ) from error

    def _cipher(self, data_key: bytes) -> AESGCM:
        if data_key not in self._ciphers:
            derived = HKDF(SHA256(), KEY_BYTES, self._salt, b"wedsync pack frame v1").derive(data_key)
            self._ciphers[data_key] = AESGCM(derived)
        return self._ciphers[data_key]

    def _bound_to(self, number: int, kind: FrameKind) -> bytes:
        return self._salt + struct.pack("<QB", number, kind)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def naming_key(data_key: bytes) -> bytes:
    """Return the key by which this wedding's chunks and objects are named: no name leaks a content."""
    return HKDF(SHA256(), KEY_BYTES, None, b"wedsync names v1").derive(data_key)


def keyed_name(naming: bytes, content: bytes | memoryview) -> bytes:
    """Return the 32-byte name of `content` inside one wedding."""
    return blake3.blake3(content, key=naming).digest()


def seal_note(data_key: bytes, plain: bytes, *, salt: bytes) -> bytes:
    """Return a small text sealed under a wedding's key, for a catalog that must not read it."""
    return salt + PackSealer(salt).seal(data_key, number=0, kind=FrameKind.NOTE, plain=plain)


def open_note(data_key: bytes, sealed: bytes) -> bytes:
    """Return the text of `seal_note`.

    Raises:
        CorruptionError: altered, or under another key.
    """
    sealer = PackSealer(sealed[:SALT_BYTES])
    return sealer.open(data_key, number=0, kind=FrameKind.NOTE, sealed=sealed[SALT_BYTES:])
