"""What the routes say of themselves in the OpenAPI document. Pure data."""

from __future__ import annotations

from typing import Any, Final

from connectors import cloudevents
from ops.api.problems import MEDIA_TYPE

VERSION: Final = "1.0"
DESCRIPTION: Final = (
    "One CloudEvent 1.0 or a batch of them: structured, in binary mode (`ce-` headers), in Avro, or as plain JSON, "
    "which may leave out specversion, source and, with an Idempotency-Key, id. 202 says that every event of the "
    "request lies in the log on stable storage; all other answers say that none need do so, and that it may be sent "
    "again. An event is told by its source and id: sent again it is accepted and not doubled. `weddingid` names its "
    "wedding, else its subject does. The header `Wedsync-Known` counts events that were there before."
)
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what and why"},
        "hint": {"type": "string", "description": "what to do"},
    },
}
_SAYS: Final = {
    400: "The body or a header is not what it should be; `detail` names the event and the attribute.",
    401: "No token, or an unknown one.",
    403: "The client may not send events of this wedding or source.",
    408: "The body did not arrive in time.",
    413: "The request or one of its events is too large.",
    415: "No CloudEvents media type, or a compressed body.",
    422: "The Idempotency-Key, or source and id of an event, came before with something else.",
    429: "Too many events; `Retry-After` says when to go on.",
    503: "The log does not answer; `Retry-After` says when to try again.",
}
ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "description": "Every event of the request lies in the log.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["accepted"],
                    "properties": {"accepted": {"type": "integer", "minimum": 0}},
                }
            }
        },
    },
    **{status: {"description": says, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}} for status, says in _SAYS.items()},
}
_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": cloudevents.SPEC_VERSION},
        **{name: {"type": "string", "minLength": 1} for name in ("id", "source", "type")},
        **{name: {"type": "string"} for name in ("subject", "datacontenttype", "dataschema", "weddingid")},
        "time": {"type": "string", "format": "date-time"},
        "data": {},
        "data_base64": {"type": "string", "format": "byte"},
    },
    "additionalProperties": {"type": ["string", "boolean", "integer"]},
}
_PLAIN: Final = {**_EVENT, "required": ["type"]}
REQUEST_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        cloudevents.STRUCTURED: {"schema": _EVENT},
        cloudevents.BATCH: {"schema": {"type": "array", "items": _EVENT, "maxItems": cloudevents.EVENTS_MAX}},
        cloudevents.AVRO: {"schema": {"type": "string", "format": "binary"}},
        cloudevents.PLAIN: {"schema": {"oneOf": [_PLAIN, {"type": "array", "items": _PLAIN}]}},
        "*/*": {"schema": {"type": "string", "format": "binary", "description": "binary mode: the data itself"}},
    },
}
SECURITY: Final[dict[str, Any]] = {
    "security": [{"token": []}],
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "The same key with the same request gets the same answer; with another one, 422.",
        }
    ],
}
