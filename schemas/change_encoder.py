"""Encoding a BackupChange by hand: the same bytes as `codec.encode`, six times as fast. Pure.

The router writes hundreds of thousands of these, and nearly all of each is known before it comes:
the source once a log, the wedding once a lane, the table once a rule. What is left are five numbers
and the payload. Avro has little to it: a long is a zig-zag varint, a text or bytes its length and itself.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import fastavro

from schemas import codec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIELDS: Final = (
    "source", "epoch", "position", "kind", "wedding", "residency", "table", "transaction", "order",
    "committed_at", "captured_at", "again", "also", "payload",
)  # fmt: skip
_SEVEN, _FOURTEEN, _SIGN = 7, 14, 63
_ENDS: Final = [bytes((n,)) for n in range(1 << _SEVEN)]
_GOES_ON: Final = [bytes((n | 0x80,)) for n in range(1 << _SEVEN)]
_BOTH_GO_ON: Final = [first + second for second in _GOES_ON for first in _GOES_ON]
"""Every two bytes of a varint that goes on behind them, by the fourteen bits they carry."""
_PAGE_BITS: Final = _FOURTEEN - 1
_SMALL_MAX: Final = (1 << _PAGE_BITS) - 1
"""The largest number that two bytes hold: orders inside a transaction and the sizes of most rows are smaller."""
_EMPTY_ARRAY: Final = b"\x00"
_NOT_AGAIN: Final = b"\x00"


def long(value: int) -> bytes:
    """Return an Avro int or long; `value` has at most 64 bits."""
    if 0 <= value <= _SMALL_MAX:
        return _SMALL[value]
    return _varint((value << 1) ^ (value >> _SIGN))


def _varint(left: int) -> bytes:
    head = b""
    while left >= 1 << _FOURTEEN:
        head += _BOTH_GO_ON[left & 0x3FFF]
        left >>= _FOURTEEN
    return head + (_ENDS[left] if left < 1 << _SEVEN else _GOES_ON[left & 0x7F] + _ENDS[left >> _SEVEN])


_SMALL: Final = [_varint(value << 1) for value in range(_SMALL_MAX + 1)]
_LOW: Final = _BOTH_GO_ON[::2]
"""The first two bytes of a number too large for two, by its thirteen lowest bits."""


def text(value: str) -> bytes:
    """Return an Avro string."""
    encoded = value.encode()
    return long(len(encoded)) + encoded


def whose(wedding: str, residency: str) -> bytes:
    """Return the fields that say whose change it is."""
    return text(wedding) + RESIDENCIES[residency]


def _symbols(fields: Mapping[str, Any], name: str) -> dict[str, bytes]:
    return {symbol: long(number) for number, symbol in enumerate(fields[name]["type"]["symbols"])}


def _defaults(fields: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the fields that later versions of the schema append: no router sets them."""
    out = io.BytesIO()
    for field in fields:
        fastavro.schemaless_writer(out, field["type"], field["default"])
    return out.getvalue()


_SCHEMA: Final[Any] = codec.SCHEMAS["BackupChange"]
_BY_NAME: Final = {field["name"]: field for field in _SCHEMA["fields"]}
assert tuple(_BY_NAME)[: len(_FIELDS)] == _FIELDS, "the schema has changed: change the encoder with it"
KINDS: Final = _symbols(_BY_NAME, "kind")
RESIDENCIES: Final = _symbols(_BY_NAME, "residency")
_TAIL: Final = _defaults(_SCHEMA["fields"][len(_FIELDS) :])


class ChangeEncoder:
    """Encodes the changes of one source and epoch; what the last one had as well is not encoded again."""

    __slots__ = ("_at", "_captured_at", "_committed_at", "_head", "_named", "_page", "_page_number", "_transaction")

    def __init__(self, source: str, epoch: int) -> None:
        self._head = codec.header("BackupChange") + text(source) + long(epoch)
        self._page_number = self._committed_at = self._captured_at = self._transaction = 0
        self._page = self._named = long(0)
        self._at = long(0) + long(0) + _NOT_AGAIN

    def encode(
        self,
        *,
        position: int,
        kind: bytes,
        owner: bytes,
        table: bytes,
        transaction: int,
        order: int,
        committed_at: int,
        captured_at: int,
        also: Sequence[str],
        payload: bytes,
    ) -> bytes:
        """Return one change; `kind` of `KINDS`, `owner` by `whose`, `table` by `text`, instants in microseconds."""
        if position <= _SMALL_MAX:
            low, page = long(position), b""
        else:
            if position >> _PAGE_BITS != self._page_number:
                self._page_number = position >> _PAGE_BITS
                self._page = _varint(self._page_number)
            low, page = _LOW[position & _SMALL_MAX], self._page
        if transaction != self._transaction:
            self._transaction, self._named = transaction, long(transaction)
        if captured_at != self._captured_at or committed_at != self._committed_at:
            self._captured_at, self._committed_at = captured_at, committed_at
            self._at = long(committed_at) + long(captured_at) + _NOT_AGAIN
        size = len(payload)
        return b"".join(
            (
                self._head,
                low,
                page,
                kind,
                owner,
                table,
                self._named,
                _SMALL[order] if 0 <= order <= _SMALL_MAX else long(order),
                self._at,
                _texts(also) if also else _EMPTY_ARRAY,
                _SMALL[size] if size <= _SMALL_MAX else long(size),
                payload,
                _TAIL,
            )
        )


def _texts(values: Sequence[str]) -> bytes:
    return long(len(values)) + b"".join(map(text, values)) + _EMPTY_ARRAY
