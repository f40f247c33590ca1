"""Planted bugs: each replaces one part by one that looks right and loses data. The harness must catch every one."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import blake3
import sqlalchemy as sa

from schemas import codec
from schemas.backup import PlacementClass
from schemas.errors import FormatError, TransientError, WedSyncError
from schemas.topics import DEAD_LETTERS
from sinks import catalog_statements
from sinks.catalog_tables import KEYS
from sinks.cut import Order
from sinks.key_wrapping import KEY_BYTES
from sinks.keyring import Keyring, keyring_name
from sinks.protect import Prepared, Protected, Protector
from sinks.receipts import WindowReceipt
from sinks.replicate import Replicator, ToReplicate
from sinks.restore import Restorer
from sinks.stores.port import Proof
from streams.router import Router
from tests.builders import frontier_value
from tests.simulation.log import SimulatedProducer
from tests.simulation.stores import FaultyStore, damaged
from tests.simulation.worlds import DyingCatalog, Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.cut import Cut, Moment
    from sinks.receipts import PartitionMark
    from sinks.stores.port import Site
    from streams.records import Outgoing, Record
    from streams.state import Progress


class UncomparedCatalog(DyingCatalog):
    """Moves the offset wherever it stands: nobody is fenced, and a later window may overtake an earlier one."""

    async def commit_window(self, window: WindowReceipt) -> None:
        """See `Catalog.commit_window`."""
        before = window.before
        stands = await self.mark(before.topic, before.topic_id, before.partition)
        moved = dataclasses.replace(before, next_offset=stands.next_offset, head=stands.head)
        await super().commit_window(dataclasses.replace(window, before=moved))


class HastyProtector(Protector):
    """Says that a window is protected while it is still under way."""

    async def protect(self, prepared: Prepared) -> Protected:
        """See `Protector.protect`."""
        task = asyncio.ensure_future(super().protect(prepared))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return Protected(
            mark=prepared.after, window=prepared.window, protected_us=self.now_us(), size_bytes=len(prepared.packs)
        )


class ForgivingProtector(Protector):
    """Acknowledges a window whose copies could not be written."""

    async def protect(self, prepared: Prepared) -> Protected:
        """See `Protector.protect`."""
        try:
            return await super().protect(prepared)
        except TransientError:
            after = dataclasses.replace(prepared.after, head=prepared.before.head)
            now_us = self.now_us()
            await self._catalog.commit_window(
                WindowReceipt(before=prepared.before, after=after, packs=(), claims=(), protected_us=now_us)
            )
            return Protected(mark=after, window=prepared.window, protected_us=now_us, size_bytes=0)


class HalfProtector(Protector):
    """Forgets that a window may have a pack for each placement class."""

    async def protect(self, prepared: Prepared) -> Protected:
        """See `Protector.protect`."""
        return await super().protect(dataclasses.replace(prepared, packs=prepared.packs[:1]))


class HighestOnlyProtector(Protector):
    """Takes whatever lies before the highest position it has seen for a repetition."""

    _highest: dict[tuple[str, int, str], int]

    async def prepare(self, records: Sequence[Record], mark: PartitionMark) -> Prepared:
        """See `Protector.prepare`."""
        self._highest = getattr(self, "_highest", {})
        return await super().prepare([self._only_higher(each, mark) for each in records], mark)

    def _only_higher(self, record: Record, mark: PartitionMark) -> Record:
        try:
            change = codec.decode("BackupChange", record.value or b"")
        except FormatError:
            return record
        source = (mark.topic, mark.partition, change["source"])
        if change["position"] < self._highest.get(source, -1):
            return record._replace(value=frontier_value(source="none", position=-1))
        self._highest[source] = change["position"]
        return record


class TrustingStore(FaultyStore):
    """Takes the store's word (an ETag) for what it holds."""

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """See `ObjectStore.create`."""
        await self._come_through()
        sent = bytes(content)
        if self._is_unlucky():
            sent = damaged(sent, self._rng.randrange(len(sent)))
        if name in self._held.objects:
            return await self._held.create(name, content, digest=digest)
        self._held.objects[name] = sent
        return Proof.STORE_CHECKSUM


class TornRestorer(Restorer):
    """Cuts at a change instead of at a commit."""

    async def _cut(self, weddings: Sequence[str] | None, at: Moment) -> Cut:
        cut = await super()._cut(weddings, at)
        order = Order(cut.order.epoch, cut.order.position + 2)
        return dataclasses.replace(cut, order=order, until=max(cut.until, order))


class OffsetFirstCatalog(DyingCatalog):
    """Moves the offset in one transaction, and writes the receipts in the next."""

    async def commit_window(self, window: WindowReceipt) -> None:
        """See `Catalog.commit_window`."""
        await super().commit_window(dataclasses.replace(window, packs=(), claims=()))

        def write(connection: sa.Connection) -> None:
            for receipt in window.packs:
                catalog_statements.add_pack(connection, receipt, window.after.topic_id, window.protected_us)
            for claim in window.claims:
                catalog_statements.add_claim(connection, claim)

        await self.run(write)


class EagerRouter(Router):
    """Announces a frontier before what it claims has been delivered."""

    async def _route(
        self, source: str, epoch: int, topic: str, records: Sequence[Record], progress: Progress | None
    ) -> int:
        early = self._state.progress(source, epoch)
        if early is not None:
            ahead = early._replace(next_offset=records[-1].offset + 1)
            await self._producer.deliver(self._frontiers((source, epoch), ahead))
        return await super()._route(source, epoch, topic, records, progress)


class ForwardRouter(Router):
    """Remembers a batch before it is delivered."""

    async def _route(
        self, source: str, epoch: int, topic: str, records: Sequence[Record], progress: Progress | None
    ) -> int:
        with self._state.one_batch():
            outgoing, committed_us = self._routing(source, epoch, topic).decide(
                records, committed_us=progress.committed_us if progress else 0, now=self._now()
            )
            self._state.advance(source, epoch, next_offset=records[-1].offset + 1, committed_us=committed_us)
        await self._producer.deliver(outgoing)
        return len(outgoing)


class TidyProducer(SimulatedProducer):
    """Thinks dead letters are rubbish."""

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        await super().deliver([each for each in records if each.topic != DEAD_LETTERS])


class ImpatientKeyring(Keyring):
    """Makes a second key when the first store it asks does not show the one there is."""

    async def _find_or_make(self, wedding: str, placement: PlacementClass) -> bytes:
        named = await self._named(wedding)
        if named is None or not named[1]:
            return await super()._find_or_make(wedding, placement)
        site = next(site for site in self._replicator.sites if site.may_hold(placement))
        try:
            wrapped = await self._replicator.stores[site.name].read(named[0])
            return await self._wrapper.unwrap(wrapped, context=wedding.encode())
        except WedSyncError:
            return await self._second_key(wedding, placement)

    async def _second_key(self, wedding: str, placement: PlacementClass) -> bytes:
        wrapped, key = await self._new_key(wedding)
        name = keyring_name(wedding, wrapped)
        digest = blake3.blake3(wrapped).digest()
        await self._replicator.replicate(
            ToReplicate(name=name, content=wrapped, digest=digest, placement=placement, copies=3)
        )
        await self._catalog.run(
            lambda connection: connection.execute(
                sa.update(KEYS).where(KEYS.c.wedding == wedding).values(object_name=name)
            )
        )
        assert len(key) == KEY_BYTES
        return key


class BoundlessReplicator(Replicator):
    """Knows no residency."""

    def ranked(self, item: ToReplicate) -> list[Site]:
        """See `Replicator.ranked`."""
        return super().ranked(dataclasses.replace(item, placement=PlacementClass.ANYWHERE))


class TwoCopiesReplicator(Replicator):
    """Calls two copies three."""

    async def replicate(self, item: ToReplicate) -> list[Any]:
        """See `Replicator.replicate`."""
        return (await super().replicate(item))[:2]


BUGS: Final = {
    "commit past in-flight": Parts(protector=HastyProtector, catalog=UncomparedCatalog),
    "acknowledge on exception": Parts(protector=ForgivingProtector),
    "ETag trusted": Parts(store=TrustingStore),
    "torn cut": Parts(restorer=TornRestorer),
    "offset before receipt": Parts(catalog=OffsetFirstCatalog),
    "no fence": Parts(catalog=UncomparedCatalog),
    "half a window": Parts(protector=HalfProtector),
    "deduplicated by the highest position": Parts(protector=HighestOnlyProtector),
    "frontier before delivery": Parts(router=EagerRouter),
    "remembered before delivery": Parts(router=ForwardRouter),
    "dead letters dropped": Parts(producer=TidyProducer),
    "second key": Parts(keyring=ImpatientKeyring),
    "residency ignored": Parts(replicator=BoundlessReplicator),
    "two copies": Parts(replicator=TwoCopiesReplicator),
}
