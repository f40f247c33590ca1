"""A parent row moves to another wedding, and what follows it comes along: on the real engines, the guard killed."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest
import pytest_asyncio

from connectors.table_copies import progress_of
from ops import bootstrap, controlling, guard, restoring, source_facts, table_copies
from schemas.controls import Control
from schemas.errors import RefusedError
from schemas.work import Mode, Work
from streams.observed import observe_router
from tests.integration.platforms import Platform, a_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from connectors.table_copies import CopyProgress

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(200)]

WITHIN_SECONDS = 60
CONTRACT = (
    "INSERT INTO contracts (id, wedding_id, vendor_id, total, currency)"
    " SELECT gen_random_uuid(), %s, (SELECT id FROM vendors LIMIT 1), 9, 'EUR' RETURNING id"
)
PAYMENT = (
    "INSERT INTO payments (id, contract_id, reference, amount, due_on)"
    " VALUES (gen_random_uuid(), %s, %s, 5, '2026-06-01') RETURNING id"
)
REFUND = (
    "INSERT INTO refunds (id, payment_id, amount, refunded_at) VALUES (gen_random_uuid(), %s, 5, now()) RETURNING id"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """One platform."""
    async with a_platform() as running:
        yield running


async def one(platform: Platform, statement: str, *values: Any) -> Any:
    """Run one statement on the protected database, and return the first value."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), values)
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


async def copied(platform: Platform) -> dict[str, Any]:
    """Wait until a copy of moved rows is done and nothing is owed any more."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        report = guard.read_report(platform.settings, bootstrap.now()) or {}
        moved = [each for each in report.get("copies", ()) if each["copy"].startswith("part-moved")]
        if moved and moved[-1]["state"] == "done" and not report["moved_rows_owed"]:
            return report
        await asyncio.sleep(0.1)
    raise AssertionError(report)


async def own_rows(platform: Platform, wedding: str) -> set[str]:
    """Return the ids of all rows that lie in a wedding's own history."""
    with restoring.opened(platform.settings) as archive:
        history = restoring.history_of(archive)
        frames = await history.frames(wedding)
        payloads = [each["payload"] async for _, some in history.changes(wedding, frames) for each in some]
    images = [orjson.loads(payload).get("after") or {} for payload in payloads]
    return {str(image["id"]) for image in images if "id" in image}


async def test_what_follows_a_row_that_moved_lies_in_its_new_wedding_s_history(platform: Platform) -> None:
    """At any depth; owed until it is done, by whichever guard; nothing of the old wedding is needed for it."""
    await platform.load(changes=300, weddings=4)
    old, new = await two_weddings(platform)
    contract = await one(platform, CONTRACT, old)
    payment = await one(platform, PAYMENT, contract, "moved-1")
    refund = await one(platform, REFUND, payment)
    await platform.everything_protected()
    assert not {str(payment), str(refund)} & await own_rows(platform, new)

    await one(platform, "UPDATE contracts SET wedding_id = %s WHERE id = %s", new, contract)
    await platform.kill("guard")
    await copied(platform)
    later = await one(platform, REFUND, payment)
    await platform.everything_protected()

    assert {str(contract), str(payment), str(refund), str(later)} <= await own_rows(platform, new)
    assert str(later) not in await own_rows(platform, old)
    assert await platform.differences(new) == []


async def two_weddings(platform: Platform) -> tuple[str, str]:
    """Return two weddings that there are."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn) as connection:
        rows = await (await connection.execute("SELECT id::text FROM weddings ORDER BY 1 LIMIT 2")).fetchall()
    return rows[0][0], rows[1][0]


async def test_a_rule_holds_copies_up_and_its_end_lets_them_go(platform: Platform) -> None:
    """What moved rows owe waits, visibly, and nobody begins another copy meanwhile."""
    rule: dict[str, Any] = {
        "works": frozenset({Work.SNAPSHOT}),
        "by": "ana",
        "why": "office hours",
        "made_us": bootstrap.now_us(),
    }
    await controlling.publish(platform.running.brokers, [Control(mode=Mode.PAUSE, **rule)])
    old, new = await two_weddings(platform)
    contract = await one(platform, CONTRACT, old)
    payment = await one(platform, PAYMENT, contract, "moved-2")
    await one(platform, "UPDATE contracts SET wedding_id = %s WHERE id = %s", new, contract)
    await held(platform)
    with pytest.raises(RefusedError, match="office hours"):
        await table_copies.start(platform.settings, tables=[], wedding=None)

    await controlling.publish(platform.running.brokers, [Control(mode=Mode.RUN, **rule)])
    await copied(platform)
    await platform.everything_protected()
    assert str(payment) in await own_rows(platform, new)


async def held(platform: Platform) -> None:
    """Wait until the guard says that copies wait."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        report = guard.read_report(platform.settings, bootstrap.now()) or {}
        if report["moved_rows_owed"] and any(each["what"] == "copies_held" for each in report["alarms"]):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(report)


async def test_old_signals_go_and_the_next_copy_is_made(platform: Platform) -> None:
    """Debezium takes no notice of rows that are taken away; what its chunks wrote is most of them."""
    later = bootstrap.now() + dt.timedelta(days=2)
    epoch = platform.running.epochs["platform"]
    async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
        count = "SELECT count(*) FROM wedsync.debezium_signal WHERE type LIKE 'snapshot-window-%%'"
        before = await one(platform, count)
        pruned = await source_facts.prune_signals(connection, await copies(platform, epoch), epoch, later)
    assert (before > 0, pruned >= before, await one(platform, count)) == (True, True, 0)

    name = await table_copies.start(platform.settings, tables=["public.vendors"], wedding=None)
    deadline = time.monotonic() + WITHIN_SECONDS
    while {each.copy: each.state.value for each in await copies(platform, epoch)}.get(name) != "done":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    await platform.everything_protected()


async def copies(platform: Platform, epoch: int) -> list[CopyProgress]:
    """Return the copies of the epoch, as the guard sees them."""
    async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
        signals = await source_facts.signals(connection, epoch)
    view = observe_router(platform.settings.router_file, "platform")
    return progress_of(signals, view.notices.get(epoch, ()))
