"""Events on the real stack: through kill -9 and Kafka's absence each is in the log once, archived and restorable."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import random
import shutil
import sys
import time
import uuid
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
import pytest_asyncio

from connectors import application
from connectors.event_client import EventClient, Retry
from ops import bootstrap, bringup, restoring
from ops.api import reachable
from ops.api.event_log import KafkaEventLog
from ops.config import load_settings
from ops.onboarding_mapping import mapping_to_toml
from ops.sample import platform as sample
from ops.stack import control
from schemas.mapping import OutboxRule
from tests.integration.conftest import a_stack_folder, processes_of
from tests.integration.platforms import WITHIN_SECONDS, Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sinks.restored_events import RestoredEvent

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

OUTBOX = """
CREATE TABLE public.outbox (
    id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL, payload jsonb
)
"""
RETRY = Retry(first_seconds=0.05, last_seconds=1.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """A platform whose database has an outbox."""
    folder = a_stack_folder()
    config = folder / "wedsync.toml"
    mapping = dataclasses.replace(sample.sample_mapping(), outbox=OutboxRule(table="public.outbox"))
    config.write_text(mapping_to_toml(mapping))
    settings = load_settings(config, state_dir=folder)
    stack = bootstrap.stack_settings(settings)
    try:
        state = await control.up(stack, is_tied=True)
        await bringup._ensure_database(settings, state)
        dsn = bringup.database_dsn(settings, state)
        await sample.create(dsn)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute(OUTBOX)
        yield Platform(settings=settings, running=await bringup.bring_up(settings, config=config, is_tied=True))
    finally:
        await control.down(stack)
        assert processes_of(folder) == []
        shutil.rmtree(folder)


def a_client(platform: Platform, spool: Path | None = None) -> EventClient:
    """Return a client with the token that `up` made."""
    token = platform.settings.api_token_file.read_text()
    return EventClient(reachable.url(platform.settings), token=token, spool=spool, retry=RETRY)


def an_event(wedding: str, number: int, **fields: object) -> dict[str, object]:
    """Return an event with an id that no other test uses."""
    about = {"source": "/test", "type": "guest.invited", "weddingid": wedding, "data": {"n": number}}
    return {"id": f"{wedding}-{number}", **about, **fields}


async def archived(platform: Platform, wedding: str, count: int) -> Sequence[RestoredEvent]:
    """Wait until so many events of a wedding can be restored, and return them."""
    found: Sequence[RestoredEvent] = ()
    deadline = time.monotonic() + WITHIN_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        with restoring.opened(platform.settings) as archive, contextlib.suppress(Exception):
            found = (await restoring.restorer_of(archive).state_at(wedding, None)).events
        await asyncio.sleep(0.1)
    return found


def in_the_log(platform: Platform, wedding: str) -> collections.Counter[str]:
    """Return how often each event of a wedding lies in the capture topic."""
    records = KafkaEventLog(platform.running.brokers).read(0)
    events = [application.decode_event(record.value) for _, record in records]
    return collections.Counter(event.id for event in events if event.wedding == wedding)


async def test_an_event_is_archived_and_comes_back(platform: Platform) -> None:
    """Digit for digit; the token that `up` made is for its owner's eyes only."""
    with a_client(platform) as client:
        await asyncio.to_thread(client.send, an_event("w-one", 1, data={"price": "1.10", "ö": [1, None]}))
    (event,) = await archived(platform, "w-one", 1)

    assert (event.id, event.payload) == ("w-one-1", b'{"price":"1.10","\\u00f6":[1,null]}')
    assert platform.settings.api_token_file.stat().st_mode & 0o777 == 0o600


async def test_ten_thousand_events_go_through(platform: Platform) -> None:
    """A sanity of speed: far more than a wedding's day brings."""
    with a_client(platform) as client:
        began = time.monotonic()
        await asyncio.to_thread(client.send_many, [an_event("w-many", number) for number in range(10_000)])
        seconds = time.monotonic() - began
    print(f"10,000 events accepted in {seconds:.2f} s")

    assert seconds < 30
    assert len(await archived(platform, "w-many", 10_000)) == 10_000


async def test_kill_9_of_the_entry_loses_nothing_and_doubles_nothing(platform: Platform, tmp_path: Path) -> None:
    """At any instant, also between the log and the answer; it comes back on the same port."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with a_client(platform, tmp_path) as client:
        for number in range(3000):
            client.send(an_event("w-kill", number)) if number % 10 else client.send_many([an_event("w-kill", number)])
            if number % 600 == 300:
                await asyncio.sleep(rng.uniform(0, 0.3))  # Not waiting for anything: the instant is what is drawn.
                await platform.kill("api")
                await reachable.wait_ready(platform.settings)
        await asyncio.to_thread(client.flush, seconds=60)

    assert in_the_log(platform, "w-kill") == {f"w-kill-{number}": 1 for number in range(3000)}
    assert len(await archived(platform, "w-kill", 3000)) == 3000


async def test_without_kafka_nothing_is_accepted_and_the_spool_waits(platform: Platform, tmp_path: Path) -> None:
    """503 with the time to come back; then everything arrives, once, in order."""
    token = platform.settings.api_token_file.read_text().strip()
    await platform.kill("kafka")
    async with httpx.AsyncClient(base_url=reachable.url(platform.settings), timeout=60, trust_env=False) as client:
        answer = await client.post(
            "/api/events", json=an_event("w-away", 0), headers={"authorization": f"Bearer {token}"}
        )
    with a_client(platform, tmp_path) as sender:
        sender.send_many(an_event("w-away", number) for number in range(200))
        await control.wait_ready(
            bootstrap.stack_settings(platform.settings), supervisor_pid=platform.running.state.supervisor.pid
        )
        await asyncio.to_thread(sender.flush, seconds=60)
    found = await archived(platform, "w-away", 200)

    assert answer.status_code in {202, 503}
    assert answer.status_code == 202 or int(answer.headers["retry-after"]) > 0
    assert in_the_log(platform, "w-away") == {f"w-away-{number}": 1 for number in range(200)}
    assert [event.id for event in found] == [f"w-away-{number}" for number in range(200)]


async def test_the_outbox_is_captured_with_its_transaction_and_never_restored(platform: Platform) -> None:
    """What was rolled back is no event; what was cleaned up still is one; a restore inserts none."""
    wedding, event = str(uuid.uuid4()), str(uuid.uuid4())
    insert = "INSERT INTO public.outbox VALUES (%s, 'wedding', %s, 'wedding.booked', %s)"
    book = (
        "INSERT INTO public.weddings (id, partner_one, partner_two, wedding_date, created_at)"
        " VALUES (%s, 'A', 'B', '2027-06-20', now())"
    )
    async with await psycopg.AsyncConnection.connect(platform.running.dsn) as connection:
        await connection.execute(book, (wedding,))
        await connection.execute(insert, (event, wedding, '{"price": 1.10}'))
        await connection.commit()
        await connection.execute(insert, (str(uuid.uuid4()), wedding, "{}"))
        await connection.rollback()
        await connection.execute("DELETE FROM public.outbox")
    (found,) = await archived(platform, wedding, 1)
    with restoring.opened(platform.settings) as archive:
        state = await restoring.restorer_of(archive).state_at(wedding, None)

    assert (found.id, found.type, found.payload) == (event, "wedding.booked", b'{"price": 1.10}')
    assert set(state.rows) == {"public.weddings"}
    assert state.is_whole


async def test_a_second_entry_over_the_same_state_is_refused(platform: Platform) -> None:
    """Two would each remember half of what the log has."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "ops.workers", "api", "--brokers", platform.running.brokers),
        *("--state-dir", str(platform.settings.state_dir)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, says = await process.communicate()

    assert process.returncode == 1
    assert b"another process receives events already" in says
