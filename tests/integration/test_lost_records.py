"""Records that are gone from Kafka before they were routed or protected, on the real engines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka
import psycopg
import pytest
import pytest_asyncio
from confluent_kafka.admin import AdminClient

from connectors.connector_config import PLATFORM_SOURCE
from ops import bootstrap, guard, restoring
from ops.gaps import known_gaps
from ops.stack import control
from ops.status import log_ends
from schemas.topics import capture_topic
from tests.integration.platforms import Platform, a_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(200)]

WITHIN_SECONDS = 80
VENDOR = (
    "INSERT INTO vendors (id, kind, name, email, joined_at)"
    " VALUES (gen_random_uuid(), 'florist', 'lost in Kafka', 'x@example.org', now())"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform() -> AsyncIterator[Platform]:
    """One platform for both tests."""
    async with a_platform() as running:
        yield running


@contextlib.contextmanager
def asleep(pid: int) -> Iterator[None]:
    """Let a worker sleep, and end it as a power cut would; the supervisor starts it again."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)


async def pid_of(platform: Platform, name: str) -> int:
    """Return a worker's process."""
    state = await control.status(bootstrap.stack_settings(platform.settings))
    assert state is not None
    process = state.parts[name].process
    assert process is not None
    return process.pid


def end_of(platform: Platform, topic: str) -> int:
    """Return the end of a topic's first partition."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": platform.running.brokers, "group.id": "test-ends"})
    with contextlib.closing(consumer):
        return int(consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=10)[1])


def delete(platform: Platform, ends: dict[tuple[str, int], int]) -> None:
    """Take all records before these ends away, as retention does."""
    admin = AdminClient({"bootstrap.servers": platform.running.brokers})
    wanted = [confluent_kafka.TopicPartition(*place, end) for place, end in ends.items()]
    for future in admin.delete_records(wanted).values():
        future.result(20)


async def until(found: Callable[[], Any]) -> Any:
    """Wait until something is there, and return it."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError("it never came")


async def gap(platform: Platform, source: str) -> dict[str, Any]:
    """Wait for a gap of a source, and return it."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        for each in await known_gaps(platform.settings):
            if each["source"].startswith(source):
                return each
        await asyncio.sleep(0.2)
    raise AssertionError(f"no gap of {source} was filed")


async def test_a_photo_whose_notice_is_lost_is_a_gap_and_announced_again(platform: Platform) -> None:
    """The router goes on with the objects' log and files what it lost; the next sweep says all of it again."""
    source = platform.settings.objects.bucket
    topic = capture_topic(source, platform.running.epochs[source])
    folder = platform.settings.objects_folder / "weddings" / "w1"
    folder.mkdir(parents=True)
    (folder / "before.jpg").write_bytes(b"before")
    await platform.everything_protected()
    begin = end_of(platform, topic)
    with asleep(await pid_of(platform, "router")):
        (folder / "lost.jpg").write_bytes(b"lost")
        end = await until(lambda: max(0, end_of(platform, topic) - begin) and end_of(platform, topic))
        delete(platform, {(topic, 0): end})
    found = await gap(platform, source)
    await until(lambda: end_of(platform, topic) >= end + 2)
    assert (await platform.everything_protected())["objects_lost"] == 0

    with restoring.opened(platform.settings) as archive:
        state = await restoring.restorer_of(archive).state_at(None, None)
    assert sorted(key.rpartition("/")[2] for _, _, key in state.objects) == ["before.jpg", "lost.jpg"]
    assert (found["lsns"], state.is_whole) == ([begin, end - 1], False)


async def test_rows_that_were_lost_from_the_backup_topics_are_copied_again(platform: Platform) -> None:
    """The sink goes on and files the hole; the guard begins a new epoch, whose copies have the rows."""
    partitions = platform.settings.archive.partitions
    before = log_ends(platform.running.brokers, partitions)
    with asleep(await pid_of(platform, "sink")):
        async with await psycopg.AsyncConnection.connect(platform.running.dsn, autocommit=True) as connection:
            await connection.execute(VENDOR)
        await until(lambda: sum(log_ends(platform.running.brokers, partitions).values()) > sum(before.values()) + 200)
        delete(platform, log_ends(platform.running.brokers, partitions))
    found = await gap(platform, "backup.")
    epoch = platform.running.epochs[PLATFORM_SOURCE]
    await until(lambda: _is_copied(platform, epoch))
    await platform.everything_protected()

    with restoring.opened(platform.settings) as archive:
        state = await restoring.restorer_of(archive).state_at(None, None)
    assert "lost in Kafka" in {row["name"] for row in state.tables()["public.vendors"]}
    assert ("gone from Kafka" in found["reason"], state.is_whole) == (True, False)


def _is_copied(platform: Platform, epoch: int) -> bool:
    """Return whether a later epoch has copied every table, and go on in it."""
    report = guard.read_report(platform.settings, bootstrap.now())
    if report is None or report["epoch"] <= epoch or not report["copies"] or report["copies"][0]["state"] != "done":
        return False
    platform.running.epochs[PLATFORM_SOURCE] = report["epoch"]
    return True
