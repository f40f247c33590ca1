"""How much a client may send: a bucket of events that fills with time. Pure: the clock comes as an argument."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

CLIENTS_MAX: Final = 10_000


@dataclasses.dataclass(slots=True, kw_only=True)
class _Bucket:
    events: float
    at_seconds: float


class RateLimit:
    """Lets each client send `per_second` events on average and `burst` at once.

    Who has anything left may send a whole batch, and goes into debt for it: a batch larger than the bucket
    would otherwise never pass.
    """

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: dict[str, _Bucket] = {}

    def wait_seconds(self, client: str, *, now_seconds: float) -> int:
        """Return 0 when the client may send now, else after how many whole seconds it may."""
        bucket = self._filled(client, now_seconds)
        return 0 if bucket.events >= 1 else math.ceil((1 - bucket.events) / self._per_second)

    def charge(self, client: str, events: int, *, now_seconds: float) -> None:
        """Take events from the client's bucket."""
        self._filled(client, now_seconds).events -= events

    def _filled(self, client: str, now_seconds: float) -> _Bucket:
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= CLIENTS_MAX:
                self._buckets.pop(next(iter(self._buckets)))
            bucket = self._buckets[client] = _Bucket(events=self._burst, at_seconds=now_seconds)
        earned = max(0.0, now_seconds - bucket.at_seconds) * self._per_second
        bucket.events = min(self._burst, bucket.events + earned)
        bucket.at_seconds = now_seconds
        return bucket


class Room:
    """Bytes of bodies in memory at once, over all requests."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.taken = 0

    def take(self, count: int) -> bool:
        """Take room and return True, or return False when there is none."""
        if self.taken + count > self._bytes_max:
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        """Return what was taken."""
        self.taken -= count
        assert self.taken >= 0, "more was given back than taken"
