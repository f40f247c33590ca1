"""The entry for events: accepted means that the log has it, once; everything else is a problem that says so."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from ops.api import openapi
from ops.api.clients import add_client, remove_client
from tests.fakes import seeded_randomness
from tests.unit.api.rigs import EVENT, STRUCTURED, Rig

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator


@pytest.fixture
def rig(tmp_path: pathlib.Path) -> Rig:
    """Return a new entry."""
    return Rig(tmp_path)


async def test_an_event_is_accepted_once_the_log_has_it(rig: Rig) -> None:
    """With its wedding, its client and the instant of its reception."""
    async with rig.running() as client:
        answer = await client.post("/api/events", content=json.dumps(EVENT), headers=STRUCTURED)

    (event,) = rig.log.events()
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert (event.id, event.wedding, event.client) == ("e1", "w1", "app")
    assert event.received_us == int(rig.clock().timestamp() * 1_000_000)


async def test_an_event_sent_again_is_accepted_and_not_doubled(rig: Rig) -> None:
    """Alone or in a batch, even twice in one."""
    async with rig.running() as client:
        await rig.send(client, EVENT)
        answer = await rig.send(client, EVENT, EVENT, {**EVENT, "id": "e2"})

    assert (answer.json(), answer.headers["wedsync-known"]) == ({"accepted": 3}, "2")
    assert [event.id for event in rig.log.events()] == ["e1", "e2"]


async def test_an_id_that_comes_again_with_something_else_is_refused_whole(rig: Rig) -> None:
    """Nothing of that request is appended."""
    async with rig.running() as client:
        await rig.send(client, EVENT)
        answer = await rig.send(client, {**EVENT, "id": "e2"}, {**EVENT, "data": 1})

    assert answer.status_code == 422
    assert [event.id for event in rig.log.events()] == ["e1"]


async def test_an_idempotency_key_stands_for_one_request(tmp_path: pathlib.Path) -> None:
    """Same key and body: same answer; another body: refused; also after the process began again."""
    first = Rig(tmp_path)
    async with first.running() as client:
        one = await first.send(client, EVENT, idempotency_key="k1")
    again = Rig(tmp_path, first.log)
    async with again.running() as client:
        two = await again.send(client, EVENT, idempotency_key="k1")
        other = await again.send(client, {**EVENT, "id": "e2"}, idempotency_key="k1")

    assert (one.status_code, one.json()) == (two.status_code, two.json()) == (202, {"accepted": 1})
    assert other.status_code == 422
    assert len(first.log.records) == 1


async def test_keys_of_two_clients_have_nothing_to_do_with_each_other(rig: Rig) -> None:
    """A key is its client's own."""
    token = add_client(rig.clients_file, "other", randomness=seeded_randomness(2))
    async with rig.running() as client:
        await rig.send(client, EVENT, idempotency_key="k1")
        answer = await rig.send(client, {**EVENT, "id": "e2"}, idempotency_key="k1", authorization=f"Bearer {token}")

    assert answer.status_code == 202


@pytest.mark.parametrize("written", [0, 1, 2, 3])
async def test_a_lost_answer_of_the_log_doubles_nothing(rig: Rig, written: int) -> None:
    """Whatever part of the batch was written: 503, and the retry completes it."""
    rig.log.answers_lost, rig.log.written_before_loss = 1, written
    batch = [{**EVENT, "id": f"e{number}"} for number in range(3)]
    async with rig.running() as client:
        lost = await rig.send(client, *batch, idempotency_key="k1")
        again = await rig.send(client, *batch, idempotency_key="k1")

    assert (lost.status_code, again.status_code, again.json()) == (503, 202, {"accepted": 3})
    assert sorted(event.id for event in rig.log.events()) == ["e0", "e1", "e2"]


async def test_a_process_that_died_between_log_and_ledger_doubles_nothing(tmp_path: pathlib.Path) -> None:
    """It reads the rest of the log, keys too, before it accepts anything."""
    dead = Rig(tmp_path / "dead")
    async with dead.running() as client:
        await dead.send(client, EVENT, idempotency_key="k1")
    born = Rig(tmp_path / "born", dead.log)  # Its ledger knows nothing.
    async with born.running() as client:
        again = await born.send(client, EVENT, idempotency_key="k1")
        other = await born.send(client, {**EVENT, "id": "e2"}, idempotency_key="k1")

    assert (again.status_code, again.headers["wedsync-known"], other.status_code) == (202, "1", 422)
    assert len(dead.log.records) == 1


async def test_without_the_log_nothing_is_accepted_and_everybody_is_told_when_to_come_back(rig: Rig) -> None:
    """Alive, but not ready."""
    rig.log.is_away = True
    async with rig.running() as client:
        answer = await rig.send(client, EVENT)
        health, ready = await client.get("/healthz"), await client.get("/readyz")
        rig.log.is_away = False
        later = await rig.send(client, EVENT)
        ready_again = await client.get("/readyz")

    assert (answer.status_code, health.status_code, ready.status_code) == (503, 200, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert (later.status_code, ready_again.status_code) == (202, 200)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer nonsense", "Basic d3NlOg==", "Bearer \x80\xff"])
async def test_who_has_no_token_sends_nothing(rig: Rig, given: str) -> None:
    """And is told how one is sent."""
    async with rig.running() as client:
        answer = await client.post("/api/events", content=b"{}", headers=[(b"authorization", given.encode("latin-1"))])

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_token_struck_from_the_file_is_refused_at_once(rig: Rig) -> None:
    """Without a restart."""
    async with rig.running() as client:
        assert (await rig.send(client, EVENT)).status_code == 202
        remove_client(rig.clients_file, "app")
        assert (await rig.send(client, EVENT)).status_code == 401


async def test_a_client_sends_for_its_own_weddings_and_sources_only(rig: Rig) -> None:
    """An event of no wedding is nobody's who has some."""
    token = add_client(rig.clients_file, "narrow", randomness=seeded_randomness(3), weddings=("w1",), sources=("/app",))
    others = [{**EVENT, "weddingid": "w2"}, {**EVENT, "weddingid": None}, {**EVENT, "source": "/other"}]
    async with rig.running() as client:
        mine = await rig.send(client, EVENT, authorization=f"Bearer {token}")
        answers = [await rig.send(client, each, authorization=f"Bearer {token}") for each in others]

    assert mine.status_code == 202
    assert [answer.status_code for answer in answers] == [403, 403, 403]


async def test_more_than_a_client_may_send_is_put_off(tmp_path: pathlib.Path) -> None:
    """A batch goes into debt, time pays it; `Retry-After` says how long."""
    rig = Rig(tmp_path, burst=5)
    batch = [{**EVENT, "id": f"e{number}"} for number in range(25)]
    async with rig.running() as client:
        answers = [await rig.send(client, *batch), await rig.send(client, EVENT)]
        rig.seconds += int(answers[1].headers["retry-after"])
        answers.append(await rig.send(client, EVENT))

    assert [answer.status_code for answer in answers] == [202, 429, 202]


async def test_a_body_that_is_too_large_is_refused_before_it_was_read(rig: Rig) -> None:
    """Declared or not: no more of it is taken than may be kept."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1000
            yield b" " * 1000

    async with rig.running() as client:
        declared = await client.post("/api/events", content=b" " * 200_000, headers=STRUCTURED)
        streamed = await client.post("/api/events", content=endless(), headers=STRUCTURED)
        one = await rig.send(client, {**EVENT, "data": "x" * 20_000})

    assert (declared.status_code, streamed.status_code, one.status_code) == (413, 413, 413)
    assert taken < 200_000
    assert rig.entry.room.taken == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"content-type": "text/html"}, 415),
        ({**STRUCTURED, "content-encoding": "gzip"}, 415),
        ({**STRUCTURED, "idempotency-key": "a b"}, 400),
        ({**STRUCTURED, "idempotency-key": "x" * 256}, 400),
        ([("content-type", "text/plain"), ("ce-id", "a"), ("ce-id", "b")], 400),
        (STRUCTURED, 400),
    ],
    ids=range(7),
)
async def test_what_is_wrong_has_its_own_answer(rig: Rig, headers: Any, status: int) -> None:
    """A problem with what, why and what to do."""
    async with rig.running() as client:
        answer = await client.post("/api/events", content=b"not json", headers=headers)

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert problem["detail"]
    assert problem["hint"]


async def test_other_paths_and_methods_are_problems_too(rig: Rig) -> None:
    """Also those that the framework answers."""
    async with rig.running() as client:
        answers = [await client.get("/api/events"), await client.post("/nowhere"), await client.get("/openapi.json")]

    assert [answer.status_code for answer in answers] == [405, 404, 404]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


async def test_health_and_readiness_hold_no_data(rig: Rig) -> None:
    """Whoever may ask learns nothing."""
    async with rig.running() as client:
        await rig.send(client, EVENT)
        answers = [await client.get(path, headers={"authorization": ""}) for path in ("/healthz", "/readyz")]

    assert [answer.json() for answer in answers] == [{"status": "ok"}, {"status": "ok"}]


async def test_many_at_once_are_accepted_once_each(rig: Rig) -> None:
    """The same hundred events from ten senders at the same time."""
    batch = [{**EVENT, "id": f"e{number}"} for number in range(100)]
    async with rig.running() as client:
        answers = await asyncio.gather(*(rig.send(client, *batch) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {202}
    assert len(rig.log.records) == 100


def test_the_committed_document_is_that_of_the_routes() -> None:
    """`python -m ops.api.openapi` writes it."""
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.document()


async def test_a_clients_file_that_nobody_can_read_lets_nobody_in(rig: Rig) -> None:
    """It is the operator's to repair: the sender keeps what it has."""
    rig.clients_file.write_text("{")
    async with rig.running() as client:
        answer = await rig.send(client, EVENT)

    assert answer.status_code == 503
    assert rig.log.records == []
