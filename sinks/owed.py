"""Owed copies: packs with fewer verified copies than their due get them, from a good copy.

Whatever keeps a copy from being made (a store down, a crash, a late reply) ends here: the debt is a
query, so it cannot be forgotten.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import blake3
import structlog

from schemas.backup import PlacementClass, Priority
from schemas.errors import CorruptionError, WedSyncError
from schemas.work import Work
from sinks.lanes import Errand
from sinks.replicate import CREATE_SECONDS, ToReplicate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from sinks.catalog import Catalog
    from sinks.receipts import PackReceipt
    from sinks.replicate import Copy, Replicator
    from sinks.stores.port import Site

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
_REST: Final = 3.0
_PATIENCE_SECONDS: Final = 2
"""A younger pack's copies are probably still under way."""
_PACKS_AT_ONCE: Final = 32
_FROM_THE_OLDEST: Final = (0, b"")
_MICRO: Final = 1_000_000
_ERRAND: Final = Errand(lane=Priority.STANDARD, work=Work.OWED)
"""Whatever lane a pack came by: it is protected, and more than that can wait."""


class OwedCopies:
    """Makes up what is owed, oldest first."""

    def __init__(self, *, catalog: Catalog, replicator: Replicator, now: Callable[[], dt.datetime]) -> None:
        self._catalog, self._replicator, self._now = catalog, replicator, now
        self._after = _FROM_THE_OLDEST

    async def run(self) -> None:
        """Make up owed copies for ever, in a quarter of the time at most: what is protected can wait for them."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            made = await self.make_up()
            await asyncio.sleep(_REST * (loop.time() - began) if made else EVERY_SECONDS)

    async def make_up(self, *, patience_seconds: float = _PATIENCE_SECONDS) -> int:
        """Make copies for the next packs that owe some, oldest first, and return how many were made.

        Each call goes on where the last one ended: packs that cannot be helped now must not keep
        the others waiting.
        """
        older_than_us = int((self._now().timestamp() - patience_seconds) * _MICRO)
        owed = await self._catalog.owed(older_than_us=older_than_us, limit=_PACKS_AT_ONCE, after=self._after)
        self._after = _FROM_THE_OLDEST
        if len(owed) == _PACKS_AT_ONCE:
            last = owed[-1][0]
            self._after = (last.index["created_at"], last.pack_hash)
        made = 0
        for receipt, holders in owed:
            made += await self._make_up(receipt, holders)
        return made

    async def _make_up(self, receipt: PackReceipt, holders: frozenset[str]) -> int:
        """Copy one pack to the stores it may still lie on, until it is full."""
        placement = PlacementClass(receipt.index["placement"])
        domains = {site.domain for site in self._replicator.sites if site.name in holders}
        item: ToReplicate | None = None
        made: list[Copy] = []
        probe = ToReplicate(name=receipt.name, content=b"", digest=receipt.pack_hash, placement=placement, copies=0)
        down = self._replicator.health.down(now=self._now())
        for site in self._replicator.ranked(probe):
            if len(holders) + len(made) >= receipt.index["copies"]:
                break
            if site.name in holders or site.domain in domains or site.name in down:
                continue
            async with self._replicator.grants.hold(_ERRAND, receipt.size_bytes):
                item = item or await self._read(receipt, holders, placement)
                copy = await self._create(site, item) if item else None
            if item is None:
                break
            if copy is None:
                continue
            domains.add(site.domain)
            made.append(copy)
        if made:
            await self._catalog.add_copies(receipt.pack_hash, made, now_us=int(self._now().timestamp() * _MICRO))
        return len(made)

    async def _create(self, site: Site, item: ToReplicate) -> Copy | None:
        try:
            return await self._replicator.create(site, item)
        except WedSyncError as error:
            log.info("an owed copy must wait", action="owed.wait", store=site.name, reason=str(error))
            return None

    async def _read(
        self, receipt: PackReceipt, holders: frozenset[str], placement: PlacementClass
    ) -> ToReplicate | None:
        for store in sorted(holders):
            try:
                async with asyncio.timeout(CREATE_SECONDS * 6):
                    content = await self._replicator.stores[store].read(receipt.name)
            except (WedSyncError, TimeoutError, KeyError) as error:
                log.warning("a copy cannot be read", action="owed.unreadable", store=store, reason=str(error))
                continue
            if blake3.blake3(content).digest() != receipt.pack_hash:
                damage = CorruptionError("a copy has rotted", hint="run `verify --repair`")
                log.error("a copy is damaged", action="owed.damaged", store=store, reason=str(damage))
                continue
            return ToReplicate(
                name=receipt.name,
                content=content,
                digest=receipt.pack_hash,
                placement=placement,
                copies=receipt.index["copies"],
            )
        return None
