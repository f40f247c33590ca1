"""Large values through the real engines: whole, or a stop that says why; never skipped."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import orjson
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from connectors.connect import ConnectClient
from connectors.connector_config import connector_config, connector_name
from connectors.debezium import UNAVAILABLE, Change, parse, with_whole_images
from ops.stack.topics import TopicPlan, ensure_topics
from schemas.errors import FormatError
from schemas.topics import RECORD_BYTES_MAX, SOURCE_BYTES_DEFAULT
from tests.integration.captured import a_captured_database
from tests.integration.databases import execute

if TYPE_CHECKING:
    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

MIB = 1 << 20
# Random letters do not compress: these values lie outside their row.
SCHEMA = """
CREATE TABLE letters (id int PRIMARY KEY, seen boolean, body text, tags text[], extra jsonb, scan bytea);
ALTER TABLE letters REPLICA IDENTITY FULL;
CREATE FUNCTION noise(bytes int) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT left(string_agg(md5(random()::text), ''''), bytes) FROM generate_series(1, bytes / 32 + 1)';
"""
INSERT = """
INSERT INTO letters
SELECT {id}, false, noise({bytes}), ARRAY[noise(9000), NULL], jsonb_build_object('a', noise(9000)), noise(9000)::bytea
"""


async def _changes(stack: LocalStack, identity: str) -> list[Change]:
    async with a_captured_database(stack, SCHEMA) as database:
        await execute(database.dsn, f"ALTER TABLE letters REPLICA IDENTITY {identity}")
        await execute(database.dsn, INSERT.format(id=1, bytes=MIB))
        await execute(database.dsn, "UPDATE letters SET seen = true")
        events = await database.changes("letters", 2)
    changes = [parse(orjson.dumps(event)) for event in events]
    return [change for change in changes if isinstance(change, Change)]


def test_large_values_that_an_update_did_not_touch_stay_whole(stack: LocalStack) -> None:
    """Text, array, jsonb and bytea: the new row has them from the old one."""
    inserted, updated = asyncio.run(_changes(stack, "FULL"))

    assert with_whole_images(updated).after == {**(inserted.after or {}), "seen": True}


def test_large_values_that_the_log_left_out_are_never_taken_for_data(stack: LocalStack) -> None:
    """Without the old row nothing is known of them: each says so in a form that is recognised, and is refused."""
    _, updated = asyncio.run(_changes(stack, "DEFAULT"))

    assert updated.after is not None
    assert {updated.after[name] for name in ("body", "tags", "extra")} == {UNAVAILABLE}
    with pytest.raises(FormatError, match="not sent"):
        with_whole_images(updated)


async def _lengths(stack: LocalStack) -> list[int]:
    async with a_captured_database(stack, SCHEMA) as database:
        for number, mebibytes in enumerate((5, 15)):
            await execute(database.dsn, INSERT.format(id=number, bytes=mebibytes * MIB))
        await database.copy("public.letters")
        return [len(event["after"]["body"]) for event in await database.changes("letters", 4)]


def test_rows_of_15_mebibytes_are_streamed_and_copied(stack: LocalStack) -> None:
    """A row may hold a document."""
    assert asyncio.run(_lengths(stack)) == [5 * MIB, 15 * MIB] * 2


async def _raised(stack: LocalStack) -> list[int]:
    async with a_captured_database(stack, SCHEMA) as database:
        await execute(database.dsn, INSERT.format(id=1, bytes=24 * MIB))
        await execute(database.dsn, INSERT.format(id=2, bytes=10))
        await database.failed()
        raised = dataclasses.replace(database.source, record_bytes_max=26 * MIB)
        async with ConnectClient(stack.connect_url) as client:
            await client.put(connector_name(raised), connector_config(raised))
        return [len(event["after"]["body"]) for event in await database.changes("letters", 2)]


def test_capture_goes_on_once_the_limit_is_raised(stack: LocalStack) -> None:
    """Nothing is skipped, and our readers take what is larger than they ask for."""
    assert asyncio.run(_raised(stack)) == [24 * MIB, 10]


async def _stopped(stack: LocalStack) -> tuple[str, list[int]]:
    async with a_captured_database(stack, SCHEMA) as database:
        await execute(database.dsn, INSERT.format(id=1, bytes=SOURCE_BYTES_DEFAULT + MIB))
        await execute(database.dsn, INSERT.format(id=2, bytes=10))
        reason = await database.failed()
        return reason, [event["after"]["id"] for event in await database.so_far("letters")]


def test_a_row_beyond_the_limit_stops_the_connector_and_is_not_skipped(stack: LocalStack) -> None:
    """The reason is there to be read, and what came after the row waits behind it."""
    reason, seen = asyncio.run(_stopped(stack))

    assert "RecordTooLargeException" in reason
    assert seen == []


async def _limit_of_an_old_topic(stack: LocalStack) -> str:
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    old = NewTopic("made-by-an-earlier-version", 1, 1, config={"max.message.bytes": "1000000"})
    admin.create_topics([old])[old.topic].result(10)
    await ensure_topics(stack.bootstrap_servers, [TopicPlan(name=old.topic)])
    resource = ConfigResource(ResourceType.TOPIC, old.topic)
    (described,) = admin.describe_configs([resource]).values()
    return str(described.result(10)["max.message.bytes"].value)


def test_a_topic_of_an_earlier_version_takes_records_as_large_as_a_new_one(stack: LocalStack) -> None:
    """Or what the connector may send now would stop at the broker."""
    assert asyncio.run(_limit_of_an_old_topic(stack)) == str(RECORD_BYTES_MAX)
