"""Errors as RFC 9457 has them: `application/problem+json` with what went wrong, why, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import HTTPException
from fastapi.responses import JSONResponse

from schemas.errors import FormatError, RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2

_TITLES: Final = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    408: "too slow",
    413: "too large",
    415: "unsupported media type",
    422: "refused",
    429: "too many events",
    500: "a bug of ours",
    503: "not now",
}


def problem(status: int, detail: str, *, hint: str = "", headers: Mapping[str, str] | None = None) -> HTTPException:
    """Return an error to raise; `detail` says what and why, `hint` what to do."""
    return HTTPException(status, detail={"detail": detail, "hint": hint}, headers=dict(headers or {}))


def of_error(error: Exception) -> HTTPException:
    """Return what an error of ours is to a client: bad input is the client's, a busy world is nobody's fault."""
    hint = str(getattr(error, "hint", ""))
    if isinstance(error, FormatError):
        return problem(400, str(error), hint=hint)
    if isinstance(error, RefusedError):
        return problem(422, str(error), hint=hint)
    assert isinstance(error, TransientError), f"{type(error).__name__} never reaches a client"
    seconds = RETRY_SECONDS if error.retry_after is None else max(1, round(error.retry_after.total_seconds()))
    return problem(503, str(error), hint=hint, headers={"Retry-After": str(seconds)})


def response(error: Any) -> JSONResponse:
    """Return the answer of an error raised by us or by the framework."""
    about = error.detail if isinstance(error.detail, dict) else {"detail": str(error.detail), "hint": ""}
    title = _TITLES.get(error.status_code, "error")
    body = {"type": f"urn:wedsync:problem:{title.replace(' ', '-')}", "title": title, "status": error.status_code}
    return JSONResponse({**body, **about}, status_code=error.status_code, headers=error.headers, media_type=MEDIA_TYPE)
