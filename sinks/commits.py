"""Finding the commits around an instant, in few packs.

The platform's frames say from when to when their changes were committed, and lie in the order of the
log: so the first commit later than T is in the first frames that reach beyond T, and the one before it
in those just before. Everything else stays unread. Places in the database's own log only grow, so one of
them is found by halving.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

from connectors import debezium
from connectors.debezium import Boundary
from schemas.backup import PLATFORM
from schemas.errors import FormatError, RefusedError
from schemas.pack import parse_pack_name
from sinks.cut import Commit, LogPlace, Order, is_later

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sinks.cut import Known, TransactionId
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


async def commits_near(
    history: History,
    *,
    source: str,
    known: Mapping[int, Known],
    at_us: int | None = None,
    place: LogPlace | None = None,
) -> list[Commit]:
    """Return the commits `decide_cut` needs for T, or for the latest: those around it, of each log."""
    found: list[Commit] = []
    for frames in await _logs(history):
        found.extend(await _Search(history, source, known, at_us, place).around(frames))
    return found


async def place_of(
    history: History, transaction: TransactionId, *, source: str, known: Mapping[int, Known]
) -> LogPlace:
    """Return where a transaction was committed; its number says nothing of that, so all are looked through.

    Raises:
        RefusedError: no such transaction is protected (yet), or it changed nothing that is captured.
    """
    for frames in await _logs(history):
        search = _Search(history, source, known, None, None)
        for end in range(len(frames), 0, -_STEP_FRAMES):
            read = await search.read(frames[max(0, end - _STEP_FRAMES) : end])
            found = [each for commits in read for each in commits if each.transaction == transaction.xid]
            if found:
                return LogPlace(found[0].lsn)
    raise RefusedError(
        f"transaction {transaction.xid} is not in the archive",
        hint="it is not protected yet, was rolled back, or changed nothing: ask for a time or a place in the log",
    )


async def _logs(history: History) -> list[list[FrameAt]]:
    """Return the platform's frames, each log's of its own."""
    logs: dict[str, list[FrameAt]] = collections.defaultdict(list)
    for at in await history.frames(PLATFORM):
        logs[parse_pack_name(at.pack_name).topic_id].append(at)
    return list(logs.values())


class _Search:
    """One log, searched forwards from T for a later commit, then backwards for an earlier one."""

    def __init__(
        self, history: History, source: str, known: Mapping[int, Known], at_us: int | None, place: LogPlace | None
    ) -> None:
        self._history, self._source, self._known, self._at_us, self._place = history, source, known, at_us, place

    async def around(self, frames: Sequence[FrameAt]) -> list[Commit]:
        """Return the commits of the first frame that has a later one, and of those before it down to an earlier one."""
        end, found = await (self._first_later(frames) if self._place is None else self._first_beyond(frames))
        limit = min((each.order for each in found if self._is_later(each)), default=None)
        while end > 0 and not any(limit is None or each.order < limit for each in found):
            begin = max(0, end - _STEP_FRAMES)
            found += [each for some in await self.read(frames[begin:end]) for each in some]
            end = begin
        return found

    async def _first_later(self, frames: Sequence[FrameAt]) -> tuple[int, list[Commit]]:
        """Return the first frame with a commit later than T, and its commits; the end if there is none."""
        at_us = self._at_us
        reaching = [number for number, at in enumerate(frames) if at_us is not None and at.latest_us > at_us]
        for step in range(0, len(reaching), _STEP_FRAMES):
            numbers = reaching[step : step + _STEP_FRAMES]
            read = await self.read([frames[number] for number in numbers])
            for number, commits in zip(numbers, read, strict=True):
                if any(self._is_later(each) for each in commits):
                    return number, commits
        return len(frames), []

    async def _first_beyond(self, frames: Sequence[FrameAt]) -> tuple[int, list[Commit]]:
        """Return the first frame with a commit beyond the place, and its commits; the end if there is none."""
        begin, end, found = 0, len(frames), list[Commit]()
        while begin < end:
            middle = (begin + end) // 2
            number, commits = await self._next_commits(frames, middle, end)
            if not commits:
                end = middle
            elif any(self._is_later(each) for each in commits):
                end, found = middle, commits
            else:
                begin = number + 1
        return (end, found) if found else (len(frames), [])

    async def _next_commits(self, frames: Sequence[FrameAt], begin: int, end: int) -> tuple[int, list[Commit]]:
        """Return the first frame from `begin` on that has commits (not all have), and these."""
        for number in range(begin, end):
            commits = (await self.read([frames[number]]))[0]
            if commits:
                return number, commits
        return end, []

    def _is_later(self, commit: Commit) -> bool:
        return is_later(commit, at_us=self._at_us, place=self._place)

    async def read(self, frames: Sequence[FrameAt]) -> list[list[Commit]]:
        """Return the commits of each frame."""
        return [self._commits(changes) async for _, changes in self._history.changes(PLATFORM, frames)]

    def _commits(self, changes: Changes) -> list[Commit]:
        return list(_known_commits(changes, self._source, self._known))


def _known_commits(changes: Changes, source: str, known: Mapping[int, Known]) -> Iterable[Commit]:
    for change in changes:
        if change["kind"] == "commit" and change["source"] == source:
            epoch = known.get(change["epoch"])
            if epoch is not None and change["position"] <= epoch.position:
                yield commit_of(change)[0]
