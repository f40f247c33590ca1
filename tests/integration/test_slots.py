"""A slot that is made beside open transactions hands out nothing that was decoded with a catalog of before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ops import epochs, onboarding, slots
from ops.config import Settings
from tests.integration.databases import a_database, execute

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]

SLOT = "settled"
READ = f"SELECT count(*) FROM pg_logical_slot_get_binary_changes('{SLOT}', NULL, NULL, 'proto_version', '1',"
TABLES = (
    "CREATE TABLE t (id int PRIMARY KEY)",
    "CREATE TABLE other (id int)",
    "CREATE PUBLICATION settled FOR ALL TABLES",
)


async def waits_for(dsn: str, connection: psycopg.AsyncConnection[Any]) -> None:
    """Wait until the making of a slot waits for a transaction."""
    pid = connection.info.backend_pid
    query = f"SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender' AND {pid} = ANY(pg_blocking_pids(pid))"
    async with asyncio.timeout(30):
        while True:
            if await execute(dsn, query):
                return
            await asyncio.sleep(0.01)


async def test_a_slot_made_beside_a_truncate_can_be_read(stack: LocalStack) -> None:
    """Its maker waits twice; who began at the second time sees the table as it was, and fills it as it is."""
    async with a_database(stack) as dsn:
        for statement in TABLES:
            await execute(dsn, statement)
        connect = psycopg.AsyncConnection.connect
        async with await connect(dsn) as first, await connect(dsn) as emptying, await connect(dsn) as filling:
            await first.execute("INSERT INTO other VALUES (1)")
            making = asyncio.create_task(slots.make(dsn, SLOT))
            await waits_for(dsn, first)
            await emptying.execute("TRUNCATE t")
            await first.commit()
            await waits_for(dsn, emptying)
            await filling.execute("INSERT INTO other VALUES (2)")
            await emptying.commit()
            await filling.execute("INSERT INTO t VALUES (1)")
            await filling.commit()
            await asyncio.wait_for(making, 60)
        await execute(dsn, "INSERT INTO t VALUES (2)")
        ((count,),) = await execute(dsn, f"{READ} 'publication_names', 'settled')")
        await execute(dsn, f"SELECT pg_drop_replication_slot('{SLOT}')")

    assert count >= 3, "begin, the row, commit"


async def test_a_slot_over_whose_making_somebody_died_is_made_again(stack: LocalStack, tmp_path: Path) -> None:
    """It is usable, and was not settled; one that was made to the end stays."""
    settings, being_made = Settings(state_dir=tmp_path), tmp_path / "guard" / "slot-being-made"
    async with a_database(stack) as dsn:
        where = epochs.Where(dsn=dsn, brokers=stack.bootstrap_servers, connect_url=stack.connect_url)
        first = await epochs._renew_slot(settings, where)
        again = await epochs._renew_slot(settings, where)
        being_made.touch()
        after_death = await epochs._renew_slot(settings, where)
        await onboarding.drop_slot(dsn)

    assert (first, again, after_death) == (True, False, True)
    assert not being_made.exists()
