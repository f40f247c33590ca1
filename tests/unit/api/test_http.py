"""The entry over real HTTP: bytes that are no request, bodies that never end, and a client on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
import uvicorn

from connectors.event_client import EventClient
from ops.api.serve import listen, server_config
from ops.api.web import make_app
from schemas.errors import ConfigError, RefusedError
from tests.unit.api.rigs import EVENT, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Rig, int]]:
    """Serve an entry on a free port."""
    rig = Rig(folder)
    listening = listen("127.0.0.1", 0, folder / "api.url")
    server = uvicorn.Server(server_config(make_app(rig.entry)))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        yield rig, listening.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        rig.ledger.close()


async def talk(port: int, *parts: bytes, ends: bool = False) -> bytes:
    """Send bytes, and perhaps an end, and return what comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
        if ends:
            writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(5):
            while part := await reader.read(65536):
                answer += part
                if answer.startswith(b"HTTP/1.1 4") and b"\r\n\r\n" in answer:
                    break
    writer.close()
    return answer


def a_head(rig: Rig, *headers: str) -> bytes:
    """Return the head of a request with a token."""
    lines = ["POST /api/events HTTP/1.1", "Host: x", f"Authorization: Bearer {rig.token}"]
    return "\r\n".join([*lines, "Content-Type: application/cloudevents+json", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /api/events HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /api/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(9),
)
async def test_what_is_no_request_is_refused_and_harms_nobody(tmp_path: Path, garbage: bytes) -> None:
    """An answer of the client's fault, or none; the next one is served."""
    async with serving(tmp_path) as (_, port):
        answer = await talk(port, garbage, ends=True)
        health = await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert health.startswith(b"HTTP/1.1 200")


async def test_a_body_that_never_ends_is_refused_while_it_comes(tmp_path: Path) -> None:
    """Chunk by chunk, without a length."""
    chunk = b"2710\r\n" + b" " * 10_000 + b"\r\n"
    async with serving(tmp_path) as (rig, port):
        answer = await talk(port, a_head(rig, "Transfer-Encoding: chunked"), *[chunk] * 15)

    assert answer.startswith(b"HTTP/1.1 413")
    assert rig.entry.room.taken == 0


async def test_a_declared_length_that_is_too_large_is_refused_before_the_body(tmp_path: Path) -> None:
    """The answer comes although nothing was sent, and the connection is closed behind it."""
    async with serving(tmp_path) as (rig, port):
        answer = await talk(port, a_head(rig, "Content-Length: 99999999999999999999999"))
        large = await talk(port, a_head(rig, "Content-Length: 200000"))

    assert (answer[:12], large[:12]) == (b"HTTP/1.1 400", b"HTTP/1.1 413")
    assert b"connection: close" in large.lower()


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither an event nor room that is taken."""
    body = json.dumps(EVENT).encode()
    async with serving(tmp_path) as (rig, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(a_head(rig, f"Content-Length: {len(body)}") + body[:-1])
        await writer.drain()
        writer.close()
        await reader.read()
        health = await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert health.startswith(b"HTTP/1.1 200")
    assert (rig.log.records, rig.entry.room.taken) == ([], 0)


async def test_client_and_entry_understand_each_other(tmp_path: Path) -> None:
    """Over a spool, with one event that is never taken."""
    async with serving(tmp_path) as (rig, port):
        url = f"http://127.0.0.1:{port}"

        def send() -> int:
            with EventClient(url, token=rig.token, spool=tmp_path / "spool") as client:
                client.send_many([{"source": "/a", "type": "t", "id": f"e{number}"} for number in range(50)])
                client.send({"source": "/a", "type": "t", "weddingid": "@platform"})
                client.flush()
                return client.rejected

        rejected = await asyncio.to_thread(send)
        with EventClient(url, token="nonsense") as stranger, pytest.raises(RefusedError, match="401"):
            await asyncio.to_thread(stranger.send, {"source": "/a", "type": "t"})

    assert rejected == 1
    assert [event.id for event in rig.log.events()] == [f"e{number}" for number in range(50)]


def test_the_port_stays_the_same_over_restarts(tmp_path: Path) -> None:
    """As long as nobody took it; one that was asked for and is taken is named."""
    told = tmp_path / "run" / "api.url"
    with listen("127.0.0.1", 0, told) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=r"api\.port"):
            listen("127.0.0.1", port, told)
        with listen("127.0.0.1", 0, tmp_path / "other.url") as other:
            assert other.getsockname()[1] != port
    with listen("127.0.0.1", 0, told) as again:
        assert again.getsockname()[1] == port
