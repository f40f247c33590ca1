"""A whole platform for one test module: engines, workers, a load to run and what must be true afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka

from ops import bootstrap, bringup, canary, restoring
from ops.config import Settings, load_settings
from ops.demo import wedding
from ops.demo.story import new_database
from ops.instants import Instants, read_instants
from ops.sample.load import Load, LoadSettings
from ops.stack import control
from ops.status import archive_counts
from schemas.topics import DEAD_LETTERS
from sinks.restore_report import Status
from sinks.targets import PostgresTarget
from tests.integration.conftest import a_stack_folder, processes_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sinks.restore_plan import State

WITHIN_SECONDS = 90


@dataclasses.dataclass(slots=True, kw_only=True)
class Platform:
    """A running platform; `seed` makes each load's rows its own."""

    settings: Settings
    running: bringup.Running
    seed: int = 1

    async def load(self, *, changes: int, photos: int = 0, rate: float = 400, weddings: int = 20) -> Load:
        """Run a load to its end."""
        load = Load(LoadSettings(seed=self.seed, now=bootstrap.now()))
        self.seed += 1
        await load.run(
            self.running.dsn,
            self.settings.objects_folder,
            changes=changes,
            weddings=weddings,
            photos=photos,
            photo_bytes_total=photos * 1_000_000,
            rate=rate,
        )
        return load

    async def kill(self, name: str) -> None:
        """End a part as a power cut would; the supervisor starts it again."""
        state = await control.status(bootstrap.stack_settings(self.settings))
        assert state is not None
        process = state.parts[name].process
        assert process is not None, f"{name} is down already"
        os.kill(process.pid, signal.SIGKILL)

    async def everything_protected(self) -> dict[str, int]:
        """Wait until a canary has flown and nothing is owed; return the archive's counts."""
        async with asyncio.timeout(WITHIN_SECONDS):
            await canary.fly(self.settings, self.running.dsn, self.running.epochs["platform"])
            while True:
                with restoring.opened(self.settings) as archive:
                    counts = await archive.catalog.run(archive_counts)
                if not counts["objects_claimed"] and not counts["packs_owed"]:
                    return counts
                await asyncio.sleep(0.1)

    async def instants(self, since_us: int) -> Instants:
        """Read every change archived since."""
        with restoring.opened(self.settings) as archive:
            return await read_instants(restoring.history_of(archive), archive.catalog, since_us=since_us)

    async def differences(self, name: str) -> list[str]:
        """Restore one wedding with photos into a new database, and return how it differs from the living one."""
        mapping = bootstrap.mapping(self.settings)
        folder = self.settings.objects_folder
        witness = await wedding.record(self.running.dsn, mapping, name, folder)
        await canary.fly(self.settings, self.running.dsn, self.running.epochs["platform"])
        dsn = await new_database(self.running.dsn, "restored")
        target_folder = self.settings.state_dir / "restored"
        shutil.rmtree(target_folder, ignore_errors=True)

        def target(state: State) -> PostgresTarget:
            return PostgresTarget(
                dsn, mapping, ddl=state.ddl, sequences=state.sequences, used_numbers=state.used_numbers
            )

        with restoring.opened(self.settings) as archive:
            result = await restoring.restorer_of(archive).restore(
                name, witness.at, restore_id="test", rows=target, folder=target_folder
            )
        assert result.status is Status.WHOLE, result.missing
        return await wedding.differences(witness, dsn, mapping, target_folder)

    def now_us(self) -> int:
        """Return the present."""
        return int(bootstrap.now().timestamp() * 1_000_000)


def dead_letters(brokers: str, count: int) -> list[tuple[bytes, bytes]]:
    """Return the first dead letters as (value, reason); blocks until there are so many, or long enough."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": brokers, "group.id": "test-dead-letters", "log_level": 3})
    consumer.assign([confluent_kafka.TopicPartition(DEAD_LETTERS, 0, confluent_kafka.OFFSET_BEGINNING)])
    found: list[tuple[bytes, bytes]] = []
    deadline = time.monotonic() + WITHIN_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found.append((message.value() or b"", dict(message.headers())["wedsync.reason"]))
    consumer.close()
    return found


async def with_buckets(platform: Platform, *buckets: str) -> Platform:
    """Bring a running platform up once more, now with buckets: the text of their `[[buckets]]` tables."""
    config = platform.settings.state_dir / "wedsync.toml"
    config.write_text("".join(f"[[buckets]]\n{each}\n" for each in buckets), encoding="utf-8")
    settings = load_settings(config, state_dir=platform.settings.state_dir)
    running = await bringup.bring_up(settings, config=config, is_tied=True)
    return Platform(settings=settings, running=running)


@contextlib.asynccontextmanager
async def a_platform(toml: str = "", **given: Any) -> AsyncIterator[Platform]:
    """Bring a platform up on free ports, with these settings, and leave neither a process nor a file of it.

    What the workers shall know too stands in `toml`.
    """
    folder = a_stack_folder()
    config = folder / "wedsync.toml" if toml else None
    if config is not None:
        config.write_text(toml, encoding="utf-8")
    settings = load_settings(config, state_dir=folder, **given) if config else Settings(state_dir=folder, **given)
    try:
        running = await bringup.bring_up(settings, config=config, is_tied=True)
        yield Platform(settings=settings, running=running)
    finally:
        await control.down(bootstrap.stack_settings(settings))
        assert processes_of(folder) == []
        shutil.rmtree(folder)
