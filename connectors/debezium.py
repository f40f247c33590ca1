"""What Debezium writes, read as far as routing needs it. Pure.

All of one Postgres source lies in one topic in commit order: BEGIN, the transaction's changes, END;
between them rows of incremental snapshots, logical messages and TRUNCATEs. Values are JSON without
schemas. A value is read once here and passed on byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import enum
import functools
import re
import struct
from typing import Any, Final, NamedTuple

import orjson

from schemas.errors import FormatError

Image = dict[str, Any]
"""One row as Debezium's JSON has it: column name → value."""

MICROSECONDS: Final = 1000
UNAVAILABLE: Final = "__debezium_unavailable_value"
"""Stands where an unchanged TOAST value was not sent; it must never be stored as if it were the data."""


_UNAVAILABLE_TEXTS: Final = frozenset({UNAVAILABLE, base64.b64encode(UNAVAILABLE.encode()).decode()})
_UNAVAILABLE_FORMS: Final = (*_UNAVAILABLE_TEXTS, [UNAVAILABLE])
"""As text, as the base64 of a bytea, as the only element of an array."""


class Operation(enum.StrEnum):
    """Debezium's `op`, spelled out."""

    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    READ = "r"
    TRUNCATE = "t"
    MESSAGE = "m"


_FIRST_SEQUENCE: Final = re.compile(r'^\[null,(?:null|"[0-9]{1,20}")\]$')
"""What stands where no commit came before. Anything else without one would be taken for a repetition."""
_LONG_MIN, _LONG_MAX = -(1 << 63), (1 << 63) - 1
_FOUR_LONGS: Final = struct.Struct("<4q")
_OPERATIONS: Final = {each.value: each for each in Operation}
_new: Final = tuple.__new__
"""What a named tuple does in the end, without the call between; a hundred thousand a second are made."""


class Change(NamedTuple):
    """One captured change; `table` is schema-qualified, empty for a message.

    `committed_us` is the source's commit time (for snapshot rows, the time of reading) in
    microseconds; `order` counts from 1 within `transaction`, 0 where there is none; `after_lsn` is
    the commit that came before the transaction.
    """

    operation: Operation
    table: str
    before: Image | None
    after: Image | None
    committed_us: int
    transaction: int
    order: int
    lsn: int
    after_lsn: int = 0
    prefix: str = ""

    @property
    def image(self) -> Image:
        """Return the row as it is after the change, or, once deleted, as it was."""
        return self.after or self.before or {}


class Boundary(NamedTuple):
    """BEGIN or END of a transaction; `counts` are END's events per table."""

    is_end: bool
    transaction: int
    lsn: int
    committed_us: int
    events: int
    counts: dict[str, int]


class Notice(NamedTuple):
    """Debezium speaking of itself: a heartbeat, or the progress of a snapshot."""

    fields: dict[str, Any]


Captured = Change | Boundary | Notice


def parse(value: bytes) -> Captured:
    """Return what a capture record says.

    Raises:
        FormatError: not JSON, or not of Debezium's shape.
    """
    try:
        envelope = orjson.loads(value)
        if "op" in envelope:
            return _change(envelope)
        return _boundary(envelope) if "status" in envelope else _notice(envelope)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise FormatError(f"not a Debezium event: {error!r}", hint="who else writes to the capture topic?") from error


def _change(envelope: dict[str, Any]) -> Change:
    source, operation = envelope["source"], _OPERATIONS[envelope["op"]]
    before, after = envelope.get("before"), envelope.get("after")
    if not ((before is None or type(before) is dict) and (after is None or type(after) is dict)):
        raise FormatError("a row image is not an object", hint="who else writes to the capture topic?")
    transaction, sequence = envelope.get("transaction"), source.get("sequence")
    committed_us = source["ts_us"] if "ts_us" in source else int(source["ts_ms"]) * MICROSECONDS
    xid, order, lsn = source.get("txId"), transaction.get("total_order") if transaction else 0, source.get("lsn")
    try:  # Nearly always they are integers of at most 64 bits, and C sees it at one glance.
        _FOUR_LONGS.pack(committed_us, xid, order, lsn)
    except struct.error:
        committed_us, xid, order, lsn = _long(committed_us), _long(xid), _long(order), _long(lsn)
    after_lsn = _after_lsn(sequence.partition(",")[0]) if sequence else 0
    if operation is Operation.MESSAGE:
        prefix = str(envelope["message"]["prefix"])
        return Change(operation, "", before, after, committed_us, xid, order, lsn, after_lsn, prefix)
    table = f"{source['schema']}.{source['table']}"
    if not (order and after_lsn > 0) and operation is not Operation.READ and not _is_first(order, source):
        raise FormatError("a change without its place in the log", hint="is provide.transaction.metadata on?")
    return _new(Change, (operation, table, before, after, committed_us, xid, order, lsn, after_lsn, ""))


@functools.lru_cache(maxsize=1024)
def _after_lsn(before: str) -> int:
    """Return P of what stands before the comma in `["P","own"]`; null before the first commit."""
    digits = before.strip('[" ')
    return _long(digits) if digits.isdecimal() else 0


def _is_first(order: int, source: dict[str, Any]) -> bool:
    """Return whether a change has a place although no commit came before it."""
    return bool(order) and _FIRST_SEQUENCE.match(str(source["sequence"])) is not None


def _long(value: Any) -> int:
    """Return an integer of at most 64 bits, 0 for none; nothing behind us can hold a larger one."""
    number = value if type(value) is int else int(value or 0)
    if not _LONG_MIN <= number <= _LONG_MAX:
        raise ValueError(f"{number} is beyond 64 bits")
    return number


def _boundary(envelope: dict[str, Any]) -> Boundary:
    transaction, _, lsn = str(envelope["id"]).partition(":")
    events, collections = envelope.get("event_count"), envelope.get("data_collections")
    return _new(
        Boundary,
        (
            envelope["status"] == "END",
            _long(transaction),
            _long(lsn),
            _long(int(envelope["ts_ms"]) * MICROSECONDS),
            _long(events) if events else 0,
            {each["data_collection"]: each["event_count"] for each in collections} if collections else {},
        ),
    )


def _notice(envelope: dict[str, Any]) -> Notice:
    about = envelope.get("additional_data")
    if envelope.keys() == {"ts_ms"} or ("aggregate_type" in envelope and isinstance(about, dict | None)):
        return Notice(envelope)
    raise FormatError("neither a change, a boundary nor a notification", hint="who else writes to the capture topic?")


def message_content(value: bytes) -> bytes:
    """Return what a logical message carries.

    Raises:
        FormatError: not a logical message.
    """
    try:
        return base64.b64decode(orjson.loads(value)["message"]["content"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise FormatError(f"not a logical message: {error!r}", hint="who else writes to the capture topic?") from error


def is_unavailable(image: Image | None) -> bool:
    """Return whether a TOAST value is missing from the image: it may not be stored as data."""
    if image is None:
        return False
    try:
        return not _UNAVAILABLE_TEXTS.isdisjoint(image.values())
    except TypeError:  # One value is a list or an object.
        return any(form in image.values() for form in _UNAVAILABLE_FORMS)


def with_whole_images(change: Change) -> Change:
    """Return the change with no TOAST value missing: an unchanged one is taken from the image before.

    Raises:
        FormatError: a value is missing and the image before does not have it either.
    """
    if not is_unavailable(change.after):
        return change
    before, after = change.before or {}, change.after or {}
    missing = [name for name, value in after.items() if value in _UNAVAILABLE_FORMS]
    if is_unavailable(before) or not before.keys() >= set(missing):
        raise FormatError(
            f"table {change.table}: unchanged TOAST values were not sent", hint="ALTER TABLE … REPLICA IDENTITY FULL"
        )
    return change._replace(after={**after, **{name: before[name] for name in missing}})
