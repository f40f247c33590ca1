"""The worker processes: `python -m ops.workers router|sink|folder|storage|api --brokers HOST:PORT …`.

Each builds its adapters, serves its metrics and runs until a signal; any error ends it with exit
code 1, and the supervisor starts it again where its state or the catalog stands.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import pathlib
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from ops import bootstrap
from ops.config import load_settings
from schemas import metrics
from schemas.errors import WedSyncError
from schemas.topics import BACKUP_TOPICS, CAPTURE_PATTERN, parse_capture_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.config import Settings

ROUTER_GROUP: Final = "wedsync-router"
SINK_GROUP: Final = "wedsync-sink"
_GC_THRESHOLDS: Final = (50_000, 20, 50)
_SWITCH_SECONDS: Final = 0.001
"""Store, catalog and compression threads come back from C all the time; at 5 ms each would wait for the last."""


def run_router(settings: Settings, brokers: str) -> None:
    """Route until told to stop."""
    from ops.worker_metrics import Gauges, serve  # noqa: PLC0415 - each worker imports only what it needs
    from streams.app import router_worker  # noqa: PLC0415
    from streams.router import Router  # noqa: PLC0415
    from streams.state import RouterState  # noqa: PLC0415
    from streams.urgency import UrgencyFollower  # noqa: PLC0415

    folder = settings.state_dir / "router"
    folder.mkdir(parents=True, exist_ok=True)
    state, registry = RouterState(folder / "state.db"), bootstrap.registry(settings)
    router = Router(
        mapping=bootstrap.mapping(settings),
        state=state,
        producer=bootstrap.lane_producer(settings, brokers, registry),
        partitions=settings.archive.partitions,
        now=bootstrap.now,
        rules=bootstrap.routing_rules(settings),
    )
    Gauges(
        {
            metrics.ROUTED: lambda: router.routed,
            metrics.DEAD_LETTERS: lambda: router.dead_letters,
            metrics.WAITING: lambda: router.waiting,
            metrics.CAPTURE_HOLES: lambda: router.holes,
        }
    )
    serve("router", settings.state_dir / "run")
    _set_loop()
    urgency = UrgencyFollower({"bootstrap.servers": brokers}, router.make_urgent)
    worker = router_worker(
        router,
        brokers=brokers,
        group=ROUTER_GROUP,
        topics=[CAPTURE_PATTERN],
        registry=registry,
        companions=[urgency.run],
    )
    worker.execute_from_commandline()


def run_sink(settings: Settings, brokers: str) -> None:
    """Protect until told to stop."""
    from ops.sink_parts import SinkParts  # noqa: PLC0415
    from ops.stack.topics import topic_id  # noqa: PLC0415
    from ops.worker_metrics import serve  # noqa: PLC0415
    from sinks.app import sink_worker  # noqa: PLC0415

    async def find_ids() -> dict[str, str]:
        return {topic: _in_names(await topic_id(brokers, topic)) for topic in BACKUP_TOPICS}

    topic_ids = asyncio.run(find_ids())
    parts = SinkParts(settings, brokers=brokers, group=SINK_GROUP, topic_ids=topic_ids)
    parts.read_controls()
    serve("sink", settings.state_dir / "run")
    _set_loop()
    worker = sink_worker(
        parts.sink,
        brokers=brokers,
        group=SINK_GROUP,
        companions=parts.companions,
        finish=parts.finish,
        registry=parts.registry,
    )
    worker.execute_from_commandline()


def _in_names(topic_id: str) -> str:
    """Return Kafka's base64 id in the alphabet that object names allow."""
    return topic_id.replace("+", "-").replace("/", "_")


def run_folder(settings: Settings, brokers: str) -> None:
    """Announce a folder's objects until told to stop."""
    from connectors.folder import FolderConnector, FolderSettings  # noqa: PLC0415
    from connectors.known_objects import SqliteKnownObjects  # noqa: PLC0415
    from ops.notice_log import KafkaNoticeLog, newest_epoch_topic  # noqa: PLC0415
    from ops.worker_metrics import Gauges, serve  # noqa: PLC0415
    from schemas.backup import Priority  # noqa: PLC0415
    from schemas.controls import strictest  # noqa: PLC0415
    from schemas.work import Stream, Work  # noqa: PLC0415
    from sinks.controls import ControlsFollower  # noqa: PLC0415
    from streams.observed import newest_hole  # noqa: PLC0415
    from streams.produce import KafkaProducer  # noqa: PLC0415

    sweeps = Stream(Priority.STANDARD, Work.SWEEP)
    controls = ControlsFollower({"bootstrap.servers": brokers}, now_us=bootstrap.now_us)
    controls.catch_up()
    topic = newest_epoch_topic(brokers, settings.objects.bucket)
    folder = settings.state_dir / "connectors"
    folder.mkdir(parents=True, exist_ok=True)
    _, epoch = parse_capture_topic(topic)
    connector = FolderConnector(
        FolderSettings(
            bucket=settings.objects.bucket,
            root=settings.objects_folder,
            settle=_milliseconds(settings.objects.settle_ms),
            sweep_every=_milliseconds(settings.objects.sweep_seconds * 1000),
        ),
        # Known per epoch: a new log has heard of nothing yet.
        known=SqliteKnownObjects(folder / f"{settings.objects.bucket}.e{epoch}.db"),
        notices=KafkaNoticeLog(KafkaProducer({"bootstrap.servers": brokers}), topic),
        now=bootstrap.now,
        may_sweep=lambda: strictest(controls.board.rules, sweeps, now_us=bootstrap.now_us()) is None,
        newest_hole=lambda: newest_hole(settings.router_file, settings.objects.bucket, epoch),
    )
    Gauges({metrics.ANNOUNCED: lambda: connector.announced})
    serve("folder", settings.state_dir / "run")
    asyncio.run(_until_signal(_together(connector.run(), controls.run())))


async def _together(*works: Any) -> None:
    """Run until the first of them ends, and end as it did."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run_api(settings: Settings, brokers: str) -> None:
    """Receive applications' events until told to stop."""
    from ops.api import serve  # noqa: PLC0415

    serve.run_api(settings, brokers)


def run_storage(settings: Settings, brokers: str) -> None:
    """Announce what happens in buckets until told to stop."""
    from ops.storage_worker import StorageWorker  # noqa: PLC0415
    from ops.worker_metrics import serve  # noqa: PLC0415

    worker = StorageWorker(settings, brokers=brokers)
    serve("storage", settings.state_dir / "run")
    asyncio.run(_until_signal(worker.run()))


def _milliseconds(count: float) -> Any:
    import datetime as dt  # noqa: PLC0415

    return dt.timedelta(milliseconds=count)


async def _until_signal(work: Any) -> None:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _set_loop() -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())


def run_guard(settings: Settings, brokers: str, connect_url: str) -> None:
    """Watch over capture until told to stop."""
    from connectors.connector_config import PLATFORM_SOURCE  # noqa: PLC0415
    from ops import bringup  # noqa: PLC0415
    from ops.copy_rules import CopyRules  # noqa: PLC0415
    from ops.epochs import Where  # noqa: PLC0415
    from ops.guard import Guard  # noqa: PLC0415
    from ops.guard_metrics import gauges  # noqa: PLC0415
    from ops.worker_metrics import Gauges, serve  # noqa: PLC0415

    def newest_epoch() -> int:
        return bringup.newest_epochs(brokers).get(PLATFORM_SOURCE, 0)

    dsn = settings.source.url or asyncio.run(bringup.stack_database(settings))
    where = Where(dsn=dsn, brokers=brokers, connect_url=connect_url)
    rules = CopyRules({"bootstrap.servers": brokers}, now_us=bootstrap.now_us)
    guard = Guard(settings, where, newest_epoch=newest_epoch, now=bootstrap.now, rule=rules.holding)
    Gauges(gauges(guard))
    serve("guard", settings.state_dir / "run")
    asyncio.run(_until_signal(_together(guard.run(), rules.run())))


_RUN: Final = {
    "router": run_router,
    "sink": run_sink,
    "folder": run_folder,
    "storage": run_storage,
    "api": run_api,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops.workers", description="one worker process")
    parser.add_argument("worker", choices=sorted([*_RUN, "guard"]))
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--connect", default="http://connect:8083")
    parser.add_argument("--config", type=pathlib.Path)
    parser.add_argument("--state-dir", type=pathlib.Path)
    options = parser.parse_args(arguments)
    _configure_logs()
    tune_process()
    overrides = {"state_dir": options.state_dir} if options.state_dir else {}
    try:
        settings = load_settings(options.config, **overrides)
        if options.worker == "guard":
            run_guard(settings, options.brokers, options.connect)
        else:
            _RUN[options.worker](settings, options.brokers)
    except WedSyncError as error:
        print(f"{options.worker}: {error}\n  {error.hint}", file=sys.stderr)  # noqa: T201 - the worker's log
        return 1
    return 0


def tune_process() -> None:
    """Set the interpreter up for a worker."""
    # Batches make many short-lived values and no cycles: collecting seldom spares the pauses.
    gc.set_threshold(*_GC_THRESHOLDS)
    sys.setswitchinterval(_SWITCH_SECONDS)


def _configure_logs() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Threads of the C libraries must not keep a finished worker alive.
