"""Objects on their way through the router: what a connector could not read, and whose an object is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connectors import storage
from schemas.backup import PLATFORM, QUARANTINE
from schemas.errors import FormatError
from streams.row_reading import as_wedding
from streams.state import parent_name

if TYPE_CHECKING:
    from connectors.storage import ObjectNotice
    from schemas.mapping import TableMapping
    from streams.records import Record
    from streams.state import Member, RouterState

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


def wedding_of(notice: ObjectNotice, mapping: TableMapping, state: RouterState, named_at: Member) -> str:
    """Return whose an object is: by its key's prefix, by its metadata, or by the row that holds its key.

    What metadata said is remembered (`named_at`, its wedding filled in here), since a deletion's notice has none. An
    object that a row may still claim waits under quarantine, as a row does whose parent is not known yet.
    """
    if (by_prefix := storage.wedding_of_key(notice.key, mapping)) is not None:
        return as_wedding(by_prefix)
    if notice.wedding:
        wedding = as_wedding(notice.wedding)
        state.remember_member(_own_name(notice.key), named_at._replace(wedding=wedding))
        return wedding
    for name in (*rows_with(notice.key, mapping), _own_name(notice.key)):
        if (known := state.wedding_of(name)) not in (None, QUARANTINE):
            return str(known)
    return QUARANTINE if mapping.object_references else PLATFORM


def rows_with(key: str, mapping: TableMapping) -> list[bytes]:
    """Return the names of the rows that an object follows, if there are such rows."""
    return [parent_name(each.table, [key]) for each in mapping.object_references]


def _own_name(key: str) -> bytes:
    return parent_name("@object", [key])
