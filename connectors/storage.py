"""Object notices: what a store said happened to an object. Pure.

A notice is a claim check: bucket, key, version, size and the store's own instant; whoever needs the
bytes fetches that very version. Notices come at least once, in any order, or never: a sweep over the
listing finds what was missed.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import TYPE_CHECKING

from schemas import codec

if TYPE_CHECKING:
    from schemas.mapping import TableMapping


class ObjectAction(enum.StrEnum):
    """What happened."""

    PUT = "put"
    DELETE = "delete"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ObjectNotice:
    """One notice; instants in microseconds since 1970 UTC, size in bytes.

    `sequencer` is the store's own order of one key's events, as a string that compares as they
    happened; empty where the store has none (a folder) or a sweep found what no notice told.
    `wedding` is what the object's own metadata says, empty where it says nothing.
    """

    action: ObjectAction
    bucket: str
    key: str
    version: str
    size: int
    modified_us: int
    noticed_us: int
    sequencer: str = ""
    wedding: str = ""


def encode_notice(notice: ObjectNotice) -> bytes:
    """Return the capture record's value."""
    return codec.encode(
        "ObjectNotice",
        {
            "action": notice.action.value,
            "bucket": notice.bucket,
            "key": notice.key,
            "version": notice.version,
            "size": notice.size,
            "modified_at": notice.modified_us,
            "noticed_at": notice.noticed_us,
            "sequencer": notice.sequencer,
            "wedding": notice.wedding,
        },
    )


def decode_notice(value: bytes) -> ObjectNotice:
    """Return the notice of a capture record.

    Raises:
        FormatError: not a notice.
    """
    record = codec.decode("ObjectNotice", value)
    return ObjectNotice(
        action=ObjectAction(record["action"]),
        bucket=record["bucket"],
        key=record["key"],
        version=record["version"],
        size=record["size"],
        modified_us=record["modified_at"],
        noticed_us=record["noticed_at"],
        sequencer=record["sequencer"],
        wedding=record["wedding"],
    )


def wedding_of_key(key: str, mapping: TableMapping) -> str | None:
    """Return the wedding under whose prefix an object lies, or None."""
    before, after = (re.escape(part) for part in mapping.object_prefix.split("{wedding}"))
    match = re.match(f"{before}([^/]+){after}", key)
    return match[1] if match else None
