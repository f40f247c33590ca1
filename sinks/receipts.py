"""What the catalog is told and what it answers. Pure values.

A *receipt* is the proof that a pack lies, verified, on its stores. Only receipts enter the catalog,
and only together with the offset they let move.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from connectors.ledger import Gap
    from schemas.backup import PlacementClass
    from sinks.promotion_rows import PromotedWedding
    from sinks.replicate import Copy


Recent = tuple[str, int, tuple[tuple[int, str], ...]]
"""Source, epoch, and what was received of them beyond the frontier: (position, wedding)."""


class ObjectState(enum.StrEnum):
    """The life of one version of an object.

    `CLAIMED` is owed: its notice is protected, its bytes not yet. `LOST` is a gap: the store
    no longer had the announced version when its bytes were fetched.
    """

    CLAIMED = "claimed"
    PROTECTED = "protected"
    DELETED = "deleted"
    LOST = "lost"


OBJECT_STEPS: Final = {
    ObjectState.CLAIMED: frozenset({ObjectState.PROTECTED, ObjectState.LOST}),
    ObjectState.LOST: frozenset({ObjectState.PROTECTED}),
    ObjectState.PROTECTED: frozenset[ObjectState](),
    ObjectState.DELETED: frozenset[ObjectState](),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackReceipt:
    """One pack on its stores; instants in microseconds since 1970 UTC."""

    name: str
    pack_hash: bytes
    size_bytes: int
    index: dict[str, Any]
    copies: list[Copy]
    durable_us: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One version of an object: `name` identifies it inside its wedding, `sealed` is its notice under its key."""

    name: bytes
    wedding: str
    source: str
    epoch: int
    position: int
    placement: PlacementClass
    copies: int
    modified_us: int
    size_bytes: int
    state: ObjectState
    sealed: bytes
    lane: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrontierMark:
    """How far a source is known to be routed, as one partition has recorded it."""

    source: str
    epoch: int
    position: int
    lsn: int
    committed_us: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PartitionMark:
    """Where a partition stands: the next offset wanted, the head of its chain, and what it knows.

    `recent` are the (position, wedding) pairs, by (source, epoch), received beyond the frontier:
    what is routed again after a crash is told by them. `holed_us` is when its last hole ended, 0 for none:
    see `partition_holes`.
    """

    topic: str
    topic_id: str
    partition: int
    next_offset: int
    head: bytes
    frontiers: tuple[FrontierMark, ...] = ()
    recent: tuple[Recent, ...] = ()
    holed_us: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowReceipt:
    """One window of one partition, protected: from `before` to `after`, with all that lies between."""

    before: PartitionMark
    after: PartitionMark
    packs: tuple[PackReceipt, ...]
    claims: tuple[Claim, ...]
    protected_us: int
    promoted: tuple[PromotedWedding, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobReceipt:
    """One version of an object whose every chunk is protected; its manifest is a frame of `manifest_pack`."""

    wedding: str
    name: bytes
    manifest_pack: bytes
    manifest_frame: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrameAt:
    """Where a frame lies; `stores` hold verified copies of its pack."""

    pack_hash: bytes
    pack_name: str
    number: int
    kind: str
    wedding: str
    offset: int
    length: int
    events: int
    earliest_us: int
    latest_us: int
    name: bytes
    stores: tuple[str, ...]
