"""The pack: an immutable file of sealed frames. Layout only, no keys, no I/O. Pure.

    header (48)  magic 8 | version 1 | kind 1 | reserved 6 | salt 32
    frames       sealed bytes, back to back
    index        sealed bytes
    footer (96)  index offset 8 | index length 8 | previous 32 | body hash 32 | reserved 8 | magic 8

Integers are little-endian. `previous` is the chain: the hash that stood at the head of this
partition before the window. The body hash is BLAKE3 over everything before the footer, so that
anybody can check a pack without a key; the pack's name holds BLAKE3 over the whole file.
FORMATS.md is the normative text.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from typing import Final

import blake3

from schemas.errors import CorruptionError, FormatError

MAGIC: Final = b"WEDSPACK"
FOOTER_MAGIC: Final = b"KCAPSDEW"
VERSION: Final = 1
KIND_LOG: Final = 1
KIND_BLOB: Final = 2
KIND_CHECKPOINT: Final = 3
HASH_BYTES: Final = 32
SALT_BYTES: Final = 32
NO_PREVIOUS: Final = bytes(HASH_BYTES)
PACK_BYTES_MAX: Final = 1 << 30
"""Far above what we write (64 MiB and one event), far below what would hurt a reader."""

_HEADER: Final = struct.Struct("<8sBB6x32s")
_FOOTER: Final = struct.Struct("<QQ32s32s8x8s")
HEADER_BYTES: Final = _HEADER.size
FOOTER_BYTES: Final = _FOOTER.size
assert (HEADER_BYTES, FOOTER_BYTES) == (48, 96)

_ENTRY: Final = struct.Struct("<qqI")
_LOG_NAME: Final = re.compile(r"^log/([A-Za-z0-9_-]{1,64})/(\d+)/(\d{20})-(\d{20})-(\d+)-([0-9a-f]{64})\.pack$")
_BLOB_NAME: Final = re.compile(r"^blob/[0-9a-f]{2}/([0-9a-f]{64})\.pack$")
_CHECKPOINT_NAME: Final = re.compile(r"^checkpoint/(\d{20})-([0-9a-f]{64})\.pack$")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """The fixed end of a pack; offsets and lengths in bytes."""

    index_offset: int
    index_length: int
    previous: bytes
    body_hash: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One record of a backup topic inside a log frame; `timestamp_ms` is the broker's append time."""

    offset: int
    timestamp_ms: int
    value: bytes


def encode_header(*, kind: int, salt: bytes) -> bytes:
    """Return the 48 bytes a pack begins with."""
    assert len(salt) == SALT_BYTES
    return _HEADER.pack(MAGIC, VERSION, kind, salt)


def decode_header(pack: bytes | memoryview) -> tuple[int, bytes]:
    """Return (kind, salt).

    Raises:
        FormatError: no pack of ours, or of a newer version.
    """
    if len(pack) < HEADER_BYTES:
        raise FormatError(
            f"{len(pack)} bytes are too few for a pack", hint="the object is cut off: repair it from another copy"
        )
    magic, version, kind, salt = _HEADER.unpack_from(pack)
    if magic != MAGIC:
        raise FormatError("not a pack: its magic is missing", hint="the object is foreign or damaged")
    if version != VERSION:
        raise FormatError(f"pack version {version}, this program reads {VERSION}", hint="use a newer wedsync-backup")
    if kind not in (KIND_LOG, KIND_BLOB, KIND_CHECKPOINT):
        raise FormatError(f"unknown pack kind {kind}", hint="use a newer wedsync-backup")
    return kind, salt


def encode_footer(*, index_offset: int, index_length: int, previous: bytes, body_hash: bytes) -> bytes:
    """Return the 96 bytes a pack ends with."""
    return _FOOTER.pack(index_offset, index_length, previous, body_hash, FOOTER_MAGIC)


def decode_footer(tail: bytes | memoryview, *, pack_size_bytes: int) -> Footer:
    """Return the footer held in the last 96 bytes of `tail`.

    Raises:
        FormatError: cut off, foreign, or with an index that does not end at the footer.
    """
    if len(tail) < FOOTER_BYTES or pack_size_bytes < HEADER_BYTES + FOOTER_BYTES:
        raise FormatError("too short for a pack", hint="the object is cut off: repair it from another copy")
    index_offset, index_length, previous, body_hash, magic = _FOOTER.unpack_from(tail, len(tail) - FOOTER_BYTES)
    if magic != FOOTER_MAGIC:
        raise FormatError("the pack's end is missing", hint="the object is cut off: repair it from another copy")
    if index_offset < HEADER_BYTES or index_offset + index_length + FOOTER_BYTES != pack_size_bytes:
        raise FormatError("the pack's index does not lie where its footer says", hint="repair it from another copy")
    return Footer(index_offset=index_offset, index_length=index_length, previous=previous, body_hash=body_hash)


def check_body(pack: bytes | memoryview) -> Footer:
    """Check magic, lengths and body hash of a whole pack; no key is needed.

    Raises:
        FormatError: not a pack.
        CorruptionError: a pack whose bytes have changed.
    """
    decode_header(pack)
    footer = decode_footer(pack, pack_size_bytes=len(pack))
    body = memoryview(pack)[: len(pack) - FOOTER_BYTES]
    if blake3.blake3(body).digest() != footer.body_hash:
        raise CorruptionError("the pack's bytes are not those it was written with", hint="repair it from another copy")
    return footer


def encode_log_entries(entries: list[LogEntry]) -> bytes:
    """Return the plaintext of a log frame: u32 count, then (i64 offset, i64 ms, u32 length, value) each."""
    parts = [struct.pack("<I", len(entries))]
    for entry in entries:
        parts.append(_ENTRY.pack(entry.offset, entry.timestamp_ms, len(entry.value)))
        parts.append(entry.value)
    return b"".join(parts)


def decode_log_entries(plain: bytes) -> list[LogEntry]:
    """Return the records of a log frame's plaintext.

    Raises:
        FormatError: counts or lengths that do not fit.
    """
    view = memoryview(plain)
    if len(view) < 4:  # noqa: PLR2004 - the count
        raise FormatError("a log frame without its count", hint="the frame is damaged")
    (count,) = struct.unpack_from("<I", view)
    at, entries = 4, []
    for _ in range(count):
        if at + _ENTRY.size > len(view):
            raise FormatError("a log frame ends inside an entry", hint="the frame is damaged")
        offset, timestamp_ms, length = _ENTRY.unpack_from(view, at)
        at += _ENTRY.size
        if at + length > len(view):
            raise FormatError("a log frame ends inside a value", hint="the frame is damaged")
        entries.append(LogEntry(offset=offset, timestamp_ms=timestamp_ms, value=bytes(view[at : at + length])))
        at += length
    if at != len(view):
        raise FormatError(f"{len(view) - at} bytes follow a log frame's last entry", hint="the frame is damaged")
    return entries


def log_pack_name(*, topic_id: str, partition: int, first: int, last: int, part: int, pack_hash: bytes) -> str:
    """Return the object name of a log pack: the same name always means the same bytes."""
    return f"log/{topic_id}/{partition}/{first:020d}-{last:020d}-{part}-{pack_hash.hex()}.pack"


def blob_pack_name(pack_hash: bytes) -> str:
    """Return the object name of a blob pack."""
    digest = pack_hash.hex()
    return f"blob/{digest[:2]}/{digest}.pack"


def checkpoint_pack_name(created_us: int, pack_hash: bytes) -> str:
    """Return the object name of a checkpoint: in order of names the newest comes last."""
    return f"checkpoint/{created_us:020d}-{pack_hash.hex()}.pack"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackName:
    """What an object name says; `topic_id` is empty for blob packs and checkpoints."""

    pack_hash: bytes
    topic_id: str = ""
    partition: int = 0
    first: int = 0
    last: int = 0
    part: int = 0


def parse_pack_name(name: str) -> PackName:
    """Return what a pack's name says.

    Raises:
        FormatError: not the name of a pack.
    """
    if match := _LOG_NAME.match(name):
        return PackName(
            topic_id=match[1],
            partition=int(match[2]),
            first=int(match[3]),
            last=int(match[4]),
            part=int(match[5]),
            pack_hash=bytes.fromhex(match[6]),
        )
    if match := _BLOB_NAME.match(name):
        return PackName(pack_hash=bytes.fromhex(match[1]))
    if match := _CHECKPOINT_NAME.match(name):
        return PackName(pack_hash=bytes.fromhex(match[2]))
    raise FormatError(f"{name!r} is not the name of a pack", hint="a foreign object lies in the store")


def chain_head(previous: bytes, pack_hashes: list[bytes]) -> bytes:
    """Return the partition's head after a window whose packs, by part, have these hashes."""
    return blake3.blake3(previous + b"".join(pack_hashes)).digest()
