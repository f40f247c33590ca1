"""Hidden columns on the real stack: what was hidden is nowhere behind the connector."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from typing import TYPE_CHECKING

import confluent_kafka
import psycopg
import pytest
import pytest_asyncio
from confluent_kafka.admin import AdminClient

from ops import bootstrap, bringup, canary, restoring
from ops.config import load_settings
from ops.demo.story import new_database
from ops.hidden_columns import check
from ops.stack import control
from schemas.errors import ConfigError
from schemas.hidden_columns import MASK, ColumnAction, HiddenColumn
from sinks.targets import PostgresTarget
from tests.integration.conftest import a_stack_folder, processes_of
from tests.integration.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

SECRET = "clear-text-of-nobody"
SETTINGS = """
[[source.columns]]
table = "public.guests"
column = "email"
action = "drop"
[[source.columns]]
table = "public.guests"
column = "full_name"
action = "mask"
[[source.columns]]
table = "public.vendors"
column = "email"
action = "hash"
"""
WEDDING, BEFORE, AFTER, GONE = (str(uuid.uuid4()) for _ in range(4))
GUEST = "INSERT INTO public.guests (id, wedding_id, full_name, email, age) VALUES (%s, %s, %s, %s, 30)"


async def guest(connection: psycopg.AsyncConnection, name: str) -> None:
    """Insert a guest whose name and address are secret."""
    await connection.execute(GUEST, (name, WEDDING, SECRET, f"{SECRET}@example.org"))


async def fill(dsn: str) -> None:
    """Write what is there before capture begins."""
    wedding = (
        "INSERT INTO public.weddings (id, partner_one, partner_two, wedding_date, created_at)"
        " VALUES (%s, 'A', 'B', '2027-06-20', now())"
    )
    vendor = "INSERT INTO public.vendors (id, kind, name, email, joined_at) VALUES (%s, 'band', 'V', %s, now())"
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(wedding, (WEDDING,))
        await connection.execute(vendor, (str(uuid.uuid4()), f"{SECRET}@example.org"))
        await guest(connection, BEFORE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """A platform with secrets, before capture, after it, changed and deleted."""
    folder = a_stack_folder()
    config = folder / "wedsync.toml"
    config.write_text(SETTINGS)
    settings = load_settings(config, state_dir=folder)
    stack = bootstrap.stack_settings(settings)
    try:
        state = await control.up(stack, is_tied=True)
        dsn = bringup.database_dsn(settings, state)
        await bringup._ensure_database(settings, state)
        await fill(dsn)
        running = await bringup.bring_up(settings, config=config, is_tied=True)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await guest(connection, AFTER)
            await guest(connection, GONE)
            await connection.execute("UPDATE public.guests SET age = 31, full_name = full_name || '!'")
            await connection.execute("DELETE FROM public.guests WHERE id = %s", (GONE,))
        await canary.fly(settings, dsn, running.epochs["platform"])
        yield Platform(settings=settings, running=running)
    finally:
        await control.down(stack)
        assert processes_of(folder) == []
        shutil.rmtree(folder)


def all_records(brokers: str) -> Iterator[bytes]:
    """Yield every record of every topic, keys too."""
    topics = AdminClient({"bootstrap.servers": brokers}).list_topics(timeout=10).topics
    places = [
        confluent_kafka.TopicPartition(name, number, confluent_kafka.OFFSET_BEGINNING)
        for name, about in topics.items()
        for number in about.partitions
    ]
    settings = {"bootstrap.servers": brokers, "group.id": "test-all", "enable.partition.eof": True, "log_level": 3}
    consumer = confluent_kafka.Consumer(settings)
    consumer.assign(places)
    ended = 0
    while ended < len(places):
        message = consumer.poll(5)
        if message is None or message.error() is not None:
            ended += 1
            continue
        yield (message.key() or b"") + (message.value() or b"")
    consumer.close()


async def test_no_topic_holds_what_was_hidden(platform: Platform) -> None:
    """Neither in images after nor before, of copied rows or of changed ones; and the rest is there."""
    records = await asyncio.to_thread(lambda: list(all_records(platform.running.brokers)))

    assert [record[:200] for record in records if SECRET.encode() in record] == []
    assert sum(MASK.encode() in record for record in records) >= 5
    assert [record[:80] for record in records if GONE.encode() in record]


async def test_no_file_of_ours_holds_what_was_hidden(platform: Platform) -> None:
    """Logs, states, catalog, packs; only the database has it, which is its owner's."""

    def holding() -> list[Path]:
        folder = platform.settings.state_dir
        files = [path for path in folder.rglob("*") if path.is_file() and "postgres" not in path.parts]
        return [path for path in files if SECRET.encode() in path.read_bytes()]

    assert [path for path in await asyncio.to_thread(holding) if "postgres" not in path.name] == []


async def test_a_restore_brings_back_what_stands_for_it_and_says_so(platform: Platform) -> None:
    """NULL or default, the mask, the hash."""
    mapping = bootstrap.mapping(platform.settings)
    dsn = await new_database(platform.running.dsn, "hidden")
    with restoring.opened(platform.settings) as archive:
        result = await restoring.restorer_of(archive).restore(
            None, None, restore_id="t", rows=lambda s: PostgresTarget(dsn, mapping, ddl=s.ddl), folder=None
        )
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        guests = await (await connection.execute("SELECT full_name, email, age FROM public.guests")).fetchall()
        vendors = await (await connection.execute("SELECT email FROM public.vendors")).fetchall()

    assert guests == [(MASK, None, 31), (MASK, None, 31)]
    assert [len(email) for (email,) in vendors] == [64]
    assert len([warning for warning in result.warnings if "public." in warning and "comes back" in warning]) == 3


async def test_a_restore_over_the_living_leaves_there_what_still_stands(platform: Platform) -> None:
    """A mask is worse than the value it stands for."""
    mapping = bootstrap.mapping(platform.settings)
    async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
        await connection.execute("DELETE FROM public.guests WHERE id = %s", (AFTER,))
        with restoring.opened(platform.settings) as archive:
            state = await restoring.restorer_of(archive).state_at(WEDDING, None)
            target = PostgresTarget(platform.running.dsn, mapping, overwrite=True)
            await target.write(state.tables(), restore_id="over")
        kept = await (await connection.execute("SELECT full_name, email FROM public.guests ORDER BY 1")).fetchall()

    assert (f"{SECRET}!", f"{SECRET}@example.org") in kept


@pytest.mark.parametrize(
    ("column", "action", "says"),
    [("nothing", "drop", "does not exist"), ("age", "mask", "smallint"), ("full_name", "drop", "no default")],
)
async def test_what_would_not_be_hidden_is_refused(platform: Platform, column: str, action: str, says: str) -> None:
    """Before anything is captured."""
    with pytest.raises(ConfigError, match=says):
        await check(
            platform.running.dsn, [HiddenColumn(table="public.guests", column=column, action=ColumnAction(action))]
        )
