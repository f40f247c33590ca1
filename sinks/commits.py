"""Finding the commits around an instant, in few packs.

The platform's frames say from when to when their changes were committed, and lie in the order of the
log: so the first commit later than T is in the first frames that reach beyond T, and the one before it
in those just before. Everything else stays unread.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

from connectors import debezium
from connectors.debezium import Boundary
from schemas.backup import PLATFORM
from schemas.errors import FormatError
from schemas.pack import parse_pack_name
from sinks.cut import Commit, Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sinks.cut import Known
    from sinks.history import Changes, History
    from sinks.receipts import FrameAt

_STEP_FRAMES: Final = 8


def commit_of(change: Mapping[str, Any]) -> tuple[Commit, Boundary]:
    """Return a `commit` change as a commit, and the END it was captured as.

    Raises:
        FormatError: its payload is no END.
    """
    end = debezium.parse(change["payload"])
    if not isinstance(end, Boundary) or not end.is_end:
        raise FormatError("a commit whose payload is no END", hint="it was written by another version")
    order = Order(change["epoch"], change["position"])
    return Commit(order, change["committed_at"], end.lsn, end.transaction), end


async def commits_near(history: History, *, source: str, known: Mapping[int, Known], at_us: int | None) -> list[Commit]:
    """Return the commits `decide_cut` needs for T, or for the latest: those around it, of each log."""
    logs: dict[str, list[FrameAt]] = collections.defaultdict(list)
    for at in await history.frames(PLATFORM):
        logs[parse_pack_name(at.pack_name).topic_id].append(at)
    found: list[Commit] = []
    for frames in logs.values():
        found.extend(await _Search(history, source, known, at_us).around(frames))
    return found


class _Search:
    """One log, searched forwards from T for a later commit, then backwards for an earlier one."""

    def __init__(self, history: History, source: str, known: Mapping[int, Known], at_us: int | None) -> None:
        self._history, self._source, self._known, self._at_us = history, source, known, at_us

    async def around(self, frames: Sequence[FrameAt]) -> list[Commit]:
        """Return the commits of the first frame that has a later one, and of those before it down to an earlier one."""
        end, found = await self._first_later(frames)
        limit = min((each.order for each in found if self._is_later(each)), default=None)
        while end > 0 and not any(limit is None or each.order < limit for each in found):
            begin = max(0, end - _STEP_FRAMES)
            found += [each for some in await self._read(frames[begin:end]) for each in some]
            end = begin
        return found

    async def _first_later(self, frames: Sequence[FrameAt]) -> tuple[int, list[Commit]]:
        """Return the first frame with a commit later than T, and its commits; the end if there is none."""
        at_us = self._at_us
        reaching = [number for number, at in enumerate(frames) if at_us is not None and at.latest_us > at_us]
        for step in range(0, len(reaching), _STEP_FRAMES):
            numbers = reaching[step : step + _STEP_FRAMES]
            read = await self._read([frames[number] for number in numbers])
            for number, commits in zip(numbers, read, strict=True):
                if any(self._is_later(each) for each in commits):
                    return number, commits
        return len(frames), []

    def _is_later(self, commit: Commit) -> bool:
        return self._at_us is not None and commit.committed_us > self._at_us

    async def _read(self, frames: Sequence[FrameAt]) -> list[list[Commit]]:
        return [self._commits(changes) async for _, changes in self._history.changes(PLATFORM, frames)]

    def _commits(self, changes: Changes) -> list[Commit]:
        return list(_known_commits(changes, self._source, self._known))


def _known_commits(changes: Changes, source: str, known: Mapping[int, Known]) -> Iterable[Commit]:
    for change in changes:
        if change["kind"] == "commit" and change["source"] == source:
            epoch = known.get(change["epoch"])
            if epoch is not None and change["position"] <= epoch.position:
                yield commit_of(change)[0]
