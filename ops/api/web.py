"""The routes, each check in the order of its cost: who, how often, how large, what, then the log.

Nothing of a body is read before its sender is known, and no more of it than may be kept. Every error is
`application/problem+json`; bad input is never a 5xx. Bodies, tokens and names are in no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from connectors import cloudevents
from connectors.cloudevents import Reception
from ops.api import problems
from ops.api.appender import Submission
from ops.api.ledger import RequestMark
from ops.api.limits import Room
from ops.api.problems import problem
from ops.api.routes_text import ANSWERS, DESCRIPTION, REQUEST_BODY, SECURITY, VERSION
from schemas.errors import ConfigError, FormatError, RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from connectors.application import ApplicationEvent
    from ops.api.appender import Answer, Appender
    from ops.api.clients import Client, Clients
    from ops.api.limits import RateLimit
    from schemas.mapping import TableMapping

BODY_WITHIN: Final = dt.timedelta(seconds=30)
ANSWER_WITHIN: Final = dt.timedelta(seconds=40)
"""Longer than the log takes to give up, so that a client hears the reason."""

ROOM_BYTES: Final = 64 << 20
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ONCE: Final = re.compile(r"ce-.*|content-type|content-length|idempotency-key|authorization")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the routes stand on; `refused` is told the status of every request that was not accepted."""

    appender: Appender
    clients: Clients
    rate: RateLimit
    mapping: TableMapping
    event_bytes_max: int
    request_bytes_max: int
    now: Callable[[], dt.datetime]
    seconds: Callable[[], float]
    accepted: Callable[[int], None] = lambda _count: None
    refused: Callable[[int], None] = lambda _status: None
    room: Room = dataclasses.field(default_factory=lambda: Room(ROOM_BYTES))


def make_app(entry: Entry) -> FastAPI:
    """Return the application; its appender runs for as long as it does."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        entry.appender.start()
        yield
        await asyncio.to_thread(entry.appender.stop)

    app = FastAPI(
        title="WedSync Backup: events of applications",
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )

    @app.exception_handler(HTTPException)
    async def refuse(_request: Request, error: HTTPException) -> JSONResponse:
        entry.refused(error.status_code)
        return problems.response(error)

    @app.exception_handler(Exception)
    async def admit_a_bug(_request: Request, _error: Exception) -> JSONResponse:
        entry.refused(500)
        return problems.response(problem(500, "this should not have happened", hint="send it again; report the log"))

    @app.post(
        "/api/events",
        status_code=202,
        summary="Send events",
        description=DESCRIPTION,
        responses=ANSWERS,
        openapi_extra={"requestBody": REQUEST_BODY, **SECURITY},
    )
    async def send_events(request: Request) -> Response:
        return await _send(entry, request)

    @app.get("/healthz", summary="Is the process alive?", responses={503: ANSWERS[503]})
    async def healthz() -> dict[str, str]:
        if not entry.appender.is_alive:
            raise problem(503, "nobody works on what is sent", hint="restart the process")
        return {"status": "ok"}

    @app.get("/readyz", summary="Would events be accepted now?", responses={503: ANSWERS[503]})
    async def readyz() -> dict[str, str]:
        if not entry.appender.is_ready:
            raise problem(503, "Kafka does not answer", hint="is it up?", headers={"Retry-After": "2"})
        return {"status": "ok"}

    return app


async def _send(entry: Entry, request: Request) -> Response:
    headers = _headers(request)
    client = _client(entry, headers)
    _admit(entry, client)
    try:
        async with _body(entry, request, headers) as body:
            events = _events(entry, client, headers, body)
            entry.rate.charge(client.name, max(1, len(events)), now_seconds=entry.seconds())
            mark = _mark(client, headers, body)
            answer = await _submitted(entry, Submission(events=events, request=mark))
    except ClientDisconnect:
        return Response(status_code=400)  # Nobody hears it.
    except (FormatError, RefusedError, TransientError) as error:
        raise problems.of_error(error) from error
    entry.accepted(answer.accepted)
    return JSONResponse({"accepted": answer.accepted}, status_code=202, headers={"Wedsync-Known": str(answer.known)})


async def _submitted(entry: Entry, submission: Submission) -> Answer:
    future = asyncio.wrap_future(entry.appender.submit(submission))
    try:
        return await asyncio.wait_for(future, ANSWER_WITHIN.total_seconds())
    except TimeoutError as error:
        raise TransientError("the log did not answer in time", hint="send it again: no event is doubled") from error


def _headers(request: Request) -> dict[str, str]:
    """Return the headers by lower-case name; one that decides something stands there once."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if name in found and _ONCE.fullmatch(name):
            raise problem(400, f"the header {name[:60]} is there twice", hint="send it once")
        found[name] = value
    return found


def _client(entry: Entry, headers: dict[str, str]) -> Client:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    challenge = {"WWW-Authenticate": 'Bearer realm="events"'}
    try:
        client = entry.clients.of_token(token.strip()) if scheme.lower() == "bearer" else None
    except ConfigError as error:
        raise problem(503, "the list of clients cannot be read", hint="the operator must repair it") from error
    if client is None:
        raise problem(401, "no token, or none we know", hint="Authorization: Bearer TOKEN", headers=challenge)
    return client


def _admit(entry: Entry, client: Client) -> None:
    wait = entry.rate.wait_seconds(client.name, now_seconds=entry.seconds())
    if wait:
        raise problem(429, "too many events of this client", hint="slow down", headers={"Retry-After": str(wait)})


@contextlib.asynccontextmanager
async def _body(entry: Entry, request: Request, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """Read the body as far as it may go; its room is given back when the request is done."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise problem(415, "compressed bodies are not taken", hint="send it as it is")
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > entry.request_bytes_max:  # noqa: PLR2004 - digits
        raise _too_large(entry)
    parts: list[bytes] = []
    taken = 0
    try:
        async with asyncio.timeout(BODY_WITHIN.total_seconds()):
            async for part in request.stream():
                if not entry.room.take(len(part)):
                    raise TransientError("too many bodies are being read", hint="send it again a moment later")
                taken += len(part)
                if taken > entry.request_bytes_max:
                    raise _too_large(entry)
                parts.append(part)
        yield b"".join(parts)
    except TimeoutError as error:
        raise problem(408, f"the body took longer than {BODY_WITHIN.seconds} s", hint="send less at once") from error
    finally:
        entry.room.give_back(taken)


def _too_large(entry: Entry) -> Any:
    # What was not read would be taken for the next request.
    return problem(
        413,
        f"a request has at most {entry.request_bytes_max} bytes",
        hint="send several",
        headers={"Connection": "close"},
    )


def _events(entry: Entry, client: Client, headers: dict[str, str], body: bytes) -> list[ApplicationEvent]:
    now = entry.now()
    reception = Reception(
        client=client.name,
        received_us=int(now.timestamp() * 1_000_000),
        mapping=entry.mapping,
        request=_key(headers),
    )
    content_type = headers.get("content-type", "")
    if not content_type and "ce-specversion" not in headers:
        raise problem(415, "no Content-Type", hint=f"{cloudevents.STRUCTURED}, {cloudevents.BATCH} or ce- headers")
    if cloudevents.is_unknown(content_type, headers):
        raise problem(415, "neither a CloudEvents media type nor ce- headers", hint=cloudevents.STRUCTURED)
    events = cloudevents.parse_request(content_type, headers, body, reception)
    for index, event in enumerate(events):
        if len(event.payload) > entry.event_bytes_max:
            raise problem(
                413, f"event {index} has more than {entry.event_bytes_max} bytes", hint="store it as an object"
            )
        if not client.may_send(wedding=event.wedding, source=event.source):
            raise problem(403, f"this client may not send event {index}", hint="see its weddings and sources")
    return events


def _key(headers: dict[str, str]) -> str:
    key = headers.get("idempotency-key", "")
    if key and not _KEY.fullmatch(key):
        raise problem(400, "Idempotency-Key is not 1 to 255 printable ASCII characters", hint="e.g. a UUID")
    return key


def _mark(client: Client, headers: dict[str, str], body: bytes) -> RequestMark | None:
    """Return what tells this request, if it has a key: by that and its client; and what it says."""
    key = _key(headers)
    if not key:
        return None
    said = hashlib.sha256()
    attributes = sorted((name, value) for name, value in headers.items() if name.startswith("ce-"))
    for part in (cloudevents.media_type(headers.get("content-type", "")), repr(attributes)):
        said.update(part.encode("utf-8", "surrogateescape") + b"\x00")
    said.update(body)
    return RequestMark(mark=hashlib.sha256(f"{client.name}\x00{key}".encode()).digest(), body=said.digest())
