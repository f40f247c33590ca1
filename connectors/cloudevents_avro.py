"""One CloudEvent in the Avro event format (`application/cloudevents+avro`). Pure.

A record of two fields: `attribute`, a map of null, boolean, int, string or bytes, and `data`, a union of
bytes, null, boolean, map, array, double and string. Read here and not by a library, because the schema
refers to itself: a library descends as deep as a hostile body says, and takes the process with it. Data
in the nested forms (map, array) is refused: JSON travels as bytes with its content type.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import struct
from typing import Final

from schemas.errors import FormatError

_VARINT_BYTES_MAX: Final = 10
_ENTRIES_MAX: Final = 256
_HINT: Final = "see the CloudEvents Avro format: one record, no container file, no schema in front"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AvroEvent:
    """Attributes as text, and the data as bytes."""

    attributes: dict[str, str]
    payload: bytes
    content_type: str


def decode(body: bytes) -> AvroEvent:
    """Return the event.

    Raises:
        FormatError: not such a record, or its data is in a nested form.
    """
    reader = _Reader(body)
    attributes = reader.attributes()
    payload, usual_type = reader.data()
    if reader.at != len(body):
        raise FormatError("bytes follow the Avro record", hint=_HINT)
    content_type = attributes.pop("datacontenttype", usual_type)
    return AvroEvent(attributes=attributes, payload=payload, content_type=content_type)


class _Reader:
    """Reads Avro's binary encoding, never beyond its end."""

    def __init__(self, body: bytes) -> None:
        self._body, self.at = body, 0

    def attributes(self) -> dict[str, str]:
        """Return the map of attributes; null means that one is not there."""
        found: dict[str, str] = {}
        while count := self._long():
            if count < 0:
                count = -count
                self._long()  # The block's size in bytes: whoever reads everything needs it not.
            if count + len(found) > _ENTRIES_MAX:
                raise FormatError(f"more than {_ENTRIES_MAX} attributes", hint="put them into the data")
            for _ in range(count):
                name = self._string()
                if name in found:
                    raise FormatError("an attribute is there twice", hint="each once")
                if (value := self._attribute()) is not None:
                    found[name] = value
        return found

    def data(self) -> tuple[bytes, str]:
        """Return the data as bytes, and the content type it has where none is given."""
        match self._long():
            case 0:
                return self._bytes(), "application/octet-stream"
            case 1:
                return b"", ""
            case 2:
                return (b"true" if self._boolean() else b"false"), "application/json"
            case 5:
                return self._double(), "application/json"
            case 6:
                return self._string().encode(), "text/plain"
            case _:
                raise FormatError("the data is in a nested form", hint="send JSON as bytes, with datacontenttype")

    def _attribute(self) -> str | None:
        match self._long():
            case 0:
                return None
            case 1:
                return "true" if self._boolean() else "false"
            case 2:
                return str(self._long())
            case 3:
                return self._string()
            case 4:
                return base64.b64encode(self._bytes()).decode()
            case _:
                raise FormatError("an attribute is of no known type", hint=_HINT)

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._body) - self.at:
            raise FormatError("the Avro record is cut off", hint=_HINT)
        self.at += count
        return self._body[self.at - count : self.at]

    def _long(self) -> int:
        value = 0
        for index in range(_VARINT_BYTES_MAX):
            (byte,) = self._take(1)
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:  # noqa: PLR2004 - the continuation bit
                return value >> 1 ^ -(value & 1)
        raise FormatError("a number in the Avro record does not end", hint=_HINT)

    def _bytes(self) -> bytes:
        return self._take(self._long())

    def _string(self) -> str:
        try:
            return self._bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError("a text in the Avro record is not UTF-8", hint=_HINT) from error

    def _boolean(self) -> bool:
        return self._take(1) != b"\x00"

    def _double(self) -> bytes:
        (number,) = struct.unpack("<d", self._take(8))
        if not math.isfinite(number):
            raise FormatError("the data is no finite number", hint="send it as a text")
        return repr(number).encode()
