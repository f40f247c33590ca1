"""One thread that appends: looks up what is known, appends the rest, remembers it, answers, in this order.

Whatever waits goes together, so that a thousand clients cost a handful of round trips. Since one thread
does it all, no two requests can bring the same event at once. When an append failed, nobody knows what of
it is in the log: its end is read before anything else is appended, so a retry never doubles an event.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import queue
import threading
from typing import TYPE_CHECKING, Final

import structlog

from connectors import application
from ops.api.event_log import LogRecord
from ops.api.ledger import Entry, RequestMark, identity_hash
from schemas.errors import FormatError, RefusedError, TransientError, WedSyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connectors.application import ApplicationEvent
    from ops.api.event_log import EventLog
    from ops.api.ledger import Ledger

log = structlog.get_logger(__name__)

WAITING_MAX: Final = 256
GROUP_EVENTS_MAX: Final = 5000
GROUP_BYTES_MAX: Final = 8 << 20
_PROBE_SECONDS: Final = 5.0
_CATCH_UP_RECORDS: Final = 5000
_HASH_BYTES: Final = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The events of one request."""

    events: Sequence[ApplicationEvent]
    request: RequestMark | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All `accepted` events are in the log; `known` of them were there before."""

    accepted: int
    known: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """What one submission adds to the log."""

    submission: Submission
    entries: list[Entry]
    records: list[LogRecord]
    known: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Said:
    """What the requests of one group say, before any of it is in the ledger."""

    events: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    requests: dict[bytes, bytes] = dataclasses.field(default_factory=dict)


_Waiting = tuple[Submission, "concurrent.futures.Future[Answer]"]


class Appender:
    """Runs from `start` to `stop`; `submit` may be called from any thread."""

    def __init__(self, *, event_log: EventLog, ledger: Ledger, now_us: Callable[[], int]) -> None:
        self._log, self._ledger, self._now_us = event_log, ledger, now_us
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(WAITING_MAX)
        self._is_complete = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Return whether the ledger knows the whole log, and the log answered last time."""
        return self._is_complete

    @property
    def is_alive(self) -> bool:
        """Return whether anybody works on what is submitted."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, submission: Submission) -> concurrent.futures.Future[Answer]:
        """Return what becomes of a submission: its answer, or a RefusedError or TransientError.

        Raises:
            TransientError: too much waits already.
        """
        future: concurrent.futures.Future[Answer] = concurrent.futures.Future()
        try:
            self._queue.put_nowait((submission, future))
        except queue.Full as error:
            raise TransientError("too many requests wait already", hint="send it again a moment later") from error
        return future

    def _run(self) -> None:
        while True:
            if not self._is_complete:
                self._try_to_catch_up()
            try:
                first = self._queue.get(timeout=_PROBE_SECONDS)
            except queue.Empty:
                self._probe()
                continue
            if first is None:
                return
            group, is_last = self._group(first)
            # Whoever has gone away is passed over; from here on nobody can.
            self._serve([each for each in group if each[1].set_running_or_notify_cancel()])
            if is_last:
                return

    def _group(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        group, events, size = [first], len(first[0].events), _size_bytes(first[0])
        while events < GROUP_EVENTS_MAX and size < GROUP_BYTES_MAX:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                return group, True
            group.append(waiting)
            events, size = events + len(waiting[0].events), size + _size_bytes(waiting[0])
        return group, False

    def _probe(self) -> None:
        """Ask the log whether it is still there, so that readiness does not depend on traffic."""
        try:
            self._log.end()
        except TransientError:
            self._is_complete = False

    def _try_to_catch_up(self) -> None:
        try:
            self.catch_up()
        except TransientError as error:
            log.warning("the log does not answer", action="events.behind", reason=str(error))

    def catch_up(self) -> None:
        """Read what the log holds beyond the ledger.

        Raises:
            TransientError: the log cannot be read now.
        """
        name = self._log.name()
        entries: list[Entry] = []
        requests: list[RequestMark] = []
        first = at = self._ledger.next_offset(name)
        for offset, record in self._log.read(first):
            at = offset + 1
            if (entry := _entry_of(record)) is not None:
                entries.append(entry)
            if len(record.request) == 2 * _HASH_BYTES:
                requests.append(RequestMark(mark=record.request[:_HASH_BYTES], body=record.request[_HASH_BYTES:]))
            if len(entries) >= _CATCH_UP_RECORDS:
                self._ledger.remember(name, at, entries, requests, now_us=self._now_us())
                entries, requests = [], []
        if at > first:
            self._ledger.remember(name, at, entries, requests, now_us=self._now_us())
        self._is_complete = True

    def _serve(self, group: Sequence[_Waiting]) -> None:
        """Answer every request of a group; no error of one ends the thread."""
        planned: list[tuple[_Planned, concurrent.futures.Future[Answer]]] = []
        try:
            if not self._is_complete:
                self.catch_up()
            said = _Said()
            for submission, future in group:
                try:
                    planned.append((self._plan(submission, said), future))
                except RefusedError as error:
                    future.set_exception(error)
            self._append([each for each, _ in planned])
        except Exception as error:  # noqa: BLE001 - the thread's outer loop: whoever waits is told, and the log is read
            self._is_complete = False
            told = error if isinstance(error, WedSyncError) else TransientError(f"{error!r}", hint="see the log")
            for future in (future for _, future in group if not future.done()):
                future.set_exception(told)
            return
        for plan, future in planned:
            future.set_result(Answer(accepted=len(plan.submission.events), known=plan.known))

    def _plan(self, submission: Submission, said: _Said) -> _Planned:
        """Return what is new; `said` holds what earlier requests of this group add, and is added to.

        Raises:
            RefusedError: a key or an event came before and said something else.
        """
        request = submission.request
        if request is not None and (said.requests.get(request.mark) or self._ledger.body_of(request.mark)) not in {
            None,
            request.body,
        }:
            raise RefusedError(
                "this Idempotency-Key came with another request before", hint="a new request takes a new key"
            )
        entries: list[Entry] = []
        records: list[LogRecord] = []
        own: dict[bytes, bytes] = {}
        for event in submission.events:
            identity, digest = identity_hash(event.source, event.id), event.digest()
            before = own.get(identity) or said.events.get(identity) or self._ledger.digest_of(identity)
            if before not in {None, digest}:
                raise RefusedError(
                    f"an event with the id {event.id[:80]!r} of this source came before and said something else",
                    hint="source and id together tell an event: give a new one a new id",
                )
            own[identity] = digest
            if before is None:
                entries.append(Entry(identity=identity, digest=digest, at_us=event.received_us))
                records.append(_record_of(event, request))
        said.events.update(own)
        if request is not None:
            said.requests[request.mark] = request.body
        known = len(submission.events) - len(entries)
        return _Planned(submission=submission, entries=entries, records=records, known=known)

    def _append(self, planned: Sequence[_Planned]) -> None:
        records = [record for each in planned for record in each.records]
        requests = [each.submission.request for each in planned if each.submission.request is not None]
        if not records and not requests:
            return
        name = self._log.name()
        after = self._log.append(records) if records else self._ledger.next_offset(name)
        entries = [entry for each in planned for entry in each.entries]
        self._ledger.remember(name, after, entries, requests, now_us=self._now_us())


def _size_bytes(submission: Submission) -> int:
    return sum(len(event.payload) for event in submission.events)


def _record_of(event: ApplicationEvent, request: RequestMark | None) -> LogRecord:
    mark = b"" if request is None else request.mark + request.body
    return LogRecord(event.wedding.encode(), application.encode_event(event), mark)


def _entry_of(record: LogRecord) -> Entry | None:
    """Return the event of a record; None for what is none: the router makes a dead letter of it."""
    try:
        event = application.decode_event(record.value)
    except FormatError:
        return None
    return Entry(identity=identity_hash(*event.identity), digest=event.digest(), at_us=event.received_us)
