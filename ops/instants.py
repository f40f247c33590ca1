"""The instants of what is protected, read back from the archive itself: how long each change took.

Every archived change carries when it was committed, captured and routed; its pack in the catalog says
when three verified copies existed and when the catalog knew. Nothing here was measured on the side.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from connectors.application import APPLICATION_SOURCE
from connectors.debezium import Change, parse
from schemas.topics import priority_of_topic
from sinks.catalog_tables import OBJECTS, PACKS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinks.catalog import Catalog
    from sinks.history import History

PERCENTILES: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_MICROSECONDS: Final = 1000
_FOR_EVER_US: Final = 1 << 62


@dataclasses.dataclass(slots=True, kw_only=True)
class Instants:
    """Durations in milliseconds, one a change; objects count from the store's own instant to their bytes' copies."""

    initiation_ms: list[float] = dataclasses.field(default_factory=list)
    durable_ms: list[float] = dataclasses.field(default_factory=list)
    rpo_ms: list[float] = dataclasses.field(default_factory=list)
    object_rpo_ms: list[float] = dataclasses.field(default_factory=list)
    rpo_by_lane: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    events: int = 0
    repeated: int = 0
    application: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    """Where the log has events of applications."""

    _seen: set[tuple[int, int, str]] = dataclasses.field(default_factory=set)
    _plain: set[tuple[int, int, str]] = dataclasses.field(default_factory=set)
    """Without what was sealed once more on purpose: a promoted change lies in two lanes, and is not repeated."""
    _rows: set[tuple[int, int]] = dataclasses.field(default_factory=set)

    @property
    def changes(self) -> int:
        """Return how many row changes these events are: what one row did in one transaction counts once.

        A changed primary key arrives as a DELETE and a CREATE, a row that moved in two weddings' frames;
        both have one place in the source's log.
        """
        return len(self._rows)

    def take(self, change: Mapping[str, Any], lane: str, durable_us: int, protected_us: int) -> None:
        """Count one archived change if it is a row's or an application's."""
        if change["kind"] == "row":
            self.add(change, lane, durable_us, protected_us)
        elif change["source"] == APPLICATION_SOURCE:
            self.application.add((change["epoch"], change["position"]))

    def add(self, change: Mapping[str, Any], lane: str, durable_us: int, protected_us: int) -> None:
        """Count one archived row change."""
        identity = (change["epoch"], change["position"], change["wedding"])
        if not change["again"]:
            self.repeated += identity in self._plain
            self._plain.add(identity)
        if identity in self._seen:
            return
        self._seen.add(identity)
        captured = parse(change["payload"])
        assert isinstance(captured, Change)
        self._rows.add((captured.transaction, captured.lsn))
        committed_us = change["committed_at"]
        self.events += 1
        self.initiation_ms.append((change["routed_at"] - committed_us) / _MICROSECONDS)
        self.durable_ms.append((durable_us - committed_us) / _MICROSECONDS)
        self.rpo_ms.append((protected_us - committed_us) / _MICROSECONDS)
        self.rpo_by_lane.setdefault(lane, []).append((protected_us - committed_us) / _MICROSECONDS)


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p99, p99.9 and max, nearest rank, in the unit given; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return dict.fromkeys(PERCENTILES)
    last = len(ordered) - 1
    return {name: round(ordered[min(last, int(len(ordered) * share))], 1) for name, share in PERCENTILES.items()}


async def read_instants(
    history: History,
    catalog: Catalog,
    *,
    since_us: int = 0,
    until_us: int | None = None,
    without: frozenset[int] = frozenset(),
) -> Instants:
    """Read the instants of every change committed in [since, until) microseconds, some transactions left out."""
    found = Instants()
    packs: dict[bytes, tuple[str, int, int]] = {}
    for wedding in await history.weddings():
        frames = await history.frames(wedding, earliest_us_max=until_us)
        if any(frame.pack_hash not in packs for frame in frames):  # Packs come into the catalog all the while.
            packs = await catalog.run(_packs)
        async for frame, changes in history.changes(wedding, frames):
            lane, durable_us, protected_us = packs[frame.pack_hash]
            for change in changes:
                is_inside = since_us <= change["committed_at"] < (until_us or _FOR_EVER_US)
                if is_inside and change["transaction"] not in without:
                    found.take(change, lane, durable_us, protected_us)
    await _add_objects(found, catalog, since_us, until_us)
    return found


def _packs(connection: sa.Connection) -> dict[bytes, tuple[str, int, int]]:
    rows = connection.execute(
        sa.select(PACKS.c.pack_hash, PARTITIONS.c.topic, PACKS.c.durable_us, PACKS.c.protected_us).join(
            PARTITIONS, sa.and_(PARTITIONS.c.topic_id == PACKS.c.topic_id, PARTITIONS.c.partition == PACKS.c.partition)
        )
    )
    return {row.pack_hash: (priority_of_topic(row.topic).value, row.durable_us, row.protected_us) for row in rows}


async def _add_objects(found: Instants, catalog: Catalog, since_us: int, until_us: int | None) -> None:
    wanted = sa.select(OBJECTS.c.protected_us - OBJECTS.c.modified_us).where(
        OBJECTS.c.protected_us.is_not(None), OBJECTS.c.modified_us >= since_us
    )
    if until_us is not None:
        wanted = wanted.where(OBJECTS.c.modified_us < until_us)
    taken = await catalog.run(lambda connection: list(connection.execute(wanted).scalars()))
    found.object_rpo_ms.extend(each / _MICROSECONDS for each in taken)
