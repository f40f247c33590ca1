"""Playing a workload: several writers at once, a transaction that stays open, and the places worth a look."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from typing import TYPE_CHECKING, Any

import psycopg

from tests.oracle.workload import Copy, Statement, Step, Transaction, Workload

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

PAUSE_SECONDS = 0.25
RECONNECT_SECONDS = 60
_OPTIONS = "-c lock_timeout=1s -c statement_timeout=120s -c deadlock_timeout=200ms"
_PLACE = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


@dataclasses.dataclass(slots=True, kw_only=True)
class Played:
    """What happened: places between transactions, those beside marked ones, and how transactions ended."""

    places: list[int] = dataclasses.field(default_factory=list)
    marked: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    committed: int = 0
    rolled_back: int = 0
    failed: int = 0
    broken: int = 0


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
                await self._connection.rollback()
            else:
                self._played.broken += 1
                self._connection = None
            del error

    async def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            await self._connection.close()

    async def _play(self, connection: psycopg.AsyncConnection[Any], transaction: Transaction) -> None:
        try:
            await _acts(connection, transaction)
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            self._played.failed += 1
            await connection.rollback()
            return
        if transaction.is_committed:
            with _refused(self._played):
                await connection.commit()
                self._played.committed += 1
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


async def _acts(connection: psycopg.AsyncConnection[Any], transaction: Transaction) -> None:
    depth = 0
    for act in transaction.acts:
        match act:
            case Statement():
                await _guarded(connection, act, depth)
            case Copy():
                async with connection.cursor() as cursor, cursor.copy(act.text.encode()) as copy:
                    for row in act.rows:
                        await copy.write_row(row)
            case Step.PAUSE:
                await asyncio.sleep(PAUSE_SECONDS)
            case Step.SAVEPOINT:
                depth += 1
                await connection.execute(f"SAVEPOINT s{depth}".encode())
            case Step.RELEASE | Step.ROLLBACK_TO:
                await connection.execute(f"{act.value} SAVEPOINT s{depth}".encode())
                depth -= 1
            case _:
                raise AssertionError(act)


async def _guarded(connection: psycopg.AsyncConnection[Any], act: Statement, depth: int) -> None:
    """Execute a statement; inside a savepoint a refused one undoes only that savepoint, as drivers do."""
    try:
        await connection.execute(act.text.encode(), act.values or None)
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        if not depth:
            raise
        await connection.execute(f"ROLLBACK TO SAVEPOINT s{depth}".encode())


async def play(
    dsn: str,
    *,
    seed: int,
    today: dt.date,
    transactions: int,
    writers: int = 4,
    huge_rows: int = 0,
    stop: asyncio.Event | None = None,
) -> Played:
    """Play so many transactions by several writers, beside long-open ones and one huge one."""
    played = Played()
    ended = stop or asyncio.Event()
    founder = Writer(dsn, played)
    await founder.play(Workload(random.Random(seed), today=today).founding())
    await founder.close()

    async def write(number: int) -> None:
        workload, writer = Workload(random.Random(seed * 1000 + number), today=today), Writer(dsn, played)
        for _ in range(transactions // writers):
            if ended.is_set() and stop is not None:
                break
            await writer.play(workload.transaction())
        await writer.close()

    async def keep_open(workers: asyncio.Task[Any]) -> None:
        workload, writer = Workload(random.Random(seed * 1000 + 99), today=today), Writer(dsn, played)
        while not workers.done():
            await writer.play(workload.long_open())
        await writer.close()

    async def write_all() -> None:
        await asyncio.gather(*(write(number) for number in range(writers)))

    async def write_huge() -> None:
        if huge_rows:
            writer = Writer(dsn, played)
            await writer.play(Workload(random.Random(seed * 1000 + 98), today=today).huge(huge_rows))
            await writer.close()

    workers = asyncio.create_task(write_all())
    await asyncio.gather(workers, keep_open(workers), write_huge())
    return played
