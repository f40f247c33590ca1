"""The catalog: which pack lies where, and how far each partition is protected.

One transaction holds a window's receipts and its offset, so neither is ever true without the other.
The offset moves by compare-and-set: whoever does not find the partition as it left it has been
replaced, and stops. Reads may come from other processes at any time.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from schemas.backup import Priority
from schemas.errors import ConfigError
from sinks import catalog_statements
from sinks.catalog_tables import METADATA

if TYPE_CHECKING:
    import concurrent.futures
    import pathlib
    from collections.abc import Callable, Iterable, Sequence

    from sinks.receipts import BlobReceipt, Claim, PackReceipt, PartitionMark, WindowReceipt
    from sinks.replicate import Copy

T = TypeVar("T")


def open_engine(path: pathlib.Path | None, *, must_exist: bool = False) -> sa.Engine:
    """Return an engine on a catalog file, or on a catalog in memory; tables are made when missing.

    Raises:
        ConfigError: `must_exist`, and there is none.
    """
    if path is None:
        engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})
    else:
        if must_exist and not path.exists():
            raise ConfigError(
                f"there is no catalog at {path}",
                hint="`up` makes a new one; where the stores hold an archive, `catalog rebuild` does",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False})
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    METADATA.create_all(engine)
    return engine


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _set_pragmas(connection: Any, _record: Any) -> None:
    # The driver shall not begin by itself: it would do so after the first savepoint, and each
    # savepoint's release would then be a commit of its own.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


class Catalog:
    """What is protected. Statements of one instance run one after the other, in `executor`.

    Whatever waits while a transaction is being written goes into the next one together: one fsync
    for many windows. Each piece of work has a savepoint of its own, so one that fails undoes only itself.
    """

    def __init__(self, engine: sa.Engine, *, executor: concurrent.futures.Executor) -> None:
        self.engine = engine
        self._executor = executor
        self._waiting: list[tuple[Callable[[sa.Connection], Any], asyncio.Future[Any]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction, and return once it is committed."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                outcomes = await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._in_transaction, [work for work, _ in together]
                )
            except BaseException as error:
                outcomes = [(None, error)] * len(together)
                if not isinstance(error, Exception):
                    _settle(together, outcomes)
                    raise
            _settle(together, outcomes)

    def _in_transaction(
        self, works: Sequence[Callable[[sa.Connection], Any]]
    ) -> list[tuple[Any, BaseException | None]]:
        outcomes: list[tuple[Any, BaseException | None]] = []
        if len(works) == 1:  # Alone it needs no savepoint: its transaction fails with it.
            with self.engine.begin() as connection:
                return [(works[0](connection), None)]
        with self.engine.begin() as connection:
            for work in works:
                try:
                    with connection.begin_nested():
                        outcomes.append((work(connection), None))
                except Exception as error:  # noqa: BLE001 - it is handed to whoever asked for the work
                    outcomes.append((None, error))
        return outcomes

    async def mark(self, topic: str, topic_id: str, partition: int) -> PartitionMark:
        """Return where a partition stands; a new one begins at offset 0."""
        return await self.run(lambda connection: catalog_statements.mark(connection, topic, topic_id, partition))

    async def commit_window(self, window: WindowReceipt) -> None:
        """Make a window protected and move its offset, both or neither.

        Raises:
            RefusedError: another sink has moved the partition: this one is fenced.
        """
        await self.run(lambda connection: catalog_statements.commit_window(connection, window))

    async def commit_blobs(self, packs: Sequence[PackReceipt], blobs: Sequence[BlobReceipt], *, now_us: int) -> None:
        """Make blobs protected, together with the packs that hold their new chunks."""
        await self.run(lambda connection: catalog_statements.commit_blobs(connection, packs, blobs, now_us))

    async def add_copy(self, pack_hash: bytes, copy: Copy, *, now_us: int) -> bool:
        """Record one more verified copy: see `add_copies`."""
        return await self.add_copies(pack_hash, [copy], now_us=now_us)

    async def add_copies(self, pack_hash: bytes, copies: Sequence[Copy], *, now_us: int) -> bool:
        """Record more verified copies, and return whether the pack is known; if not, nothing is recorded."""
        return await self.run(lambda connection: catalog_statements.add_copies(connection, pack_hash, copies, now_us))

    async def claims(
        self, limit: int, *, lanes: Sequence[Priority] = tuple(Priority), bytes_max: int = sys.maxsize
    ) -> list[Claim]:
        """Return objects of these lanes whose bytes are owed, the most urgent lane and the oldest first."""
        return await self.run(lambda connection: catalog_statements.claims(connection, limit, lanes, bytes_max))

    async def file_loss(self, claim: Claim, reason: str, *, now_us: int) -> None:
        """Write into the gap ledger that a version's bytes can no longer be had."""
        await self.run(lambda connection: catalog_statements.file_loss(connection, claim, reason, now_us))

    async def has_chunks(self, wedding: str, chunks: Sequence[bytes]) -> set[bytes]:
        """Return which chunks of a wedding are protected already."""
        return await self.run(lambda connection: catalog_statements.has_chunks(connection, wedding, chunks))

    async def raise_copies(self, wedding: str, chunks: Iterable[bytes], copies: int) -> None:
        """Make packs owe at least `copies`, because a more precious object refers to their chunks."""
        await self.run(lambda connection: catalog_statements.raise_copies(connection, wedding, list(chunks), copies))

    async def owed(
        self, *, older_than_us: int, limit: int, after: tuple[int, bytes] = (0, b"")
    ) -> list[tuple[PackReceipt, frozenset[str]]]:
        """Return packs with fewer copies than their due, oldest first, and the stores that have them.

        `after` is where an earlier answer ended: the last pack's instant and hash.
        """
        return await self.run(lambda connection: catalog_statements.owed(connection, older_than_us, limit, after))


def _settle(
    together: Sequence[tuple[Any, asyncio.Future[Any]]], outcomes: Sequence[tuple[Any, BaseException | None]]
) -> None:
    """Tell each caller what became of its work, now that the transaction is over."""
    for (_, done), (value, error) in zip(together, outcomes, strict=True):
        if done.done():  # Its caller was cancelled meanwhile.
            continue
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)
