"""A wedding's history: its log frames found in the catalog, read, opened and decoded.

Frames come in the order of their partition's log. Within one frame changes stand in the order they
were protected; who needs the order of the source takes it from each change's (epoch, position).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from schemas.errors import RefusedError
from schemas.pack import decode_log_entries, parse_pack_name
from sinks import gap_rows
from sinks.catalog_tables import COPIES, FRAMES, FRONTIERS, GAPS, OBJECTS, PACKS, PARTITIONS
from sinks.cut import FrontierRow
from sinks.in_order import in_order
from sinks.packer import decode_changes
from sinks.partition_holes import gap_source
from sinks.receipts import FrameAt

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from connectors.ledger import Gap
    from sinks.catalog import Catalog
    from sinks.keyring import Keyring
    from sinks.pack_reader import PackReader

Changes = list[dict[str, Any]]

_FRAMES_AT_ONCE: Final = 16
_NAMES_BOUND_MAX: Final = 500
_KEYS_MAX: Final = 1024


class History:
    """Finds and reads what was archived of weddings."""

    def __init__(
        self, *, catalog: Catalog, keyring: Keyring, reader: PackReader, cpu: concurrent.futures.Executor
    ) -> None:
        self._catalog, self._keyring, self._cpu = catalog, keyring, cpu
        self._keys: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self.reader = reader

    async def weddings(self) -> list[str]:
        """Return every wedding (pseudo-weddings too) with at least one log frame."""
        return await self._catalog.run(_weddings)

    async def frontiers(self) -> list[FrontierRow]:
        """Return how far each partition knows each source."""
        return await self._catalog.run(_frontiers)

    async def frames(self, wedding: str, *, earliest_us_max: int | None = None) -> list[FrameAt]:
        """Return a wedding's log frames in log order, without those whose every change is later."""
        return await self._catalog.run(lambda connection: _log_frames(connection, wedding, earliest_us_max))

    async def chunks(self, wedding: str, names: Sequence[bytes]) -> dict[bytes, list[FrameAt]]:
        """Return where chunks lie; one may lie in several packs."""
        return await self._catalog.run(lambda connection: _chunk_frames(connection, wedding, names))

    async def manifest(self, pack_hash: bytes, number: int) -> FrameAt | None:
        """Return where a manifest lies."""
        found = await self._catalog.run(
            lambda connection: _frames_at(
                connection, sa.and_(FRAMES.c.pack_hash == pack_hash, FRAMES.c.number == number)
            )
        )
        return found[0] if found else None

    async def object_row(self, wedding: str, name: bytes) -> sa.Row[Any] | None:
        """Return the catalog's line of one version of an object."""
        return await self._catalog.run(
            lambda connection: connection.execute(
                sa.select(OBJECTS).where(OBJECTS.c.wedding == wedding, OBJECTS.c.name == name)
            ).one_or_none()
        )

    async def log_gaps(self, partitions: Iterable[tuple[str, int]]) -> list[str]:
        """Return what is known to be missing from these partitions of backup topics."""
        sources = [gap_source(topic, partition) for topic, partition in partitions]
        return await self._catalog.run(
            lambda connection: list(
                connection.execute(sa.select(GAPS.c.reason).where(GAPS.c.source.in_(sources))).scalars()
            )
        )

    async def capture_gaps(self) -> list[Gap]:
        """Return the stretches of time of which a source's log, or a partition of a backup topic, is not whole."""
        return await self._catalog.run(gap_rows.known)

    async def key(self, wedding: str) -> bytes:
        """Return a wedding's data key.

        Raises:
            RefusedError: it never had one: nothing was ever archived of it.
            CorruptionError: no store has it any more.
            TransientError: the stores that may have it do not answer.
        """
        key = self._keys.get(wedding) or await self._keyring.existing_key(wedding)
        if key is None:
            raise RefusedError(f"there is no backup of wedding {wedding!r}", hint="`stats` lists what there is")
        self._keys[wedding] = key
        if len(self._keys) > _KEYS_MAX:
            self._keys.popitem(last=False)
        return key

    async def changes(
        self, wedding: str, frames: Iterable[FrameAt], *, at_once: int = _FRAMES_AT_ONCE
    ) -> AsyncGenerator[tuple[FrameAt, Changes], None]:
        """Yield each frame with its changes, a few frames read ahead.

        Raises:
            CorruptionError: a frame is damaged on every store.
            TransientError: the stores that have a frame do not answer.
        """
        key = await self.key(wedding)

        async def read(at: FrameAt) -> tuple[FrameAt, Changes]:
            plain = await self.reader.frame([at], key)
            return at, await asyncio.get_running_loop().run_in_executor(self._cpu, _decode, plain)

        async with contextlib.aclosing(in_order(read, frames, at_once=at_once)) as read_frames:
            async for each in read_frames:
                yield each


def _decode(plain: bytes) -> Changes:
    return decode_changes(decode_log_entries(plain))


def _weddings(connection: sa.Connection) -> list[str]:
    query = sa.select(FRAMES.c.wedding).where(FRAMES.c.kind == "log").distinct().order_by(FRAMES.c.wedding)
    return list(connection.execute(query).scalars())


def _frontiers(connection: sa.Connection) -> list[FrontierRow]:
    joined = FRONTIERS.join(
        PARTITIONS,
        sa.and_(FRONTIERS.c.topic_id == PARTITIONS.c.topic_id, FRONTIERS.c.partition == PARTITIONS.c.partition),
    )
    query = sa.select(
        PARTITIONS.c.topic,
        FRONTIERS.c.topic_id,
        FRONTIERS.c.partition,
        FRONTIERS.c.source,
        FRONTIERS.c.epoch,
        FRONTIERS.c.position,
        FRONTIERS.c.committed_us,
        FRONTIERS.c.lsn,
    ).select_from(joined)
    return [FrontierRow(*row) for row in connection.execute(query)]


def _log_frames(connection: sa.Connection, wedding: str, earliest_us_max: int | None) -> list[FrameAt]:
    condition = sa.and_(FRAMES.c.wedding == wedding, FRAMES.c.kind == "log")
    if earliest_us_max is not None:
        condition = sa.and_(condition, FRAMES.c.earliest_us <= earliest_us_max)
    return sorted(_frames_at(connection, condition), key=_log_order)


def _log_order(at: FrameAt) -> tuple[str, int, int, int]:
    name = parse_pack_name(at.pack_name)
    return name.topic_id, name.partition, name.first, name.part


def _chunk_frames(connection: sa.Connection, wedding: str, names: Sequence[bytes]) -> dict[bytes, list[FrameAt]]:
    found: dict[bytes, list[FrameAt]] = collections.defaultdict(list)
    wanted = list(dict.fromkeys(names))
    for start in range(0, len(wanted), _NAMES_BOUND_MAX):
        some = wanted[start : start + _NAMES_BOUND_MAX]
        condition = sa.and_(FRAMES.c.wedding == wedding, FRAMES.c.kind == "chunk", FRAMES.c.name.in_(some))
        for at in _frames_at(connection, condition):
            found[at.name].append(at)
    return found


def _frames_at(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[FrameAt]:
    """Return frames with the names of their packs and the stores that hold these."""
    stores: dict[bytes, list[str]] = collections.defaultdict(list)
    holding = sa.select(FRAMES.c.pack_hash).where(condition)
    for pack_hash, store in connection.execute(
        sa.select(COPIES.c.pack_hash, COPIES.c.store).where(COPIES.c.pack_hash.in_(holding)).order_by(COPIES.c.store)
    ):
        stores[pack_hash].append(store)
    query = (
        sa.select(FRAMES, PACKS.c.name.label("pack_name"))
        .where(condition)
        .join(PACKS, PACKS.c.pack_hash == FRAMES.c.pack_hash)
    )
    return [
        FrameAt(
            pack_hash=row.pack_hash,
            pack_name=row.pack_name,
            number=row.number,
            kind=row.kind,
            wedding=row.wedding,
            offset=row.offset,
            length=row.length,
            events=row.events,
            earliest_us=row.earliest_us,
            latest_us=row.latest_us,
            name=row.name,
            stores=tuple(stores[row.pack_hash]),
        )
        for row in connection.execute(query)
    ]
