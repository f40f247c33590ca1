"""How Kafka Connect's answers are understood: over a transport of our own instead of a network."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from connectors.connect import ConnectClient, parse_status
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNNING: dict[str, Any] = {"name": "c", "connector": {"state": "RUNNING"}, "tasks": [{"id": 0, "state": "RUNNING"}]}
FAILED: dict[str, Any] = {**RUNNING, "tasks": [{"id": 0, "state": "FAILED", "trace": "slot is gone\n\tat java"}]}
BUSY = httpx.Response(409, json={"error_code": 409, "message": "rebalance"})


class Scripted(httpx.AsyncBaseTransport):
    """Answers as written, the last answer for ever, and remembers what was asked."""

    def __init__(self, answers: Sequence[httpx.Response]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the next answer."""
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


def a_client(*answers: httpx.Response, retry_ms: int = 2000) -> tuple[ConnectClient, Scripted]:
    """Return a client that is given these answers."""
    transport = Scripted(answers)
    retry_for = dt.timedelta(milliseconds=retry_ms)
    return ConnectClient("http://connect", transport=transport, retry_for=retry_for), transport


async def test_a_busy_group_is_asked_again() -> None:
    """409 means that the workers are still agreeing; the second answer counts."""
    client, transport = a_client(BUSY, httpx.Response(200, json={}))
    async with client:
        await client.put("c", {})

    assert transport.asked == ["PUT /connectors/c/config"] * 2


async def test_a_group_that_stays_busy_is_given_up() -> None:
    """Retrying ends, and the error says what was wanted and why it did not happen."""
    client, _ = a_client(BUSY, retry_ms=50)
    async with client:
        with pytest.raises(TransientError, match=r"PUT /connectors/c/config: 409 rebalance"):
            await client.put("c", {})


async def test_a_refused_configuration_is_not_retried() -> None:
    """400 is the operator's move; the message is Connect's own."""
    client, transport = a_client(httpx.Response(400, json={"message": "bad slot.name"}))
    async with client:
        with pytest.raises(ConfigError, match=r"bad slot\.name"):
            await client.put("c", {})

    assert len(transport.asked) == 1


async def test_waiting_ends_when_the_connector_fails() -> None:
    """A failed task is an answer: nobody waits for the time limit, and the trace says why."""
    client, _ = a_client(httpx.Response(404, json={}), httpx.Response(200, json=FAILED))
    async with client:
        with pytest.raises(ConfigError, match="slot is gone"):
            await client.wait_running("c", within=dt.timedelta(seconds=5))


def test_a_failure_tells_its_last_cause() -> None:
    """The first line says that something went wrong, the last cause what it was."""
    causes = "Caused by: Wrapper\n\tat there\nCaused by: RowTooLarge: 17 MiB\n\t... 9 more"
    trace = f"ConnectException: unrecoverable\n\tat here\n{causes}"
    status = parse_status({**RUNNING, "tasks": [{"id": 0, "state": "FAILED", "trace": trace}]})

    assert status.failure == "ConnectException: unrecoverable\nCaused by: RowTooLarge: 17 MiB"


async def test_only_what_failed_is_restarted() -> None:
    """A running task is never interrupted for the sake of a failed one."""
    client, transport = a_client(httpx.Response(202, json={}))
    async with client:
        await client.restart_failed("c")

    assert transport.asked == ["POST /connectors/c/restart?includeTasks=true&onlyFailed=true"]


async def test_deleting_what_is_gone_succeeds() -> None:
    """Removal can be repeated."""
    client, _ = a_client(httpx.Response(404, json={}))
    async with client:
        await client.delete("c")


def test_a_connector_without_a_task_does_not_run() -> None:
    """RUNNING with no task captures nothing."""
    assert parse_status(RUNNING).is_running
    assert not parse_status({**RUNNING, "tasks": []}).is_running
    assert not parse_status(FAILED).is_running
