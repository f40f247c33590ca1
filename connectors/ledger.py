"""What the guard writes into the source's own log: gaps, and the values of sequences. Pure.

Both are logical messages, so they stand at a place in the order of the commits, are sealed and
copied like any change, and are found again in the stores by whoever rebuilds the catalog. A *gap* is
a stretch of time of which the archive has not every change; it ends where a new epoch's log begins,
whose full copies say again what every row is.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Any, Final

import orjson

from connectors import debezium
from connectors.debezium import Change
from schemas.errors import FormatError

GAP_PREFIX: Final = "wedsync.gap"
SEQUENCES_PREFIX: Final = "wedsync.sequences"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of a source's history that is not whole; instants in microseconds, places in the log as numbers.

    `gap` is its name: the same gap filed twice is one. Everything committed at or before `from_us` was
    captured; from `to_us` on the log of `to_epoch` has everything. A `from_us` of 0 means that nobody knows.
    In a log without LSNs (objects, applications' events) the places are the numbers of the first and last lost record.
    """

    gap: str
    source: str
    from_epoch: int
    to_epoch: int
    from_us: int
    to_us: int
    from_lsn: int
    to_lsn: int
    reason: str
    found_us: int

    def touches(self, at_us: int) -> bool:
        """Return whether the state at an instant may lack something."""
        return self.from_us < at_us < self.to_us


_TEXTS: Final = frozenset({"gap", "source", "reason"})
_GAP_TYPES: Final = {each.name: str if each.name in _TEXTS else int for each in dataclasses.fields(Gap)}


def encode_gap(gap: Gap) -> str:
    """Return the content of a gap's message."""
    return orjson.dumps(dataclasses.asdict(gap)).decode()


def decode_gap(content: bytes) -> Gap:
    """Return the gap of a message's content; fields that a later version added are passed over.

    Raises:
        FormatError: no gap.
    """
    fields = _object(content)
    if any(type(fields.get(name)) is not of_type for name, of_type in _GAP_TYPES.items()):
        raise FormatError("a gap's message lacks a field", hint=f"who else writes messages under {GAP_PREFIX}?")
    return Gap(**{name: fields[name] for name in _GAP_TYPES})


def gap_of(payload: bytes) -> Gap | None:
    """Return the gap that a captured message files; None for every other message."""
    return decode_gap(debezium.message_content(payload)) if _prefix_of(payload) == GAP_PREFIX else None


def gap_message(gap: Gap) -> bytes:
    """Return a gap as a captured message, for a log that Debezium does not write."""
    content = base64.b64encode(encode_gap(gap).encode()).decode()
    source = {"ts_us": gap.found_us, "schema": "", "table": ""}
    return orjson.dumps({"op": "m", "source": source, "message": {"prefix": GAP_PREFIX, "content": content}})


def encode_sequences(values: dict[str, int]) -> str:
    """Return the content of a message with the last value of each sequence (`schema.name`)."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()


def sequences_of(payload: bytes) -> dict[str, int] | None:
    """Return the values of sequences that a captured message carries; None for every other message.

    Raises:
        FormatError: it says it does, and does not.
    """
    if _prefix_of(payload) != SEQUENCES_PREFIX:
        return None
    values = _object(debezium.message_content(payload))
    if not all(type(value) is int for value in values.values()):
        raise FormatError("a sequence's value is no number", hint=f"who else writes under {SEQUENCES_PREFIX}?")
    return values


def _prefix_of(payload: bytes) -> str:
    captured = debezium.parse(payload)
    return captured.prefix if isinstance(captured, Change) else ""


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except ValueError as error:
        raise FormatError(f"a message of ours is not JSON: {error}", hint="who else writes messages?") from error
    if not isinstance(found, dict):
        raise FormatError("a message of ours is no JSON object", hint="who else writes messages?")
    return found
