"""Whether a store is worth asking: three failures in a row close it for a while. Pure but for its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import datetime as dt

FAILURES_TO_OPEN: Final = 3


class StoreHealth:
    """A circuit breaker per store: closed, open until an instant, then one call may try."""

    def __init__(self, *, retry_after: dt.timedelta) -> None:
        self._retry_after = retry_after
        self._failures: dict[str, int] = {}
        self._open_until: dict[str, dt.datetime] = {}

    def succeeded(self, store: str) -> None:
        """Close the breaker."""
        self._failures.pop(store, None)
        self._open_until.pop(store, None)

    def failed(self, store: str, *, now: dt.datetime) -> None:
        """Count a failure; the third in a row, or one while half open, opens the breaker."""
        self._failures[store] = self._failures.get(store, 0) + 1
        if self._failures[store] >= FAILURES_TO_OPEN:
            self._open_until[store] = now + self._retry_after

    def down(self, *, now: dt.datetime) -> frozenset[str]:
        """Return the stores that shall not be asked first."""
        return frozenset(store for store, until in self._open_until.items() if now < until)

    def suspects(self) -> frozenset[str]:
        """Return the stores whose last call failed."""
        return frozenset(self._failures)
