"""Checkpoints: where every partition stands, on the stores, every few seconds.

Packs say what was protected, but not how far a partition without changes has been read, nor whether
the newest packs of a chain are there at all. A checkpoint says both: a small pack, sealed under
the index key of the EU class, since it names sources and topics of everybody. Only the newest counts;
a few older ones are kept in case it is damaged.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
import structlog

from schemas import codec, pack
from schemas.backup import COPIES_PROTECTED, PlacementClass
from schemas.errors import FormatError, WedSyncError
from sinks.catalog_tables import FRONTIERS, PARTITIONS
from sinks.packer import INDEX_KEYS, PackBuilder, PlainFrame, open_frame, open_index
from sinks.receipts import FrontierMark, PartitionMark
from sinks.replicate import ToReplicate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from sinks.catalog import Catalog
    from sinks.keyring import Keyring
    from sinks.replicate import Replicator

log = structlog.get_logger(__name__)

PREFIX: Final = "checkpoint/"
EVERY_SECONDS: Final = 5.0
_KEPT: Final = 8
_MICRO: Final = 1_000_000
_SEALED_FOR: Final = INDEX_KEYS[PlacementClass.EU]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where every partition stood; `partitions` is the number of partitions of each backup topic."""

    created_us: int
    partitions: int
    marks: tuple[PartitionMark, ...]


class CheckpointWriter:
    """Writes checkpoints of one catalog; one at a time."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        keyring: Keyring,
        replicator: Replicator,
        partitions: int,
        now: Callable[[], dt.datetime],
        randomness: Callable[[int], bytes],
    ) -> None:
        self._catalog, self._keyring, self._replicator = catalog, keyring, replicator
        self._partitions, self._now, self._randomness = partitions, now, randomness
        self._last: tuple[PartitionMark, ...] = ()
        self._written: collections.deque[str] = collections.deque()

    async def run(self, *, every_seconds: float = EVERY_SECONDS) -> None:
        """Write a checkpoint every few seconds, for ever; a store that is down only makes it late.

        After the loss of Kafka and the catalog a wedding is restorable up to the last checkpoint: of a partition
        without packs nothing else says that nothing was in it.
        """
        while True:
            try:
                await self.write()
            except WedSyncError as error:
                log.warning("a checkpoint must wait", action="checkpoint.wait", reason=str(error))
            await asyncio.sleep(every_seconds)

    async def write(self) -> str | None:
        """Write a checkpoint and return its name; None when nothing has moved since the last.

        Raises:
            TransientError: too few stores took it; the next one says the same and more.
        """
        marks = await self._catalog.run(read_marks)
        if not marks or marks == self._last:
            return None
        key = await self._keyring.key_for(_SEALED_FOR, PlacementClass.EU)
        created_us = int(self._now().timestamp() * _MICRO)
        checkpoint = Checkpoint(created_us=created_us, partitions=self._partitions, marks=marks)
        name, content, digest = build(checkpoint, index_key=key, salt=self._randomness(pack.SALT_BYTES))
        await self._replicator.replicate(
            ToReplicate(name=name, content=content, digest=digest, placement=PlacementClass.EU, copies=COPIES_PROTECTED)
        )
        self._last = marks
        self._written.append(name)
        await self._forget_old()
        return name

    async def _forget_old(self) -> None:
        """Delete checkpoints of our own that newer ones have replaced; what cannot be deleted does no harm."""
        while len(self._written) > _KEPT:
            name = self._written.popleft()
            for store in self._replicator.stores.values():
                with contextlib.suppress(WedSyncError, TimeoutError):
                    async with asyncio.timeout(EVERY_SECONDS):
                        await store.delete(name)


def read_marks(connection: sa.Connection) -> tuple[PartitionMark, ...]:
    """Return the mark of every partition a catalog knows, without what is only in flight."""
    frontiers: dict[tuple[str, int], list[FrontierMark]] = collections.defaultdict(list)
    for row in connection.execute(sa.select(FRONTIERS).order_by(FRONTIERS.c.source, FRONTIERS.c.epoch)):
        frontiers[row.topic_id, row.partition].append(
            FrontierMark(
                source=row.source, epoch=row.epoch, position=row.position, lsn=row.lsn, committed_us=row.committed_us
            )
        )
    return tuple(
        PartitionMark(
            topic=row.topic,
            topic_id=row.topic_id,
            partition=row.partition,
            next_offset=row.next_offset,
            head=row.head,
            frontiers=tuple(frontiers[row.topic_id, row.partition]),
        )
        for row in connection.execute(sa.select(PARTITIONS).order_by(PARTITIONS.c.topic_id, PARTITIONS.c.partition))
    )


def build(checkpoint: Checkpoint, *, index_key: bytes, salt: bytes) -> tuple[str, bytes, bytes]:
    """Return a checkpoint's object name, bytes and BLAKE3."""
    builder = PackBuilder(kind=pack.KIND_CHECKPOINT, salt=salt)
    plain = codec.encode("Checkpoint", _record(checkpoint))
    builder.add(PlainFrame(kind="checkpoint", wedding=_SEALED_FOR, plain=plain), index_key)
    content, digest, _ = builder.finish(
        index_key=index_key,
        placement=PlacementClass.EU.value,
        copies=COPIES_PROTECTED,
        created_at=checkpoint.created_us,
        frontiers=[],
    )
    return pack.checkpoint_pack_name(checkpoint.created_us, digest), content, digest


def open_checkpoint(content: bytes, *, index_key: bytes) -> Checkpoint:
    """Return the checkpoint of an object.

    Raises:
        FormatError: not a checkpoint.
        CorruptionError: altered, or under another key.
    """
    kind, salt = pack.decode_header(content)
    if kind != pack.KIND_CHECKPOINT:
        raise FormatError("a pack of another kind lies among the checkpoints", hint="who else writes to the store?")
    footer = pack.check_body(content)
    index = open_index(memoryview(content)[footer.index_offset :], footer, salt=salt, index_key=index_key)
    frame = index["frames"][0]
    sealed = content[frame["offset"] : frame["offset"] + frame["length"]]
    plain = open_frame(sealed, salt=salt, number=0, kind="checkpoint", data_key=index_key)
    return _checkpoint(codec.decode("Checkpoint", plain))


def _record(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "created_at": checkpoint.created_us,
        "partitions": checkpoint.partitions,
        "marks": [
            {
                "topic": mark.topic,
                "topic_id": mark.topic_id,
                "partition": mark.partition,
                "next_offset": mark.next_offset,
                "head": mark.head,
                "frontiers": [
                    {
                        "source": each.source,
                        "epoch": each.epoch,
                        "position": each.position,
                        "lsn": each.lsn,
                        "committed_at": each.committed_us,
                    }
                    for each in mark.frontiers
                ],
            }
            for mark in checkpoint.marks
        ],
    }


def _checkpoint(record: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(
        created_us=record["created_at"],
        partitions=record["partitions"],
        marks=tuple(
            PartitionMark(
                topic=mark["topic"],
                topic_id=mark["topic_id"],
                partition=mark["partition"],
                next_offset=mark["next_offset"],
                head=mark["head"],
                frontiers=tuple(frontier_mark(each) for each in mark["frontiers"]),
            )
            for mark in record["marks"]
        ),
    )


def frontier_mark(record: Mapping[str, Any]) -> FrontierMark:
    """Return a frontier as checkpoints and pack indexes write it."""
    return FrontierMark(
        source=record["source"],
        epoch=record["epoch"],
        position=record["position"],
        lsn=record["lsn"],
        committed_us=record["committed_at"],
    )
