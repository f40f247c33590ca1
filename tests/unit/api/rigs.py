"""An entry for events over a log in memory, asked in process."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx

from connectors import application
from ops.api.appender import Appender
from ops.api.clients import Clients, add_client
from ops.api.ledger import Ledger
from ops.api.limits import RateLimit
from ops.api.web import Entry, make_app
from schemas.errors import TransientError
from tests import builders
from tests.fakes import HandClock, seeded_randomness

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Iterator, Sequence

    from connectors.application import ApplicationEvent
    from ops.api.event_log import LogRecord

EVENT: dict[str, Any] = {"specversion": "1.0", "id": "e1", "source": "/app", "type": "t", "weddingid": "w1"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}


class MemoryEventLog:
    """A log in memory, which may be away, and may lose the answer after it has written."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.is_away = False
        self.answers_lost = 0
        self.written_before_loss: int | None = None

    def name(self) -> str:
        """See `EventLog.name`."""
        return "capture.application.e7"

    def append(self, records: Sequence[LogRecord]) -> int:
        """See `EventLog.append`."""
        self._answer()
        if self.answers_lost:
            self.answers_lost -= 1
            self.records += records[: self.written_before_loss]
            raise TransientError("the answer was lost", hint="a test said so")
        self.records += records
        return len(self.records)

    def read(self, first: int) -> Iterator[tuple[int, LogRecord]]:
        """See `EventLog.read`."""
        self._answer()
        yield from list(enumerate(self.records))[first:]

    def end(self) -> int:
        """See `EventLog.end`."""
        self._answer()
        return len(self.records)

    def _answer(self) -> None:
        if self.is_away:
            raise TransientError("the log is away", hint="a test said so")

    def events(self) -> list[ApplicationEvent]:
        """Return what was appended."""
        return [application.decode_event(each.value) for each in self.records]


class Rig:
    """An entry with one client; made again over the same folder and log, it is a process that began again."""

    def __init__(self, folder: pathlib.Path, log: MemoryEventLog | None = None, **settings: Any) -> None:
        self.log = log or MemoryEventLog()
        self.clock = HandClock()
        self.clients_file = folder / "clients.json"
        self.token = add_client(self.clients_file, "app", randomness=seeded_randomness())
        self.ledger = Ledger(folder / "ledger.db")
        self.seconds = 0.0
        appender = Appender(event_log=self.log, ledger=self.ledger, now_us=lambda: 1_781_000_000_000_000)
        given: dict[str, Any] = {"event_bytes_max": 10_000, "request_bytes_max": 100_000}
        self.entry = Entry(
            appender=appender,
            clients=Clients(self.clients_file),
            rate=RateLimit(per_second=10, burst=settings.pop("burst", 100_000)),
            mapping=builders.a_mapping(),
            now=self.clock,
            seconds=lambda: self.seconds,
            **{**given, **settings},
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        """Run the entry, and return who asks it."""
        app = make_app(self.entry)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        try:
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(
                    transport=transport, base_url="http://api", headers={"authorization": f"Bearer {self.token}"}
                ) as client,
            ):
                yield client
        finally:
            self.ledger.close()

    async def send(self, client: httpx.AsyncClient, *events: dict[str, Any], **headers: str) -> httpx.Response:
        """Send a batch."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post("/api/events", content=json.dumps(events), headers={**BATCH, **named})
