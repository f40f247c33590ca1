"""Promotion on the real stack: a wedding that comes nearer overtakes a lane that makes everybody wait."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import time
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
import pytest_asyncio

from ops import bootstrap, restoring, status
from streams import urgency
from streams.produce import KafkaProducer
from tests.integration.platforms import Platform, a_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

STANDARD_MS: Final = 10_000
"""How long the standard lane keeps a window open here: whatever waits in it waits that long."""
PROMOTED_WITHIN_SECONDS: Final = 5.0
_FAR: Final = (
    "UPDATE weddings SET wedding_date = current_date + 200 WHERE id IN"
    " (SELECT wedding_id FROM guests GROUP BY 1 HAVING count(*) >= 3 ORDER BY count(*) DESC LIMIT 3) RETURNING id::text"
)
_RENAME: Final = "UPDATE guests SET full_name = full_name || ' jr' WHERE wedding_id = %s"
_NEAR: Final = "UPDATE weddings SET wedding_date = current_date WHERE id = %s"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """A platform whose standard lane is slow, with some weddings on it."""
    async with a_platform(f"[archive.windows]\nstandard_ms = {STANDARD_MS}\n") as running:
        await running.load(changes=400, weddings=6, rate=400)
        yield running


async def _weddings_far_away(platform: Platform) -> list[str]:
    """Put three weddings far into the future, where no delivery is due, and return their ids."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn) as connection:
        await connection.execute("DELETE FROM deliveries")
        return [row[0] for row in await (await connection.execute(_FAR)).fetchall()]


async def _rename_guests(platform: Platform, weddings: list[str]) -> dict[str, int]:
    """Change every guest of these weddings, and return how many there were of each."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn) as connection:
        return {each: (await connection.execute(_RENAME, [each])).rowcount for each in weddings}


async def _execute(platform: Platform, statement: str, wedding: str) -> None:
    async with await psycopg.AsyncConnection.connect(platform.running.dsn) as connection:
        await connection.execute(statement, [wedding])


async def _guests_protected(platform: Platform, wedding: str, since_us: int) -> int:
    """Return how many changes of a wedding's guests, committed since, lie in the archive."""
    with restoring.opened(platform.settings) as archive:
        history = restoring.history_of(archive)
        frames = [at for at in await history.frames(wedding) if at.latest_us >= since_us]
        found = set()
        async for _, changes in history.changes(wedding, frames):
            found |= {
                change["position"]
                for change in changes
                if change["table"] == "public.guests" and change["committed_at"] >= since_us
            }
    return len(found)


async def _until_protected(platform: Platform, wedding: str, since_us: int, count: int) -> float:
    """Return how many seconds it took until so many were."""
    began = time.monotonic()
    async with asyncio.timeout(STANDARD_MS / 1000):
        while await _guests_protected(platform, wedding, since_us) < count:  # noqa: ASYNC110 - the archive tells nobody
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def test_moving_a_date_or_asking_for_urgency_overtakes_the_queue(platform: Platform) -> None:
    """What waits of two weddings is protected within seconds, what waits of a third is not."""
    moved, asked, waiting = await _weddings_far_away(platform)
    await platform.everything_protected()
    since_us = platform.now_us()
    guests = await _rename_guests(platform, [moved, asked, waiting])
    await asyncio.sleep(1.0)  # The router is long done; the sink keeps its window open.
    await _execute(platform, _NEAR, moved)
    seconds = [await _until_protected(platform, moved, since_us, guests[moved])]
    await _ask(platform, asked)
    seconds.append(await _until_protected(platform, asked, since_us, guests[asked]))
    left = await _guests_protected(platform, waiting, since_us)
    told = (await status.observe(platform.settings))["promotions"]
    print(f"\npromoted in {seconds} s: {guests}; {told}")

    assert max(seconds) < PROMOTED_WITHIN_SECONDS
    assert left == 0
    assert told["changes_promoted"] >= guests[moved] + guests[asked]


async def _ask(platform: Platform, wedding: str) -> None:
    now = bootstrap.now()
    producer = KafkaProducer({"bootstrap.servers": platform.running.brokers})
    await producer.deliver([urgency.request(wedding, until=now + dt.timedelta(minutes=5), by="test", now=now)])
    await asyncio.to_thread(producer.close)


async def test_the_promoted_weddings_come_back_equal_once_all_lanes_have_caught_up(platform: Platform) -> None:
    """Each change lies in the archive twice, and in the restore once."""
    promoted, *_ = await _weddings_far_away(platform)
    await _rename_guests(platform, [promoted])
    await _execute(platform, _NEAR, promoted)

    assert await platform.differences(promoted) == []


async def test_the_reason_is_told(platform: Platform) -> None:
    """By the command line, from the router's own memory."""
    (near, *_) = await _weddings_far_away(platform)
    await _execute(platform, _NEAR, near)
    await asyncio.sleep(1.0)  # The promise: a moved date rules routing within a second.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ops.cli import main; main()", "explain", "--wedding", near, "--json",
        "--state-dir", str(platform.settings.state_dir), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    (told,) = json.loads(out)

    assert told["lane"] == "critical"
    assert abs(told["values"]["days_ahead"]) <= 1  # The database's today may be the venue's yesterday or tomorrow.
