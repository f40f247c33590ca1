"""Replication: the same bytes to several stores at once, and the moment they are protected.

Protected means: verified copies in three failure domains. The call returns at that moment; copies
beyond it are made afterwards, a few at a time, and report to `late`; what never arrives is owed work,
found in the catalog. A store that fails is replaced at once by the next that residency allows, and one
that merely dawdles gets a rival.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final

import structlog

from schemas.backup import COPIES_PROTECTED, PlacementClass
from schemas.errors import CorruptionError, TransientError, WedSyncError
from sinks.lanes import LOG_ERRAND, Errand, Grants
from sinks.placement import next_site, rank

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from sinks.stores.health import StoreHealth
    from sinks.stores.port import ObjectStore, Proof, Site

log = structlog.get_logger(__name__)

CREATE_SECONDS: Final = 5.0
"""A store that has not answered by then is as good as down."""

_BYTES_PER_SECOND_MIN: Final = 4 << 20
"""Larger objects get this much more time."""
_HEDGE_SECONDS: Final = 0.25
"""A copy that takes longer gets a rival on the next store; twenty times the usual, so not under mere load."""
_DAWDLES_SECONDS: Final = 0.9 * _HEDGE_SECONDS
"""Most of it: the copy began a moment after its wait."""
_LATE_AT_ONCE: Final = 4
_LATE_WAITING_MAX: Final = 64
"""More late copies than these are left to the catalog's list of what is owed: their bytes would fill the memory."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One verified copy."""

    store: str
    proof: Proof


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ToReplicate:
    """An object and its due: `copies` in all, once protected the rest may be late.

    `is_owed` leaves copies beyond the third to whoever makes up what the catalog says is owed: they
    then wait for a quiet moment instead of competing with the next window.
    """

    name: str
    content: bytes
    digest: bytes
    placement: PlacementClass
    copies: int
    is_owed: bool = False
    errand: Errand = LOG_ERRAND


class Replicator:
    """Writes objects to the stores of their class."""

    def __init__(
        self,
        *,
        stores: Mapping[str, ObjectStore],
        sites: Sequence[Site],
        health: StoreHealth,
        now: Callable[[], dt.datetime],
        late: Callable[[ToReplicate, Copy], Awaitable[None]] | None = None,
        grants: Grants | None = None,
    ) -> None:
        self.stores, self.sites, self.health = stores, sites, health
        self.grants = grants or Grants()
        self._now, self._late = now, late
        self._running: set[asyncio.Task[None]] = set()
        self._late_at_once = asyncio.Semaphore(_LATE_AT_ONCE)

    async def replicate(self, item: ToReplicate) -> list[Copy]:
        """Return at least three verified copies, in as many failure domains.

        Raises:
            TransientError: not enough stores took it; trying again is harmless.
        """
        effort = _Effort(self, item)
        await effort.until_protected()
        may_be_late = self._late is not None and not item.is_owed and len(self._running) < _LATE_WAITING_MAX
        if may_be_late and effort.has_more:
            task = asyncio.create_task(self._finish_late(effort))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            await effort.abandon()
        return list(effort.copies)

    async def settle(self) -> None:
        """Wait for the late copies that are under way."""
        while self._running:
            await asyncio.gather(*self._running)

    async def create(self, site: Site, item: ToReplicate) -> Copy:
        """Write one copy, bounded in time, and keep the store's health; the caller holds a grant.

        Raises:
            WedSyncError: the store failed.
        """
        seconds = CREATE_SECONDS + len(item.content) / _BYTES_PER_SECOND_MIN
        try:
            async with asyncio.timeout(seconds):
                proof = await self.stores[site.name].create(item.name, item.content, digest=item.digest)
        except TimeoutError as error:
            self.health.failed(site.name, now=self._now())
            raise TransientError(
                f"store {site.name} gave no answer in {seconds:.0f} s", hint="is it reachable?"
            ) from error
        except CorruptionError:
            # It answered, and refused this one name: no reason to think it down for all others.
            raise
        except WedSyncError:
            self.health.failed(site.name, now=self._now())
            raise
        self.health.succeeded(site.name)
        return Copy(store=site.name, proof=proof)

    def ranked(self, item: ToReplicate) -> list[Site]:
        """Return the sites that may hold an object, best first."""
        down = self.health.down(now=self._now())
        return rank(self.sites, placement=item.placement, name=item.name, down=down)

    async def _finish_late(self, effort: _Effort) -> None:
        assert self._late is not None
        async with self._late_at_once, contextlib.aclosing(effort.late_copies()) as copies:
            async for copy in copies:
                await self._late(effort.item, copy)


class _Effort:
    """One object on its way to its stores."""

    def __init__(self, replicator: Replicator, item: ToReplicate) -> None:
        self.item = item
        self.copies: list[Copy] = []
        self.pending: dict[asyncio.Task[Copy], Site] = {}
        self._replicator = replicator
        self._ranked = replicator.ranked(item)
        self._tried: set[str] = set()
        self._domains: set[str] = set()
        self._failures: list[str] = []
        self._waiting: set[Site] = set()
        self._begun_at = 0.0

    @property
    def has_more(self) -> bool:
        """Whether copies are under way or still due."""
        return bool(self.pending) or len(self.copies) < self.item.copies

    async def until_protected(self) -> None:
        """Return with three verified copies; beyond three stores are asked only where one fails or dawdles."""
        for _ in range(COPIES_PROTECTED):
            self._start_next()
        try:
            while len(self.copies) < COPIES_PROTECTED:
                if not self.pending:
                    raise self._unprotected()  # noqa: TRY301 - the running copies must be called off too
                if not await self._harvest(within_seconds=_HEDGE_SECONDS) and self._is_dawdling():
                    self._start_next()
        except BaseException:
            await self.abandon()
            raise

    async def late_copies(self) -> AsyncGenerator[Copy, None]:
        """Make the copies beyond the third, and yield each that succeeds."""
        while len(self.copies) + len(self.pending) < self.item.copies and self._start_next():
            pass
        while self.pending:
            before = len(self.copies)
            await self._harvest()
            for copy in self.copies[before:]:
                yield copy

    async def abandon(self) -> None:
        """Call off what is under way; a copy that was made all the same is an orphan at worst."""
        for task in self.pending:
            task.cancel()
        await asyncio.gather(*self.pending, return_exceptions=True)
        self.pending.clear()

    def _start_next(self) -> bool:
        site = next_site(self._ranked, tried=frozenset(self._tried), used_domains=frozenset(self._domains))
        if site is None:
            return False
        self._tried.add(site.name)
        self._domains.add(site.domain)
        self.pending[asyncio.create_task(self._create(site))] = site
        return True

    async def _create(self, site: Site) -> Copy:
        self._waiting.add(site)
        try:
            async with self._replicator.grants.hold(self.item.errand, len(self.item.content)):
                self._waiting.discard(site)
                self._begun_at = asyncio.get_running_loop().time()
                return await self._replicator.create(site, self.item)
        finally:
            self._waiting.discard(site)

    def _is_dawdling(self) -> bool:
        """Return whether a store is slow: a copy that waits for its turn gains nothing by a rival in the same queue."""
        return not self._waiting and asyncio.get_running_loop().time() - self._begun_at >= _DAWDLES_SECONDS

    async def _harvest(self, *, within_seconds: float | None = None) -> bool:
        """Take what has ended, and return whether anything has in the time given."""
        done, _ = await asyncio.wait(self.pending, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            site = self.pending.pop(task)
            error = task.exception()
            if error is None:
                self.copies.append(task.result())
                continue
            if not isinstance(error, WedSyncError):
                raise error
            log.warning("a store did not take an object", action="replicate.failed", store=site.name, reason=str(error))
            self._failures.append(str(error))
            self._domains.discard(site.domain)
            self._start_next()
        return bool(done)

    def _unprotected(self) -> TransientError:
        why = "; ".join(self._failures) or "no store left"
        return TransientError(
            f"{len(self.copies)} of {COPIES_PROTECTED} copies written; {why}",
            hint="bring the stores back: until then nothing is lost, and nothing is called protected",
        )
