"""Faust's traps, on the real library."""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import pathlib
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import faust
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from mode.supervisors import CrashingSupervisor

from ops.stack.topics import TopicPlan, ensure_topics
from streams.app import batch_worker
from streams.intake import BatchChannel
from tests.builders import a_batch
from tests.integration.conftest import stack  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from tests.integration.conftest import LocalStack

ROOT = pathlib.Path(__file__).parents[2]
_numbers = itertools.count()


def an_app(tmp_path: pathlib.Path) -> Any:
    """Return an app of our worker's, unstarted."""

    async def handle(_batch: object) -> None:
        """Take a batch."""

    marks: Any = object()
    worker = batch_worker(
        name=f"pitfall-{next(_numbers)}",
        brokers="127.0.0.1:9",
        topics=["t"],
        handle=handle,
        watermarks=marks,
        scratch=tmp_path,
    )
    return worker.app


async def test_a_channel_of_faust_s_own_is_emptied_by_every_resume_and_ours_is_not(tmp_path: pathlib.Path) -> None:
    """A rebalance resumes the flow; batches that waited would be gone without a word."""
    app = an_app(tmp_path)
    plain, ours = faust.Channel(app), BatchChannel(app)
    for channel in (plain, ours):
        channel.queue.put_nowait(a_batch("t", [b"v"]))
    app.flow_control.suspend()
    app.flow_control.resume()

    assert (plain.queue.qsize(), ours.queue.qsize()) == (0, 1)


async def test_a_channel_holds_four_batches_and_not_four_thousand(tmp_path: pathlib.Path) -> None:
    """The rest stays with Kafka, which keeps it on disk."""
    app = an_app(tmp_path)

    assert BatchChannel(app).queue.maxsize == 4
    assert not BatchChannel(app).has_subscriber


async def test_an_exception_in_an_agent_ends_the_worker_instead_of_dropping_its_batch(tmp_path: pathlib.Path) -> None:
    """Faust's default supervisor goes on with the next batch, and whoever waits for the lost one waits for ever."""
    app = an_app(tmp_path)
    (agent,) = app.agents.values()

    assert (agent.supervisor_strategy, agent.concurrency) == (CrashingSupervisor, 1)


async def test_exactly_once_is_never_asked_of_faust(tmp_path: pathlib.Path) -> None:
    """It loses and doubles; positions and the catalog's fence do that work."""
    assert an_app(tmp_path).conf.processing_guarantee.value == "at_least_once"


async def test_web_views_without_a_login_are_off(tmp_path: pathlib.Path) -> None:
    """Nothing listens on 6066."""
    assert an_app(tmp_path).conf.web_enabled is False


async def test_a_worker_without_a_topic_of_faust_s_keeps_its_leader_topic(tmp_path: pathlib.Path) -> None:
    """With it disabled, and no Faust topic at all, the worker dies at its first assignment."""
    assert an_app(tmp_path).conf.topic_disable_leader is False


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_can_be_read_by_faust_s_consumer(codec: str) -> None:
    """Without cramjam the worker dies on the first compressed batch, its own included."""
    assert getattr(importlib.import_module("aiokafka.codec"), f"has_{codec}")()


@pytest.mark.parametrize(
    ("name", "version"), [("faust-streaming", "0.15.3"), ("mode-streaming", "0.7.1"), ("aiokafka", "0.14.")]
)
def test_faust_is_the_version_whose_traps_are_known(name: str, version: str) -> None:
    """Another one has others."""
    assert importlib.metadata.version(name).startswith(version)


_WORKER = """
import sys
from streams.app import batch_worker

class Marks:
    async def assigned(self, partitions): return {each: 0 for each in partitions}
    async def revoked(self, partitions): pass
    async def next_offsets(self): return {}
    def full(self): return frozenset()

async def handle(batch):
    raise RuntimeError("a bug in the agent")

_, brokers, group, topic = sys.argv
worker = batch_worker(name=group, brokers=brokers, topics=[topic], handle=handle, watermarks=Marks())
worker.execute_from_commandline()
"""


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_an_event_that_failed_is_not_acknowledged_by_the_worker_that_dies_of_it(stack: LocalStack) -> None:  # noqa: F811
    """Faust would commit past it; ours exits non-zero, and the group's offset has not moved."""
    topic, group = "pitfall-faust", "pitfall-faust-group"
    await ensure_topics(stack.bootstrap_servers, [TopicPlan(name=topic)])
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    producer.produce(topic, b"v")
    assert producer.flush(30) == 0
    command = [sys.executable, "-c", textwrap.dedent(_WORKER), stack.bootstrap_servers, group, topic]
    ended = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, check=False)  # noqa: ASYNC221 - nothing else runs
    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": group})
    (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=30)
    consumer.close()

    assert ended.returncode != 0, ended.stderr[-500:]
    assert committed.offset < 0
