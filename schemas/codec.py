"""Avro single-object encoding of the records we own: encoder and decoder side by side. Pure.

A record is `C3 01`, the 8-byte little-endian CRC-64-AVRO fingerprint of its schema, then the Avro
body (Avro 1.11, "Single-object encoding"). `schemas.versions` knows the schemas: those
written today, and every one that packs of earlier years may hold.
Records are plain dicts here, because the hot path builds hundreds of thousands of them.
"""

from __future__ import annotations

import io
from typing import Any, Final

import fastavro
from fastavro.read import SchemaResolutionError

from schemas import versions
from schemas.errors import FormatError
from schemas.versions import HEADER_BYTES

Record = dict[str, Any]

_PRESENT, _VERSIONS = versions.load()
SCHEMAS: Final = {name: each.schema for name, each in _PRESENT.items()}
"""The present schema of each record: the one written, and the one every reader gets."""
VERSIONS: Final = _VERSIONS
"""Every version there ever was, by the ten bytes its records begin with."""
_HEADERS: Final = {name: each.header for name, each in _PRESENT.items()}
_BROKEN: Final = (EOFError, IndexError, ValueError, TypeError, KeyError, MemoryError, OverflowError)


def header(name: str) -> bytes:
    """Return the ten bytes by which a record of this name begins."""
    return _HEADERS[name]


def encode(name: str, record: Record) -> bytes:
    """Return one record in single-object encoding."""
    out = io.BytesIO()
    out.write(_HEADERS[name])
    fastavro.schemaless_writer(out, SCHEMAS[name], record)
    return out.getvalue()


def name_of(value: bytes) -> str:
    """Return which of our records these bytes are.

    Raises:
        FormatError: none that this version knows; an unknown schema is never guessed at.
    """
    return version_of(value).name


def version_of(value: bytes) -> versions.Version:
    """Return which version of which record these bytes are.

    Raises:
        FormatError: none that this version knows; an unknown schema is never guessed at.
    """
    version = VERSIONS.get(bytes(value[:HEADER_BYTES]))
    if version is None:
        raise FormatError(
            f"no known schema begins with {value[:HEADER_BYTES].hex()!r}", hint="was it written by a newer version?"
        )
    return version


def decode(name: str, value: bytes) -> Record:
    """Return the record of these bytes, which must be a `name`, as the present schema has it.

    What an earlier version wrote is read by its own schema; fields it did not have get their defaults.

    Raises:
        FormatError: another schema, cut off, or followed by more bytes.
    """
    version = version_of(value)
    if version.name != name:
        raise FormatError(f"expected a {name}, found a {version.name}", hint="the record was sent to the wrong place")
    reader = None if version is _PRESENT[name] else SCHEMAS[name]
    stream = io.BytesIO(value)
    stream.seek(HEADER_BYTES)
    try:
        record = fastavro.schemaless_reader(stream, version.schema, reader)
    except (*_BROKEN, SchemaResolutionError) as error:
        raise FormatError(f"a broken {name}: {error!r}", hint="its bytes are cut off or altered") from error
    if stream.tell() != len(value):
        raise FormatError(f"{len(value) - stream.tell()} bytes follow a {name}", hint="its bytes were altered")
    assert isinstance(record, dict)
    return record
