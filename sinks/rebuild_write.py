"""What a rebuild writes into the catalog. Statements for use inside a transaction of the caller's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from schemas.backup import PLATFORM
from sinks import catalog_statements
from sinks.catalog_tables import COPIES, FRAMES, FRONTIERS, GAPS, KEYS, OBJECTS, PACKS, PARTITIONS
from sinks.partition_holes import gap_source
from sinks.receipts import ObjectState, PackReceipt
from sinks.stores.port import Proof

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinks.rebuild_chain import Chain
    from sinks.rebuild_scan import ScannedPack
    from sinks.receipts import Claim, FrontierMark

_NEVER_US: Final = 0
"""When a copy was last read that this rebuild has only seen listed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPack:
    """One pack on its way into the catalog, with the objects its frames announce."""

    scanned: ScannedPack
    claims: tuple[Claim, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FoundChain:
    """One partition as it was found; `behind` are offsets a checkpoint knew and no pack has."""

    topic: str
    topic_id: str
    partition: int
    chain: Chain
    next_offset: int
    frontiers: tuple[FrontierMark, ...]
    behind: tuple[int, int] | None

    @property
    def source(self) -> str:
        """Return the name a hole of this partition is filed under."""
        return gap_source(self.topic, self.partition)


def write_packs(connection: sa.Connection, packs: Sequence[WrittenPack], now_us: int) -> None:
    """Write packs with their frames, copies and announced objects."""
    for each in packs:
        scanned = each.scanned
        created_us = scanned.index["created_at"]
        receipt = PackReceipt(
            name=scanned.name,
            pack_hash=scanned.about.pack_hash,
            size_bytes=scanned.size_bytes,
            index=scanned.index,
            copies=[],
            durable_us=created_us,
        )
        catalog_statements.add_pack(connection, receipt, scanned.about.topic_id, created_us)
        for copy in scanned.copies:
            seen_us = _NEVER_US if copy.proof is Proof.LISTED else now_us
            catalog_statements.add_copies(connection, receipt.pack_hash, [copy], seen_us)
        for claim in each.claims:
            catalog_statements.add_claim(connection, claim)


def write_chains(connection: sa.Connection, chains: Sequence[FoundChain], now_us: int) -> None:
    """Write where each partition stands, file its holes and take its orphans out again."""
    for each in chains:
        for orphan in each.chain.orphans:
            for table in (FRAMES, COPIES, PACKS):
                connection.execute(sa.delete(table).where(table.c.pack_hash == orphan.pack_hash))
        connection.execute(
            insert(PARTITIONS).values(
                topic_id=each.topic_id,
                partition=each.partition,
                topic=each.topic,
                next_offset=each.next_offset,
                head=each.chain.head,
            )
        )
        if rows := _frontier_rows(each):
            connection.execute(insert(FRONTIERS), rows)
        for first, last in each.chain.holes:
            _file_hole(connection, each, first, last, now_us)


def _frontier_rows(chain: FoundChain) -> list[dict[str, Any]]:
    """Return the farthest frontier of each source and epoch."""
    farthest: dict[tuple[str, int], FrontierMark] = {}
    for each in sorted(chain.frontiers, key=lambda each: each.position):
        farthest[each.source, each.epoch] = each
    place = {"topic_id": chain.topic_id, "partition": chain.partition}
    return [{**place, **dataclasses.asdict(farthest[name])} for name in sorted(farthest)]


def _file_hole(connection: sa.Connection, chain: FoundChain, first: int, last: int, now_us: int) -> None:
    connection.execute(
        insert(GAPS).values(
            wedding=PLATFORM,
            source=chain.source,
            epoch=0,
            position=first,
            reason=f"offsets {first} to {last} of {chain.source} lie in packs that no store has any more",
            found_us=now_us,
        )
    )


def write_keys(connection: sa.Connection, names: Mapping[str, str]) -> None:
    """Write which keyring object holds each wedding's key."""
    rows = [{"wedding": wedding, "object_name": name, "is_stored": True} for wedding, name in names.items()]
    if rows:
        connection.execute(insert(KEYS), rows)


def counts(connection: sa.Connection) -> dict[str, int]:
    """Return what the catalog holds."""

    def count(query: sa.Select[Any]) -> int:
        return int(connection.execute(query).scalar_one() or 0)

    def in_state(state: ObjectState) -> sa.Select[Any]:
        return sa.select(sa.func.count()).select_from(OBJECTS).where(OBJECTS.c.state == state.value)

    return {
        "packs": count(sa.select(sa.func.count()).select_from(PACKS)),
        "bytes": count(sa.select(sa.func.sum(PACKS.c.size_bytes))),
        "frames": count(sa.select(sa.func.count()).select_from(FRAMES)),
        "keys": count(sa.select(sa.func.count()).select_from(KEYS)),
        "objects_protected": count(in_state(ObjectState.PROTECTED)),
        "objects_owed": count(in_state(ObjectState.CLAIMED)),
    }
