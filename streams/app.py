"""The Faust worker: an agent over batches, supervised so that any error ends the process.

Faust gives the agents, their supervision and the worker's life; records and offsets are ours
(`streams.intake`). A worker that fails exits non-zero, and whoever started it starts it again: it
then begins where its state or the catalog stands.
"""

from __future__ import annotations

import gc
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any, Final, Protocol

import faust
from mode.supervisors import CrashingSupervisor

from streams.intake import BATCH_RECORDS_MAX, BatchChannel, Intake
from streams.schema_registry import unframing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from streams.intake import Outrun, Watermarks
    from streams.records import RecordBatch
    from streams.router import Router
    from streams.schema_registry import Registry


ROUTED_AT_ONCE_MAX: Final = 8_000
"""A backlog is routed in batches so large that their one transaction and the wait for their end are no matter."""


class Companion(Protocol):
    """Something that runs for ever beside the agent, such as owed copies or frontiers."""

    async def __call__(self) -> None:
        """Run until cancelled; an error ends the worker."""
        ...


def batch_worker(
    *,
    name: str,
    brokers: str,
    topics: Sequence[str],
    handle: Callable[[RecordBatch], Awaitable[Any]],
    watermarks: Watermarks,
    companions: Sequence[Companion] = (),
    finish: Callable[[], Awaitable[None]] | None = None,
    consumer: Mapping[str, Any] | None = None,
    outrun: Outrun | None = None,
    batch_records_max: int = BATCH_RECORDS_MAX,
    scratch: pathlib.Path | None = None,
) -> faust.Worker:
    """Return a worker that hands every batch of `topics` to `handle`, one at a time and in order.

    `name` is the consumer group; `outrun` is asked where to go on when records are gone, without it that is the
    worker's end. `finish` runs when the worker stops in order, after the last batch.
    """
    # Faust's web views have no login, so they stay off; its own group carries no topic of ours.
    app = faust.App(
        f"{name}-agents",
        broker=f"kafka://{brokers}",
        store="memory://",
        datadir=scratch or pathlib.Path(tempfile.gettempdir()) / f"{name}-agents",
        web_enabled=False,
        topic_partitions=1,
        topic_replication_factor=1,
    )
    channel = BatchChannel(app)
    intake = Intake(
        channel=channel,
        watermarks=watermarks,
        consumer_settings={"bootstrap.servers": brokers, "group.id": name, **(consumer or {})},
        topics=topics,
        outrun=outrun,
        batch_records_max=batch_records_max,
    )

    @app.agent(channel, name=f"{name}-batches", concurrency=1, supervisor_strategy=CrashingSupervisor)  # type: ignore[untyped-decorator]
    async def batches(stream: Any) -> None:
        async for batch in stream:
            # What a rebalance has overtaken is read again from the watermark: handled now, it would leave a gap.
            if intake.is_current(batch):
                await handle(batch)

    for companion in companions:
        _run_beside(app, companion)

    @app.task  # type: ignore[untyped-decorator]
    async def start_intake() -> None:
        _keep_what_is_loaded()
        await app.add_runtime_dependency(intake)

    @app.on_before_shutdown.connect  # type: ignore[untyped-decorator]
    async def stop_in_order(*_args: Any, **_named: Any) -> None:
        if finish is not None and not app.crashed:
            await finish()

    return faust.Worker(app, loglevel="WARNING", quiet=True, redirect_stdouts=False)


def _keep_what_is_loaded() -> None:
    """Spare collections the look at what stays to the end: all that was loaded to come so far."""
    gc.collect()
    gc.freeze()


def _run_beside(app: faust.App, companion: Companion) -> None:
    async def run() -> None:
        try:
            await companion()
        except Exception as error:
            await app.crash(error)
            raise

    app.task(run)


def router_worker(
    router: Router,
    *,
    brokers: str,
    group: str,
    topics: Sequence[str],
    registry: Registry | None = None,
    companions: Sequence[Companion] = (),
) -> faust.Worker:
    """Return the worker that routes capture topics (names, or patterns that begin with ^)."""
    return batch_worker(
        name=group,
        brokers=brokers,
        topics=topics,
        handle=unframing(router.route, registry),
        watermarks=router,
        outrun=router.outrun,
        batch_records_max=ROUTED_AT_ONCE_MAX,
        companions=[router.announce_for_ever, *companions],
    )
