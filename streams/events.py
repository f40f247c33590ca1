"""Application events among the captured records: which they are, and whose. Pure.

They come in two ways: as records of their own from the HTTP entry, and as rows of the outbox table, in the
transaction of what they tell of. Both travel as the kind `message`, which every reader there ever was passes
over when it does not know what is inside; what is inside is told by the payload's own first bytes, or by
the table's name.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from connectors import application
from schemas import codec
from schemas.backup import PLATFORM

if TYPE_CHECKING:
    from connectors.debezium import Change
    from schemas.mapping import TableMapping

KIND: Final = "message"
UPLOAD_STARTED: Final = "wedding.upload.started"
"""The event by which an application says that photos are about to arrive: their wedding is urgent from then on."""

URGENT: Final = "wedding.day.urgent"
"""The event by which an application asks that its wedding go before all others, for so long from when it came."""
URGENT_FOR: Final = dt.timedelta(hours=2)
_BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def is_event(value: bytes) -> bool:
    """Return whether a captured record of ours is an event of the HTTP entry, in any version of its schema.

    Raises:
        FormatError: it is of no schema we know.
    """
    return codec.name_of(value) == "ApplicationEvent"


def of_application(value: bytes) -> tuple[str, int, bool]:
    """Return an event's wedding, when it was received (in microseconds), and whether photos begin to arrive.

    Raises:
        FormatError: not an event.
    """
    event = application.decode_event(value)
    wedding = event.wedding if application.is_wedding_name(event.wedding) else PLATFORM
    return wedding, event.received_us, event.type == UPLOAD_STARTED


def urgent_until(value: bytes, *, came_us: int) -> dt.datetime | None:
    """Return until when an event that came then asks that its wedding go before all others; None for any other.

    Raises:
        FormatError: not an event.
    """
    event = application.decode_event(value)
    if event.type != URGENT:
        return None
    # Whose clock is ahead gains nothing.
    return _BEGINNING + dt.timedelta(microseconds=max(0, min(event.received_us, came_us))) + URGENT_FOR


def of_outbox(change: Change, mapping: TableMapping) -> str:
    """Return the wedding of an outbox row; the platform where it names none."""
    assert mapping.outbox is not None, "only the outbox's rows are asked for"
    rule, image = mapping.outbox, change.image
    named = image.get(rule.wedding_column) if rule.wedding_column is not None else None
    if named is None and image.get("aggregatetype") in rule.wedding_types:
        named = image.get("aggregateid")
    wedding = "" if named is None else str(named)
    return wedding if application.is_wedding_name(wedding) else PLATFORM
