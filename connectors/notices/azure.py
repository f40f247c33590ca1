"""Blob Storage's events, as Event Grid puts them into a queue: its own schema or CloudEvents. Pure.

A queue's message may be base64, one event or a list. The sequencer is a string that compares as the
events of one blob happened. A rename is a deletion of the old name and a put of the new one, whose
version no event names: the sweep announces it.
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from typing import Any, Final

from connectors.notices import reading
from connectors.notices.reading import Reading, Where, mapping_at, text_at
from connectors.notices.s3 import ETAG
from connectors.storage import ObjectAction, ObjectNotice
from schemas.errors import FormatError

_CREATED: Final = "Microsoft.Storage.BlobCreated"
_DELETED: Final = "Microsoft.Storage.BlobDeleted"
_RENAMED: Final = "Microsoft.Storage.BlobRenamed"
_VALIDATION: Final = "Microsoft.EventGrid.SubscriptionValidationEvent"
_SUBJECT: Final = re.compile(r"^/blobServices/default/containers/([^/]+)/blobs/(.+)$", re.DOTALL)
_SEQUENCER_MAX: Final = 128
_APIS_UNFINISHED: Final = frozenset({"CreateFile"})
"""With a hierarchical namespace the file is empty then; `FlushWithClose` follows."""


def read(payload: bytes, where: Where, *, noticed_us: int) -> Reading:
    """Return what a message says of the container.

    Raises:
        FormatError: nothing of it can be read.
    """
    found = reading.document(_unwrapped(payload))
    events = found if isinstance(found, list) else [found]
    if not 0 < len(events) <= reading.EVENTS_MAX:
        raise FormatError("no events", hint="is this Event Grid's message?")
    return reading.together(_one(each, where, noticed_us) for each in events)


def _unwrapped(payload: bytes) -> bytes:
    if payload.lstrip()[:1] in (b"{", b"["):
        return payload
    if len(payload) > reading.MESSAGE_BYTES_MAX:
        raise FormatError(f"a message of {len(payload)} bytes", hint="no provider sends so much")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("neither JSON nor base64", hint="who else writes into this queue?") from error


def _one(found: Any, where: Where, noticed_us: int) -> Reading:
    try:
        return _event(mapping_at(found), where, noticed_us)
    except FormatError as error:
        return Reading(refused=(str(error),))


def _event(event: dict[str, Any], where: Where, noticed_us: int) -> Reading:
    kind = text_at(event, "eventType", default="") or text_at(event, "type")
    if kind not in {_CREATED, _DELETED, _RENAMED}:
        if kind.startswith("Microsoft.Storage.") or kind == _VALIDATION:
            return Reading(passed=1)
        raise FormatError("no event of Blob Storage", hint="who else writes into this queue?")
    data = mapping_at(event, "data")
    at_us = reading.instant_us(text_at(event, "eventTime", default="") or text_at(event, "time"))
    common: dict[str, Any] = {
        "bucket": where.name,
        "modified_us": at_us,
        "noticed_us": noticed_us,
        "sequencer": _sequencer(data),
    }
    if kind == _RENAMED:
        return _gone(_key_of_url(text_at(data, "sourceUrl"), where), common)
    match = _SUBJECT.match(text_at(event, "subject"))
    if match is None:
        raise FormatError("a subject that names no blob", hint="is this Event Grid's message?")
    container, key = match.groups()
    if container != where.bucket or not key.startswith(where.prefix):
        return Reading(passed=1)
    if kind == _DELETED:
        return _gone(key, common)
    if text_at(data, "api", default="") in _APIS_UNFINISHED:
        return Reading(passed=1)
    return Reading(
        notices=(
            ObjectNotice(
                action=ObjectAction.PUT,
                key=reading.checked_key(key),
                version=ETAG + text_at(data, "eTag", default="").strip('"') if data.get("eTag") else _versionless(),
                size=reading.size_of(data.get("contentLength")),
                **common,
            ),
        )
    )


def _versionless() -> str:
    raise FormatError("a blob without ETag", hint="its bytes could not be told from others")


def _gone(key: str | None, common: dict[str, Any]) -> Reading:
    if key is None:
        return Reading(passed=1)
    key = reading.checked_key(key)
    return Reading(notices=(ObjectNotice(action=ObjectAction.DELETE, key=key, version="", size=0, **common),))


def _key_of_url(url: str, where: Where) -> str | None:
    """Return the key of a blob's address (of either endpoint), or None when it lies elsewhere."""
    container, _, key = urllib.parse.unquote(urllib.parse.urlsplit(url).path).lstrip("/").partition("/")
    return key if container == where.bucket and key.startswith(where.prefix) and key else None


def _sequencer(data: dict[str, Any]) -> str:
    found = text_at(data, "sequencer", default="")
    if len(found) > _SEQUENCER_MAX:
        raise FormatError("a sequencer that is too long", hint="is it the documented shape?")
    # Strings of one length as they come; a shorter one is the smaller number, as with S3.
    return f"{found:0>{_SEQUENCER_MAX}}" if found else ""
