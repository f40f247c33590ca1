"""A bucket as a storage source: told by its provider's notices, swept for what was missed.

The order of every step is the promise: a message is acknowledged only after its notices are durably in
the log and its oddities among the dead letters. Dying anywhere means that messages come again, and are
announced again or passed over. A notice is passed over only when the very same was remembered, which
happens after the log took it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from connectors import sweep
from connectors.channels.port import HOLD_SECONDS
from connectors.notices.reading import Reading
from connectors.storage import ObjectAction
from connectors.sweep import MICRO
from schemas.errors import FormatError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from connectors.announced import Announced, Known
    from connectors.channels.port import Channel, Message
    from connectors.folder import NoticeLog
    from connectors.storage import ObjectNotice
    from connectors.sweep import Listed, Listing

log = structlog.get_logger(__name__)

_ASKED_AT_ONCE: Final = 8
_PAGE: Final = 500
_BACKOFF: Final = dt.timedelta(seconds=1)
_BACKOFF_MAX: Final = dt.timedelta(seconds=30)
_LATE_MAX: Final = dt.timedelta(days=7)
"""No provider delivers a notice later (SQS and Azure keep messages that long by default, Pub/Sub too)."""
_ASK_AGAIN_SECONDS: Final = 1.0
"""How soon a sweep begins once it may; notices never stop."""
_LISTED_BYTES: Final = 400
"""What one version of a listing costs on its way, about: what a limit of bytes a second counts."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class DeadLetters(Protocol):
    """Where messages go that nobody can read."""

    async def bury(self, message: Message, reason: str) -> None:
        """Return when the message is durably kept, byte for byte.

        Raises:
            TransientError: it may not be.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """One bucket: `name` is what notices call it; what is younger than `grace` the sweep leaves to its notice."""

    name: str
    sweep_every: dt.timedelta
    grace: dt.timedelta
    is_versioned: bool = False
    asks_metadata: Callable[[str], bool] = lambda _key: False


class SweepTurns(Protocol):
    """An operator's rules for sweeps; without any, a sweep never waits."""

    def may_begin(self) -> bool:
        """Return whether a new sweep is welcome."""
        ...

    def page(self, size_bytes: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Wait for the turn of a page of the listing, and hold it for the length of the block."""
        ...


class Unruled:
    """Every sweep may go on."""

    def may_begin(self) -> bool:
        """See `SweepTurns.may_begin`."""
        return True

    def page(self, size_bytes: int) -> contextlib.AbstractAsyncContextManager[None]:
        """See `SweepTurns.page`."""
        del size_bytes
        return contextlib.nullcontext()


class BucketConnector:
    """Announces what happens in one bucket."""

    def __init__(
        self,
        settings: BucketSettings,
        *,
        read: Callable[[Message, int], Reading],
        channel: Channel | None,
        listing: Listing,
        announced: Announced,
        notices: NoticeLog,
        dead_letters: DeadLetters,
        now: Callable[[], dt.datetime],
        turns: SweepTurns | None = None,
        newest_hole: Callable[[], int] = lambda: -1,
    ) -> None:
        """`newest_hole` says where the log lost notices that were in it: the next sweep says them again."""
        self._turns, self._newest_hole = turns or Unruled(), newest_hole
        self._settings, self._read, self._channel, self._listing = settings, read, channel, listing
        self._known, self._log, self._dead_letters, self._now = announced, notices, dead_letters, now
        self._one_at_a_time = asyncio.Lock()
        self.announced = self.swept = self.buried = 0
        self.swept_at: dt.datetime | None = None

    async def run(self) -> None:
        """Receive and sweep for ever; a store or channel that does not answer is asked again.

        Raises:
            ConfigError: the store or the channel refuses us.
        """
        async with asyncio.TaskGroup() as tasks:
            if self._channel is not None:
                tasks.create_task(self._again_and_again(self.receive, dt.timedelta()))
            tasks.create_task(self._again_and_again(self._sweep_when_welcome, self._settings.sweep_every))

    async def receive(self) -> int:
        """Take what the channel has, and return how many messages that was."""
        assert self._channel is not None
        messages = list(await self._channel.receive())
        if messages:
            async with self._held(messages):
                await self._take(messages)
            await self._channel.acknowledge(messages)
        return len(messages)

    async def _sweep_when_welcome(self) -> None:
        while True:
            if self._turns.may_begin():
                await self.sweep()
                return
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def sweep(self) -> int:
        """Compare the whole listing with what was announced, announce the difference, and return its size."""
        began_us = self._now_us()
        hole, found = await asyncio.to_thread(self._newest_hole), 0
        if hole >= 0 and self._known.say_again(hole):
            log.warning("the log lost notices: all are said again", action="bucket.again", position=hole)
        async for page in self._listing.pages():
            async with self._turns.page(_LISTED_BYTES * len(page)):
                found += await self._compare(page, began_us)
        # Only a listing that came to its end says what is missing.
        found += await self._vanished(began_us)
        self._known.forget_deletions(before_us=began_us - _LATE_MAX // MICRO)
        self.swept += found
        self.swept_at = self._now()
        if found:
            log.info("a sweep found what was not announced", action="bucket.swept", count=found)
        return found

    async def _take(self, messages: Sequence[Message]) -> None:
        notices: list[ObjectNotice] = []
        purged: list[ObjectNotice] = []
        for message in messages:
            reading = await self._readable(message)
            notices += reading.notices
            purged += reading.purged
        await self._announce(await self._with_weddings(notices))
        # Behind the puts: what a removal leaves is compared with what is known by then.
        left = [each for purge in purged if (each := await self._after_purge(purge)) is not None]
        await self._announce(await self._with_weddings(left))

    async def _readable(self, message: Message) -> Reading:
        try:
            reading = self._read(message, self._now_us())
        except FormatError as error:
            reading = Reading(refused=(str(error),))
        if reading.refused:
            self.buried += 1
            log.warning(
                "a message is odd", action="bucket.buried", position=message.position, count=len(reading.refused)
            )
            await self._dead_letters.bury(message, "; ".join(reading.refused[:3]))
        return reading

    async def _after_purge(self, purge: ObjectNotice) -> ObjectNotice | None:
        """Return what the removal of one version made of its key: it may have been any version, or a delete marker."""
        listed = await self._listing.current(purge.key)
        known = self._known.known([purge.key]).get(purge.key)
        if listed is None or not listed.version:
            return purge if known is None or known.version else None
        if known is not None and known.version == listed.version:
            return None
        return dataclasses.replace(purge, action=ObjectAction.PUT, version=listed.version, size=listed.size)

    async def _announce(self, notices: Sequence[ObjectNotice]) -> int:
        async with self._one_at_a_time:
            known = self._known.known([each.key for each in notices])
            new = [each for each in dict.fromkeys(notices) if not _is_repeated(each, known.get(each.key))]
            if new:
                await self._log.append(new)
                self._known.remember(new)
                self.announced += len(new)
            return len(new)

    async def _compare(self, page: Sequence[Listed], began_us: int) -> int:
        """Announce what a page of the listing shows and nobody announced."""
        about = {"name": self._settings.name, "now_us": self._now_us()}
        current = [each for each in page if each.is_current]
        known = self._known.known([each.key for each in current])
        self._known.mark([each.key for each in current if each.version], began_us)
        grace_us = self._settings.grace // MICRO
        found = [
            notice
            for each in current
            if (notice := sweep.unannounced(each, known.get(each.key), grace_us=grace_us, **about))  # type: ignore[arg-type]
        ]
        if self._settings.is_versioned:
            found += [
                sweep.earlier_version(each, **about)  # type: ignore[arg-type]
                for each in page
                if self._is_missed_version(each, began_us - grace_us)
            ]
        return await self._announce(await self._with_weddings(found))

    def _is_missed_version(self, listed: Listed, before_us: int) -> bool:
        is_old = not listed.is_current and listed.version != "" and listed.modified_us < before_us
        return is_old and not self._known.has_version(listed.key, listed.version)

    async def _vanished(self, began_us: int) -> int:
        """Announce as deleted what is known and was not listed, once the store says so of each key itself."""
        count, after, before_us = 0, "", began_us - self._settings.grace // MICRO
        while missing := self._known.unmet(began_us, before_us=before_us, after=after, limit=_PAGE):
            async with self._turns.page(_LISTED_BYTES * len(missing)):
                gone = [each for each in missing if await self._is_gone(each[0])]
            now_us = self._now_us()
            notices = [sweep.vanished(key, known, name=self._settings.name, now_us=now_us) for key, known in gone]
            count += await self._announce(notices)
            after = missing[-1][0]
        return count

    async def _is_gone(self, key: str) -> bool:
        listed = await self._listing.current(key)
        return listed is None or not listed.version

    async def _with_weddings(self, notices: Sequence[ObjectNotice]) -> list[ObjectNotice]:
        """Ask for the metadata of objects whose wedding nothing else tells, a few at a time."""
        bound = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(notice: ObjectNotice) -> ObjectNotice:
            if notice.action is ObjectAction.DELETE or notice.wedding or not self._settings.asks_metadata(notice.key):
                return notice
            async with bound:
                return dataclasses.replace(notice, wedding=await self._listing.wedding(notice.key, notice.version))

        return list(await asyncio.gather(*(ask(each) for each in notices)))

    @contextlib.asynccontextmanager
    async def _held(self, messages: list[Message]):  # type: ignore[no-untyped-def] # noqa: ANN202
        """Keep messages ours for as long as the block takes."""

        async def extend() -> None:
            assert self._channel is not None
            while True:
                await asyncio.sleep(HOLD_SECONDS / 3)
                with contextlib.suppress(TransientError):  # Then they come again, which is harmless.
                    messages[:] = await self._channel.extend(messages)

        holding = asyncio.create_task(extend())
        try:
            yield
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    async def _again_and_again(self, step: Callable[[], object], pause: dt.timedelta) -> None:
        backoff = _BACKOFF
        while True:
            try:
                await step()  # type: ignore[misc]
            except TransientError as error:
                log.warning("a bucket must wait", action="bucket.retry", source=self._settings.name, reason=str(error))
                await asyncio.sleep(backoff.total_seconds())
                backoff = min(backoff * 2, _BACKOFF_MAX)
            else:
                backoff = _BACKOFF
                await asyncio.sleep(pause.total_seconds())

    def _now_us(self) -> int:
        return (self._now() - _EPOCH) // MICRO


def _is_repeated(notice: ObjectNotice, known: Known | None) -> bool:
    """Return whether this very notice was announced: the same version in the same place of the store's order."""
    if known is None or known.version != notice.version:
        return False
    if notice.sequencer and known.sequencer:
        return notice.sequencer == known.sequencer
    return notice.action is ObjectAction.PUT or notice.modified_us <= known.modified_us
