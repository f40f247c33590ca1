"""One window becomes protected: keys, packs, copies, catalog, in this order.

Dying between any two steps leaves at most orphans on the stores: packs no catalog names. The offset
moves in the same transaction as the receipts, so the window is then read and protected again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Final

from connectors.storage import decode_notice
from schemas import codec
from schemas.backup import SERVICE_LEVELS, PlacementClass, Residency
from schemas.errors import FormatError
from schemas.pack import SALT_BYTES, chain_head
from schemas.topics import priority_of_topic
from sinks.lanes import Errand
from sinks.packer import INDEX_KEYS, BuiltPack, build_log_pack
from sinks.receipts import Claim, ObjectState, PackReceipt, PartitionMark, WindowReceipt
from sinks.replicate import ToReplicate
from sinks.seal import keyed_name, naming_key, seal_note
from sinks.window import NewObject, SortedWindow, sort_window
from streams.records import rank_of

if TYPE_CHECKING:
    import concurrent.futures
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from sinks.catalog import Catalog
    from sinks.keyring import Keyring
    from sinks.late_copies import LateCopies
    from sinks.replicate import Copy, Replicator
    from streams.records import Record

_MICRO: Final = 1_000_000
_EXPECTED_MAX: Final = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What one window came to: the partition's new mark, the window's content, and its last instant."""

    mark: PartitionMark
    window: SortedWindow
    protected_us: int
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A window sealed and ready to be written, between two marks of its partition."""

    before: PartitionMark
    after: PartitionMark
    window: SortedWindow
    packs: list[BuiltPack]
    claims: tuple[Claim, ...]
    errand: Errand


class Protector:
    """Protects windows of any partition; knows no queue and no Kafka."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        keyring: Keyring,
        replicator: Replicator,
        late: LateCopies,
        now: Callable[[], dt.datetime],
        randomness: Callable[[int], bytes],
        cpu: concurrent.futures.Executor,
    ) -> None:
        self._catalog, self._keyring, self._replicator = catalog, keyring, replicator
        self._expected: dict[str, asyncio.Future[bytes]] = {}
        self._late, self._now, self._randomness, self._cpu = late, now, randomness, cpu

    def expect(self, records: Sequence[Record]) -> None:
        """Begin to make the keys of weddings seen for the first time, while their window is still open.

        Nothing depends on it: what fails here is tried again, and told, when the window is prepared.
        """
        for record in records:
            wedding = (record.key or b"").decode(errors="replace")
            if not wedding or wedding in self._expected or self._keyring.holds(wedding):
                continue
            if len(self._expected) >= _EXPECTED_MAX:
                return
            with contextlib.suppress(FormatError):
                change = codec.decode("BackupChange", record.value or b"")
                placement = Residency(change["residency"]).placement_class
                self._expected[wedding] = asyncio.ensure_future(self._keyring.key_for(wedding, placement))
                self._expected[wedding].add_done_callback(functools.partial(self._met, wedding))

    def _met(self, wedding: str, task: asyncio.Future[bytes]) -> None:
        del self._expected[wedding]
        if not task.cancelled():
            task.exception()  # Taken note of, so that nobody complains of it.

    async def prepare(self, records: Sequence[Record], mark: PartitionMark) -> Prepared:
        """Sort and seal a window; nothing is written yet but the keys of weddings never seen before.

        Raises:
            TransientError: a key cannot be had now.
        """
        window = await self._in_thread(sort_window, records, mark)
        keys = await self._keys(window)
        packs = await self._in_thread(self._build, window, mark, keys)
        claims = tuple(self._claim(each, mark.topic, keys) for each in window.objects)
        errand = Errand(lane=priority_of_topic(mark.topic), rank=min(map(rank_of, records)))
        return Prepared(
            before=mark, after=_after(mark, window, packs), window=window, packs=packs, claims=claims, errand=errand
        )

    async def protect(self, prepared: Prepared) -> Protected:
        """Return once the window is protected and the offset has moved; trying again writes the same bytes.

        Raises:
            TransientError: not now; nothing has moved, try again.
            RefusedError: another sink owns the partition.
        """
        receipts = await asyncio.gather(*(self._replicate(pack, prepared.errand) for pack in prepared.packs))
        await self._catalog.commit_window(
            WindowReceipt(
                before=prepared.before,
                after=prepared.after,
                packs=tuple(receipts),
                claims=prepared.claims,
                gaps=prepared.window.gaps,
                protected_us=self.now_us(),
                promoted=prepared.window.promoted,
            )
        )
        await self._late.committed(each.pack_hash for each in receipts)
        return Protected(
            mark=prepared.after,
            window=prepared.window,
            protected_us=self.now_us(),
            size_bytes=sum(each.size_bytes for each in receipts),
        )

    def now_us(self) -> int:
        """Return the present in microseconds since 1970 UTC."""
        return int(self._now().timestamp() * _MICRO)

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._cpu, call, *args)

    async def _keys(self, window: SortedWindow) -> dict[str, bytes]:
        wanted: dict[str, PlacementClass] = {}
        for part in window.parts:
            wanted[INDEX_KEYS[part.placement]] = part.placement
            for wedding in part.weddings:
                # A wedding in both classes (its country came to be known) keeps its key in the stricter.
                wanted[wedding] = min(part.placement, wanted.get(wedding, part.placement), key=_strictness)
        return await self._keyring.keys_for(wanted.items())

    def _build(self, window: SortedWindow, mark: PartitionMark, keys: Mapping[str, bytes]) -> list[BuiltPack]:
        about = {
            "topic": mark.topic,
            "partition": mark.partition,
            "first": window.first,
            "last": window.last,
            "window_parts": len(window.parts),
            "copies": SERVICE_LEVELS[priority_of_topic(mark.topic)].copies,
            "created_at": self.now_us(),
            "frontiers": [_frontier_record(each) for each in window.frontiers],
        }
        return [
            build_log_pack(
                part,
                keys=keys,
                salt=self._randomness(SALT_BYTES),
                previous=mark.head,
                about={**about, "window_part": number},
                topic_id=mark.topic_id,
            )
            for number, part in enumerate(window.parts)
        ]

    async def _replicate(self, pack: BuiltPack, errand: Errand) -> PackReceipt:
        copies: list[Copy] = await self._replicator.replicate(
            ToReplicate(
                name=pack.name,
                content=pack.content,
                digest=pack.pack_hash,
                placement=PlacementClass(pack.index["placement"]),
                copies=pack.index["copies"],
                is_owed=True,
                errand=errand,
            )
        )
        return PackReceipt(
            name=pack.name,
            pack_hash=pack.pack_hash,
            size_bytes=len(pack.content),
            index=pack.index,
            copies=copies,
            durable_us=self.now_us(),
        )

    def _claim(self, new: NewObject, topic: str, keys: Mapping[str, bytes]) -> Claim:
        change, lane = new.change, priority_of_topic(topic)
        notice = decode_notice(change["payload"])
        key = keys[change["wedding"]]
        return Claim(
            name=object_name(key, change["source"], notice.key, notice.version),
            wedding=change["wedding"],
            source=change["source"],
            epoch=change["epoch"],
            position=change["position"],
            placement=new.placement,
            copies=SERVICE_LEVELS[lane].copies,
            modified_us=notice.modified_us,
            size_bytes=notice.size,
            state=ObjectState.CLAIMED,
            sealed=seal_note(key, change["payload"], salt=self._randomness(SALT_BYTES)),
            lane=lane.value,
        )


def object_name(data_key: bytes, source: str, key: str, version: str) -> bytes:
    """Return the id of one version of one object inside its wedding."""
    return keyed_name(naming_key(data_key), f"{source}\x00{key}\x00{version}".encode())


def _strictness(placement: PlacementClass) -> int:
    return 0 if placement is PlacementClass.EU else 1


def _frontier_record(mark: Any) -> dict[str, Any]:
    return {
        "source": mark.source,
        "epoch": mark.epoch,
        "position": mark.position,
        "lsn": mark.lsn,
        "committed_at": mark.committed_us,
    }


def _after(mark: PartitionMark, window: SortedWindow, packs: Sequence[BuiltPack]) -> PartitionMark:
    head = chain_head(mark.head, [pack.pack_hash for pack in packs]) if packs else mark.head
    return dataclasses.replace(
        mark,
        next_offset=window.last + 1,
        head=head,
        frontiers=window.frontiers,
        recent=window.recent,
        holed_us=window.holed_us,
    )
