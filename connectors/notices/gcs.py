"""Cloud Storage's notifications over Pub/Sub: attributes, and the object's resource as JSON. Pure.

A generation names a version and orders all events of a key: a deletion or archiving of generation g
lies right behind the put of g, whenever it is delivered. What is said of a generation that another has
replaced already (`overwrittenByGeneration`) is told by that other's own notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from connectors.notices import reading
from connectors.notices.reading import Reading, Where, mapping_at, text_at
from connectors.storage import ObjectAction, ObjectNotice
from schemas.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS: Final = 20
_GENERATION_MAX: Final = 1 << 63
_PUT: Final = "OBJECT_FINALIZE"
_GONE: Final = frozenset({"OBJECT_DELETE", "OBJECT_ARCHIVE"})


def read(payload: bytes, attributes: Mapping[str, str], where: Where, *, noticed_us: int) -> Reading:
    """Return what a message says of the bucket.

    Raises:
        FormatError: it cannot be read.
    """
    event = attributes.get("eventType", "")
    if event not in {_PUT, *_GONE}:
        if event == "OBJECT_METADATA_UPDATE":
            return Reading(passed=1)
        raise FormatError("no eventType of Cloud Storage", hint="is this its notification?")
    if attributes.get("bucketId") != where.bucket or not attributes.get("objectId", "").startswith(where.prefix):
        return Reading(passed=1)
    if event in _GONE and attributes.get("overwrittenByGeneration"):
        return Reading(passed=1)
    generation = generation_of(attributes.get("objectGeneration"))
    about: dict[str, Any] = {}
    if event == _PUT and attributes.get("payloadFormat", "JSON_API_V1") != "NONE":
        about = mapping_at(reading.document(payload))
    at = text_at(about, "updated", default="") or attributes.get("eventTime", "")
    return Reading(
        notices=(
            ObjectNotice(
                action=ObjectAction.PUT if event == _PUT else ObjectAction.DELETE,
                bucket=where.name,
                key=reading.checked_key(attributes["objectId"]),
                version=str(generation) if event == _PUT else "",
                size=reading.size_of(about.get("size")),
                modified_us=reading.instant_us(attributes.get("eventTime") or at if event in _GONE else at),
                noticed_us=noticed_us,
                sequencer=sequencer(generation, is_gone=event in _GONE),
                wedding=_wedding(about, where),
            ),
        )
    )


def _wedding(about: Mapping[str, Any], where: Where) -> str:
    named = about.get("metadata")
    found = named.get(where.wedding_metadata) if where.wedding_metadata and isinstance(named, dict) else None
    return found if isinstance(found, str) else ""


def sequencer(generation: int, *, is_gone: bool) -> str:
    """Return the place of an event in its key's order; a generation's end follows its beginning."""
    return f"{generation:0{_DIGITS}d}{'.1' if is_gone else '.0'}"


def generation_of(value: object) -> int:
    """Return a generation.

    Raises:
        FormatError: none.
    """
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) < _DIGITS and int(text) < _GENERATION_MAX):
        raise FormatError("no generation", hint="is this Cloud Storage's notification?")
    return int(text)
