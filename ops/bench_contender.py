"""One contender of the routing benches, in a process of its own: reads a log to its end and says what it cost.

`router` is the worker as it runs in production; `faust` a stock Faust agent (a topic, an agent, an awaited send)
around the very same decision; `plain` a loop that decides nothing and copies. Each writes one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from ops import bootstrap
from ops.sample.platform import sample_mapping
from schemas.topics import BACKUP_TOPICS, parse_capture_topic
from streams.destinations import Destinations
from streams.intake import consumer_settings
from streams.produce import KafkaProducer, producer_settings
from streams.records import Record
from streams.router import Router
from streams.routing import SourceRouting
from streams.state import RouterState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.records import RecordBatch

_LOOK_SECONDS: Final = 0.02
_POLL_SECONDS: Final = 0.5
_BATCH: Final = 500
PLAIN_TOPIC: Final = "bench.plain"
FAUST_PREFIX: Final = "bench.faust."


class Clock:
    """Wall and processor time from the end of the warm-up to the last record."""

    def __init__(self, warm_up: int, records: int) -> None:
        self._warm_up, self._records = warm_up, records
        self._began: tuple[float, float] | None = None
        self._from = 0

    def reached(self, offset: int) -> bool:
        """Take note that everything before `offset` is done; return whether that is all."""
        if self._began is None and offset >= self._warm_up:
            self._began, self._from = (time.monotonic(), time.process_time()), offset
        return offset >= self._records

    def say(self) -> None:
        """Write the line that the bench reads."""
        assert self._began is not None
        wall, cpu = time.monotonic() - self._began[0], time.process_time() - self._began[1]
        told = {"records": self._records - self._from, "wall_s": wall, "cpu_s": cpu}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def route(options: argparse.Namespace, clock: Clock) -> None:
    """Run the router's own worker on the log."""
    from streams.app import ROUTED_AT_ONCE_MAX, batch_worker  # noqa: PLC0415 - each contender imports only its own

    state = RouterState(pathlib.Path(options.scratch) / "state.db")
    router = Router(
        mapping=sample_mapping(),
        state=state,
        producer=KafkaProducer({"bootstrap.servers": options.brokers}),
        partitions=options.partitions,
        now=bootstrap.now,
    )

    async def handle(batch: RecordBatch) -> None:
        clock.reached(batch.records[0].offset)
        await router.route(batch)
        if clock.reached(batch.records[-1].offset + 1):
            clock.say()
            # The last frontiers are no part of what is measured.
            await router.announce_frontiers()
            os.kill(os.getpid(), signal.SIGTERM)

    batch_worker(
        name=options.group,
        brokers=options.brokers,
        topics=[options.topic],
        handle=handle,
        watermarks=router,
        batch_records_max=ROUTED_AT_ONCE_MAX,
        companions=[router.announce_for_ever],
        scratch=pathlib.Path(options.scratch),
    ).execute_from_commandline()


def stock_faust(options: argparse.Namespace, clock: Clock) -> None:
    """Run a Faust agent as its manual shows it: one event at a time, each send awaited."""
    import faust  # noqa: PLC0415

    source, epoch = parse_capture_topic(options.topic)
    state = RouterState(":memory:")
    routing = SourceRouting(
        source=source,
        epoch=epoch,
        mapping=sample_mapping(),
        state=state,
        destinations=Destinations(state, partitions=options.partitions),
        topic=options.topic,
    )
    app = faust.App(
        options.group, broker=f"kafka://{options.brokers}", store="memory://", web_enabled=False,
        datadir=pathlib.Path(options.scratch), topic_disable_leader=True, topic_partitions=1,
    )  # fmt: skip
    lanes = {
        topic: app.topic(FAUST_PREFIX + topic, value_serializer="raw", key_serializer="raw") for topic in BACKUP_TOPICS
    }

    @app.agent(app.topic(options.topic, value_serializer="raw", key_serializer="raw"))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            offset = event.message.offset
            clock.reached(offset)
            record = Record(offset, int(event.message.timestamp * 1000), event.key, event.value)
            for to in routing.decide([record], committed_us=0, now=bootstrap.now())[0]:
                await lanes[to.topic].send(key=to.key, value=to.value, partition=to.partition)
            if clock.reached(offset + 1):
                clock.say()
                os.kill(os.getpid(), signal.SIGTERM)

    faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()


def plain(options: argparse.Namespace, clock: Clock) -> None:
    """Copy the log record by record, deciding nothing: what the two clients alone can do."""
    import confluent_kafka  # noqa: PLC0415

    consumer = confluent_kafka.Consumer(
        consumer_settings({"bootstrap.servers": options.brokers, "group.id": options.group})
    )
    producer = confluent_kafka.Producer(producer_settings({"bootstrap.servers": options.brokers}))
    consumer.assign([confluent_kafka.TopicPartition(options.topic, 0, 0)])
    is_over = False
    while not is_over:
        for message in consumer.consume(_BATCH, _POLL_SECONDS):
            offset = message.offset()
            clock.reached(offset)
            producer.produce(PLAIN_TOPIC, value=message.value(), key=message.key(), partition=0)
            is_over = clock.reached(offset + 1) or is_over
        producer.flush()
    clock.say()
    consumer.close()


_RUN: Final = {"router": route, "faust": stock_faust, "plain": plain}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench_contender", description="one contender")
    parser.add_argument("contender", choices=sorted(_RUN))
    for name in ("brokers", "topic", "group", "scratch"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("warm-up", "records", "partitions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args(arguments)
    from ops.workers import tune_process  # noqa: PLC0415

    tune_process()
    asyncio.set_event_loop(asyncio.new_event_loop())
    _RUN[options.contender](options, Clock(options.warm_up, options.records))


if __name__ == "__main__":
    main()
