"""Controls on the real stack: what an operator orders holds within a second, and through a kill -9."""

from __future__ import annotations

import asyncio
import pathlib
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio

from ops import bootstrap, controlling, restoring
from ops.stack import control
from ops.status import archive_counts, observe
from schemas.backup import Priority
from schemas.controls import Control
from schemas.work import Mode, Work
from tests.integration.platforms import Platform, a_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(200)]

CHANGES = 800
MEMORY_BYTES_MAX = 300 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """One platform for all tests of this module."""
    async with a_platform() as running:
        yield running


def a_rule(**fields: Any) -> Control:
    """Return a pause, made now."""
    given: dict[str, Any] = {"mode": Mode.PAUSE, "by": "ana", "why": "a drill", "made_us": bootstrap.now_us()}
    return Control(**{**given, **fields})


async def order(platform: Platform, *rules: Control) -> None:
    """Publish rules."""
    await controlling.publish(platform.running.brokers, rules)


async def take_back(platform: Platform) -> None:
    """Take back all rules."""
    rules, _ = await controlling.read(platform.running.brokers)
    await order(platform, *controlling.released(rules, by="ana", why="over", made_us=bootstrap.now_us()))


async def lanes(platform: Platform) -> dict[str, dict[str, Any]]:
    """Return what `status` says of each lane."""
    return {lane["lane"]: lane for lane in (await observe(platform.settings))["lanes"]}


async def counts(platform: Platform) -> dict[str, int]:
    """Return what the archive holds."""
    with restoring.opened(platform.settings) as archive:
        return await archive.catalog.run(archive_counts)


async def settled(platform: Platform) -> dict[str, int]:
    """Return the archive's counts once nothing has been added for a second."""
    before: dict[str, int] = {}
    async with asyncio.timeout(30):
        while (now := await counts(platform)) != before:
            before = now
            await asyncio.sleep(1.1)
    return before


async def test_an_emergency_stop_holds_all_through_a_kill_and_capture_goes_on(platform: Platform) -> None:
    """Status says who, why, and that the promise is broken; afterwards everything is protected, once."""
    began_us = platform.now_us()
    await order(platform, a_rule(is_emergency=True))
    before = await settled(platform)
    load = await platform.load(changes=CHANGES, photos=4)
    await platform.kill("sink")
    await control.wait_ready(
        bootstrap.stack_settings(platform.settings), supervisor_pid=platform.running.state.supervisor.pid
    )
    await asyncio.sleep(6)
    told = (await lanes(platform))["critical"]

    assert await counts(platform) == before
    assert (told["verdict"], told["is_breached"], "ana" in told["because"]) == ("stopped", True, True)
    assert told["lag_messages"] > 0
    await take_back(platform)
    await platform.everything_protected()
    assert (await platform.instants(began_us)).repeated == 0
    assert (await platform.instants(began_us)).changes == load.counts.changes
    assert (await lanes(platform))["critical"]["verdict"] == "ok"


async def test_a_paused_lane_holds_up_no_other_and_is_made_up_for(platform: Platform) -> None:
    """Standard changes wait in Kafka, more of them than the sink has room for; critical ones are protected on."""
    await order(platform, a_rule(lanes=frozenset({Priority.STANDARD}), works=frozenset({Work.LOG})))
    await asyncio.sleep(1)
    await _write_far_off(platform, megabytes=40)
    began_us = platform.now_us()
    load = await platform.load(changes=CHANGES)
    await asyncio.sleep(2)
    told = await lanes(platform)
    rpo_ms = (await platform.instants(began_us)).rpo_by_lane["critical"]

    assert (told["critical"]["verdict"], told["standard"]["verdict"]) == ("ok", "paused")
    assert sorted(rpo_ms)[int(len(rpo_ms) * 0.99)] < 5_000
    assert await _largest(platform) < MEMORY_BYTES_MAX
    await take_back(platform)
    await platform.everything_protected()
    assert (await platform.instants(began_us)).changes >= load.counts.changes


async def test_a_rule_ends_by_itself(platform: Platform) -> None:
    """Nobody has to remember it; objects of standard weddings wait until then."""
    await order(platform, a_rule(works=frozenset({Work.BLOB}), until_us=bootstrap.now_us() + 4_000_000))
    began = time.monotonic()
    await platform.load(changes=CHANGES, photos=2)
    await platform.everything_protected()

    assert time.monotonic() - began < 60
    assert (await observe(platform.settings))["controls"] == []


async def _write_far_off(platform: Platform, *, megabytes: int) -> None:
    """Write rows of a wedding that is far away, many times what the sink may keep in memory."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
        found = await connection.execute(
            "INSERT INTO weddings (id, partner_one, partner_two, wedding_date, venue_timezone, country, created_at)"
            " VALUES (gen_random_uuid(), 'Far', 'Off', current_date + 400, 'Europe/Paris', 'FR', now()) RETURNING id"
        )
        row = await found.fetchone()
        for _ in range(megabytes):
            await connection.execute(
                "INSERT INTO guests (id, wedding_id, full_name)"
                " SELECT gen_random_uuid(), %s, string_agg(md5(random()::text), '') FROM generate_series(1, 32000) g",
                row,
            )


async def _largest(platform: Platform) -> int:
    """Return the resident bytes of the largest worker."""
    state = await control.status(bootstrap.stack_settings(platform.settings))
    assert state is not None
    processes = [state.parts[name].process for name in ("router", "sink", "folder")]
    pids = [process.pid for process in processes if process is not None]
    statuses = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids]  # noqa: ASYNC240
    return max(int(text.split("VmRSS:")[1].split()[0]) * 1024 for text in statuses)
