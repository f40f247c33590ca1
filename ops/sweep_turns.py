"""An operator's rules for the sweeps of all buckets of one worker: paused, drained, limited in rate and number."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from schemas.backup import Priority
from schemas.work import Stream, Work
from sinks.lanes import Errand, Grants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from schemas.work import Limit

_SWEEPS: Final = Stream(Priority.STANDARD, Work.SWEEP)
_ERRAND: Final = Errand(lane=_SWEEPS.lane, work=_SWEEPS.work)


class RuledTurns:
    """See `connectors.bucket.SweepTurns`: a pause holds a sweep before its next page, a drain lets it end."""

    def __init__(self) -> None:
        self._grants = Grants()

    def begin(self, limits: Iterable[Limit]) -> None:
        """Follow these rules from the first sweep on; before the loop runs."""
        self._grants.begin(limits)

    def obey(self, limits: Iterable[Limit]) -> None:
        """Follow these rules from now on, and no others."""
        self._grants.obey(limits)

    def may_begin(self) -> bool:
        """See `SweepTurns.may_begin`."""
        return self._grants.may_begin(_SWEEPS)

    @contextlib.asynccontextmanager
    async def page(self, size_bytes: int) -> AsyncIterator[None]:
        """See `SweepTurns.page`."""
        if self._grants.is_draining(_SWEEPS):
            yield
            return
        async with self._grants.hold(_ERRAND, size_bytes):
            yield
