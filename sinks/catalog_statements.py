"""The catalog's statements, each for use inside a transaction of the caller's. Not async: they run in a thread."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from schemas.backup import PlacementClass
from schemas.errors import RefusedError
from schemas.pack import NO_PREVIOUS
from sinks import gap_rows, promotion_rows
from sinks.catalog_tables import COPIES, FRAMES, FRONTIERS, GAPS, OBJECTS, PACKS, PARTITIONS
from sinks.partition_holes import gap_source
from sinks.receipts import (
    BlobReceipt,
    Claim,
    FrameAt,
    FrontierMark,
    ObjectState,
    PackReceipt,
    PartitionMark,
    WindowReceipt,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.replicate import Copy

_BOUND_MAX: Final = 500
"""Values in one statement, below SQLite's limit of old."""


def mark(connection: sa.Connection, topic: str, topic_id: str, partition: int) -> PartitionMark:
    """Return where a partition stands."""
    row = connection.execute(
        sa.select(PARTITIONS).where(PARTITIONS.c.topic_id == topic_id, PARTITIONS.c.partition == partition)
    ).one_or_none()
    if row is None:
        return PartitionMark(topic=topic, topic_id=topic_id, partition=partition, next_offset=0, head=NO_PREVIOUS)
    frontiers = connection.execute(
        sa.select(FRONTIERS).where(FRONTIERS.c.topic_id == topic_id, FRONTIERS.c.partition == partition)
    )
    return PartitionMark(
        topic=topic,
        topic_id=topic_id,
        partition=partition,
        next_offset=row.next_offset,
        head=row.head,
        frontiers=tuple(
            FrontierMark(
                source=each.source,
                epoch=each.epoch,
                position=each.position,
                lsn=each.lsn,
                committed_us=each.committed_us,
            )
            for each in frontiers
        ),
        recent=tuple(
            (source, epoch, tuple((at, of) for at, of in pairs)) for source, epoch, pairs in json.loads(row.recent)
        ),
        holed_us=gap_rows.newest_us(connection, gap_source(topic, partition)),
    )


# Built once: building a statement costs more than running it.
_NEW_PARTITION: Final = insert(PARTITIONS).on_conflict_do_nothing()
_MOVE_PARTITION: Final = (
    sa.update(PARTITIONS)
    .where(
        PARTITIONS.c.topic_id == sa.bindparam("of_topic_id"),
        PARTITIONS.c.partition == sa.bindparam("of_partition"),
        PARTITIONS.c.next_offset == sa.bindparam("from_offset"),
        PARTITIONS.c.head == sa.bindparam("from_head"),
    )
    .values(next_offset=sa.bindparam("to_offset"), head=sa.bindparam("to_head"), recent=sa.bindparam("to_recent"))
)
_NEW_FRONTIER: Final = insert(FRONTIERS)
_MOVE_FRONTIER: Final = _NEW_FRONTIER.on_conflict_do_update(
    index_elements=["topic_id", "partition", "source", "epoch"],
    set_={name: _NEW_FRONTIER.excluded[name] for name in ("position", "lsn", "committed_us")},
    where=FRONTIERS.c.position < _NEW_FRONTIER.excluded.position,
)
_NEW_PACK: Final = insert(PACKS).on_conflict_do_nothing()
_NEW_FRAME: Final = insert(FRAMES).on_conflict_do_nothing()
_NEW_COPY: Final = insert(COPIES).on_conflict_do_nothing()
_IS_FULL: Final = (
    sa.select(sa.func.count()).where(COPIES.c.pack_hash == PACKS.c.pack_hash).scalar_subquery() >= PACKS.c.copies
)
_COUNT_COPIES: Final = sa.update(PACKS).where(PACKS.c.pack_hash == sa.bindparam("of_pack")).values(is_full=_IS_FULL)
_KNOWS_PACK: Final = sa.select(PACKS.c.copies).where(PACKS.c.pack_hash == sa.bindparam("of_pack"))
_NEW_CLAIM: Final = insert(OBJECTS)
_ADD_CLAIM: Final = _NEW_CLAIM.on_conflict_do_update(
    index_elements=["wedding", "name"],
    set_={name: _NEW_CLAIM.excluded[name] for name in ("state", "position", "epoch")},
    where=OBJECTS.c.state == ObjectState.LOST.value,
)


def commit_window(connection: sa.Connection, window: WindowReceipt) -> None:
    """Move a partition by compare-and-set and write all that lies between."""
    before, after = window.before, window.after
    if before.next_offset == 0 and before.head == NO_PREVIOUS:
        connection.execute(
            _NEW_PARTITION,
            {
                "topic_id": before.topic_id,
                "partition": before.partition,
                "topic": before.topic,
                "next_offset": 0,
                "head": NO_PREVIOUS,
            },
        )
    moved = connection.execute(
        _MOVE_PARTITION,
        {
            "of_topic_id": before.topic_id,
            "of_partition": before.partition,
            "from_offset": before.next_offset,
            "from_head": before.head,
            "to_offset": after.next_offset,
            "to_head": after.head,
            "to_recent": json.dumps(after.recent),
        },
    )
    if moved.rowcount != 1:
        raise RefusedError(
            f"another sink has taken over {before.topic} partition {before.partition}",
            hint="run one sink per partition; this one stops and begins again where the catalog stands",
        )
    moved_frontiers = [each for each in after.frontiers if each not in before.frontiers]
    if moved_frontiers:
        where = {"topic_id": after.topic_id, "partition": after.partition}
        connection.execute(_MOVE_FRONTIER, [{**where, **dataclasses.asdict(each)} for each in moved_frontiers])
    for receipt in window.packs:
        add_pack(connection, receipt, after.topic_id, window.protected_us)
    for claim in window.claims:
        add_claim(connection, claim)
    promotion_rows.add(connection, after, window.promoted)
    gap_rows.add(connection, window.gaps)


def add_pack(connection: sa.Connection, receipt: PackReceipt, topic_id: str, protected_us: int) -> None:
    """Write a pack, its frames and its copies; a known one stays as it is."""
    index = receipt.index
    row = {
        "pack_hash": receipt.pack_hash,
        "name": receipt.name,
        "kind": index["kind"],
        "topic_id": topic_id,
        "partition": index.get("partition", 0),
        "first": index.get("first", 0),
        "last": index.get("last", 0),
        "placement": index["placement"],
        "size_bytes": receipt.size_bytes,
        "copies": index["copies"],
        "events": sum(frame["events"] for frame in index["frames"]),
        "created_us": index["created_at"],
        "durable_us": receipt.durable_us,
        "protected_us": protected_us,
        "is_full": False,
    }
    connection.execute(_NEW_PACK, row)
    frames = [
        {
            "pack_hash": receipt.pack_hash,
            "number": number,
            "kind": frame["kind"],
            "wedding": frame["wedding"],
            "offset": frame["offset"],
            "length": frame["length"],
            "events": frame["events"],
            "earliest_us": frame["earliest_at"],
            "latest_us": frame["latest_at"],
            "name": frame["chunk"],
        }
        for number, frame in enumerate(index["frames"])
    ]
    if frames:
        connection.execute(_NEW_FRAME, frames)
    _write_copies(connection, receipt.pack_hash, receipt.copies, protected_us)


def add_copies(connection: sa.Connection, pack_hash: bytes, copies: Sequence[Copy], now_us: int) -> bool:
    """Write verified copies of a known pack and whether it is full now; return whether it is known."""
    if connection.execute(_KNOWS_PACK, {"of_pack": pack_hash}).scalar_one_or_none() is None:
        return False
    _write_copies(connection, pack_hash, copies, now_us)
    return True


def _write_copies(connection: sa.Connection, pack_hash: bytes, copies: Sequence[Copy], now_us: int) -> None:
    rows = [
        {"pack_hash": pack_hash, "store": copy.store, "proof": copy.proof.value, "verified_us": now_us}
        for copy in copies
    ]
    if rows:
        connection.execute(_NEW_COPY, rows)
        connection.execute(_COUNT_COPIES, {"of_pack": pack_hash})


def add_claim(connection: sa.Connection, claim: Claim) -> None:
    """Add a version; one that is known (announced again) stays as it is, unless it was lost."""
    values = {**dataclasses.asdict(claim), "state": claim.state.value, "placement": claim.placement.value}
    connection.execute(_ADD_CLAIM, values)


def claims(connection: sa.Connection, limit: int, lanes: Sequence[str], bytes_max: int) -> list[Claim]:
    """Return owed objects of these lanes, most urgent first."""
    urgency = sa.case({"critical": 0, "high": 1}, value=OBJECTS.c.lane, else_=2)
    rows = connection.execute(
        sa.select(OBJECTS)
        .where(
            OBJECTS.c.state == ObjectState.CLAIMED.value,
            OBJECTS.c.lane.in_([str(lane) for lane in lanes]),
            OBJECTS.c.size_bytes <= bytes_max,
        )
        .order_by(urgency, OBJECTS.c.epoch, OBJECTS.c.position)
        .limit(limit)
    )
    return [claim_of(row) for row in rows]


def claim_of(row: Any) -> Claim:
    """Return a row of the objects table as a claim."""
    return Claim(
        name=row.name,
        wedding=row.wedding,
        source=row.source,
        epoch=row.epoch,
        position=row.position,
        placement=PlacementClass(row.placement),
        copies=row.copies,
        modified_us=row.modified_us,
        size_bytes=row.size_bytes,
        state=ObjectState(row.state),
        sealed=row.sealed,
        lane=row.lane,
    )


def file_loss(connection: sa.Connection, claim: Claim, reason: str, now_us: int) -> None:
    """Give a claim up, and write it into the gap ledger."""
    changed = connection.execute(
        sa.update(OBJECTS)
        .where(
            OBJECTS.c.wedding == claim.wedding,
            OBJECTS.c.name == claim.name,
            OBJECTS.c.state == ObjectState.CLAIMED.value,
        )
        .values(state=ObjectState.LOST.value)
    )
    if changed.rowcount:
        connection.execute(
            insert(GAPS).values(
                wedding=claim.wedding,
                source=claim.source,
                epoch=claim.epoch,
                position=claim.position,
                reason=reason,
                found_us=now_us,
            )
        )


def commit_blobs(
    connection: sa.Connection, packs: Sequence[PackReceipt], blobs: Sequence[BlobReceipt], now_us: int
) -> None:
    """Write packs of chunks and the versions they complete."""
    for receipt in packs:
        add_pack(connection, receipt, "", now_us)
    for blob in blobs:
        connection.execute(
            sa.update(OBJECTS)
            .where(OBJECTS.c.wedding == blob.wedding, OBJECTS.c.name == blob.name)
            .values(
                state=ObjectState.PROTECTED.value,
                manifest_pack=blob.manifest_pack,
                manifest_frame=blob.manifest_frame,
                protected_us=now_us,
            )
        )


def _batched(values: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [values[at : at + _BOUND_MAX] for at in range(0, len(values), _BOUND_MAX)]


def has_chunks(connection: sa.Connection, wedding: str, chunks: Sequence[bytes]) -> set[bytes]:
    """Return which chunks lie in a pack of the catalog."""
    found: set[bytes] = set()
    for some in _batched(chunks):
        found.update(
            connection.execute(
                sa.select(FRAMES.c.name).where(
                    FRAMES.c.wedding == wedding, FRAMES.c.kind == "chunk", FRAMES.c.name.in_(some)
                )
            ).scalars()
        )
    return found


def raise_copies(connection: sa.Connection, wedding: str, chunks: Sequence[bytes], copies: int) -> None:
    """Let the packs of these chunks owe at least so many copies."""
    for some in _batched(chunks):
        holding = sa.select(FRAMES.c.pack_hash).where(
            FRAMES.c.wedding == wedding, FRAMES.c.kind == "chunk", FRAMES.c.name.in_(some)
        )
        connection.execute(
            sa.update(PACKS)
            .where(PACKS.c.pack_hash.in_(holding), PACKS.c.copies < copies)
            .values(copies=copies, is_full=False)
        )


def owed(
    connection: sa.Connection, older_than_us: int, limit: int, after: tuple[int, bytes]
) -> list[tuple[PackReceipt, frozenset[str]]]:
    """Return packs with fewer copies than their due, in the order of instant and hash."""
    place = sa.tuple_(PACKS.c.created_us, PACKS.c.pack_hash)
    rows = connection.execute(
        sa.select(PACKS)
        .where(PACKS.c.is_full.is_(False), PACKS.c.created_us < older_than_us, place > after)
        .order_by(PACKS.c.created_us, PACKS.c.pack_hash)
        .limit(limit)
    ).all()
    return [(_receipt_of(row), stores_of(connection, row.pack_hash)) for row in rows]


def _receipt_of(row: Any) -> PackReceipt:
    return PackReceipt(
        name=row.name,
        pack_hash=row.pack_hash,
        size_bytes=row.size_bytes,
        index={"placement": row.placement, "copies": row.copies, "created_at": row.created_us},
        copies=[],
        durable_us=row.durable_us,
    )


def stores_of(connection: sa.Connection, pack_hash: bytes) -> frozenset[str]:
    """Return the stores with a verified copy of a pack."""
    return frozenset(connection.execute(sa.select(COPIES.c.store).where(COPIES.c.pack_hash == pack_hash)).scalars())


def frame_at(connection: sa.Connection, row: Any, name: str) -> FrameAt:
    """Return a row of the frames table with the stores that hold its pack."""
    return FrameAt(
        pack_hash=row.pack_hash,
        pack_name=name,
        number=row.number,
        kind=row.kind,
        wedding=row.wedding,
        offset=row.offset,
        length=row.length,
        events=row.events,
        earliest_us=row.earliest_us,
        latest_us=row.latest_us,
        name=row.name,
        stores=tuple(sorted(stores_of(connection, row.pack_hash))),
    )
