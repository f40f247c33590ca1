"""The local stack keeps its promises on real engines."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from connectors.connect import ConnectClient
from ops.stack import control
from ops.stack.settings import StackSettings
from ops.stack.topics import TopicPlan, ensure_topics, topic_id
from schemas.errors import ConfigError
from tests.integration.conftest import LocalStack, a_stack_folder, processes_of
from tests.unit.stack.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration


@pytest.fixture
def own_stack() -> Iterator[LocalStack]:
    """A stack for one test that is going to break it."""
    folder = a_stack_folder()
    settings = StackSettings(state_dir=folder)
    try:
        state = asyncio.run(control.up(settings, workers=[("sleeper", ("sleep", "600"))], is_tied=True))
        yield LocalStack(settings=settings, state=state)
    finally:
        asyncio.run(control.down(settings))
        shutil.rmtree(folder)


async def test_a_second_up_changes_nothing(stack: LocalStack) -> None:
    """Who asks twice gets the same processes."""
    assert await control.up(stack.settings) == await control.status(stack.settings)


async def test_postgres_decodes_logically_and_syncs_to_disk(stack: LocalStack) -> None:
    """The two settings everything rests on hold in the running server."""
    async with await psycopg.AsyncConnection.connect(stack.dsn()) as connection:
        wal_level = await (await connection.execute("SHOW wal_level")).fetchone()
        fsync = await (await connection.execute("SHOW fsync")).fetchone()

    assert (wal_level, fsync) == (("logical",), ("on",))


async def test_connect_has_the_debezium_plugin(stack: LocalStack) -> None:
    """An empty Connect answers, and refuses a connector that lacks its settings by saying which."""
    config = {"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1"}
    async with ConnectClient(stack.connect_url) as client:
        assert await client.status("nobody") is None
        with pytest.raises(ConfigError, match=r"topic\.prefix"):
            await client.put("nobody", config)


async def test_a_topic_is_made_once_and_keeps_its_id(stack: LocalStack) -> None:
    """Asking again is harmless; asking for another number of partitions is refused."""
    await ensure_topics(stack.bootstrap_servers, [TopicPlan(name="once", partitions=2)])
    first = await topic_id(stack.bootstrap_servers, "once")
    await ensure_topics(stack.bootstrap_servers, [TopicPlan(name="once", partitions=2)])

    assert await topic_id(stack.bootstrap_servers, "once") == first
    with pytest.raises(ConfigError, match="2 partitions, not 3"):
        await ensure_topics(stack.bootstrap_servers, [TopicPlan(name="once", partitions=3)])


@pytest.mark.parametrize("name", ["postgres", "kafka", "connect"])
async def test_a_killed_engine_comes_back_where_it_was(stack: LocalStack, name: str) -> None:
    """Same port, same data, another process."""
    await ensure_topics(stack.bootstrap_servers, [TopicPlan(name="survivor")])
    survivor = await topic_id(stack.bootstrap_servers, "survivor")
    killed = await stack.kill(name)
    back = await stack.wait_ready()

    assert await stack.pid(name) != killed
    assert back.ports == stack.state.ports
    assert await topic_id(stack.bootstrap_servers, "survivor") == survivor


async def test_a_killed_supervisor_leaves_no_orphan(own_stack: LocalStack) -> None:
    """The kernel ends engines and workers when the process that owned them is gone; the next `up` works."""
    sleeper = await own_stack.pid("sleeper")
    os.kill(own_stack.state.supervisor.pid, signal.SIGKILL)
    await until(lambda: own_stack.processes() == [] and not os.path.exists(f"/proc/{sleeper}/exe"))  # noqa: PTH110

    assert await control.status(own_stack.settings) is None
    assert (await control.up(own_stack.settings, is_tied=True)).ports == own_stack.state.ports


async def test_down_leaves_nothing(own_stack: LocalStack) -> None:
    """After `down` no process of the stack runs, and a second `down` has nothing to do."""
    assert await control.down(own_stack.settings)

    assert processes_of(own_stack.settings.state_dir) == []
    assert not await control.down(own_stack.settings)
