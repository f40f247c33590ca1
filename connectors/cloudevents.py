"""CloudEvents 1.0 as they arrive: structured, in batches, binary, or in Avro. Pure: bytes in, events out.

Whatever is wrong is a `FormatError` that names the attribute, never another exception: bodies come
from outside. The data of an event is kept as the very text that was sent; numbers are not read, so
none is altered. Nothing here recurses deeper than the JSON scanner's own guard.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import json
import re
import urllib.parse
from typing import TYPE_CHECKING, Final

from connectors import cloudevents_avro
from connectors.application import ApplicationEvent, wedding_of
from schemas.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.mapping import TableMapping

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
AVRO: Final = "application/cloudevents+avro"
PLAIN: Final = "application/json"
SPEC_VERSION: Final = "1.0"
ATTRIBUTES_MAX: Final = 64
ATTRIBUTE_CHARS_MAX: Final = 4096
EVENTS_MAX: Final = 10_000
"""Of one batch; its size in bytes is limited before it comes here."""

_NAME: Final = re.compile(r"[a-z0-9]{1,40}")
_KNOWN: Final = frozenset({"id", "source", "specversion", "type", "subject", "time", "datacontenttype", "dataschema"})
_BAD_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,9})")
_INTEGER_MAX: Final = 2**31
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_JSON_TYPE: Final = re.compile(r"[^/;\s]+/([^/;\s]+\+)?json\s*(;|$)", re.IGNORECASE)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_HEADER: Final = "ce-"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """What the receiver adds to what was sent; `request` names events that bring no id of their own."""

    client: str
    received_us: int
    mapping: TableMapping
    request: str = ""


@dataclasses.dataclass(slots=True, kw_only=True)
class _Sent:
    """One event taken apart, not yet checked."""

    attributes: dict[str, str]
    payload: bytes = b""
    content_type: str = ""
    index: int = 0
    is_alone: bool = True


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_unknown(content_type: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request is in none of the forms: no media type of events, and no headers of one."""
    is_one = media_type(content_type) in {STRUCTURED, BATCH, AVRO, PLAIN}
    return not is_one and not any(name.startswith(_HEADER) for name in headers)


def is_json(content_type: str) -> bool:
    """Return whether data of this type is JSON."""
    return _JSON_TYPE.match(content_type) is not None


def parse_request(
    content_type: str, headers: Mapping[str, str], body: bytes, reception: Reception
) -> list[ApplicationEvent]:
    """Return the events of one request; `headers` have lower-case names.

    Raises:
        FormatError: not what its content type says; the message names the event and the attribute.
    """
    kind = media_type(content_type)
    if kind == STRUCTURED:
        sent = [_structured(_text(body))]
    elif kind == BATCH:
        sent = _batch(_text(body))
    elif kind == AVRO:
        sent = [_Sent(**dataclasses.asdict(cloudevents_avro.decode(body)))]
    elif f"{_HEADER}specversion" in headers or kind != PLAIN:
        sent = [_binary(content_type, headers, body)]
    else:
        text = _text(body)
        sent = [_plain(each, reception) for each in (_batch(text) if text.lstrip()[:1] == "[" else [_structured(text)])]
    return [_checked(each, reception) for each in sent]


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"the body is not UTF-8 at byte {error.start}", hint="JSON is sent as UTF-8") from error


def _structured(text: str) -> _Sent:
    scanner = _Scanner(text)
    sent = scanner.event(0)
    scanner.end()
    return sent


def _batch(text: str) -> list[_Sent]:
    scanner = _Scanner(text)
    sent = [dataclasses.replace(each, is_alone=False) for each in scanner.array()]
    scanner.end()
    return sent


def _plain(sent: _Sent, reception: Reception) -> _Sent:
    """Fill in what plain JSON may leave out: who sends is known by the token, which event by the request."""
    sent.attributes.setdefault("specversion", SPEC_VERSION)
    sent.attributes.setdefault("source", f"/clients/{reception.client}")
    if reception.request:
        sent.attributes.setdefault("id", reception.request if sent.is_alone else f"{reception.request}-{sent.index}")
    return sent


def _binary(content_type: str, headers: Mapping[str, str], body: bytes) -> _Sent:
    names = [name for name in headers if name.startswith(_HEADER)]
    attributes = {name.removeprefix(_HEADER): _unquoted(name, headers[name]) for name in names}
    for name in ("datacontenttype", "data", "database64"):
        if name in attributes:
            raise FormatError(f"{_HEADER}{name} is not a header", hint="in binary mode the body is the data")
    return _Sent(attributes=attributes, payload=body, content_type=content_type)


def _unquoted(name: str, value: str) -> str:
    if not value.isascii():
        raise FormatError(f"{name} is not ASCII", hint="percent-encode what is not printable ASCII")
    try:
        return urllib.parse.unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise FormatError(f"{name} is not percent-encoded UTF-8", hint="percent-encode its UTF-8 bytes") from error


class _Scanner:
    """Walks over one JSON text and hands out the very text of each value."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def event(self, index: int) -> _Sent:
        """Return the event that begins here."""
        members: dict[str, str] = {}
        for name, value in self._members():
            if name in members:
                raise FormatError(f"event {index} has {name!r} twice", hint="each member once")
            members[name] = value
            if len(members) > ATTRIBUTES_MAX:
                raise FormatError(
                    f"event {index} has more than {ATTRIBUTES_MAX} members", hint="put them into its data"
                )
        return _of_members(members, index)

    def array(self) -> Iterator[_Sent]:
        """Yield the events of the array that begins here."""
        self._take("[")
        count = 0
        while not (self._peek("]") and not count):
            yield self.event(count)
            count += 1
            if count > EVENTS_MAX:
                raise FormatError(f"more than {EVENTS_MAX} events", hint="send them in several batches")
            if not self._peek(","):
                break
            self._take(",")
        self._take("]")

    def end(self) -> None:
        """Refuse what follows."""
        self._skip()
        if self._at != len(self._text):
            raise self._broken("something follows the JSON value")

    def _members(self) -> Iterator[tuple[str, str]]:
        self._take("{")
        if self._peek("}"):
            self._take("}")
            return
        while True:
            self._skip()
            name = _string(self._value())
            self._take(":")
            self._skip()
            yield name, self._value()
            if not self._peek(","):
                break
            self._take(",")
        self._take("}")

    def _value(self) -> str:
        """Return the text of the value that begins here, having checked that it is one."""
        begin = self._at
        try:
            _, self._at = _DECODER.raw_decode(self._text, begin)
        except StopIteration as error:
            raise self._broken("a value is missing") from error
        except RecursionError as error:
            raise self._broken("it is nested too deeply") from error
        except ValueError as error:
            raise self._broken(str(error).partition(":")[0]) from error
        return self._text[begin : self._at]

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None, "nothing is a match too"
        self._at = match.end()

    def _peek(self, character: str) -> bool:
        self._skip()
        return self._text.startswith(character, self._at)

    def _take(self, character: str) -> None:
        if not self._peek(character):
            raise self._broken(f"expected {character}")
        self._at += 1

    def _broken(self, reason: str) -> FormatError:
        return FormatError(f"the body is not the JSON it should be at character {self._at}: {reason}", hint=_JSON_HINT)


_JSON_HINT: Final = "a batch is an array of events, all else one object"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Numbers are measured, not read: a million digits are a text like any other.
_DECODER: Final = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse_constant)


def _string(value: str) -> str:
    if not value.startswith('"'):
        raise FormatError("a member's name is not a text", hint=_JSON_HINT)
    text = json.loads(value)
    assert isinstance(text, str)
    return text


def _of_members(members: dict[str, str], index: int) -> _Sent:
    data, base64_data = members.pop("data", None), members.pop("data_base64", None)
    attributes = {name: text for name, value in members.items() if (text := _attribute(name, value, index)) is not None}
    content_type = attributes.pop("datacontenttype", "")
    if data is not None and base64_data is not None:
        raise FormatError(f"event {index} has data and data_base64", hint="send one of them")
    payload = b""
    if base64_data is not None:
        payload = _from_base64(base64_data, index)
    elif data is not None:
        is_text = bool(content_type) and not is_json(content_type) and data.startswith('"')
        payload = _utf8(json.loads(data) if is_text else data, index)
        content_type = content_type or PLAIN
    return _Sent(attributes=attributes, payload=payload, content_type=content_type, index=index)


def _utf8(text: str, index: int) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"event {index}: half a surrogate pair in data", hint="send whole characters") from error


def _from_base64(value: str, index: int) -> bytes:
    if value == "null":
        return b""
    try:
        return base64.b64decode(_string(value), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"event {index}: data_base64 is not Base64", hint="RFC 4648, with padding") from error


def _attribute(name: str, value: str, index: int) -> str | None:
    """Return an attribute as text; null means that it is not there."""
    if value == "null":
        return None
    if value.startswith('"'):
        return _string(value)
    if value in {"true", "false"} and name not in _KNOWN:
        return value
    if _INTEGER.fullmatch(value) and name not in _KNOWN and -_INTEGER_MAX <= int(value) < _INTEGER_MAX:
        return value
    raise FormatError(
        f"event {index}: attribute {name[:40]!r} is neither a text, a truth value nor a 32-bit integer",
        hint="everything else belongs into data",
    )


def _checked(sent: _Sent, reception: Reception) -> ApplicationEvent:
    attributes = {name: value for name, value in sent.attributes.items() if value or name in _KNOWN}
    for name, value in {**attributes, "datacontenttype": sent.content_type}.items():
        _check_attribute(name, value, sent.index)
    if len(attributes) > ATTRIBUTES_MAX:
        raise FormatError(f"event {sent.index} has more than {ATTRIBUTES_MAX} attributes", hint="use its data")
    for name in ("id", "source", "specversion", "type"):
        if not attributes.get(name):
            raise FormatError(f"event {sent.index} has no {name}", hint="CloudEvents 1.0 requires it")
    if attributes["specversion"] != SPEC_VERSION:
        raise FormatError(f"event {sent.index}: specversion is not {SPEC_VERSION}", hint="send CloudEvents 1.0")
    _check_time(attributes.get("time", ""), sent.index)
    extensions = {name: value for name, value in attributes.items() if name not in _KNOWN}
    subject = attributes.get("subject", "")
    return ApplicationEvent(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=subject,
        wedding=wedding_of(extensions, subject, reception.mapping),
        time=attributes.get("time", ""),
        content_type=sent.content_type,
        data_schema=attributes.get("dataschema", ""),
        extensions=extensions,
        payload=sent.payload,
        received_us=reception.received_us,
        client=reception.client,
    )


def _check_attribute(name: str, value: str, index: int) -> None:
    if not _NAME.fullmatch(name) or name == "data":
        raise FormatError(
            f"event {index}: {name[:40]!r} cannot be an attribute's name",
            hint="lower-case letters, digits, at most 40",
        )
    if len(value) > ATTRIBUTE_CHARS_MAX:
        raise FormatError(
            f"event {index}: attribute {name} is longer than {ATTRIBUTE_CHARS_MAX} characters", hint="use its data"
        )
    if _BAD_TEXT.search(value):
        raise FormatError(f"event {index}: attribute {name} holds a control character or no character", hint="see 3.1")


def _check_time(time: str, index: int) -> None:
    if time and not _is_time(time):
        raise FormatError(f"event {index}: time is not RFC 3339", hint="2026-06-20T14:32:00Z")


def _is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    try:
        # A leap second is a time, though not one of Python's.
        dt.datetime.fromisoformat(f"{match[1]}{'59' if match[2] == '60' else match[2]}{match[4].upper()}")
    except ValueError:
        return False
    return True
