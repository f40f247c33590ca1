"""Whatever comes in: an answer below 500, and nothing in the log that was not accepted."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.api.rigs import BATCH, EVENT, STRUCTURED, Rig

if TYPE_CHECKING:
    import httpx

AVRO = {"content-type": "application/cloudevents+avro"}
PLAIN = {"content-type": "application/json"}
TYPES = st.sampled_from([STRUCTURED, BATCH, AVRO, PLAIN, {"content-type": "a/b"}, {}])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*EVENT, "data", "data_base64", "time", "subject", "datacontenttype"]) | st.text(max_size=8)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6).map(lambda more: {**EVENT, **more})
BODIES = (
    st.binary(max_size=300)
    | OBJECTS.map(lambda each: json.dumps(each).encode())
    | st.lists(OBJECTS, max_size=3).map(lambda each: json.dumps(each).encode())
    | st.text(max_size=100).map(lambda each: each.encode("utf-8", "surrogatepass"))
)
HEADER_NAMES = st.sampled_from(
    ["ce-id", "ce-type", "ce-source", "ce-specversion", "ce-time", "idempotency-key", "ce-x"]
)
HEADERS = st.dictionaries(HEADER_NAMES, st.text("azAZ09%ü\x7f -", max_size=12).map(lambda text: text.encode("latin-1")))

BOMBS: list[tuple[bytes, dict[str, str]]] = [
    (b"[" * 90_000, STRUCTURED),
    (b'{"a":' * 18_000, STRUCTURED),
    (b"[" * 90_000, BATCH),
    (b"[{}," * 20_000, BATCH),
    (b'{"data":' + b"9" * 90_000 + b"}", STRUCTURED),
    (b'{"data":1e' + b"9" * 90_000 + b"}", STRUCTURED),
    (b'{"id":' + b"9" * 90_000 + b"}", STRUCTURED),
    (json.dumps({**EVENT, "id": "\x00"}).encode(), STRUCTURED),
    (json.dumps({**EVENT, "id": "\ud800"}).encode(), STRUCTURED),
    (json.dumps({**EVENT, "source": "\ud800", "data": "\udfff"}).encode(), BATCH),
    (b"\x00\x08\x02" + b"\x02\x00\x06\x02" * 24_000, AVRO),
    (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 9000, AVRO),
    (b"\xef\xbb\xbf" + json.dumps(EVENT).encode(), STRUCTURED),
    (json.dumps(EVENT).encode("utf-16"), STRUCTURED),
    (b"\x1f\x8b\x08" + bytes(1000), STRUCTURED),
]


def ask(body: bytes, headers: dict[str, Any], **more: bytes) -> tuple[httpx.Response, int]:
    """Send one request to an entry of its own, and return the answer and how many events the log has."""

    async def once() -> tuple[httpx.Response, int]:
        with tempfile.TemporaryDirectory() as folder:
            rig = Rig(Path(folder))
            async with rig.running() as client:
                answer = await client.post("/api/events", content=body, headers={**headers, **more})
            return answer, len(rig.log.records)

    return asyncio.run(once())


def check(answer: httpx.Response, in_the_log: int) -> None:
    """Compare the answer with the log."""
    assert answer.status_code < 500, answer.text
    if answer.status_code == 202:
        assert in_the_log == answer.json()["accepted"] - int(answer.headers["wedsync-known"])
    else:
        assert answer.json()["status"] == answer.status_code
        assert in_the_log == 0


@pytest.mark.parametrize(("body", "headers"), BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_costs_an_answer(body: bytes, headers: dict[str, str]) -> None:
    """Deep, long, broken in its encoding: refused or kept, never a crash."""
    check(*ask(body, headers))


@settings(max_examples=120, deadline=None)
@given(BODIES, TYPES, HEADERS)
def test_no_input_makes_it_fail(body: bytes, content_type: dict[str, str], headers: dict[str, bytes]) -> None:
    """Bodies and headers nobody would send."""
    check(*ask(body, {**content_type, **headers}))
