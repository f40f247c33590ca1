"""The order of events of `make demo`. Real parts only; whatever goes wrong ends it with a reason and exit code 1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import conninfo, sql

from ops import bootstrap, bringup, restoring
from ops.dead_letters import LetterReader
from ops.demo import memory, wedding
from ops.demo.events import Events, has_witness_s
from ops.instants import percentiles, read_instants
from ops.rebuilding import rebuild_catalog
from ops.sample.load import Load, LoadSettings
from ops.stack import control
from ops.status import archive_counts
from schemas.errors import TransientError
from sinks.catalog import open_engine
from sinks.catalog_tables import COPIES, OBJECTS
from sinks.key_wrapping import create_master_key, load_master_key, open_escrow, seal_escrow
from sinks.restore_report import RestoreResult, Status
from sinks.targets import PostgresTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.config import Settings
    from sinks.restore_plan import State

CHANGES: Final = 20_000
WEDDINGS: Final = 200
PHOTOS: Final = 200
PHOTO_BYTES: Final = 500_000_000
RATE: Final = 350
"""Changes a second on average; a Saturday's bursts are two and a half times that."""
SEED: Final = 20260620
_BREAK_AT, _MEND_AT, _WITNESS_AT = 0.3, 0.55, 0.6
_DRAIN_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.1
_BROKEN_STORE: Final = "gcs-europe-west3"
_PASSPHRASE: Final = "something borrowed, something blue"  # noqa: S105 - the demo's own, told to everybody


class Demo:
    """One run; `say` tells a person what happens."""

    def __init__(self, settings: Settings, *, say: Callable[[str], None], keep: bool) -> None:
        self._settings, self._say, self._keep = settings, say, keep
        self._mapping = bootstrap.mapping(settings)
        self._load = Load(LoadSettings(seed=SEED, now=bootstrap.now()))
        self._report: dict[str, Any] = {}
        self._memory = memory.Watch()

    async def run(self) -> dict[str, Any]:
        """Tell the whole story and return the report.

        Raises:
            WedSyncError: a part of it could not even be tried.
        """
        stack = bootstrap.stack_settings(self._settings)
        try:
            running = await bringup.bring_up(self._settings, is_tied=not self._keep, progress=self._say)
            witness = await self._first_act(running)
            await self._second_act(running, witness)
            await self._third_act(witness)
        finally:
            if not self._keep:
                await control.down(stack)
        return self._report

    async def _first_act(self, running: bringup.Running) -> wedding.Witness:
        """Load at Saturday shape; a store breaks and comes back; one wedding is left alone and recorded."""
        self._memory.follow(running.state)
        self._engine = open_engine(self._settings.catalog_file, must_exist=True)
        began_us = self._now_us()
        self._say(
            f"loading {CHANGES:,} changes over {WEDDINGS} weddings and {PHOTOS} photos ({PHOTO_BYTES // 10**6} MB)"
        )
        load = asyncio.create_task(
            self._load.run(
                running.dsn,
                self._settings.objects_folder,
                changes=CHANGES,
                weddings=WEDDINGS,
                photos=PHOTOS,
                photo_bytes_total=PHOTO_BYTES,
                rate=RATE,
                shape="saturday",
            )
        )
        self._events = Events(self._settings)
        tasks = [
            asyncio.create_task(self._tell_progress(load)),
            asyncio.create_task(self._memory.run()),
            asyncio.create_task(self._events.run(lambda: sorted(self._load.counts.photos_of))),
        ]
        try:
            await self._break_a_store(load)
            witness = await self._witness(running, load)
            counts = await load
            loaded = time.monotonic()
            await tasks[-1]
            await self._events.close()
            await self._until_protected(counts.photos)
        finally:
            for task in (load, *tasks):
                task.cancel()
            await asyncio.gather(load, *tasks, return_exceptions=True)
            self._engine.dispose()
        self._report |= {
            "changes": counts.changes,
            "weddings": WEDDINGS,
            "photos": counts.photos,
            "bytes": counts.photo_bytes,
            "load_seconds": round(counts.elapsed_s, 1),
            "drain_seconds": round(time.monotonic() - loaded, 1),
        }
        await self._measure(began_us)
        return witness

    async def _break_a_store(self, load: asyncio.Task[Any]) -> None:
        folder = next(pathlib.Path(store.folder) for store in self._settings.stores if store.name == _BROKEN_STORE)
        away = folder.with_name(folder.name + ".away")
        await self._until_loaded(load, _BREAK_AT)
        folder.rename(away)
        broken = time.monotonic()
        self._say(f"broke store {_BROKEN_STORE}: its disk is gone")
        await self._until_loaded(load, _MEND_AT)
        away.rename(folder)
        seconds = round(time.monotonic() - broken, 1)
        self._say(f"{_BROKEN_STORE} is back after {seconds} s; what it owes is made up")
        self._report["broken_store"] = {"name": _BROKEN_STORE, "seconds": seconds}

    async def _witness(self, running: bringup.Running, load: asyncio.Task[Any]) -> wedding.Witness:
        """Choose a wedding with photos, leave it alone, wait for its photos, record it."""
        await self._until_loaded(load, _WITNESS_AT)
        chosen = self._load.counts.photos_of.most_common(1)[0][0]
        await self._load.leave_alone(chosen)
        folder = self._settings.objects_folder
        files = await asyncio.to_thread(wedding.digest_files, folder, chosen)
        await self._until(lambda: self._has_photos(chosen, len(files)), f"the photos of wedding {chosen} protected")
        await self._events.of_witness(chosen)
        witness = await wedding.record(running.dsn, self._mapping, chosen, folder)
        instant = witness.at.isoformat(timespec="milliseconds")
        self._say(f"T = {instant}: wedding {chosen}, {witness.rows} rows, {len(files)} photos")
        await asyncio.sleep(_POLL_SECONDS)
        self._harm = await wedding.harm(running.dsn, witness, folder)
        await self._events.after_harm(chosen)
        self._say(f"harm: {self._harm.guests} guests deleted, {self._harm.photos} photos overwritten")
        return witness

    async def _second_act(self, running: bringup.Running, witness: wedding.Witness) -> None:
        """Restore the wedding as of T beside the living database, and compare."""
        self._say("restoring the wedding as of T")
        began = time.monotonic()
        result, wrong = await self._restore(running, witness, "restored")
        self._tell_differences(wrong)
        self._report["restore"] = {
            "wedding": witness.wedding,
            "at": witness.at.isoformat(),
            "seconds": round(time.monotonic() - began, 2),
            "rows": sum(result.rows.values()),
            "objects": result.objects,
            "harmed_rows": self._harm.guests,
            "harmed_objects": self._harm.photos,
            "events": result.events,
            "identical": not wrong and result.status is Status.WHOLE,
        }

    async def _third_act(self, witness: wedding.Witness) -> None:
        """Delete everything but the store folders and the exported key, rebuild, restore again."""
        escrow = seal_escrow(load_master_key(self._settings.master_key_file), _PASSPHRASE)
        await control.down(bootstrap.stack_settings(self._settings))
        await asyncio.to_thread(self._delete_all_but_stores)
        self._say("deleted catalog, Kafka, Postgres, photos and the key; only the stores and the escrow are left")
        began = time.monotonic()
        create_master_key(self._settings.master_key_file, open_escrow(escrow, _PASSPHRASE))
        await rebuild_catalog(self._settings)
        seconds = round(time.monotonic() - began, 2)
        self._say(f"catalog rebuilt from the stores in {seconds} s; starting a new, empty stack")
        running = await bringup.bring_up(self._settings, is_tied=not self._keep)
        began = time.monotonic()
        result, wrong = await self._restore(running, witness, "rebuilt")
        self._tell_differences(wrong)
        self._report["rebuild"] = {
            "seconds": seconds,
            "restore_seconds": round(time.monotonic() - began, 2),
            "identical": not wrong and result.status is Status.WHOLE,
        }

    async def _restore(
        self, running: bringup.Running, witness: wedding.Witness, name: str
    ) -> tuple[RestoreResult, list[str]]:
        dsn = await new_database(running.dsn, name)
        folder = self._settings.state_dir / name
        shutil.rmtree(folder, ignore_errors=True)

        has_events = False

        def target(state: State) -> PostgresTarget:
            nonlocal has_events
            has_events = has_witness_s(state.events)
            return PostgresTarget(
                dsn, self._mapping, ddl=state.ddl, sequences=state.sequences, used_numbers=state.used_numbers
            )

        with restoring.opened(self._settings) as archive:
            result = await restoring.restorer_of(archive).restore(
                witness.wedding, witness.at, restore_id=f"demo-{name}", rows=target, folder=folder
            )
        wrong = await wedding.differences(witness, dsn, self._mapping, folder)
        return result, wrong if has_events else [*wrong, "events"]

    async def _measure(self, began_us: int) -> None:
        """Read from archive and catalog what was promised."""
        self._say("reading every change's instants back from the archive")
        with restoring.opened(self._settings) as archive:
            instants = await read_instants(
                restoring.history_of(archive),
                archive.catalog,
                since_us=began_us,
                without=frozenset({self._harm.transaction}),
            )
            counts = await archive.catalog.run(archive_counts)
            letters = len((await LetterReader(restoring.history_of(archive)).refresh()).unresolved())
            replicas_min = await archive.catalog.run(_replicas_min)
            stores = await archive.catalog.run(_per_store)
            photos_seconds = await archive.catalog.run(_photos_seconds)
        self._report |= {
            "events": {"sent": self._events.sent, "archived": len(instants.application)},
            "archived": instants.changes,
            "repeated": instants.repeated,
            "protected": instants.changes + self._report["photos"],
            "unprotected": counts["objects_claimed"] + counts["packs_below_three"] + letters,
            "lost": counts["objects_lost"],
            "replicas_min": replicas_min,
            "initiation_ms": percentiles(instants.initiation_ms),
            "durable_ms": percentiles(instants.durable_ms),
            "rpo_ms": percentiles(instants.rpo_ms),
            "rpo_ms_by_lane": {lane: percentiles(values) for lane, values in sorted(instants.rpo_by_lane.items())},
            "photos_seconds": photos_seconds,
            "photo_rpo_ms": percentiles(instants.object_rpo_ms),
            "stores": stores,
            "packs": counts["packs"],
            "memory_mb": self._memory.largest_mb(),
        }

    async def _until_protected(self, photos: int) -> None:
        """Wait until nothing is behind: frontiers past the load's end, no claims, no owed copies."""
        end_us = self._now_us()

        async def is_done() -> bool:
            with restoring.opened(self._settings) as archive:
                counts = await archive.catalog.run(archive_counts)
                frontiers = await restoring.history_of(archive).frontiers()
            objects = counts["objects_protected"]
            is_past = all(row.committed_us >= end_us for row in frontiers if row.source == "platform")
            is_past &= all(row.position >= self._events.sent - 1 for row in frontiers if row.source == "application")
            return is_past and objects >= photos and not counts["objects_claimed"] and not counts["packs_owed"]

        await self._until(is_done, "everything protected")

    async def _has_photos(self, chosen: str, count: int) -> bool:
        wanted = sa.select(sa.func.count()).where(OBJECTS.c.wedding == chosen, OBJECTS.c.state == "protected")
        with self._engine.connect() as connection:
            return int(connection.execute(wanted).scalar_one()) >= count

    async def _until(self, is_true: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        while not await is_true():
            if time.monotonic() > deadline:
                raise TransientError(
                    f"not within {_DRAIN_SECONDS:.0f} s: {what}", hint="see the logs below the state folder"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _until_loaded(self, load: asyncio.Task[Any], share: float) -> None:
        while self._load.counts.changes < share * CHANGES and not load.done():  # noqa: ASYNC110 - a counter
            await asyncio.sleep(_POLL_SECONDS)
        if load.done():
            await load  # It failed, or ended before its time: say why.

    async def _tell_progress(self, load: asyncio.Task[Any]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while not load.done():
                await asyncio.sleep(5.0)
                counts = self._load.counts
                megabytes = counts.photo_bytes // 10**6
                self._say(f"  {counts.changes:,} of {CHANGES:,} changes, {counts.photos} photos, {megabytes} MB")

    def _tell_differences(self, wrong: list[str]) -> None:
        self._say("compared rows and bytes: identical" if not wrong else f"DIFFERENT: {', '.join(wrong[:5])}")

    def _delete_all_but_stores(self) -> None:
        state = self._settings.state_dir
        keep = {
            pathlib.Path(store.folder).resolve().relative_to(state.resolve()).parts[0]
            for store in self._settings.stores
        }
        for path in state.iterdir():
            if path.name not in keep:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _now_us(self) -> int:
        return int(bootstrap.now().timestamp() * 1_000_000)


async def new_database(dsn: str, name: str) -> str:
    """Create an empty database on the same server, and return its connection string."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return conninfo.make_conninfo(dsn, dbname=name)


def _replicas_min(connection: sa.Connection) -> int:
    counted = sa.select(sa.func.count().label("copies")).select_from(COPIES).group_by(COPIES.c.pack_hash).subquery()
    return int(connection.execute(sa.select(sa.func.min(counted.c.copies))).scalar_one() or 0)


def _photos_seconds(connection: sa.Connection) -> float:
    """Return how long it took from the first photo in the folder to the last one's verified copies."""
    span = sa.select(sa.func.max(OBJECTS.c.protected_us) - sa.func.min(OBJECTS.c.modified_us))
    return round((connection.execute(span).scalar_one() or 0) / 1e6, 1)


def _per_store(connection: sa.Connection) -> dict[str, int]:
    rows = connection.execute(
        sa.select(COPIES.c.store, sa.func.count()).group_by(COPIES.c.store).order_by(COPIES.c.store)
    )
    return {store: count for store, count in rows}  # noqa: C416 - a Row is not a pair to `dict`


def fresh_state(folder: pathlib.Path) -> pathlib.Path:
    """Return an empty state folder for a run; what an earlier run left is deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return pathlib.Path(os.path.relpath(folder)) if folder.is_relative_to(pathlib.Path.cwd()) else folder
