"""An archived event as a restore gives it back: a line to read, never a thing to send again. Pure.

Events of the HTTP entry count up to the instant asked for, by the clock of their reception; rows of the
outbox by their commit, like every row. The same event recorded twice is one, at its first position.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors import application, debezium
from connectors.application import APPLICATION_SOURCE
from connectors.cloudevents import is_json
from connectors.debezium import Change, Operation
from schemas import codec
from schemas.errors import FormatError
from schemas.versions import MAGIC
from sinks.cut import Order
from streams import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ARCHIVED_AS: Final = "archived_as"
"""Where a line says what we know of it; no attribute can have this name, since none has an underscore."""

_INSERTED: Final = frozenset({Operation.CREATE, Operation.READ})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RestoredEvent:
    """One event; `committed_us` is when it was received, or committed with its transaction."""

    wedding: str
    order: Order
    committed_us: int
    source: str
    id: str
    type: str
    payload: bytes = dataclasses.field(repr=False)
    content_type: str
    attributes: Mapping[str, str]


class Events:
    """Collects the events of one wedding, or with None all there are, up to an instant."""

    def __init__(self, *, wedding: str | None, at_us: int | None) -> None:
        self._wedding, self._at_us = wedding, at_us
        self._found: dict[tuple[str, str], RestoredEvent] = {}

    def take_application(self, change: Mapping[str, Any]) -> bool:
        """Take an event of the HTTP entry; return False for a change that is none.

        Raises:
            FormatError: it is one, and cannot be read.
        """
        if change["source"] != APPLICATION_SOURCE or change["kind"] != events.KIND:
            return False
        if not change["payload"].startswith(MAGIC) or codec.name_of(change["payload"]) != "ApplicationEvent":
            return False  # What the router filed in this log of the log itself.
        if self._is_wanted(change) and (self._at_us is None or change["committed_at"] <= self._at_us):
            self._keep(_of_application(change))
        return True

    def take_outbox(self, change: Mapping[str, Any]) -> None:
        """Take a row of the outbox that lies at or before the cut; a change that is none is passed over.

        Raises:
            FormatError: it is one, and cannot be read.
        """
        if change["kind"] == events.KIND and change["table"] and self._is_wanted(change):
            captured = debezium.parse(change["payload"])
            if isinstance(captured, Change) and captured.operation in _INSERTED and captured.after is not None:
                self._keep(_of_outbox(change, captured))

    def found(self) -> tuple[RestoredEvent, ...]:
        """Return the events in the order of their instants."""
        return tuple(sorted(self._found.values(), key=lambda each: (each.committed_us, each.order)))

    def _is_wanted(self, change: Mapping[str, Any]) -> bool:
        return self._wedding in (None, change["wedding"])

    def _keep(self, event: RestoredEvent) -> None:
        held = self._found.get((event.source, event.id))
        if held is None or event.order < held.order:
            self._found[event.source, event.id] = event


def _of_application(change: Mapping[str, Any]) -> RestoredEvent:
    event = application.decode_event(change["payload"])
    attributes = {
        "subject": event.subject,
        "time": event.time,
        "dataschema": event.data_schema,
        **event.extensions,
    }
    return RestoredEvent(
        wedding=change["wedding"],
        order=Order(change["epoch"], change["position"]),
        committed_us=change["committed_at"],
        source=event.source,
        id=event.id,
        type=event.type,
        payload=event.payload,
        content_type=event.content_type,
        attributes={name: value for name, value in attributes.items() if value},
    )


def _of_outbox(change: Mapping[str, Any], captured: Change) -> RestoredEvent:
    row = captured.image
    payload = row.get("payload")
    if row.get("id") is None:
        raise FormatError(f"a row of {captured.table} has no id", hint="is it really the outbox?")
    return RestoredEvent(
        wedding=change["wedding"],
        order=Order(change["epoch"], change["position"]),
        committed_us=change["committed_at"],
        source=f"/outbox/{captured.table}",
        id=str(row["id"]),
        type=str(row.get("type") or ""),
        payload=payload.encode() if isinstance(payload, str) else b"" if payload is None else orjson.dumps(payload),
        content_type="application/json" if isinstance(payload, str) and _is_json(payload) else "text/plain",
        attributes={"subject": f"{row.get('aggregatetype')}/{row.get('aggregateid')}"},
    )


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def ndjson(found: Iterable[RestoredEvent]) -> bytes:
    """Return events as lines of CloudEvents JSON; `data` is the very text sent, `archived_as` what we know."""
    return b"".join(orjson.dumps(_line(each), option=orjson.OPT_APPEND_NEWLINE) for each in found)


def _line(event: RestoredEvent) -> dict[str, Any]:
    line: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **event.attributes,
    }
    if event.content_type:
        line["datacontenttype"] = event.content_type
    if event.content_type and is_json(event.content_type) and event.payload and _is_json_bytes(event.payload):
        # Line ends stand between the parts of a JSON text only, never inside its strings.
        line["data"] = orjson.Fragment(event.payload.replace(b"\n", b" ").replace(b"\r", b" "))
    elif event.payload:
        line["data_base64"] = base64.b64encode(event.payload).decode()
    line[ARCHIVED_AS] = {
        "wedding": event.wedding,
        "committed_us": event.committed_us,
        "epoch": event.order.epoch,
        "position": event.order.position,
    }
    return line


def _is_json_bytes(payload: bytes) -> bool:
    """Return whether the payload is what its content type says: a sender of binary mode may claim anything."""
    try:
        return _is_json(payload.decode("utf-8"))
    except UnicodeDecodeError:
        return False
