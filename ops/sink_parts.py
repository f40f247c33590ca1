"""The parts of a sink worker, put together: sink, blobs, owed copies, checkpoints, gauges."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from ops import bootstrap
from ops.dead_letters import LetterReader
from ops.restoring import history_of
from ops.status import group_size, log_ends
from ops.worker_metrics import SinkMetrics, make
from schemas import metrics
from schemas.backup import Priority
from schemas.errors import WedSyncError
from schemas.work import STREAMS
from sinks.blobs import BlobSink
from sinks.catalog_tables import CAPTURE_GAPS, GAPS, OBJECTS, PACKS
from sinks.checkpoint import CheckpointWriter
from sinks.controls import ControlsFollower
from sinks.owed import OwedCopies
from sinks.promotion import Promotions
from sinks.protect import Protector
from sinks.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.config import Settings
    from sinks.protect import Protected
    from streams.app import Companion

_GAUGES_EVERY_SECONDS: Final = 2.0
_LAG_EVERY_SECONDS: Final = 5.0
_SINKS_EVERY_SECONDS: Final = 5.0
_FINISH_SECONDS: Final = 10.0
_ALL_GAPS: Final = sa.select(
    sa.select(sa.func.count()).select_from(GAPS).scalar_subquery()
    + sa.select(sa.func.count()).select_from(CAPTURE_GAPS).scalar_subquery()
)


class SinkParts:
    """All that runs in a sink worker."""

    def __init__(self, settings: Settings, *, brokers: str, group: str, topic_ids: Mapping[str, str]) -> None:
        self._settings, self._brokers, self._group = settings, brokers, group
        archive = self.archive = bootstrap.Archive(settings)
        self.registry = bootstrap.registry(settings)
        self._metrics = SinkMetrics()
        self.controls = ControlsFollower(
            {"bootstrap.servers": brokers}, now_us=bootstrap.now_us, obey=archive.grants.obey
        )
        archive.grants.on_change(self._rules_changed)
        shared = {
            "catalog": archive.catalog,
            "keyring": archive.keyring,
            "replicator": archive.replicator,
            "late": archive.late,
            "now": bootstrap.now,
            "randomness": os.urandom,
            "cpu": archive.cpu,
        }
        self.blobs = BlobSink(
            source=bootstrap.object_source(settings),
            protected=self._metrics.object_protected,
            **{**shared, "replicator": archive.bulk_replicator, "cpu": archive.bulk_cpu},  # type: ignore[arg-type]
        )
        self.sink = Sink(
            catalog=archive.catalog,
            protector=Protector(**shared),  # type: ignore[arg-type]
            topic_ids=topic_ids,
            limits=bootstrap.window_limits(settings),
            protected=self._window_protected,
        )
        promotions = Promotions(
            catalog=archive.catalog,
            sink=self.sink,
            reader=bootstrap.lane_reader(brokers, self.registry),
            producer=bootstrap.lane_producer(settings, brokers, self.registry),
            topic_ids=topic_ids,
            now=bootstrap.now,
            promoted=self.blobs.wake,
        )
        owed = OwedCopies(catalog=archive.catalog, replicator=archive.bulk_replicator, now=bootstrap.now)
        checkpoints = self._checkpoints = CheckpointWriter(
            catalog=archive.catalog,
            keyring=archive.keyring,
            replicator=archive.replicator,
            partitions=settings.archive.partitions,
            now=bootstrap.now,
            randomness=os.urandom,
        )
        every = functools.partial(checkpoints.run, every_seconds=settings.archive.checkpoint_seconds)
        self.companions: list[Companion] = [self.blobs.run, owed.run, every, promotions.run]
        self.companions += [self.controls.run, self._observe, self._observe_lag, self._observe_sinks]

    def read_controls(self) -> None:
        """Begin by the rules that hold now; blocks until they are known."""
        self.archive.grants.begin(self.controls.catch_up())

    async def finish(self) -> None:
        """Write a last checkpoint: how far the idle partitions came stands nowhere else."""
        # The stores may be the reason for stopping, or an operator who has stopped everything.
        with contextlib.suppress(WedSyncError, TimeoutError):
            async with asyncio.timeout(_FINISH_SECONDS):
                await self._checkpoints.write()

    def _rules_changed(self) -> None:
        self.blobs.wake()

    def _window_protected(self, lane: Priority, protected: Protected) -> None:
        self._metrics.window_protected(lane, protected)
        if protected.window.objects or protected.window.promoted:
            self.blobs.wake()

    async def _observe(self) -> None:
        claimed, owed, gaps = make(metrics.OBJECTS_CLAIMED), make(metrics.PACKS_OWED), make(metrics.GAPS)
        suspect, unresolved = make(metrics.STORE_SUSPECT), make(metrics.LETTERS_UNRESOLVED)
        letters = LetterReader(history_of(self.archive))
        count = sa.func.count()
        while True:
            claimed.set(await self._scalar(sa.select(count).where(OBJECTS.c.state == "claimed")))
            owed.set(await self._scalar(sa.select(count).where(PACKS.c.is_full.is_(False))))
            gaps.set(await self._scalar(_ALL_GAPS))
            with contextlib.suppress(WedSyncError):  # A store that is down makes the number late, not the worker.
                unresolved.set(len((await letters.refresh()).unresolved()))
            suspects = self.archive.health.suspects()
            for store in self.archive.stores:
                suspect.labels(store).set(store in suspects)
            await asyncio.sleep(_GAUGES_EVERY_SECONDS)

    async def _observe_lag(self) -> None:
        lag = make(metrics.LAG_MESSAGES)
        while True:
            ends = await asyncio.to_thread(log_ends, self._brokers, self._settings.archive.partitions)
            marks = await self.sink.next_offsets()
            for topic, number in ends:
                lag.labels(topic, number).set(max(0, ends[topic, number] - marks.get((topic, number), 0)))
            await asyncio.sleep(_LAG_EVERY_SECONDS)

    async def _observe_sinks(self) -> None:
        """Share the bandwidth with whoever else is in the group."""
        alive, waiting, granted = (
            make(metrics.SINKS_ALIVE),
            make(metrics.TRANSFERS_WAITING),
            make(metrics.GRANTED_BYTES),
        )
        refused, grants = make(metrics.CONTROLS_REFUSED), self.archive.grants
        refused.set_function(lambda: self.controls.board.refused)
        for lane in Priority:
            waiting.labels(lane.value).set_function(functools.partial(grants.waiting, lane))
        for stream in STREAMS:
            granted.labels(*stream).set_function(functools.partial(grants.granted_bytes.__getitem__, stream))
        while True:
            sinks = await asyncio.to_thread(group_size, self._brokers, self._group)
            if sinks:  # Kafka does not always answer, and a sink that has not joined yet is one all the same.
                grants.share_among(sinks)
                alive.set(sinks)
            await asyncio.sleep(_SINKS_EVERY_SECONDS)

    async def _scalar(self, statement: sa.Select[int]) -> int:
        return await self.archive.catalog.run(lambda connection: connection.execute(statement).scalar_one())
