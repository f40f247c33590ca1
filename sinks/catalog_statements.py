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
from sinks.catalog_tables import COPIES, FRAMES, FRONTIERS, GAPS, OBJECTS, PACKS, PARTITIONS
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
    )


def commit_window(connection: sa.Connection, window: WindowReceipt) -> None:
    """Move a partition by compare-and-set and write all that lies between."""
    before, after = window.before, window.after
    if before.next_offset == 0 and before.head == NO_PREVIOUS:
        connection.execute(
            insert(PARTITIONS)
            .values(
                topic_id=before.topic_id,
                partition=before.partition,
                topic=before.topic,
                next_offset=0,
                head=NO_PREVIOUS,
            )
            .on_conflict_do_nothing()
        )
    moved = connection.execute(
        sa.update(PARTITIONS)
        .where(
            PARTITIONS.c.topic_id == before.topic_id,
            PARTITIONS.c.partition == before.partition,
            PARTITIONS.c.next_offset == before.next_offset,
            PARTITIONS.c.head == before.head,
        )
        .values(next_offset=after.next_offset, head=after.head, recent=json.dumps(after.recent))
    )
    if moved.rowcount != 1:
        raise RefusedError(
            f"another sink has taken over {before.topic} partition {before.partition}",
            hint="run one sink per partition; this one stops and begins again where the catalog stands",
        )
    for frontier in after.frontiers:
        _move_frontier(connection, after, frontier)
    for receipt in window.packs:
        _add_pack(connection, receipt, after.topic_id, window.protected_us)
    for claim in window.claims:
        _add_claim(connection, claim)


def _move_frontier(connection: sa.Connection, mark: PartitionMark, frontier: FrontierMark) -> None:
    values = {"topic_id": mark.topic_id, "partition": mark.partition, **dataclasses.asdict(frontier)}
    statement = insert(FRONTIERS).values(values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["topic_id", "partition", "source", "epoch"],
            set_={name: statement.excluded[name] for name in ("position", "lsn", "committed_us")},
            where=FRONTIERS.c.position < statement.excluded.position,
        )
    )


def _add_pack(connection: sa.Connection, receipt: PackReceipt, topic_id: str, protected_us: int) -> None:
    index = receipt.index
    connection.execute(
        insert(PACKS)
        .values(
            pack_hash=receipt.pack_hash,
            name=receipt.name,
            kind=index["kind"],
            topic_id=topic_id,
            partition=index.get("partition", 0),
            first=index.get("first", 0),
            last=index.get("last", 0),
            placement=index["placement"],
            size_bytes=receipt.size_bytes,
            copies=index["copies"],
            events=sum(frame["events"] for frame in index["frames"]),
            created_us=index["created_at"],
            durable_us=receipt.durable_us,
            protected_us=protected_us,
            is_full=False,
        )
        .on_conflict_do_nothing()
    )
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
        connection.execute(insert(FRAMES).on_conflict_do_nothing(), frames)
    add_copies(connection, receipt.pack_hash, receipt.copies, protected_us)


def add_copies(connection: sa.Connection, pack_hash: bytes, copies: Sequence[Copy], now_us: int) -> bool:
    """Write verified copies of a known pack and whether it is full now; return whether it is known."""
    known = connection.execute(sa.select(PACKS.c.copies).where(PACKS.c.pack_hash == pack_hash)).scalar_one_or_none()
    if known is None:
        return False
    for copy in copies:
        connection.execute(
            insert(COPIES)
            .values(pack_hash=pack_hash, store=copy.store, proof=copy.proof.value, verified_us=now_us)
            .on_conflict_do_nothing()
        )
    count = connection.execute(sa.select(sa.func.count()).where(COPIES.c.pack_hash == pack_hash)).scalar_one()
    connection.execute(sa.update(PACKS).where(PACKS.c.pack_hash == pack_hash).values(is_full=count >= known))
    return True


def _add_claim(connection: sa.Connection, claim: Claim) -> None:
    """Add a version; one that is known (announced again) stays as it is, unless it was lost."""
    values = {**dataclasses.asdict(claim), "state": claim.state.value, "placement": claim.placement.value}
    statement = insert(OBJECTS).values(values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["wedding", "name"],
            set_={"state": claim.state.value, "position": claim.position, "epoch": claim.epoch},
            where=OBJECTS.c.state == ObjectState.LOST.value,
        )
    )


def claims(connection: sa.Connection, limit: int) -> list[Claim]:
    """Return owed objects, most urgent first."""
    urgency = sa.case({"critical": 0, "high": 1}, value=OBJECTS.c.lane, else_=2)
    rows = connection.execute(
        sa.select(OBJECTS)
        .where(OBJECTS.c.state == ObjectState.CLAIMED.value)
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
        _add_pack(connection, receipt, "", now_us)
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


def owed(connection: sa.Connection, older_than_us: int, limit: int) -> list[tuple[PackReceipt, frozenset[str]]]:
    """Return packs with fewer copies than their due."""
    rows = connection.execute(
        sa.select(PACKS)
        .where(PACKS.c.is_full.is_(False), PACKS.c.created_us < older_than_us)
        .order_by(PACKS.c.created_us)
        .limit(limit)
    ).all()
    return [(_receipt_of(row), stores_of(connection, row.pack_hash)) for row in rows]


def _receipt_of(row: Any) -> PackReceipt:
    return PackReceipt(
        name=row.name,
        pack_hash=row.pack_hash,
        size_bytes=row.size_bytes,
        index={"placement": row.placement, "copies": row.copies},
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
