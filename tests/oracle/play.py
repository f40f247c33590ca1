"""Playing a workload: several writers at once, a transaction that stays open, and the places worth a look."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import random
import time
from typing import TYPE_CHECKING, Any

import psycopg

from tests.oracle.acts import Act, Copy, Drawn, Statement, Step, Transaction
from tests.oracle.catalog import read_catalog
from tests.oracle.workload import Workload

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Iterator, Sequence

PAUSE_SECONDS = 0.25
RECONNECT_SECONDS = 60
_OPTIONS = "-c lock_timeout=1s -c statement_timeout=120s -c deadlock_timeout=200ms"
_PLACE = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


@dataclasses.dataclass(slots=True, kw_only=True)
class Played:
    """What happened: places between transactions, those beside marked ones, and how transactions ended.

    `refused` counts, by SQLSTATE, what the server did not take; `shifted` the changes of shape it did.
    """

    places: list[int] = dataclasses.field(default_factory=list)
    marked: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    committed: int = 0
    rolled_back: int = 0
    failed: int = 0
    broken: int = 0
    shifted: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


class Writer:
    """One connection that plays transactions, and comes back when the server does."""

    def __init__(self, dsn: str, played: Played) -> None:
        self._dsn, self._played = dsn, played
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def play(self, transaction: Transaction) -> None:
        """Play one transaction; what the server refuses is undone, what it forgets with it is forgotten."""
        try:
            connection = await self._connected()
            if transaction.mark in ("truncate", "huge", "ddl"):
                self._played.marked.append((f"before {transaction.mark}", await _place(connection)))
            await self._play(connection, transaction)
            await self._note(connection, transaction)
        except psycopg.OperationalError as error:
            if self._connection is not None and not self._connection.broken and not self._connection.closed:
                self._played.failed += 1
                self._played.refused[str(error.sqlstate)] += 1
                await self._connection.rollback()
            else:
                self._played.broken += 1
                self._connection = None

    async def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            await self._connection.close()

    async def _play(self, connection: psycopg.AsyncConnection[Any], transaction: Transaction) -> None:
        try:
            await _Acting(connection, self._played).act(transaction.acts)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            self._played.failed += 1
            self._played.refused[str(error.sqlstate)] += 1
            await connection.rollback()
            return
        if transaction.is_committed:
            with _refused(self._played):
                await connection.commit()
                self._played.committed += 1
                self._played.shifted += transaction.mark == "ddl"
        else:
            await connection.rollback()
            self._played.rolled_back += 1

    async def _note(self, connection: psycopg.AsyncConnection[Any], transaction: Transaction) -> None:
        place = await _place(connection)
        self._played.places.append(place)
        if transaction.mark:
            self._played.marked.append((f"after {transaction.mark}", place))

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        deadline = time.monotonic() + RECONNECT_SECONDS
        while self._connection is None or self._connection.closed:
            try:
                self._connection = await psycopg.AsyncConnection.connect(self._dsn, connect_timeout=5, options=_OPTIONS)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
        return self._connection


@contextlib.contextmanager
def _refused(played: Played) -> Iterator[None]:
    """A COMMIT may fail too: deferred foreign keys are looked at only then."""
    try:
        yield
    except psycopg.IntegrityError:
        played.failed += 1


async def _place(connection: psycopg.AsyncConnection[Any]) -> int:
    row = await (await connection.execute(_PLACE)).fetchone()
    await connection.rollback()
    assert row is not None
    return int(row[0])


class _Acting:
    """One transaction's acts, one after the other."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], played: Played) -> None:
        self._connection, self._played = connection, played
        self._depth = 0

    async def act(self, acts: Sequence[Act]) -> None:
        """Do them; what is drawn late is drawn, and done, when its turn comes."""
        for act in acts:
            match act:
                case Statement():
                    await self._guarded(act)
                case Drawn():
                    await self.act(act.draw(await read_catalog(self._connection)))
                case Copy():
                    async with self._connection.cursor() as cursor, cursor.copy(act.text.encode()) as copy:
                        for row in act.rows:
                            await copy.write_row(row)
                case Step.PAUSE:
                    await asyncio.sleep(PAUSE_SECONDS)
                case Step.SAVEPOINT:
                    self._depth += 1
                    await self._connection.execute(f"SAVEPOINT s{self._depth}".encode())
                case Step.RELEASE | Step.ROLLBACK_TO:
                    await self._connection.execute(f"{act.value} SAVEPOINT s{self._depth}".encode())
                    self._depth -= 1

    async def _guarded(self, act: Statement) -> None:
        """Execute a statement; inside a savepoint a refused one undoes only that savepoint, as drivers do."""
        try:
            await self._connection.execute(act.text.encode(), act.values or None)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            if not self._depth:
                raise
            self._played.refused[str(error.sqlstate)] += 1
            await self._connection.execute(f"ROLLBACK TO SAVEPOINT s{self._depth}".encode())


class _Play:
    """Who writes at the same time; each draws from a seed of its own."""

    def __init__(self, dsn: str, *, seed: int, today: dt.date, is_shifting: bool) -> None:
        self._dsn, self._seed, self._today, self._is_shifting = dsn, seed, today, is_shifting
        self.played = Played()

    @contextlib.asynccontextmanager
    async def _writer(self, number: int) -> AsyncIterator[tuple[Workload, Writer]]:
        rng, writer = random.Random(self._seed * 1000 + number), Writer(self._dsn, self.played)
        yield Workload(rng, today=self._today, is_shifting=self._is_shifting), writer
        await writer.close()

    async def found(self) -> None:
        """Make what all others write to."""
        async with self._writer(97) as (workload, writer):
            await writer.play(workload.founding())

    async def write(self, number: int, transactions: int, stop: asyncio.Event | None) -> None:
        """Play so many transactions, or until it is enough."""
        async with self._writer(number) as (workload, writer):
            for _ in range(transactions):
                if stop is not None and stop.is_set():
                    break
                await writer.play(workload.transaction())

    async def keep_open(self, workers: asyncio.Future[Any]) -> None:
        """Play transactions that stay open for long."""
        async with self._writer(99) as (workload, writer):
            while not workers.done():
                await writer.play(workload.long_open())

    async def shift(self, workers: asyncio.Future[Any]) -> None:
        """Change the shapes of tables."""
        async with self._writer(96) as (workload, writer):
            while self._is_shifting and not workers.done():
                await writer.play(workload.shift())

    async def write_huge(self, rows: int) -> None:
        """Play one huge transaction."""
        async with self._writer(98) as (workload, writer):
            if rows:
                await writer.play(workload.huge(rows))


async def play(
    dsn: str,
    *,
    seed: int,
    today: dt.date,
    transactions: int,
    writers: int = 4,
    huge_rows: int = 0,
    is_shifting: bool = False,
    stop: asyncio.Event | None = None,
) -> Played:
    """Play so many transactions by several writers, beside long-open ones, one huge one, and changes of shape."""
    playing = _Play(dsn, seed=seed, today=today, is_shifting=is_shifting)
    await playing.found()
    workers = asyncio.gather(*(playing.write(number, transactions // writers, stop) for number in range(writers)))
    await asyncio.gather(workers, playing.keep_open(workers), playing.shift(workers), playing.write_huge(huge_rows))
    played = playing.played
    print(f"{played.committed} committed, {played.shifted} of them changed shapes; refused {dict(played.refused)}")
    return played
