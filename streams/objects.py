"""Objects on their way through the router: what a connector could not read, and whose an object is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.errors import FormatError

if TYPE_CHECKING:
    from streams.records import Record

UNREADABLE: Final = "wedsync.unreadable"
"""The header by which a connector hands on what it could not read, byte for byte, with the reason: the router
makes a dead letter of it. Whatever the bytes may look like, they are nobody's change."""


def refuse_unreadable(record: Record) -> None:
    """Refuse a record that its connector could not read.

    Raises:
        FormatError: it is one, for the reason that its connector found.
    """
    for name, reason in record.headers:
        if name == UNREADABLE:
            raise FormatError(reason.decode(errors="replace"), hint="see the store's documentation of its notices")
