"""Plays a script against a real Postgres and a real folder, and counts what Postgres says it did.

Open loop: an operation starts when it is due, whether or not the one before it has finished, until the lanes'
queues are full. One connection per lane; a transaction travels in one round trip (pipeline mode).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import hashlib
from typing import TYPE_CHECKING, Final

import psycopg

from ops.sample import photos
from ops.sample.plan import Planner, Script, Upload
from ops.sample.shapes import Pace, Shape
from schemas.errors import FormatError, TransientError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ops.sample.cast import SampleWedding
    from ops.sample.statements import Statement, Transaction

QUEUE_OPERATIONS_MAX: Final = 256
TICK_S: Final = 0.004
CONNECT_TIMEOUT_S: Final = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """What makes a load repeatable: the seed and the instant it plays at; one connection per lane."""

    seed: int
    now: dt.datetime
    lanes: int = 8


@dataclasses.dataclass(slots=True, kw_only=True)
class LoadCounts:
    """What has happened so far; `changes` are rows affected in committed transactions, as Postgres counted them."""

    changes: int = 0
    transactions: int = 0
    rolled_back: int = 0
    photos: int = 0
    photo_bytes: int = 0
    elapsed_s: float = 0.0
    behind_s_max: float = 0.0
    photos_of: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


class Load:
    """One run of the sample platform's traffic. Runs once; a database takes each seed once."""

    def __init__(self, settings: LoadSettings) -> None:
        self._settings = settings
        self._left_alone: set[str] = set()
        self._under_way = _UnderWay()
        self._stopped = asyncio.Event()
        self._began = 0.0
        self.counts = LoadCounts()
        self.weddings: tuple[SampleWedding, ...] = ()

    async def run(
        self,
        dsn: str,
        folder: Path,
        *,
        changes: int = 20_000,
        weddings: int = 200,
        photos: int = 200,
        photo_bytes_total: int = 500_000_000,
        rate: float | None = 500,
        shape: Shape | str = Shape.SATURDAY,
        progress: Callable[[LoadCounts], None] | None = None,
        exclude: set[str] | None = None,
    ) -> LoadCounts:
        """Play the whole script at `rate` changes/s (None: as fast as it goes) and return the counts.

        `exclude` may grow while this runs: its weddings get no new operations (`leave_alone` also waits).

        Raises:
            ConfigError: too few changes for that many weddings.
            TransientError: the connection was lost; `counts` holds what is known to be committed.
        """
        self._left_alone = exclude if exclude is not None else set()
        planner = Planner(
            Script(
                changes=changes,
                weddings=weddings,
                photos=photos,
                photo_bytes_total=photo_bytes_total,
                shape=Shape(shape),
                seed=self._settings.seed,
                now=self._settings.now,
                lanes=self._settings.lanes,
            )
        )
        self.weddings = planner.cast.weddings
        async with contextlib.AsyncExitStack() as stack:
            try:
                lanes = [await self._lane(dsn, folder, progress, stack) for _ in range(self._settings.lanes)]
                for transaction in planner.platform():
                    await lanes[0].play(transaction)
                # Weddings sign up steadily, at half the rate; the peak belongs to those that are there.
                openings = (planner.openings(self._left_alone), Pace(shape=Shape.STEADY, rate=rate and rate / 2))
                traffic = (planner.plan(self._left_alone), Pace(shape=Shape(shape), rate=rate))
                await self._play([openings, traffic], lanes)
            except psycopg.OperationalError as error:
                raise TransientError(f"the load lost Postgres: {error}", hint="is the database up?") from error
        return self.counts

    async def leave_alone(self, wedding: str) -> None:
        """Exclude a wedding and return once nothing that touches it is under way any more."""
        self._left_alone.add(wedding)
        await self._under_way.idle(wedding)

    def stop(self) -> None:
        """Plan nothing more: what is under way finishes and `run` returns."""
        self._stopped.set()

    async def _lane(
        self,
        dsn: str,
        folder: Path,
        progress: Callable[[LoadCounts], None] | None,
        stack: contextlib.AsyncExitStack,
    ) -> _Lane:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
        await stack.enter_async_context(connection)
        return _Lane(connection, folder, self.counts, self._under_way, progress)

    async def _play(self, acts: Sequence[tuple[Iterator[Transaction | Upload], Pace]], lanes: list[_Lane]) -> None:
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in lanes:
                    tasks.create_task(lane.run())
                for operations, pace in acts:
                    await self._dispatch(operations, lanes, pace, loop.time())
                for lane in lanes:
                    await lane.queue.put(None)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group  # the others follow from the first
        finally:
            self.counts.elapsed_s = loop.time() - self._began

    async def _dispatch(
        self, operations: Iterator[Transaction | Upload], lanes: list[_Lane], pace: Pace, started: float
    ) -> None:
        """Plan each operation at the instant it is due, not before: what is excluded until then is left alone."""
        loop = asyncio.get_running_loop()
        while not await self._has_stopped(started + pace.due_s - loop.time()):
            operation = next(operations, None)
            if operation is None:
                return
            due = started + pace.next_due_s(1 if isinstance(operation, Upload) else operation.changes)
            self._under_way.enter(_weddings(operation))
            await lanes[operation.lane].queue.put(operation)
            self.counts.elapsed_s = loop.time() - self._began
            if pace.rate is not None:
                self.counts.behind_s_max = max(self.counts.behind_s_max, loop.time() - due)

    async def _has_stopped(self, wait_s: float) -> bool:
        if wait_s > 0 and not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), max(wait_s, TICK_S))
        return self._stopped.is_set()


class _UnderWay:
    """How many operations touch each wedding between dispatch and commit."""

    def __init__(self) -> None:
        self._operations: collections.Counter[str] = collections.Counter()
        self._waiting: dict[str, asyncio.Event] = {}

    def enter(self, weddings: tuple[str, ...]) -> None:
        self._operations.update(weddings)

    def leave(self, weddings: tuple[str, ...]) -> None:
        self._operations.subtract(weddings)
        for wedding in weddings:
            if self._operations[wedding] == 0 and wedding in self._waiting:
                self._waiting.pop(wedding).set()

    async def idle(self, wedding: str) -> None:
        if self._operations[wedding]:
            await self._waiting.setdefault(wedding, asyncio.Event()).wait()


class _Lane:
    """One connection that plays its operations one after the other."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        folder: Path,
        counts: LoadCounts,
        under_way: _UnderWay,
        progress: Callable[[LoadCounts], None] | None,
    ) -> None:
        self.queue: asyncio.Queue[Transaction | Upload | None] = asyncio.Queue(QUEUE_OPERATIONS_MAX)
        self._connection = connection
        self._folder = folder
        self._counts = counts
        self._under_way = under_way
        self._progress = progress

    async def run(self) -> None:
        """Play what comes until None comes."""
        while (operation := await self.queue.get()) is not None:
            await (self._upload(operation) if isinstance(operation, Upload) else self.play(operation))
            self._under_way.leave(_weddings(operation))
            if self._progress is not None:
                self._progress(self._counts)

    async def play(self, transaction: Transaction) -> None:
        """Execute one transaction in one round trip and count what Postgres counted."""
        rows = await self._execute(transaction.statements, "ROLLBACK" if transaction.rolls_back else "COMMIT")
        if transaction.rolls_back:
            self._counts.rolled_back += 1
            return
        self._counts.changes += rows
        self._counts.transactions += 1

    async def _upload(self, upload: Upload) -> None:
        checksum = await asyncio.to_thread(_written, self._folder / upload.object_key, upload.content)
        rows = await self._execute((upload.statement(checksum),), "COMMIT")
        self._counts.changes += rows  # never `+= await`: other lanes count while this one waits
        self._counts.transactions += 1
        self._counts.photos += 1
        self._counts.photo_bytes += upload.content.size_bytes
        self._counts.photos_of[upload.wedding] += 1

    async def _execute(self, statements: tuple[Statement, ...], end: str) -> int:
        async with self._connection.pipeline():
            await self._connection.execute("BEGIN")
            cursors = [await self._connection.execute(each.sql, each.parameters) for each in statements]
            await self._connection.execute(end)
        rows = sum(cursor.rowcount for cursor in cursors)
        if rows != len(statements):
            raise FormatError(f"{len(statements)} changes touched {rows} rows", hint="does something else write here?")
        return rows


def _weddings(operation: Transaction | Upload) -> tuple[str, ...]:
    return (operation.wedding,) if isinstance(operation, Upload) else operation.weddings


def _written(path: Path, content: photos.PhotoContent) -> bytes:
    contents = photos.photo_bytes(content)
    photos.write_photo(path, contents)
    return hashlib.sha256(contents).digest()
