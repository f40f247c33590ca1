"""Kafka Connect over its REST interface: register, watch, repair, remove one connector.

Every request has a time limit and every retry a bound. Connect answers 409 while its workers agree among
themselves who does what, which happens at each start: that alone is retried, with all that says "not now".
The interface has no login: it must be reachable from this machine or its own network only.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

# Connect itself gives up on an unfinished rebalance after 90 s; what takes longer than this is reported.
REQUEST_TIMEOUT: Final = dt.timedelta(seconds=30)
# Long enough for a worker that was killed to start again and for the group to agree.
RETRY_FOR: Final = dt.timedelta(seconds=60)
_PAUSE: Final = dt.timedelta(milliseconds=250)
_POLL: Final = dt.timedelta(milliseconds=100)
_NOT_NOW: Final = frozenset({409, 429, 500, 502, 503, 504})
_RUNNING: Final = "RUNNING"
_FAILED: Final = "FAILED"
_LSN_FIELDS: Final = ("lsn", "lsn_proc", "lsn_commit")
# Java's stack traces are long; their first line says what happened.
_TRACE_CHARS: Final = 300


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """One task of a connector; `trace` says why it failed, else it is empty."""

    number: int
    state: str
    trace: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorStatus:
    """One connector as Connect sees it: states are Connect's own words (RUNNING, PAUSED, FAILED, …)."""

    name: str
    state: str
    trace: str
    tasks: tuple[TaskStatus, ...]

    @property
    def is_running(self) -> bool:
        """Tell whether the connector and all its tasks run; a connector without a task captures nothing."""
        return self.state == _RUNNING and bool(self.tasks) and all(task.state == _RUNNING for task in self.tasks)

    @property
    def failure(self) -> str:
        """Return why it failed, or an empty text."""
        traces = [self.trace or _FAILED] if self.state == _FAILED else []
        traces += [task.trace or _FAILED for task in self.tasks if task.state == _FAILED]
        return traces[0] if traces else ""


def parse_status(raw: Mapping[str, Any]) -> ConnectorStatus:
    """Return a connector's status from Connect's JSON."""
    tasks = sorted(raw.get("tasks", ()), key=lambda task: int(task["id"]))
    return ConnectorStatus(
        name=raw["name"],
        state=raw["connector"]["state"],
        trace=_first_words(raw["connector"].get("trace", "")),
        tasks=tuple(
            TaskStatus(number=int(task["id"]), state=task["state"], trace=_first_words(task.get("trace", "")))
            for task in tasks
        ),
    )


class ConnectClient:
    """One Kafka Connect cluster; use it as an async context. All methods may be repeated and called concurrently."""

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        retry_for: dt.timedelta = RETRY_FOR,
    ) -> None:
        self._retry_for = retry_for
        # `trust_env=False`: a proxy for the outside world must not stand between us and loopback.
        self._client = httpx.AsyncClient(
            base_url=url, timeout=REQUEST_TIMEOUT.total_seconds(), transport=transport, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def put(self, name: str, config: Mapping[str, str]) -> None:
        """Create the connector, or make it have exactly this configuration; the same again changes nothing.

        Raises:
            ConfigError: Connect or the connector refuses the configuration.
            TransientError: Connect did not answer, or stayed busy.
        """
        await self._ask("PUT", f"/connectors/{name}/config", json=dict(config))

    async def statuses(self) -> Mapping[str, ConnectorStatus]:
        """Return every connector's status, asked in one request."""
        answer = await self._ask("GET", "/connectors", params={"expand": "status"})
        return {name: parse_status(raw["status"]) for name, raw in answer.json().items()}

    async def status(self, name: str) -> ConnectorStatus | None:
        """Return a connector's status; None when it does not exist or was not started by any worker yet."""
        answer = await self._ask("GET", f"/connectors/{name}/status", may_be_missing=True)
        return None if answer.status_code == httpx.codes.NOT_FOUND else parse_status(answer.json())

    async def captured_lsn(self, name: str) -> int | None:
        """Return the farthest place in a Postgres log that Connect has recorded; None before the first."""
        answer = await self._ask("GET", f"/connectors/{name}/offsets", may_be_missing=True)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        places = [
            int(each["offset"][field])
            for each in answer.json().get("offsets", ())
            for field in _LSN_FIELDS
            if (each.get("offset") or {}).get(field) is not None
        ]
        return max(places, default=None)

    async def restart_failed(self, name: str) -> None:
        """Restart the connector and those of its tasks that failed; what runs is left alone."""
        params = {"includeTasks": "true", "onlyFailed": "true"}
        await self._ask("POST", f"/connectors/{name}/restart", params=params)

    async def pause(self, name: str) -> None:
        """Stop reading; the slot keeps everything until `resume`, and fills the disk meanwhile."""
        await self._ask("PUT", f"/connectors/{name}/pause")

    async def resume(self, name: str) -> None:
        """Go on after `pause`."""
        await self._ask("PUT", f"/connectors/{name}/resume")

    async def delete(self, name: str) -> None:
        """Remove the connector; one that is not there is already removed. Its slot in Postgres stays."""
        await self._ask("DELETE", f"/connectors/{name}", may_be_missing=True)

    async def wait_running(self, name: str, *, within: dt.timedelta) -> ConnectorStatus:
        """Wait until the connector and all its tasks run.

        Raises:
            ConfigError: it failed; the message says why.
            TransientError: it did not run in time.
        """
        try:
            return await asyncio.wait_for(self._until_running(name), within.total_seconds())
        except TimeoutError as error:
            raise TransientError(
                f"connector {name} did not run within {within.total_seconds():.0f} s", hint="see Kafka Connect's log"
            ) from error

    async def _until_running(self, name: str) -> ConnectorStatus:
        while True:
            status = await self.status(name)
            if status is not None and status.failure:
                raise ConfigError(f"connector {name} failed: {status.failure}", hint="see Kafka Connect's log")
            if status is not None and status.is_running:
                return status
            await asyncio.sleep(_POLL.total_seconds())

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        may_be_missing: bool = False,
    ) -> httpx.Response:
        request = self._client.build_request(method, path, json=json, params=params)
        accepted = {httpx.codes.NOT_FOUND} if may_be_missing else set()
        reason = "no answer"
        try:
            async with asyncio.timeout(self._retry_for.total_seconds()):
                while True:
                    answer, reason = await self._try(request)
                    if answer is not None and (answer.is_success or answer.status_code in accepted):
                        return answer
                    if answer is not None and answer.status_code not in _NOT_NOW:
                        raise ConfigError(f"Kafka Connect refused {method} {path}: {reason}", hint="see its settings")
                    await asyncio.sleep(_PAUSE.total_seconds())
        except TimeoutError as error:
            raise TransientError(
                f"Kafka Connect did not do {method} {path}: {reason}", hint="is the stack up?", retry_after=_PAUSE
            ) from error

    async def _try(self, request: httpx.Request) -> tuple[httpx.Response | None, str]:
        try:
            answer = await self._client.send(request)
        except httpx.TransportError as error:
            return None, f"{type(error).__name__} {error}"
        return answer, _reason(answer)


def _reason(answer: httpx.Response) -> str:
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.text
    # What Connect refuses it lists, one reason a line: all of them help.
    return f"{answer.status_code} {message[: 2 * _TRACE_CHARS].strip()}"


def _first_words(trace: str) -> str:
    """Return what was said, without where in the code: the last cause is the one that helps."""
    said = [line.strip() for line in trace.splitlines() if not line.lstrip().startswith(("at ", "... "))]
    first, last = said[:1], said[1:][-1:]
    return "\n".join([*(line[:_TRACE_CHARS] for line in (*first, *last))]).strip()
