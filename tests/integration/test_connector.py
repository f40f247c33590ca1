"""The connector's settings on the real engines: what a commit becomes in the capture topic."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from connectors.connect import ConnectClient
from connectors.connector_config import PostgresSource, connector_config, connector_name
from ops.stack import postgres
from ops.stack.topics import TopicPlan, ensure_topics
from schemas.topics import capture_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

EPOCH = 1_700_000_000
DATABASE = "connector_test"
SCHEMA = """
CREATE SCHEMA wedsync;
CREATE TABLE wedsync.heartbeat (id int PRIMARY KEY, beat_at timestamptz);
CREATE TABLE wedsync.debezium_signal (id varchar(64) PRIMARY KEY, type varchar(32), data text);
CREATE TABLE guests (id int PRIMARY KEY, name text);
ALTER TABLE guests REPLICA IDENTITY FULL;
CREATE PUBLICATION connector_test FOR ALL TABLES;
"""
# One transaction with every kind of change; the last statement is the fence the test reads up to.
CHANGES = (
    "INSERT INTO guests VALUES (1, 'Ana'), (2, 'Bo')",
    "UPDATE guests SET id = 3 WHERE id = 2",
    "SELECT pg_logical_emit_message(true, 'wedsync.schema', 'x')",
    "DELETE FROM guests WHERE id = 1",
    "TRUNCATE guests",
)


@pytest.fixture
def source(stack: LocalStack) -> Iterator[PostgresSource]:
    """A database of this test's own, watched by a connector that is gone afterwards."""
    with psycopg.connect(stack.dsn(), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(stack.dsn(DATABASE)) as database:
        database.execute(SCHEMA)
    source = PostgresSource(
        host="127.0.0.1",
        port=stack.state.ports.postgres,
        user=postgres.SUPERUSER,
        password=postgres.password(stack.settings),
        database=DATABASE,
        epoch=EPOCH,
        name="connector-test",
        slot="connector_test",
        publication="connector_test",
    )
    asyncio.run(_register(stack, source))
    yield source
    asyncio.run(_remove(stack, source))


def test_a_transaction_arrives_whole_and_in_order(stack: LocalStack, source: PostgresSource) -> None:
    """BEGIN, each change with its number, END with the count: all in one topic."""
    with psycopg.connect(stack.dsn(DATABASE)) as database:
        for statement in CHANGES:
            database.execute(statement)
    events = _read_until_end_of_truncate(stack, source)
    orders = [event["transaction"]["total_order"] for event in events[1:-1]]

    assert [event.get("status") or event["op"] for event in events] == [
        *(["BEGIN", "c", "c", "d", "c", "m", "d", "t"]),
        "END",
    ]
    assert orders == list(range(1, len(orders) + 1))
    assert events[-1]["event_count"] == len(orders)


async def _register(stack: LocalStack, source: PostgresSource) -> None:
    topic = capture_topic(source.name, source.epoch)
    await ensure_topics(stack.bootstrap_servers, [TopicPlan(name=topic)])
    async with ConnectClient(stack.connect_url) as client:
        await client.put(connector_name(source), connector_config(source))
        await client.wait_running(connector_name(source), within=dt.timedelta(seconds=60))
    await _wait_slot(stack, source, is_active=True)


async def _remove(stack: LocalStack, source: PostgresSource) -> None:
    async with ConnectClient(stack.connect_url) as client:
        await client.delete(connector_name(source))
    await _wait_slot(stack, source, is_active=False)
    with psycopg.connect(stack.dsn(), autocommit=True) as server:
        server.execute("SELECT pg_drop_replication_slot(%s)", (source.slot,))
        server.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


async def _wait_slot(stack: LocalStack, source: PostgresSource, *, is_active: bool) -> None:
    query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(stack.dsn(), autocommit=True) as server:
        while True:
            if await (await server.execute(query, (source.slot,))).fetchone() == (is_active,):
                return
            await asyncio.sleep(0.05)


def _read_until_end_of_truncate(stack: LocalStack, source: PostgresSource) -> list[dict[str, Any]]:
    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "t", "enable.auto.commit": False})
    consumer.assign([TopicPartition(capture_topic(source.name, source.epoch), 0, 0)])
    events: list[dict[str, Any]] = []
    try:
        while not events or events[-1].get("event_count") != len(CHANGES) + 2:
            message = consumer.poll(30)
            assert message is not None, f"the transaction never ended: {events}"
            value = json.loads(message.value() or b"{}")
            if "op" in value or "status" in value:
                events = [value] if value.get("status") == "BEGIN" else [*events, value]
    finally:
        consumer.close()
    return events
