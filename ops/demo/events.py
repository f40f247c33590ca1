"""The demo's third entry: an application that sends events over HTTP while the load runs, and what became of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from connectors.event_client import EventClient
from ops.api import reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ops.config import Settings
    from sinks.restored_events import RestoredEvent

EVENTS: Final = 200
_EVERY_SECONDS: Final = 0.2
_OF_THE_WITNESS: Final = 5


class Events:
    """Sends, remembers what was accepted, and compares a restore with it."""

    def __init__(self, settings: Settings) -> None:
        self._client = EventClient(
            reachable.url(settings),
            token=settings.api_token_file.read_text(encoding="utf-8"),
            spool=settings.state_dir / "demo-spool",
        )
        self.sent = 0

    async def run(self, weddings: Callable[[], Sequence[str]]) -> None:
        """Send a few events a second, each of another of the weddings there are."""
        while self.sent < EVENTS:
            if known := weddings():
                await self._send(known[self.sent % len(known)])
            await asyncio.sleep(_EVERY_SECONDS)

    async def of_witness(self, wedding: str) -> None:
        """Send what a restore of the wedding as of T must bring back; returns once it was accepted."""
        for _ in range(_OF_THE_WITNESS):
            await self._send(wedding)
        await asyncio.to_thread(self._client.flush)

    async def after_harm(self, wedding: str) -> None:
        """Send what a restore as of T must not bring back."""
        await self._send(wedding, kind="guests.deleted")
        await asyncio.to_thread(self._client.flush)

    async def close(self) -> None:
        """Send what waits, and end."""
        await asyncio.to_thread(self._client.close)

    async def _send(self, wedding: str, kind: str = "guest.answered") -> None:
        event: dict[str, Any] = {"source": "/demo", "type": kind, "weddingid": wedding, "data": {"number": self.sent}}
        await asyncio.to_thread(self._client.send, event)
        self.sent += 1


def has_witness_s(found: Sequence[RestoredEvent]) -> bool:
    """Return whether a restore as of T has the wedding's events up to it, and none later."""
    kinds = [each.type for each in found]
    return kinds.count("guest.answered") >= _OF_THE_WITNESS and "guests.deleted" not in kinds
