"""The sink's Faust worker: the agent that hands batches to the sink, and nothing else that acknowledges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.topics import BACKUP_TOPICS
from streams.app import batch_worker
from streams.schema_registry import unframing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sinks.sink import Sink
    from streams.app import Companion
    from streams.schema_registry import Registry


def sink_worker(
    sink: Sink,
    *,
    brokers: str,
    group: str,
    companions: Sequence[Companion],
    finish: Callable[[], Awaitable[None]] | None = None,
    registry: Registry | None = None,
) -> Any:
    """Return the worker that protects the backup topics; `finish` comes after the last window."""

    async def stop() -> None:
        await sink.stop()
        if finish is not None:
            await finish()

    return batch_worker(
        name=group,
        brokers=brokers,
        topics=BACKUP_TOPICS,
        handle=unframing(sink.accept, registry),
        watermarks=sink,
        outrun=sink.outrun,
        companions=[sink.watch, *companions],
        finish=stop,
    )
