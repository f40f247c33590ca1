"""The client: what it was given is on disk, sent in order, once, and never dropped in silence."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.event_client import EventClient, Retry
from connectors.event_spool import Place, Spool
from schemas.errors import ConfigError, FormatError, RefusedError, TransientError
from tests.unit.connectors.receivers import Events, Receiver, a_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAST = Retry(attempts=3, first_seconds=0.001, last_seconds=0.005, request_seconds=5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a receiver."""
    with a_receiver() as running:
        yield running


def an_event(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an event with an id of its own."""
    return {"id": f"e{number}", "source": "/app", "type": "t", **fields}


def a_client(receiver: Receiver, spool: Path | None = None, **settings: Any) -> EventClient:
    """Return a client that does not wait long."""
    return EventClient(receiver.url, token="t", spool=spool, retry=FAST, **settings)


def test_without_a_spool_an_event_is_accepted_when_send_returns(receiver: Receiver) -> None:
    """What it may leave out is filled in."""
    with a_client(receiver) as client:
        name = client.send({"source": "/app", "type": "t"})

    assert [event["id"] for event in receiver.events] == [name]
    assert receiver.events[0]["specversion"] == "1.0"


@pytest.mark.parametrize("status", [503, 429, 0])
def test_a_busy_receiver_is_asked_again(receiver: Receiver, status: int) -> None:
    """Also one that took the event and lost its answer: it is one event."""
    statuses = iter([status])
    receiver.refuse = lambda _events: next(statuses, 202)
    with a_client(receiver) as client:
        client.send(an_event())

    assert (len(receiver.events), receiver.requests) == (1, 2)


def test_a_receiver_that_stays_away_is_told_after_the_last_try(receiver: Receiver) -> None:
    """Bounded."""
    receiver.refuse = lambda _events: 503
    with a_client(receiver) as client, pytest.raises(TransientError, match="503: a test said so"):
        client.send(an_event())

    assert receiver.requests == FAST.attempts


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_what_will_never_be_taken_is_told_at_once(receiver: Receiver, status: int) -> None:
    """With the receiver's reason."""
    receiver.refuse = lambda _events: status
    with a_client(receiver) as client, pytest.raises(RefusedError, match=f"{status}: a test said so"):
        client.send(an_event())

    assert receiver.requests == 1


@pytest.mark.parametrize("event", [{}, {"source": "/app"}, an_event(data=float("nan")), an_event(data=b"x")])
def test_what_is_no_event_never_leaves(receiver: Receiver, event: dict[str, Any]) -> None:
    """Nor does it enter the spool."""
    with a_client(receiver) as client, pytest.raises(FormatError):
        client.send(event)


def test_a_url_that_is_none_is_named() -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="address"):
        EventClient("127.0.0.1:80", token="t")


def test_events_wait_in_the_spool_and_arrive_in_order(receiver: Receiver, tmp_path: Path) -> None:
    """While the receiver is away nothing is lost and nobody waits."""
    receiver.refuse = lambda _events: 503
    with a_client(receiver, tmp_path) as client:
        client.send_many(an_event(number) for number in range(1200))
        receiver.refuse = lambda _events: 202
        client.flush()

    assert [event["id"] for event in receiver.events] == [f"e{number}" for number in range(1200)]


def test_what_waits_is_sent_by_the_next_process(receiver: Receiver, tmp_path: Path) -> None:
    """It finds the spool where the last one left it."""
    spool = Spool(tmp_path)
    spool.append([an_event(1), an_event(2)])
    with a_client(receiver, tmp_path) as client:
        client.flush()

    assert [event["id"] for event in receiver.events] == ["e1", "e2"]


def test_an_event_that_is_never_taken_does_not_hold_up_the_others(receiver: Receiver, tmp_path: Path) -> None:
    """It is put aside with the reason, for a person."""
    receiver.refuse = lambda events: 400 if any(event["id"] == "e7" for event in events) else 202
    with a_client(receiver, tmp_path) as client:
        client.send_many(an_event(number) for number in range(20))
        client.flush()
        assert client.rejected == 1

    aside = json.loads((tmp_path / "rejected.ndjson").read_text())
    assert (aside["event"]["id"], "a test said so" in aside["reason"]) == ("e7", True)
    assert [event["id"] for event in receiver.events] == [f"e{number}" for number in range(20) if number != 7]


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_token_or_url_keeps_everything(receiver: Receiver, tmp_path: Path, status: int) -> None:
    """It is no fault of the events; flush says whose."""
    receiver.refuse = lambda _events: status
    with a_client(receiver, tmp_path) as client:
        client.send(an_event())
        with pytest.raises(RefusedError, match=str(status)):
            client.flush(seconds=0.2)
        receiver.refuse = lambda _events: 202

    assert [event["id"] for event in receiver.events] == ["e1"]


def test_a_full_spool_refuses_and_keeps_what_it_has(receiver: Receiver, tmp_path: Path) -> None:
    """Bounded; the caller decides."""
    receiver.refuse = lambda _events: 503
    with a_client(receiver, tmp_path, spool_bytes_max=500) as client:
        client.send(an_event(1))
        with pytest.raises(RefusedError, match="wait"):
            client.send(an_event(2, data="x" * 500))
        receiver.refuse = lambda _events: 202
        client.flush()

    assert [event["id"] for event in receiver.events] == ["e1"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.integers(1, 3))
def test_a_torn_line_spoils_only_itself(tmp_path_factory: pytest.TempPathFactory, torn: bytes, segments: int) -> None:
    """Whatever half a line holds, what was safe is read, and what comes later too."""
    folder = tmp_path_factory.mktemp("spool")
    Spool(folder, segment_bytes=1).append([an_event(1)])
    last = max(folder.glob("*.events"))
    last.write_bytes(last.read_bytes() + torn)
    for number in range(segments):
        Spool(folder, segment_bytes=1).append([an_event(2 + number)])

    assert [event["id"] for event in drained(Spool(folder, segment_bytes=1))] == [
        f"e{1 + n}" for n in range(segments + 1)
    ]


def drained(spool: Spool) -> Events:
    """Take everything out of a spool, two events at a time."""
    found: Events = []
    while True:
        batch, after = spool.read(spool.place(), events_max=2, bytes_max=1000)
        if after == spool.place():
            assert spool.waiting_bytes() == 0
            return found
        found += batch
        spool.accepted(after)


def test_segments_that_were_sent_are_removed(tmp_path: Path) -> None:
    """A spool is as large as what waits."""
    spool = Spool(tmp_path, segment_bytes=100)
    for number in range(50):
        spool.append([an_event(number)])

    assert [event["id"] for event in drained(spool)] == [f"e{number}" for number in range(50)]
    assert len(list(tmp_path.glob("*.events"))) == 1
    assert spool.place() > Place(10, 0)


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    """Each appends whole lines, in its own order."""

    def write(writer: int) -> None:
        spool = Spool(tmp_path, segment_bytes=2000)
        for number in range(20):
            spool.append([an_event(writer * 100 + number)])

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    found = [int(event["id"][1:]) for event in drained(Spool(tmp_path))]

    assert len(found) == 80
    assert all([each for each in found if each // 100 == w] == list(range(w * 100, w * 100 + 20)) for w in range(4))


def test_only_one_process_drains(tmp_path: Path) -> None:
    """The others' events go with its."""
    with Spool(tmp_path).draining() as first, Spool(tmp_path).draining() as second:
        assert (first, second) == (True, False)


def test_the_client_needs_nothing_that_was_not_in_python() -> None:
    """An application imports it without our engines."""
    code = "import sys, connectors.event_client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"faust", "confluent_kafka", "fastavro", "httpx", "pydantic", "orjson"}.isdisjoint(loaded)
