"""Blobs: the bytes behind object notices, fetched, cut, deduplicated, packed and protected.

A claim was made durable together with its notice, so a crash here loses nothing: the claim is found
again. Chunks are written before the manifest that needs them, and both enter the catalog in one
transaction with the version's new state. Within a wedding a chunk that is protected is never written twice.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import functools
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

from connectors.storage import decode_notice
from schemas import codec, pack
from schemas.backup import Priority
from schemas.errors import CorruptionError, TransientError, WedSyncError
from schemas.work import Stream, Work
from sinks.lanes import Errand
from sinks.objects import ChunkReader
from sinks.packer import INDEX_KEYS, PackBuilder, PlainFrame
from sinks.receipts import BlobReceipt, Claim, PackReceipt
from sinks.replicate import ToReplicate
from sinks.seal import naming_key, open_note
from streams.lanes import UNIT_BYTES_MAX

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Sequence

    from schemas.backup import PlacementClass
    from sinks.catalog import Catalog
    from sinks.keyring import Keyring
    from sinks.late_copies import LateCopies
    from sinks.objects import ObjectSource
    from sinks.replicate import Replicator

log = structlog.get_logger(__name__)

PACK_BYTES: Final = UNIT_BYTES_MAX
"""A pack is closed at this size: one unit of transfer, so that no object, however large, holds up another for longer.

It is the memory one batch needs, a few times over.
"""
_SMALL_BYTES: Final = 4 * PACK_BYTES
_CLAIMS_SEEN: Final = 64
_IDLE_SECONDS: Final = 1.0
_LATER: Final = dt.timedelta(seconds=5)
_MICRO: Final = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Which objects one runner takes, the most urgent first: those of some lanes, up to a size."""

    lanes: tuple[Priority, ...] = tuple(Priority)
    bytes_max: int = sys.maxsize


ALL: Final = Shift()
SHIFTS: Final = (*(Shift(lanes=(lane,)) for lane in Priority), Shift(bytes_max=_SMALL_BYTES))
"""A runner for each lane, so that none waits for another's album; and one for small objects of any, so that a
video keeps no photo of its own lane waiting."""


class BlobSink:
    """Protects claimed objects, each lane's in turn, a few batches at a time."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        keyring: Keyring,
        replicator: Replicator,
        late: LateCopies,
        source: ObjectSource,
        now: Callable[[], dt.datetime],
        randomness: Callable[[int], bytes],
        cpu: concurrent.futures.Executor,
        protected: Callable[[Claim, int], None] = lambda _claim, _at: None,
        pack_bytes: int = PACK_BYTES,
    ) -> None:
        self._catalog, self._keyring, self._replicator, self._late = catalog, keyring, replicator, late
        self._source, self._now, self._randomness, self._cpu = source, now, randomness, cpu
        self._protected, self._pack_bytes = protected, pack_bytes
        self._later: dict[tuple[str, bytes], dt.datetime] = {}
        self._under_way: set[tuple[str, bytes]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for claims now: a window has just brought some."""
        self._wake.set()

    async def run(self) -> None:
        """Protect claims for ever."""
        async with asyncio.TaskGroup() as tasks:
            for shift in SHIFTS:
                tasks.create_task(self._run_one(shift))

    async def run_once(self, shift: Shift = ALL) -> int:
        """Protect one batch of claims, and return how many there were."""
        batch = await self._next_batch(shift)
        if not batch:
            return 0
        try:
            await self._protect(batch)
        finally:
            self._under_way.difference_update((each.wedding, each.name) for each in batch)
        return len(batch)

    async def _run_one(self, shift: Shift) -> None:
        while True:
            try:
                if not await self.run_once(shift):
                    await self._idle()
            except TransientError as error:
                log.warning("blobs wait", action="blobs.retry", reason=str(error))
                await asyncio.sleep(_IDLE_SECONDS)

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _next_batch(self, shift: Shift) -> list[Claim]:
        may_begin = self._replicator.grants.may_begin
        lanes = [lane for lane in shift.lanes if may_begin(Stream(lane, Work.BLOB))]
        now = self._now()
        self._later = {name: at for name, at in self._later.items() if at > now}
        passed_over = len(self._later) + len(self._under_way)
        claims = await self._catalog.claims(_CLAIMS_SEEN + passed_over, lanes=lanes, bytes_max=shift.bytes_max)
        batch: list[Claim] = []
        size_bytes = 0
        for claim in claims:
            if (claim.wedding, claim.name) in self._under_way or (claim.wedding, claim.name) in self._later:
                continue
            is_fitting = not batch or _kind(claim) == _kind(batch[0])
            if is_fitting and (not batch or size_bytes + claim.size_bytes <= self._pack_bytes):
                batch.append(claim)
                size_bytes += claim.size_bytes
        self._under_way.update((each.wedding, each.name) for each in batch)
        return batch

    async def _protect(self, batch: Sequence[Claim]) -> None:
        filling = _Filling(draft=await self._draft(batch[0]))
        for claim in batch:
            try:
                await self._add(claim, filling)
            except WedSyncError as error:
                if not filling.is_reading:
                    raise
                await self._give_up(claim, error)
        await self._commit(filling.draft)

    async def _give_up(self, claim: Claim, error: WedSyncError) -> None:
        """File a version that is lost; come back later to one that cannot be read now, and let the others go on."""
        if isinstance(error, CorruptionError):
            log.warning("an object's version is lost", action="blobs.lost", position=claim.position, reason=str(error))
            await self._catalog.file_loss(claim, str(error), now_us=self._now_us())
        else:
            log.warning("an object must wait", action="blobs.later", position=claim.position, reason=str(error))
            self._later[claim.wedding, claim.name] = self._now() + _LATER

    async def _add(self, claim: Claim, filling: _Filling) -> None:
        """Add one object; packs that fill up on the way are protected and committed at once."""
        filling.is_reading = False
        data_key = await self._keyring.key_for(claim.wedding, claim.placement)
        notice = decode_notice(open_note(data_key, claim.sealed))
        context = self._source.open(notice)
        stream = await self._read(filling, context.__enter__)
        try:
            reader = ChunkReader(stream, naming_key=naming_key(data_key))
            await self._add_chunks(claim, reader, data_key, filling)
        except BaseException as error:
            await self._leave(context, error)
            raise
        await self._read(filling, context.__exit__, None, None, None)
        manifest = {
            "source": claim.source,
            "epoch": claim.epoch,
            "position": claim.position,
            "wedding": claim.wedding,
            "key": notice.key,
            "version": notice.version,
            "size": reader.size_bytes,
            "modified_at": notice.modified_us,
            "checksum": reader.checksum,
            "chunks": reader.references,
        }
        await self._in_thread(filling.draft.add_manifest, claim, manifest, data_key)

    async def _read(self, filling: _Filling, call: Callable[..., Any], *args: Any) -> Any:
        """Ask the source; `is_reading` stays set when it fails, so that its failures are not taken for ours."""
        filling.is_reading = True
        found = await self._in_thread(call, *args)
        filling.is_reading = False
        return found

    async def _leave(self, context: Any, error: BaseException) -> None:
        try:
            await self._in_thread(context.__exit__, type(error), error, error.__traceback__)
        except BaseException as raised:
            if raised is not error:
                raise

    async def _add_chunks(self, claim: Claim, reader: ChunkReader, data_key: bytes, filling: _Filling) -> None:
        while not reader.is_done:
            room = self._pack_bytes - filling.draft.size_bytes
            next_group = functools.partial(reader.next_group, room, at_least_one=not filling.draft.frames)
            group = await self._read(filling, next_group)
            names = [name for name, _ in group]
            known = await self._catalog.has_chunks(claim.wedding, names)
            if known:
                await self._catalog.raise_copies(claim.wedding, known, claim.copies)
            await self._in_thread(filling.draft.add_chunks, claim.wedding, group, known, data_key)
            if not reader.is_done:  # The next chunk has no room.
                await self._commit(filling.draft)
                filling.draft = await self._draft(claim)

    async def _draft(self, claim: Claim) -> _Draft:
        placement = claim.placement
        index_key = await self._keyring.key_for(INDEX_KEYS[placement], placement)
        return _Draft(
            builder=PackBuilder(kind=pack.KIND_BLOB, salt=self._randomness(pack.SALT_BYTES)),
            index_key=index_key,
            placement=placement,
            copies=claim.copies,
            errand=Errand(lane=Priority(claim.lane), work=Work.BLOB),
        )

    async def _commit(self, draft: _Draft) -> None:
        if not draft.frames:
            return
        content, pack_hash, index = await self._in_thread(draft.finish, self._now_us())
        name = pack.blob_pack_name(pack_hash)
        item = ToReplicate(
            name=name,
            content=content,
            digest=pack_hash,
            placement=draft.placement,
            copies=draft.copies,
            is_owed=True,
            errand=draft.errand,
        )
        copies = await self._replicator.replicate(item)
        receipt = PackReceipt(
            name=name,
            pack_hash=pack_hash,
            size_bytes=len(content),
            index=index,
            copies=copies,
            durable_us=self._now_us(),
        )
        blobs = [
            BlobReceipt(wedding=claim.wedding, name=claim.name, manifest_pack=pack_hash, manifest_frame=frame)
            for claim, frame in draft.blobs
        ]
        await self._catalog.commit_blobs([receipt], blobs, now_us=self._now_us())
        await self._late.committed([pack_hash])
        now_us = self._now_us()
        for claim, _ in draft.blobs:
            self._protected(claim, now_us)

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._cpu, call, *args)

    def _now_us(self) -> int:
        return int(self._now().timestamp() * _MICRO)


def _kind(claim: Claim) -> tuple[str, PlacementClass, int]:
    """Return what all objects of one pack have in common."""
    return claim.lane, claim.placement, claim.copies


@dataclasses.dataclass(slots=True, kw_only=True)
class _Draft:
    """A pack being filled, and the versions it completes."""

    builder: PackBuilder
    index_key: bytes
    placement: PlacementClass
    copies: int
    errand: Errand
    frames: int = 0
    blobs: list[tuple[Claim, int]] = dataclasses.field(default_factory=list)
    _written: set[tuple[str, bytes]] = dataclasses.field(default_factory=set)

    @property
    def size_bytes(self) -> int:
        return self.builder.size_bytes

    def add_chunks(
        self, wedding: str, group: Iterable[tuple[bytes, bytes]], known: set[bytes], data_key: bytes
    ) -> None:
        for name, content in group:
            if name in known or (wedding, name) in self._written:
                continue
            self._written.add((wedding, name))
            self.builder.add(PlainFrame(kind="chunk", wedding=wedding, plain=content, name=name), data_key)
            self.frames += 1

    def add_manifest(self, claim: Claim, manifest: dict[str, Any], data_key: bytes) -> None:
        plain = codec.encode("BlobManifest", manifest)
        modified_us = claim.modified_us
        frame = PlainFrame(
            kind="manifest",
            wedding=claim.wedding,
            plain=plain,
            earliest_us=modified_us,
            latest_us=modified_us,
            name=claim.name,
        )
        self.builder.add(frame, data_key)
        self.blobs.append((claim, self.frames))
        self.frames += 1

    def finish(self, created_us: int) -> tuple[bytes, bytes, dict[str, Any]]:
        return self.builder.finish(
            index_key=self.index_key,
            placement=self.placement.value,
            copies=self.copies,
            created_at=created_us,
            frontiers=[],
        )


@dataclasses.dataclass(slots=True, kw_only=True)
class _Filling:
    """The draft being filled now, and whether the source is being asked."""

    draft: _Draft
    is_reading: bool = False
