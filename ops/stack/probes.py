"""Does an engine answer? Each probe asks once, within its own time limit, and says yes or no."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx
import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.stack.settings import LOOPBACK

PROBE_TIMEOUT_SECONDS: Final = 3.0


async def kafka_answers(bootstrap_servers: str) -> bool:
    """Tell whether the broker lists itself in its own metadata."""
    if not await _port_is_open(bootstrap_servers):
        return False
    return await asyncio.to_thread(_lists_a_broker, bootstrap_servers)


async def connect_answers(connect_url: str) -> bool:
    """Tell whether the Connect worker has joined its group and serves requests."""
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{connect_url}/health")
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK


async def postgres_answers(dsn: str) -> bool:
    """Tell whether the server accepts the superuser and a query."""
    try:
        connection = await asyncio.wait_for(psycopg.AsyncConnection.connect(dsn), PROBE_TIMEOUT_SECONDS)
        async with connection:
            await asyncio.wait_for(connection.execute("SELECT 1"), PROBE_TIMEOUT_SECONDS)
    except (psycopg.OperationalError, TimeoutError):
        return False
    return True


async def _port_is_open(bootstrap_servers: str) -> bool:
    # Asked first, because librdkafka complains on standard error about every refused connection.
    port = int(bootstrap_servers.rpartition(":")[2])
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), PROBE_TIMEOUT_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _lists_a_broker(bootstrap_servers: str) -> bool:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=PROBE_TIMEOUT_SECONDS).brokers)
    except KafkaException:
        return False
