"""Confluent's wire format beside our own: encoder and decoder, and which schemas a subject holds. Pure.

A framed value is `00`, the schema's id in the registry (4 bytes big-endian), the Avro body. The id may
stand in the header `__value_schema_id` instead: `00` and the id, or `01` and the schema's 16-byte
GUID, and then the value is the body alone. A topic that carries several of our records has one subject whose
schema is a union of them, so its body begins with the number of the branch.

The body after that is ours byte for byte. So framing and unframing only change what stands before it,
and what the archive holds never needs a registry to be read.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import fastavro.schema

from schemas import codec
from schemas.errors import FormatError
from schemas.topics import BACKUP_TOPICS
from schemas.versions import HEADER_BYTES, MAGIC, fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

ID_HEADER: Final = "__value_schema_id"
LANE_RECORDS: Final = ("BackupChange", "Frontier", "Promotion")
"""What a backup topic carries, in the order of its subject's union: only ever appended to."""
_NO_SCHEMA: Final = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
    fastavro.schema.SchemaParseException, fastavro.schema.UnknownType,
)  # fmt: skip
_BY_ID, _BY_GUID = b"\x00", b"\x01"
_ID_BYTES, _GUID_BYTES = 4, 16

SchemaId = int | str
"""The number a registry gave a schema, or its GUID as text."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A subject and the records its schema holds; one record stands for itself, several are a union."""

    name: str
    records: tuple[str, ...]

    @property
    def schema(self) -> str:
        """Return the schema as the registry stores it: self-contained, with documentation and defaults."""
        whole = [_plain(_whole(name)) for name in self.records]
        return json.dumps(whole if len(whole) > 1 else whole[0], separators=(",", ":"))

    def framed(self, value: bytes, schema_id: int) -> bytes:
        """Return a single-object value of one of these records in the wire format."""
        name = codec.name_of(value)
        branch = bytes((self.records.index(name) << 1,)) if len(self.records) > 1 else b""
        return _BY_ID + schema_id.to_bytes(_ID_BYTES, "big") + branch + value[HEADER_BYTES:]


def subject_of(topic: str, name: str, *, by_record: bool) -> Subject | None:
    """Return the subject under which a record travels on a topic; None where values are not framed.

    The rule is TopicNameStrategy, or with `by_record` RecordNameStrategy.
    """
    if topic not in BACKUP_TOPICS or name not in LANE_RECORDS:
        return None
    if by_record:
        return Subject(name=f"wedsync.{name}", records=(name,))
    return Subject(name=f"{topic}-value", records=LANE_RECORDS)


def schema_id_of(value: bytes, headers: Sequence[tuple[str, bytes]]) -> tuple[SchemaId, int] | None:
    """Return the id of a framed value and where its body begins; None for a value that is not framed."""
    for name, held in headers:
        if name == ID_HEADER:
            if held[:1] == _BY_ID and len(held) == 1 + _ID_BYTES:
                return int.from_bytes(held[1:], "big"), 0
            if held[:1] == _BY_GUID and len(held) == 1 + _GUID_BYTES:
                return str(uuid.UUID(bytes=held[1:])), 0
            return None
    if value[:1] == _BY_ID and len(value) > _ID_BYTES:
        return int.from_bytes(value[1 : 1 + _ID_BYTES], "big"), 1 + _ID_BYTES
    return None


def headers_of(schema: str) -> tuple[bytes | None, ...]:
    """Return the first ten bytes that each branch of a registered schema has in our own encoding.

    None stands for a branch no version of ours ever had.

    Raises:
        FormatError: not an Avro schema.
    """
    try:
        defined = json.loads(schema)
        branches = defined if isinstance(defined, list) else [defined]
        named: dict[str, Any] = {}
        parsed = [fastavro.parse_schema(each, named_schemas=named) for each in branches]
        headers = [MAGIC + fingerprint(each) for each in parsed]
    except _NO_SCHEMA as error:
        raise FormatError(f"a registered schema is no Avro: {error!r}", hint="who registered it?") from error
    return tuple(header if header in codec.VERSIONS else None for header in headers)


def unframed(value: bytes, begin: int, headers: Sequence[bytes | None]) -> bytes:
    """Return a framed value in single-object encoding, given the headers of its schema's branches.

    Raises:
        FormatError: of a schema that no version of ours ever had, or of no branch there is.
    """
    branch = 0
    if len(headers) > 1:
        # As many branches as fit one byte of a varint; more there never are.
        branch, begin = (value[begin] >> 1 if begin < len(value) else len(headers)), begin + 1
    header = headers[branch] if branch < len(headers) else None
    if header is None:
        raise FormatError("no version of ours has this registered schema", hint="was it written by a newer version?")
    return header + value[begin:]


def _whole(name: str) -> Any:
    return next(each.whole for each in codec.VERSIONS.values() if each.header == codec.header(name))


def _plain(schema: Any) -> Any:
    """Return a parsed schema without what the library noted on it."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if isinstance(schema, dict):
        return {name: _plain(each) for name, each in schema.items() if not name.startswith("__")}
    return schema


def without_id(headers: Sequence[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """Return headers without the schema's id: it means nothing to who reads our own encoding."""
    return tuple(each for each in headers if each[0] != ID_HEADER)


assert len(LANE_RECORDS) < 1 << 6, "a branch is one byte"
