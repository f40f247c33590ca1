"""A database of a test's own, watched by a connector of its own on the real engines; both are gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import psycopg
from confluent_kafka import Consumer, TopicPartition
from psycopg import conninfo

from connectors.connect import ConnectClient
from connectors.connector_config import PUBLICATION, SIGNAL_TABLE, PostgresSource, connector_config, connector_name
from ops.stack import postgres
from ops.stack.topics import TopicPlan, ensure_topics
from schemas.topics import capture_topic
from streams.intake import consumer_settings
from tests.integration.databases import a_database, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.integration.conftest import LocalStack

WITHIN_SECONDS = 40
OURS = f"""
CREATE SCHEMA wedsync;
CREATE TABLE wedsync.heartbeat (id int PRIMARY KEY, beat_at timestamptz);
CREATE TABLE {SIGNAL_TABLE} (id varchar(64) PRIMARY KEY, type varchar(32), data text);
CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES;
"""
_EPOCHS = itertools.count(1_700_100_000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CapturedDatabase:
    """A database and the topic its changes arrive in."""

    stack: LocalStack
    dsn: str
    source: PostgresSource

    @property
    def topic(self) -> str:
        """Return the capture topic."""
        return capture_topic(self.source.name, self.source.epoch)

    async def copy(self, *tables: str) -> None:
        """Ask for a copy of what the tables hold already."""
        data = json.dumps({"data-collections": tables, "type": "incremental"})
        await execute(
            self.dsn, f"INSERT INTO {SIGNAL_TABLE} VALUES ('{secrets.token_hex(8)}', 'execute-snapshot', '{data}')"
        )

    async def failure(self) -> str:
        """Return why the connector stopped, or an empty text."""
        async with ConnectClient(self.stack.connect_url) as client:
            status = await client.status(connector_name(self.source))
        return status.failure if status is not None else ""

    async def failed(self) -> str:
        """Wait until the connector has stopped, and return why."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                if why := await self.failure():
                    return why
                await asyncio.sleep(0.1)

    async def changes(self, table: str, count: int) -> list[dict[str, Any]]:
        """Read the table's first changes, in the log's order."""
        events = await asyncio.to_thread(_read, self.stack.bootstrap_servers, self.topic, table, count)
        assert len(events) == count, f"only {len(events)} of {count} changes came: {await self.failure()}"
        return events

    async def so_far(self, table: str) -> list[dict[str, Any]]:
        """Return the table's changes in the log by now."""
        return await asyncio.to_thread(_read, self.stack.bootstrap_servers, self.topic, table, None)


@contextlib.asynccontextmanager
async def a_captured_database(
    stack: LocalStack, schema: str, *, defaults: Mapping[str, str] | None = None, **of_source: Any
) -> AsyncIterator[CapturedDatabase]:
    """Make a database with this schema and these defaults of its own, and watch it."""
    async with a_database(stack) as dsn:
        name = str(conninfo.conninfo_to_dict(dsn)["dbname"])
        await execute(dsn, schema)
        await execute(dsn, OURS)
        for setting, value in (defaults or {}).items():
            await execute(dsn, f"ALTER DATABASE {name} SET {setting} = '{value}'")
        source = PostgresSource(
            host="127.0.0.1",
            port=stack.state.ports.postgres,
            user=postgres.SUPERUSER,
            password=postgres.password(stack.settings),
            database=name,
            epoch=next(_EPOCHS),
            name=name.replace("_", "-"),
            slot=name,
            **of_source,
        )
        database = CapturedDatabase(stack=stack, dsn=dsn, source=source)
        try:
            await _register(database)
            yield database
        finally:
            await _remove(database)


async def _register(database: CapturedDatabase) -> None:
    name = connector_name(database.source)
    await ensure_topics(database.stack.bootstrap_servers, [TopicPlan(name=database.topic)])
    async with ConnectClient(database.stack.connect_url) as client:
        await client.put(name, connector_config(database.source))
        await client.wait_running(name, within=dt.timedelta(seconds=WITHIN_SECONDS))
    await _wait_slot(database, is_active=True)


async def _remove(database: CapturedDatabase) -> None:
    async with ConnectClient(database.stack.connect_url) as client:
        await client.delete(connector_name(database.source))
    await _wait_slot(database, is_active=False)
    await execute(database.dsn, f"SELECT pg_drop_replication_slot('{database.source.slot}')")


async def _wait_slot(database: CapturedDatabase, *, is_active: bool) -> None:
    query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
    async with (
        asyncio.timeout(WITHIN_SECONDS),
        await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as server,
    ):
        while True:
            if await (await server.execute(query, (database.source.slot,))).fetchone() == (is_active,):
                return
            await asyncio.sleep(0.05)


def _read(brokers: str, topic: str, table: str, count: int | None) -> list[dict[str, Any]]:
    """Read so many changes of a table, or, without a number, to the end the log has now."""
    # As our workers read: what is larger than they ask for comes all the same.
    consumer = Consumer(consumer_settings({"bootstrap.servers": brokers, "group.id": "test"}))
    beginning = TopicPartition(topic, 0, 0)
    consumer.assign([beginning])
    _, end = consumer.get_watermark_offsets(beginning, timeout=10)
    events: list[dict[str, Any]] = []
    deadline = time.monotonic() + WITHIN_SECONDS
    seen = 0
    try:
        while time.monotonic() < deadline and (seen < end if count is None else len(events) < count):
            message = consumer.poll(1)
            if message is None:
                continue
            seen = int(message.offset() or 0) + 1
            value = json.loads(message.value() or b"{}")
            if (value.get("source") or {}).get("table") == table:
                events.append(value)
    finally:
        consumer.close()
    return events
