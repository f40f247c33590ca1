"""S3's bucket notifications, as AWS, MinIO, Ceph and versitygw send them. Pure.

The same records come bare (Kafka, SQS), inside an SNS envelope, or one by one from EventBridge. Keys are
form-encoded (a space is `+`), except where `are_keys_encoded` is off: versitygw, EventBridge and
older Ceph send them as they are. A sequencer is a hexadecimal number that orders the events of one key;
versitygw's is a counter that begins again with its process, so there the event's second leads.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, Final

from connectors.notices import reading
from connectors.notices.reading import Reading, Where, mapping_at, text_at
from connectors.storage import ObjectAction, ObjectNotice
from schemas.errors import FormatError

ETAG: Final = "etag:"
"""How a version is named where the bucket keeps none."""

_SEQUENCER_DIGITS: Final = 64
_COUNTER_DIGITS_MAX: Final = 8
"""AWS, MinIO and Ceph send 16 digits and more; fewer can only be a counter of the sending process."""
_HEX: Final = re.compile(r"^[0-9A-Fa-f]{1,64}$")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CREATED: Final = ("ObjectCreated:", "ObjectRestore:Completed")
_REMOVED: Final = ("ObjectRemoved:", "LifecycleExpiration:")
_MARKED: Final = frozenset({"DeleteMarkerCreated"})
_EVENTBRIDGE: Final = {"Object Created": ObjectAction.PUT, "Object Deleted": ObjectAction.DELETE}


def read(payload: bytes, where: Where, *, noticed_us: int, are_keys_encoded: bool = True) -> Reading:
    """Return what a message says of the bucket.

    Raises:
        FormatError: nothing of it can be read.
    """
    return _read(reading.document(payload), where, noticed_us, are_keys_encoded, is_inner=False)


def _read(found: Any, where: Where, noticed_us: int, are_keys_encoded: bool, *, is_inner: bool) -> Reading:
    message = mapping_at(found)
    if message.get("Event") == "s3:TestEvent":
        return Reading(passed=1)
    if not is_inner and message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        inner = reading.document(message["Message"])
        return _read(inner, where, noticed_us, are_keys_encoded, is_inner=True)
    if message.get("source") == "aws.s3" and "detail" in message:
        return _one(lambda: _eventbridge(message, where, noticed_us))
    records = message.get("Records")
    if not isinstance(records, list) or not 0 < len(records) <= reading.EVENTS_MAX:
        raise FormatError("no list of Records", hint="is this a bucket notification?")
    return reading.together(
        _one(lambda each=each: _record(each, where, noticed_us, are_keys_encoded)) for each in records
    )


def _one(read_it: Any) -> Reading:
    """Return one event's reading; what is wrong with it does not touch its neighbours."""
    try:
        found = read_it()
    except FormatError as error:
        return Reading(refused=(str(error),))
    assert isinstance(found, Reading)
    return found


def _record(found: Any, where: Where, noticed_us: int, are_keys_encoded: bool) -> Reading:
    record = mapping_at(found)
    name = text_at(record, "eventName").removeprefix("s3:")
    if not name.startswith((*_CREATED, *_REMOVED)):
        return Reading(passed=1)
    s3 = mapping_at(record, "s3")
    about = mapping_at(s3, "object")
    key = text_at(about, "key")
    event = _Event(
        bucket=text_at(mapping_at(s3, "bucket"), "name"),
        key=_decoded(key) if are_keys_encoded else key,
        is_put=name.startswith(_CREATED),
        is_marker=name.split(":")[-1] in _MARKED,
        at_us=reading.instant_us(text_at(record, "eventTime")),
    )
    return event.reading(about, where, noticed_us)


def _eventbridge(message: dict[str, Any], where: Where, noticed_us: int) -> Reading:
    action = _EVENTBRIDGE.get(text_at(message, "detail-type", default=""))
    if action is None:
        return Reading(passed=1)
    detail = mapping_at(message, "detail")
    about = dict(mapping_at(detail, "object"))
    about = {**about, "eTag": about.get("etag"), "versionId": about.get("version-id")}
    event = _Event(
        bucket=text_at(mapping_at(detail, "bucket"), "name"),
        key=text_at(about, "key"),
        is_put=action is ObjectAction.PUT,
        is_marker=detail.get("deletion-type") == "Delete Marker Created",
        at_us=reading.instant_us(text_at(message, "time")),
    )
    return event.reading(about, where, noticed_us)


class _Event:
    """One event, whatever envelope it came in."""

    def __init__(self, *, bucket: str, key: str, is_put: bool, is_marker: bool, at_us: int) -> None:
        self._bucket, self._key, self._at_us = bucket, key, at_us
        self._is_put, self._is_marker = is_put, is_marker

    def reading(self, about: dict[str, Any], where: Where, noticed_us: int) -> Reading:
        if self._bucket != where.bucket or not self._key.startswith(where.prefix):
            return Reading(passed=1)
        version = version_name(text_at(about, "versionId", default=""), text_at(about, "eTag", default=""))
        if self._is_put and not version:
            raise FormatError("an object without version and ETag", hint="its bytes could not be told from others")
        notice = ObjectNotice(
            action=ObjectAction.PUT if self._is_put else ObjectAction.DELETE,
            bucket=where.name,
            key=reading.checked_key(self._key),
            version=version if self._is_put else "",
            size=reading.size_of(about.get("size")) if self._is_put else 0,
            modified_us=self._at_us,
            noticed_us=noticed_us,
            sequencer=_sequencer(text_at(about, "sequencer", default=""), self._at_us),
            wedding=_wedding(about, where.wedding_metadata),
        )
        is_purge = not self._is_put and not self._is_marker and version != "" and not version.startswith(ETAG)
        return Reading(purged=(notice,)) if is_purge else Reading(notices=(notice,))


def version_name(version_id: str, etag: str) -> str:
    """Return what names a version: its id, or its ETag where the bucket keeps no versions."""
    if version_id and version_id != "null":
        return version_id
    bare = etag.removeprefix("W/").strip('"')
    return ETAG + bare if bare else ""


def _wedding(about: dict[str, Any], name: str) -> str:
    """Return what the object's metadata says, where the store sends it along: MinIO a mapping, Ceph a list."""
    told = about.get("userMetadata")
    pairs = list(told.items()) if isinstance(told, dict) else []
    if isinstance(listed := about.get("metadata"), list):
        pairs += [(each.get("key"), each.get("val")) for each in listed if isinstance(each, dict)]
    wanted = f"x-amz-meta-{name}".lower()
    found = [said for key, said in pairs if name and isinstance(key, str) and key.lower() == wanted]
    return found[0] if found and isinstance(found[0], str) else ""


def _decoded(key: str) -> str:
    if _BAD_ESCAPE.search(key):
        raise FormatError("a key with a broken escape", hint="does this store send keys as they are? keys = 'plain'")
    try:
        return urllib.parse.unquote_plus(key, errors="strict")
    except UnicodeDecodeError as error:
        raise FormatError("a key that is not UTF-8", hint="it cannot be written into any log") from error


def _sequencer(digits: str, at_us: int) -> str:
    if not digits:
        return ""
    if not _HEX.match(digits):
        raise FormatError("a sequencer that is no hexadecimal number", hint="is it the documented shape?")
    if len(digits) <= _COUNTER_DIGITS_MAX:
        digits = f"{at_us:016x}{digits.lower():0>16}"
    return f"{digits.lower():0>{_SEQUENCER_DIGITS}}"
