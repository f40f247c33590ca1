"""The worker that announces what happens in buckets: one connector a bucket, side by side in one process."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final

import structlog

from connectors.announced import Announced
from connectors.bucket import BucketConnector, BucketSettings
from connectors.storage import wedding_of_key
from ops import bootstrap, bootstrap_buckets
from ops.notice_log import KafkaDeadLetters, KafkaNoticeLog, RenewedProducer, newest_epoch_topic
from ops.sweep_turns import RuledTurns
from ops.worker_metrics import make
from schemas import metrics
from schemas.errors import ConfigError
from schemas.topics import parse_capture_topic
from sinks.controls import ControlsFollower
from streams.observed import newest_hole
from streams.produce import KafkaProducer

if TYPE_CHECKING:
    from ops.bucket_settings import BucketSection
    from ops.config import Settings

log = structlog.get_logger(__name__)

_REFUSED_SECONDS: Final = 15.0
_GAUGES_SECONDS: Final = 1.0


class StorageWorker:
    """All buckets of the settings."""

    def __init__(self, settings: Settings, *, brokers: str) -> None:
        self._settings, self._brokers = settings, brokers
        self._turns = RuledTurns()
        self._controls = ControlsFollower(
            {"bootstrap.servers": brokers}, now_us=bootstrap.now_us, obey=self._turns.obey
        )
        self._announced, self._swept = make(metrics.BUCKET_ANNOUNCED), make(metrics.BUCKET_SWEPT)
        self._swept_at, self._refused = make(metrics.BUCKET_SWEPT_AT), make(metrics.BUCKET_REFUSED)
        self._buried = make(metrics.BUCKET_BURIED)

    async def run(self) -> None:
        """Announce for ever. One bucket that refuses us does not keep the others waiting.

        Raises:
            TransientError: Kafka does not say which rules hold.
        """
        self._turns.begin(await asyncio.to_thread(self._controls.catch_up))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._controls.run())
            for section in self._settings.buckets:
                tasks.create_task(self._keep_running(section))
            if not self._settings.buckets:
                await asyncio.Event().wait()

    async def _keep_running(self, section: BucketSection) -> None:
        refused = self._refused.labels(section.name)
        while True:
            try:
                refused.set(0)
                await self._run(section)
            except* ConfigError as errors:
                refused.set(1)
                first = errors.exceptions[0]
                log.error(  # noqa: TRY400 - the reason is told, a trace would not help
                    "a bucket refuses us",
                    action="bucket.refused",
                    source=section.name,
                    reason=str(first),
                    hint=getattr(first, "hint", ""),
                )
            await asyncio.sleep(_REFUSED_SECONDS)

    async def _run(self, section: BucketSection) -> None:
        """Run one bucket's connector, until the bucket or its channel refuses us."""
        topic = await asyncio.to_thread(newest_epoch_topic, self._brokers, section.name)
        _, epoch = parse_capture_topic(topic)
        folder = self._settings.state_dir / "connectors"
        folder.mkdir(parents=True, exist_ok=True)
        producer = RenewedProducer(lambda: KafkaProducer({"bootstrap.servers": self._brokers}))
        channel = bootstrap_buckets.channel(section, brokers=self._brokers)
        mapping = bootstrap.mapping(self._settings)
        connector = BucketConnector(
            BucketSettings(
                name=section.name,
                sweep_every=dt.timedelta(seconds=section.sweep_seconds),
                grace=dt.timedelta(seconds=section.grace_seconds),
                is_versioned=section.has_versions,
                asks_metadata=lambda key: bool(section.wedding_metadata) and wedding_of_key(key, mapping) is None,
            ),
            read=bootstrap_buckets.reader(section),
            channel=channel,
            listing=bootstrap_buckets.listing(section),
            # Known per epoch: a new log has heard of nothing yet.
            announced=Announced(folder / f"{section.name}.e{epoch}.db", is_versioned=section.has_versions),
            notices=KafkaNoticeLog(producer, topic),
            dead_letters=KafkaDeadLetters(producer, topic),
            now=bootstrap.now,
            turns=self._turns,
            newest_hole=lambda: newest_hole(self._settings.router_file, section.name, epoch),
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connector.run())
                tasks.create_task(self._show(section.name, connector))
        finally:
            if channel is not None:
                await channel.close()

    async def _show(self, name: str, connector: BucketConnector) -> None:
        while True:
            self._announced.labels(name).set(connector.announced)
            self._swept.labels(name).set(connector.swept)
            self._buried.labels(name).set(connector.buried)
            if connector.swept_at is not None:
                self._swept_at.labels(name).set(connector.swept_at.timestamp())
            await asyncio.sleep(_GAUGES_SECONDS)
