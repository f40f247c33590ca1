"""Sending events from an application: durable on the caller's disk first, then in the log, once each.

with EventClient("http://127.0.0.1:8480", token=token, spool=folder) as client:
    client.send({"source": "/checkout", "type": "gift.bought", "weddingid": "42", "data": {"gift": 7}})

With a spool `send` returns once the event is on the disk; a thread sends what waits, in order, for as long as
the receiver takes to answer, and goes on after a kill. Without one `send` returns once the event is accepted.
Ids are given before anything is sent, so that whatever is sent twice is one event. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import http.client
import json
import pathlib
import random
import threading
import time
import urllib.parse
import uuid
from typing import TYPE_CHECKING, Any, Final, Self

from connectors.event_spool import BYTES_MAX, Spool
from schemas.errors import ConfigError, FormatError, RefusedError, TransientError, WedSyncError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from connectors.event_spool import Event

BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 1 << 20
_BATCH_TYPE: Final = "application/cloudevents-batch+json"
_OK, _UNAUTHORIZED, _SLOW, _MANY = 202, 401, 408, 429
_SERVER_ERRORS: Final = 500
_NEVER: Final = frozenset({400, 403, 413, 422})
"""What says that it is the events' fault; all other refusals are the address's or the token's."""

_PATH: Final = "/api/events"
_DAY_SECONDS: Final = 86_400.0
_IDLE_SECONDS: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a request is tried, and how long between; with a spool the tries go on, as far apart as the last."""

    attempts: int = 5
    first_seconds: float = 0.2
    last_seconds: float = 30.0
    request_seconds: float = 45.0

    def pause_seconds(self, failures: int, *, chance: float) -> float:
        """Return how long to wait after so many failures in a row; `chance` in [0, 1) keeps clients apart."""
        return min(self.first_seconds * 2.0 ** min(failures - 1, 30), self.last_seconds) * (0.5 + chance / 2)


class EventClient:
    """One receiver; methods may be called from any thread, and one spool may serve several processes."""

    def __init__(
        self,
        url: str,
        *,
        token: str,
        spool: pathlib.Path | str | None = None,
        spool_bytes_max: int = BYTES_MAX,
        retry: Retry | None = None,
    ) -> None:
        """Raises: ConfigError for a URL that is none, or a spool that cannot be written to."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"{url!r} is no address of a receiver", hint="http://127.0.0.1:8480")
        self._parts, self._token, self._retry = parts, token.strip(), retry or Retry()
        self._spool = None if spool is None else Spool(pathlib.Path(spool), bytes_max=spool_bytes_max)
        self._connection: http.client.HTTPConnection | None = None
        self._one_request = threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._trouble: WedSyncError | None = None
        self._thread: threading.Thread | None = None
        if self._spool is not None:
            self._thread = threading.Thread(target=self._drain_for_ever, name="event-client", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, event: Event) -> str:
        """Send one event and return its id; see the module for what is safe when.

        Raises:
            FormatError: it is no event.
            RefusedError: the receiver will never take it, or the spool is full.
            TransientError: without a spool: the receiver does not take it now.
        """
        return self.send_many([event])[0]

    def send_many(self, events: Iterable[Event]) -> list[str]:
        """Send events in their order and return their ids; without a spool all of a batch are accepted, or none."""
        complete = [_completed(each) for each in events]
        if self._spool is None:
            for batch in _batches(complete):
                self._send_with_retries(batch)
        elif complete:
            self._spool.append(complete)
            self._wake.set()
        return [str(each["id"]) for each in complete]

    def flush(self, *, seconds: float = 30.0) -> None:
        """Return once nothing waits in the spool any more.

        Raises:
            TransientError: something still waits; it stays in the spool.
            RefusedError: the receiver does not know the token.
        """
        deadline = time.monotonic() + seconds
        self._wake.set()
        while self._spool is not None and (waiting := self._spool.waiting_bytes()):
            if time.monotonic() > deadline:
                raise self._trouble or TransientError(
                    f"{waiting} bytes of events still wait", hint="they stay in the spool: try again later"
                )
            self._stop.wait(0.01)

    @property
    def rejected(self) -> int:
        """Return how many events the receiver will never take; they lie in the spool's `rejected.ndjson`."""
        return 0 if self._spool is None else self._spool.rejected()

    def close(self, *, seconds: float = 5.0) -> None:
        """Try to send what waits, and end; what could not be sent stays in the spool."""
        with contextlib.suppress(WedSyncError):
            self.flush(seconds=seconds)
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._one_request:
            self._disconnect()

    def _drain_for_ever(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._drain()
            except (WedSyncError, OSError) as error:
                # Told by `flush`: here is nobody to tell.
                self._trouble = error if isinstance(error, WedSyncError) else TransientError(f"the spool: {error}")
                failures += 1
                self._pause(failures, error)
            else:
                self._trouble, failures = None, 0
                self._wake.wait(_IDLE_SECONDS)
                self._wake.clear()

    def _pause(self, failures: int, error: Exception) -> None:
        told = getattr(error, "retry_after", None)
        seconds = self._retry.pause_seconds(failures, chance=random.random())  # noqa: S311 - to keep clients apart
        self._stop.wait(max(seconds, min(told.total_seconds(), self._retry.last_seconds) if told else 0.0))

    def _drain(self) -> None:
        """Send all that waits, unless another process does."""
        assert self._spool is not None, "only a client with a spool drains"
        with self._spool.draining() as is_ours:
            while is_ours and not self._stop.is_set():
                place = self._spool.place()
                batch, after = self._spool.read(place, events_max=BATCH_EVENTS, bytes_max=BATCH_BYTES)
                if after == place:
                    return
                self._send_or_reject(batch)
                self._spool.accepted(after)

    def _send_or_reject(self, batch: Sequence[Event]) -> None:
        """Send a batch; where the receiver will never take it, halve it until the event is found that is to blame."""
        assert self._spool is not None, "only a client with a spool drains"
        if not batch:
            return
        try:
            self._send_once(batch)
        except FormatError as error:
            if len(batch) == 1:
                self._spool.reject(batch[0], str(error))
                return
            self._send_or_reject(batch[: len(batch) // 2])
            self._send_or_reject(batch[len(batch) // 2 :])

    def _send_with_retries(self, batch: Sequence[Event]) -> None:
        for failures in range(1, self._retry.attempts + 1):
            try:
                self._send_once(batch)
            except TransientError as error:
                if failures == self._retry.attempts or self._stop.is_set():
                    raise
                self._pause(failures, error)
            except FormatError as error:
                raise RefusedError(str(error), hint=error.hint) from error
            else:
                return

    def _send_once(self, batch: Sequence[Event]) -> None:
        """Send a batch in one request.

        Raises:
            FormatError: the receiver will never take it.
            RefusedError: it does not know the token.
            TransientError: not now.
        """
        body = json.dumps(batch, separators=(",", ":")).encode()
        with self._one_request:
            status, headers, answer = self._ask(body)
        if status != _OK:
            raise _error_of(status, headers, answer)

    def _ask(self, body: bytes) -> tuple[int, Any, bytes]:
        headers = {"Content-Type": _BATCH_TYPE, "Authorization": f"Bearer {self._token}"}
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request("POST", f"{self._parts.path.rstrip('/')}{_PATH}", body=body, headers=headers)
            response = self._connection.getresponse()
            answer = response.read()
            if response.will_close:
                self._disconnect()
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            raise TransientError(
                f"the receiver does not answer: {type(error).__name__} {error}", hint="is it up, and the URL right?"
            ) from error
        return response.status, response.headers, answer

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        assert self._parts.hostname is not None, "checked at the beginning"
        return kind(self._parts.hostname, self._parts.port, timeout=self._retry.request_seconds)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _completed(event: Event) -> Event:
    """Return an event with what it may leave out: id, time and specversion.

    Raises:
        FormatError: it has no source or type, or cannot be written as JSON.
    """
    for name in ("source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise FormatError(f"the event has no {name}", hint="CloudEvents 1.0 requires it")
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    complete = {"specversion": "1.0", "id": str(uuid.uuid4()), "time": now, **event}
    try:
        json.dumps(complete, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the event is not JSON: {error}", hint="put bytes into data_base64") from error
    return complete


def _batches(events: Sequence[Event]) -> Iterable[Sequence[Event]]:
    return (events[at : at + BATCH_EVENTS] for at in range(0, len(events), BATCH_EVENTS))


def _error_of(status: int, headers: Any, answer: bytes) -> WedSyncError:
    try:
        problem = json.loads(answer)
        says, hint = str(problem["detail"]), str(problem.get("hint", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        says, hint = f"an answer that is no problem document ({len(answer)} bytes)", "is it the right URL?"
    says = f"{status}: {says}"
    if status == _UNAUTHORIZED:
        return RefusedError(says, hint="is it this receiver's token? `wedsync-backup clients add` makes one")
    if status in {_SLOW, _MANY} or status >= _SERVER_ERRORS:
        after = str(headers.get("Retry-After", ""))
        seconds = min(float(after), _DAY_SECONDS) if after.isascii() and after.isdecimal() else 0.0
        return TransientError(says, hint=hint, retry_after=dt.timedelta(seconds=seconds) if seconds else None)
    return FormatError(says, hint=hint) if status in _NEVER else RefusedError(says, hint=hint or "is the URL right?")
