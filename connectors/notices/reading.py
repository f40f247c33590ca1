"""What was read out of one message, and the limits within which one is read at all. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connectors.storage import ObjectNotice

MESSAGE_BYTES_MAX: Final = 1 << 20
"""Providers send at most 64 to 256 KiB; what is larger was not sent by one."""
KEY_BYTES_MAX: Final = 1024
"""The longest key that S3, GCS and Azure allow."""
EVENTS_MAX: Final = 1000
_SIZE_MAX: Final = 1 << 53
_YEARS: Final = range(1970, 2262)
_MICRO: Final = dt.timedelta(microseconds=1)
_START: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Whose events are wanted: the store's `bucket`, called `name` in notices, and keys below `prefix`.

    `wedding_metadata` is the name of the metadata by which an object names its wedding, if any.
    """

    name: str
    bucket: str
    prefix: str = ""
    wedding_metadata: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one message says.

    `notices` in the message's order; `purged` are keys of which one version (not necessarily the current
    one) was removed for good; `refused` says what could not be read, so that the message is kept; `passed`
    counts events that change no content (tests, tags), or are about another bucket or prefix.
    """

    notices: tuple[ObjectNotice, ...] = ()
    purged: tuple[ObjectNotice, ...] = ()
    refused: tuple[str, ...] = ()
    passed: int = 0


def together(readings: Iterable[Reading]) -> Reading:
    """Return what several readings say, in their order."""
    each = list(readings)
    return Reading(
        notices=tuple(notice for one in each for notice in one.notices),
        purged=tuple(notice for one in each for notice in one.purged),
        refused=tuple(reason for one in each for reason in one.refused),
        passed=sum(one.passed for one in each),
    )


def document(payload: bytes | str) -> Any:
    """Return a message's JSON.

    Raises:
        FormatError: too large, too deep, or no JSON.
    """
    if len(payload) > MESSAGE_BYTES_MAX:
        raise FormatError(f"a message of {len(payload)} bytes", hint=f"no provider sends more than {MESSAGE_BYTES_MAX}")
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error}", hint="who else writes into this channel?") from error


def mapping_at(value: Any, *path: str) -> dict[str, Any]:
    """Return the object at a path.

    Raises:
        FormatError: there is none.
    """
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        raise FormatError(f"no object at {'.'.join(path) or 'the top'}", hint="is it the documented shape?")
    return value


def text_at(value: dict[str, Any], name: str, *, default: str | None = None) -> str:
    """Return the text of a field; an absent, null or empty one is `default`, if there is one.

    Raises:
        FormatError: no text, or none where one is needed.
    """
    found = value.get(name)
    if found is None or found == "":
        if default is not None:
            return default
        raise FormatError(f"no {name}", hint="is it the documented shape?")
    if not isinstance(found, str):
        raise FormatError(f"{name} is no text", hint="is it the documented shape?")
    return found


def size_of(value: Any) -> int:
    """Return a size in bytes, given as a number or its decimal text; an absent one is 0.

    Raises:
        FormatError: no size.
    """
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(_SIZE_MAX)):
        value = int(value)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _SIZE_MAX:
        raise FormatError("a size that is none", hint="is it the documented shape?")
    return value


def instant_us(text: str) -> int:
    """Return RFC 3339 in microseconds since 1970; more digits than that are cut off.

    Raises:
        FormatError: no instant, or one outside of 1970 to 2261.
    """
    try:
        found = dt.datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=dt.UTC)
        if found.year not in _YEARS:
            raise FormatError(f"the year {found.year}", hint="is the sender's clock set?")
        return (found - _START) // _MICRO
    except (ValueError, OverflowError) as error:
        raise FormatError("no instant", hint="RFC 3339 is expected") from error


def checked_key(key: str) -> str:
    """Return a key that a store may have.

    Raises:
        FormatError: empty, too long, or not to be written as UTF-8.
    """
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise FormatError("a key that is not UTF-8", hint="it cannot be written into any log") from error
    if not 0 < length <= KEY_BYTES_MAX:
        raise FormatError(f"a key of {length} bytes", hint=f"stores allow 1 to {KEY_BYTES_MAX}")
    return key
