"""Events that applications send: one value each, and how it is written to the capture log. Pure.

An event is told by (source, id), as CloudEvents has it: the same pair again is the same event, whoever
sends it and however often. `received_us` is our clock's, since nobody can vouch for the sender's.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any, Final

from connectors.storage import wedding_of_key
from schemas import codec
from schemas.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.mapping import TableMapping

APPLICATION_SOURCE: Final = "application"
"""The source whose capture topic holds the events."""

WEDDING_ATTRIBUTE: Final = "weddingid"
WEDDING_CHARS_MAX: Final = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationEvent:
    """One event; `time` is RFC 3339 as it was sent, `wedding` empty for the platform's own."""

    id: str
    source: str
    type: str
    received_us: int
    subject: str = ""
    wedding: str = ""
    time: str = ""
    content_type: str = ""
    data_schema: str = ""
    extensions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    payload: bytes = dataclasses.field(default=b"", repr=False)
    client: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Return what the event is told by."""
        return self.source, self.id

    def digest(self) -> bytes:
        """Return 32 bytes that are equal exactly for events that say the same; who sent it, and when, is left out."""
        said = (self.id, self.source, self.type, self.subject, self.time, self.content_type, self.data_schema)
        extensions = (text for pair in sorted(self.extensions.items()) for text in pair)
        hashed = hashlib.sha256()
        for part in (*(text.encode() for text in (*said, *extensions)), self.payload):
            hashed.update(len(part).to_bytes(8, "little"))
            hashed.update(part)
        return hashed.digest()


def encode_event(event: ApplicationEvent) -> bytes:
    """Return the capture record's value."""
    return codec.encode(
        "ApplicationEvent",
        {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "wedding": event.wedding,
            "time": event.time,
            "content_type": event.content_type,
            "data_schema": event.data_schema,
            "extensions": event.extensions,
            "payload": event.payload,
            "received_at": event.received_us,
            "client": event.client,
        },
    )


def decode_event(value: bytes) -> ApplicationEvent:
    """Return the event of a capture record.

    Raises:
        FormatError: not an event.
    """
    record: dict[str, Any] = codec.decode("ApplicationEvent", value)
    record["received_us"] = record.pop("received_at")
    return ApplicationEvent(**record)


def is_wedding_name(name: str) -> bool:
    """Return whether an application may name a wedding so: those that begin with `@` are the platform's own."""
    return bool(name) and not name.startswith("@") and len(name) <= WEDDING_CHARS_MAX


def wedding_of(extensions: Mapping[str, str], subject: str, mapping: TableMapping) -> str:
    """Return the wedding an event names: by its attribute, else by its subject, which is read as a stored name is.

    Raises:
        FormatError: what the attribute names can be no wedding.
    """
    if named := extensions.get(WEDDING_ATTRIBUTE, ""):
        if not is_wedding_name(named):
            raise FormatError(
                f"{WEDDING_ATTRIBUTE} cannot be a wedding's id",
                hint=f"at most {WEDDING_CHARS_MAX} characters, not beginning with @",
            )
        return named
    found = wedding_of_key(f"{subject}/", mapping) if subject else None
    return found if found is not None and is_wedding_name(found) else ""
