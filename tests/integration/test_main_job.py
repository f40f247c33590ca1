"""The main job on the real stack, and kill -9 of each of its processes in the middle of a load."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from ops import bootstrap, status
from ops import dead_letters as letters_ops
from ops.stack import control
from schemas.topics import capture_topic
from streams.produce import KafkaProducer
from streams.records import Outgoing
from tests.integration.platforms import Platform, a_platform, dead_letters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

CHANGES = 2400
KILLS = [("router", 3), ("sink", 3), ("folder", 1), ("connect", 2), ("kafka", 2)]
"""Which process dies in the middle of a load, and how often, each time at another instant."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """One platform for all tests of this module: what one leaves behind, the next must live with."""
    async with a_platform() as running:
        yield running


async def test_a_change_and_a_photo_are_protected_and_come_back(platform: Platform) -> None:
    """What was committed is archived once, and a wedding restored from it equals the living one."""
    began_us = platform.now_us()
    load = await platform.load(changes=CHANGES, photos=10)
    counts = await platform.everything_protected()
    instants = await platform.instants(began_us)

    assert (instants.changes, instants.repeated) == (load.counts.changes, 0)
    assert counts["objects_protected"] >= load.counts.photos
    assert counts["packs_below_three"] == counts["gaps"] == 0
    assert await platform.differences(load.counts.photos_of.most_common(1)[0][0]) == []


async def test_garbage_becomes_a_dead_letter_and_the_rest_flows(platform: Platform) -> None:
    """What cannot be read is kept with its bytes and the reason; what comes behind it is protected."""
    topic = capture_topic("objects", platform.running.epochs["objects"])
    producer = KafkaProducer({"bootstrap.servers": platform.running.brokers})
    garbage = [b"", b"not json", b"{}", b"\xc3\x01 cut off", b"[" * 5000, b"\xff\xfe"]
    await producer.deliver([Outgoing(topic, 0, b"key", value) for value in garbage])
    began_us = platform.now_us()
    load = await platform.load(changes=CHANGES, photos=2)
    await platform.everything_protected()
    letters = await asyncio.to_thread(dead_letters, platform.running.brokers, len(garbage))

    assert [value for value, _ in letters] == garbage
    assert all(reason for _, reason in letters)
    assert (await platform.instants(began_us)).changes == load.counts.changes
    # As long as nobody says what they are, no restore behind them calls itself whole.
    for letter in await letters_ops.listed(platform.settings):
        await letters_ops.discard(platform.settings, letter["id"], "made by a test")


@pytest.mark.parametrize("source", ["objects", "platform"])
async def test_a_dead_letter_is_listed_retried_and_discarded(platform: Platform, source: str) -> None:
    """It counts as unprotected all the while, and no longer once somebody has said why it says nothing."""
    topic = capture_topic(source, platform.running.epochs[source])
    producer = KafkaProducer({"bootstrap.servers": platform.running.brokers})
    poison = f"poison {platform.now_us()}".encode()
    await producer.deliver([Outgoing(topic, 0, b"key", poison)])
    letter: dict[str, Any] = {}
    for _ in range(100):
        found = await letters_ops.listed(platform.settings)
        if letter := next((each for each in found if each["bytes"] == len(poison)), {}):
            break
        await asyncio.sleep(0.1)
    unresolved = (await status.observe(platform.settings))["dead_letters"]
    _, content = await letters_ops.shown(platform.settings, letter["id"])
    (tried,) = await letters_ops.retry(platform.settings, [letter["id"]])
    done = await letters_ops.discard(platform.settings, letter["id"], "made by a test")

    await platform.load(changes=CHANGES, photos=2)
    await platform.everything_protected()

    assert (content, tried["state"], len(tried["tried"])) == (poison, "unresolved", 1)
    assert (done["state"], (await status.observe(platform.settings))["dead_letters"]) == ("discarded", unresolved - 1)


@pytest.mark.parametrize(("name", "times"), KILLS, ids=[name for name, _ in KILLS])
async def test_kill_9_loses_nothing_and_doubles_nothing(platform: Platform, name: str, times: int) -> None:
    """Each process may die at any instant of a load; afterwards the archive holds each change once."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    began_us = platform.now_us()
    load = asyncio.create_task(platform.load(changes=CHANGES, photos=6))
    for pause in _pauses(random.Random(seed), times):
        await asyncio.sleep(pause)  # Not waiting for anything: the instant is what is drawn.
        await platform.kill(name)
        await control.wait_ready(
            bootstrap.stack_settings(platform.settings), supervisor_pid=platform.running.state.supervisor.pid
        )
    done = await load
    counts = await platform.everything_protected()
    instants = await platform.instants(began_us)

    assert (instants.changes, instants.repeated) == (done.counts.changes, 0)
    assert counts["packs_below_three"] == counts["gaps"] == counts["objects_lost"] == 0
    assert await platform.differences(done.counts.photos_of.most_common(1)[0][0]) == []


def _pauses(rng: random.Random, times: int) -> list[float]:
    return [rng.uniform(0.2, 1.2) for _ in range(times)]
