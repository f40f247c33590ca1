"""Avro single-object encoding of the records we own: encoder and decoder side by side. Pure.

A record is `C3 01`, the 8-byte little-endian CRC-64-AVRO fingerprint of its schema, then the Avro
body (Avro 1.11, "Single-object encoding"). The schemas lie in `schemas/avro/`, one file a record.
Records are plain dicts here, because the hot path builds hundreds of thousands of them.
"""

from __future__ import annotations

import importlib.resources
import io
import json
from typing import Any, Final

import fastavro
import fastavro.schema

from schemas.errors import FormatError

_MAGIC: Final = b"\xc3\x01"
_HEADER_BYTES: Final = 10
_NAMES: Final = ("Frontier", "BackupChange", "PackIndex", "BlobManifest", "ObjectNotice", "Checkpoint")
"""In an order in which each refers only to earlier ones."""

Record = dict[str, Any]


def _file_name(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_") + ".avsc"


def _load_schemas() -> dict[str, Any]:
    folder = importlib.resources.files("schemas") / "avro"
    named: dict[str, Any] = {}
    return {
        name: fastavro.parse_schema(json.loads((folder / _file_name(name)).read_text()), named_schemas=named)
        for name in _NAMES
    }


def _fingerprint(schema: Any) -> bytes:
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


SCHEMAS: Final = _load_schemas()
_HEADERS: Final = {name: _MAGIC + _fingerprint(schema) for name, schema in SCHEMAS.items()}
_NAME_OF_HEADER: Final = {header: name for name, header in _HEADERS.items()}


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
    name = _NAME_OF_HEADER.get(bytes(value[:_HEADER_BYTES]))
    if name is None:
        raise FormatError(
            f"no known schema begins with {value[:_HEADER_BYTES].hex()!r}", hint="was it written by a newer version?"
        )
    return name


def decode(name: str, value: bytes) -> Record:
    """Return the record of these bytes, which must be a `name`.

    Raises:
        FormatError: another schema, cut off, or followed by more bytes.
    """
    found = name_of(value)
    if found != name:
        raise FormatError(f"expected a {name}, found a {found}", hint="the record was sent to the wrong place")
    stream = io.BytesIO(value)
    stream.seek(_HEADER_BYTES)
    try:
        record = fastavro.schemaless_reader(stream, SCHEMAS[name], None)
    except (EOFError, IndexError, ValueError, TypeError, KeyError, MemoryError, OverflowError) as error:
        raise FormatError(f"a broken {name}: {error!r}", hint="its bytes are cut off or altered") from error
    if stream.tell() != len(value):
        raise FormatError(f"{len(value) - stream.tell()} bytes follow a {name}", hint="its bytes were altered")
    assert isinstance(record, dict)
    return record
