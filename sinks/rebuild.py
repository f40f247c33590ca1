"""The catalog, made again from the stores and the master key alone.

Packs say everything: their names the partition and the offsets, their footers the chain, their indexes
the frames and frontiers, their frames the objects that were announced and those whose bytes are there.
The newest checkpoint adds how far partitions without changes had been read, and tells whether a chain
ends too early. The same stores always give the same catalog, whatever order they answer in.

    scan      every pack: one copy read whole, the others compared (`rebuild_scan`, `rebuild_keys`)
    chain     one way through each partition; orphans leave, holes are filed (`rebuild_chain`)
    objects   announced versions are owed, until a manifest whose every chunk is there protects them
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from schemas import pack
from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, FormatError, RefusedError, TransientError
from schemas.pack import NO_PREVIOUS
from sinks import rebuild_write
from sinks.catalog_tables import PACKS
from sinks.checkpoint import PREFIX as CHECKPOINTS
from sinks.checkpoint import Checkpoint, frontier_mark, open_checkpoint
from sinks.in_order import in_order
from sinks.keyring import PREFIX as KEYRING
from sinks.packer import INDEX_KEYS
from sinks.rebuild_chain import Chain, FoundPack, follow
from sinks.rebuild_keys import KeyFinder
from sinks.rebuild_objects import ObjectScan
from sinks.rebuild_scan import Findings, PackScanner, list_names
from sinks.rebuild_write import FoundChain, WrittenPack

if TYPE_CHECKING:
    import concurrent.futures
    import datetime as dt
    from collections.abc import Callable, Mapping

    from sinks.catalog import Catalog
    from sinks.key_wrapping import KeyWrapper
    from sinks.rebuild_scan import ScannedPack
    from sinks.receipts import FrontierMark, PartitionMark
    from sinks.stores.port import ObjectStore

_LOG_PACKS_AT_ONCE: Final = 8
_BLOB_PACKS_AT_ONCE: Final = 3
_PACKS_IN_TRANSACTION: Final = 64
_MICRO: Final = 1_000_000

Place = tuple[str, int]
"""Topic id, partition."""
Names = dict[str, tuple[str, ...]]
"""Object name → the stores that list it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What a rebuild found.

    `orphans` are packs of attempts that died; `holes` are (topic/partition, first, last) offsets nobody has any
    more, `behind` the same at a partition's end, which the next sink reads again if Kafka still has it.
    `locked` counts weddings whose key is gone; `unsound` manifests with a chunk in no pack.
    """

    packs: int
    bytes: int
    frames: int
    keys: int
    objects_protected: int
    objects_owed: int
    checkpoint_us: int | None
    partitions: int | None
    orphans: tuple[str, ...]
    holes: tuple[tuple[str, int, int], ...]
    behind: tuple[tuple[str, int, int], ...]
    damaged: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]
    foreign: tuple[str, ...]
    silent: tuple[str, ...]
    locked: int
    unsound: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was protected is missing, as far as the stores can tell."""
        return not (self.holes or self.behind or self.lost or self.unsound or self.silent)


async def rebuild(
    *,
    catalog: Catalog,
    stores: Mapping[str, ObjectStore],
    wrapper: KeyWrapper,
    cpu: concurrent.futures.Executor,
    now: Callable[[], dt.datetime],
    randomness: Callable[[int], bytes],
    read_all_copies: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RebuildReport:
    """Fill an empty catalog from the stores; `progress` hears (packs done, packs in all).

    Raises:
        RefusedError: the catalog is not empty.
        ConfigError: the keys were wrapped by another master key.
        CorruptionError: no index key can be found, or a whole pack holds a frame that does not open.
    """
    if await catalog.run(lambda connection: connection.execute(sa.select(PACKS.c.name).limit(1)).first()):
        raise RefusedError("the catalog is not empty", hint="move it away first")
    findings = Findings()
    keys = KeyFinder(names=await list_names(stores, KEYRING, findings), stores=stores, wrapper=wrapper)
    scanner = PackScanner(stores=stores, keys=keys, cpu=cpu, findings=findings, read_all_copies=read_all_copies)
    logs = await list_names(stores, "log/", findings)
    blobs = await list_names(stores, "blob/", findings)
    await _require_index_keys(keys, logs)
    work = _Rebuild(
        catalog=catalog,
        scanner=scanner,
        objects=ObjectScan(scanner=scanner, keys=keys, randomness=randomness),
        now_us=int(now().timestamp() * _MICRO),
    )
    await work.scan(logs, blobs, progress)
    checkpoint = await _newest_checkpoint(stores, keys, findings)
    chains = await work.chains(logs, checkpoint)
    await catalog.run(lambda connection: rebuild_write.write_chains(connection, chains, work.now_us))
    unsound = await catalog.run(work.objects.write)
    await catalog.run(lambda connection: rebuild_write.write_keys(connection, keys.rows()))
    counts = await catalog.run(rebuild_write.counts)
    return _report(counts, work, chains, findings, checkpoint=checkpoint, unsound=unsound)


async def _require_index_keys(keys: KeyFinder, logs: Names) -> None:
    found = [await keys.candidates(wedding) for wedding in INDEX_KEYS.values()]
    if logs and not any(found):
        raise CorruptionError(
            "no key of the archive opens under this master key", hint="import the right escrow: `keys import`"
        )


class _Rebuild:
    """Scans packs into the catalog and remembers what the chains are followed by."""

    def __init__(self, *, catalog: Catalog, scanner: PackScanner, objects: ObjectScan, now_us: int) -> None:
        self._catalog, self._scanner = catalog, scanner
        self.objects, self.now_us = objects, now_us
        self._found: dict[Place, list[FoundPack]] = collections.defaultdict(list)
        self._topics: dict[str, str] = {}

    async def scan(self, logs: Names, blobs: Names, progress: Callable[[int, int], None]) -> None:
        """Read every pack and write it into the catalog, orphans included for now."""
        total, before = len(logs) + len(blobs), 0
        for names, at_once in ((logs, _LOG_PACKS_AT_ONCE), (blobs, _BLOB_PACKS_AT_ONCE)):
            waiting: list[WrittenPack] = []
            async with contextlib.aclosing(in_order(self._scan, names.items(), at_once=at_once)) as scanned:
                async for each in scanned:
                    before += 1
                    progress(before, total)
                    waiting += [] if each is None else [each]
                    if len(waiting) >= _PACKS_IN_TRANSACTION:
                        await self._write(waiting)
                        waiting = []
            await self._write(waiting)

    async def _write(self, packs: list[WrittenPack]) -> None:
        await self._catalog.run(lambda connection: rebuild_write.write_packs(connection, packs, self.now_us))

    async def _scan(self, place: tuple[str, tuple[str, ...]]) -> WrittenPack | None:
        scanned = await self._scanner.scan(place)
        if scanned is None:
            return None
        if scanned.about.topic_id:
            self._remember(scanned)
            claims = await self.objects.announced(scanned)
        else:
            claims = ()
            await self.objects.read_manifests(scanned)
        # The content has served: only what the catalog needs waits for its transaction.
        return WrittenPack(scanned=dataclasses.replace(scanned, content=None), claims=claims)

    def _remember(self, scanned: ScannedPack) -> None:
        about, index = scanned.about, scanned.index
        self._topics[about.topic_id] = index["topic"]
        self._found[about.topic_id, about.partition].append(
            FoundPack(
                pack_hash=about.pack_hash,
                previous=scanned.previous,
                first=about.first,
                last=about.last,
                part=about.part,
                parts=index["window_parts"],
                created_us=index["created_at"],
                copies=len(scanned.copies),
            )
        )

    async def chains(self, logs: Names, checkpoint: Checkpoint | None) -> list[FoundChain]:
        """Follow every partition's chain, with the help of the newest checkpoint."""
        marks = {(mark.topic_id, mark.partition): mark for mark in (checkpoint.marks if checkpoint else ())}
        found = []
        for topic_id, partition in sorted(self._found.keys() | marks.keys()):
            mark = marks.get((topic_id, partition))
            wanted = NO_PREVIOUS if mark is None else mark.head
            chain = follow(self._found.get((topic_id, partition), ()), wanted_head=wanted)
            frontiers = await self._last_frontiers(topic_id, partition, chain, logs)
            topic = self._topics.get(topic_id) or (mark.topic if mark is not None else "")
            found.append(_joined(topic, (topic_id, partition), chain, frontiers, mark))
        return found

    async def _last_frontiers(
        self, topic_id: str, partition: int, chain: Chain, logs: Names
    ) -> tuple[FrontierMark, ...]:
        """Return what the last window knew of frontiers, which is all that any before it knew."""
        if not chain.packs:
            return ()
        name = _pack_name(topic_id, partition, chain.packs[-1])
        scanned = await self._scanner.scan((name, logs[name]))
        return tuple(frontier_mark(each) for each in scanned.index["frontiers"]) if scanned is not None else ()


def _pack_name(topic_id: str, partition: int, found: FoundPack) -> str:
    return pack.log_pack_name(
        topic_id=topic_id,
        partition=partition,
        first=found.first,
        last=found.last,
        part=found.part,
        pack_hash=found.pack_hash,
    )


def _joined(
    topic: str, place: Place, chain: Chain, frontiers: tuple[FrontierMark, ...], mark: PartitionMark | None
) -> FoundChain:
    """Join what the packs say of a partition with what the checkpoint says."""
    next_offset, behind = chain.last + 1, None
    if mark is not None and (mark.head in chain.heads or mark.head == NO_PREVIOUS):
        next_offset = max(next_offset, mark.next_offset)
        frontiers = (*frontiers, *mark.frontiers)
    elif mark is not None and mark.next_offset > next_offset:
        behind = (next_offset, mark.next_offset - 1)
    return FoundChain(
        topic=topic,
        topic_id=place[0],
        partition=place[1],
        chain=chain,
        next_offset=next_offset,
        frontiers=frontiers,
        behind=behind,
    )


async def _newest_checkpoint(
    stores: Mapping[str, ObjectStore], keys: KeyFinder, findings: Findings
) -> Checkpoint | None:
    """Return the newest checkpoint that is whole anywhere."""
    index_key = await keys.key(INDEX_KEYS[PlacementClass.EU])
    if index_key is None:
        return None
    names = await list_names(stores, CHECKPOINTS, findings)
    for name in sorted(names, reverse=True):
        for store in names[name]:
            try:
                return open_checkpoint(await stores[store].read(name), index_key=index_key)
            except (CorruptionError, FormatError):
                findings.damaged.append((store, name))
            except TransientError:
                findings.silent.add(store)
    return None


def _report(
    counts: Mapping[str, int],
    work: _Rebuild,
    chains: list[FoundChain],
    findings: Findings,
    *,
    checkpoint: Checkpoint | None,
    unsound: int,
) -> RebuildReport:
    return RebuildReport(
        **counts,
        checkpoint_us=checkpoint.created_us if checkpoint is not None else None,
        partitions=checkpoint.partitions if checkpoint is not None else None,
        orphans=tuple(_pack_name(each.topic_id, each.partition, one) for each in chains for one in each.chain.orphans),
        holes=tuple((each.source, *hole) for each in chains for hole in each.chain.holes),
        behind=tuple((each.source, *each.behind) for each in chains if each.behind is not None),
        damaged=tuple(sorted(set(findings.damaged))),
        lost=tuple(sorted(findings.lost)),
        foreign=tuple(sorted(findings.foreign)),
        silent=tuple(sorted(findings.silent)),
        locked=len(work.objects.locked),
        unsound=unsound,
    )
