"""Restore: one wedding, or everything, as it was at an instant. Reads, verifies, writes to targets.

    cut       from the instant to a position of the log (`cut`, `commits`)
    history   every change up to it, read and replayed (`history`, `restore_plan`)
    rows      written to a target, all or none (`targets`)
    objects   written below a folder, each verified against its manifest (`object_files`)

A restore never calls itself whole when something is missing: what could not be had is listed, and the
status says partial. Nothing is written before the whole history has been read.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Final

from schemas.backup import PLATFORM, QUARANTINE, UNREAD
from schemas.errors import CorruptionError, RefusedError
from schemas.topics import BACKUP_TOPICS
from sinks import gap_telling
from sinks.commits import commits_near, place_of
from sinks.cut import (
    LogPlace,
    TransactionId,
    decide_cut,
    instant,
    least_frontiers,
    microseconds,
    partition_count,
    relevant_partitions,
)
from sinks.in_order import in_order
from sinks.object_files import Missing, ObjectFiles, ReadyObject, missing
from sinks.partition_holes import gap_source
from sinks.restore_plan import Replay, completed_table
from sinks.restore_report import Measure, Plan, RestoreResult, Status

if TYPE_CHECKING:
    import concurrent.futures
    import pathlib
    from collections.abc import Callable, Iterable, Sequence

    from connectors.ledger import Gap
    from schemas.mapping import TableMapping
    from sinks.cut import Cut, FrontierRow, Moment
    from sinks.history import Changes, History
    from sinks.receipts import FrameAt
    from sinks.restore_plan import ObjectVersion, State
    from sinks.restore_report import Progress
    from sinks.targets import RowTarget, WriteReport

_OBJECTS_AT_ONCE: Final = 4
_MANIFESTS_AT_ONCE: Final = 16
_MICRO: Final = 1_000_000
_SLACK_US: Final = 5 * _MICRO
"""Frames are chosen by commit time, a little generously, since it need not rise; the changes in them by position."""


class Restorer:
    """Restores from one archive. Independent restores may run at the same time, each by its own instance."""

    def __init__(
        self,
        *,
        history: History,
        mapping: TableMapping,
        files: concurrent.futures.Executor,
        seconds: Callable[[], float],
        source: str = "platform",
        partitions: int | None = None,
        progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        """`seconds` is a monotonic clock; `partitions` the present number, if known; `files` runs file writes."""
        self._history, self._mapping, self._files = history, mapping, files
        self._source, self._partitions = source, partitions
        self._objects = ObjectFiles(history=history, files=files)
        self._measure = Measure(seconds, progress)

    async def cut(self, wedding: str | None, at: Moment) -> Cut:
        """Return where a restore as of `at` cuts; None is the latest instant there is.

        Raises:
            RefusedError: not restorable at that instant; the message says up to which it is.
        """
        return await self._cut(None if wedding is None else [wedding], at)

    async def state_at(self, wedding: str | None, at: Moment) -> State:
        """Return which rows and objects existed; nothing is written. A wedding of None means everything.

        A wedding that exchanged rows with others is restored from their histories too, and so is
        restorable only as far as all of them are.

        Raises:
            RefusedError: not restorable at that instant, or no backup of that wedding.
            CorruptionError: a change is damaged on every store.
            TransientError: the stores do not answer.
        """
        if wedding is None:
            return (await self._state(None, await self._history.weddings(), at))[0]
        await self._history.key(wedding)
        weddings = [wedding]
        while True:
            state, related = await self._state(wedding, weddings, at)
            more = sorted(related - {*weddings, PLATFORM, QUARANTINE, UNREAD})
            if not more:
                return state
            weddings += more

    async def _state(self, wedding: str | None, weddings: Sequence[str], at: Moment) -> tuple[State, set[str]]:
        """Replay the histories of weddings; return the state, and the weddings rows came from or went to."""
        among = None if wedding is None else weddings
        cut = await self._cut(among, at)
        replay = Replay(mapping=self._mapping, wedding=wedding, cut=cut)
        has_bound = cut.at_us is not None and cut.order.position >= 0
        until_us = max(cut.at_us or 0, cut.until_us, cut.committed_us) + _SLACK_US if has_bound else None
        every = list(dict.fromkeys((PLATFORM, UNREAD, *weddings)))
        # A dead letter of then may have been resolved long after.
        bounds = {each: None if each == UNREAD else until_us for each in every}
        frames = {each: await self._history.frames(each, earliest_us_max=bounds[each]) for each in every}
        self._measure.expect("history", sum(at.length for some in frames.values() for at in some))
        erased = [
            each for each in every if not await self._replay(replay, each, frames[each], is_needed=each == wedding)
        ]
        never = await self._check_copies(replay, cut)
        state = replay.state()
        if wedding is not None:
            never = [each for each in never if not _is_platform(each, state.mapping or self._mapping)]
        gaps = gap_telling.told(await self._capture_gaps(among), cut)
        losses = [*_erased(erased), *await self._history.log_gaps(await self._places(among)), *gaps.losses]
        warnings = [*_never_copied(never), *losses, *gaps.notes]
        return _warned(state, warnings, is_whole=not (losses or never)), replay.related

    async def plan(self, wedding: str | None, at: Moment) -> Plan:
        """Return what a restore would bring and cost; nothing is written."""
        state = await self.state_at(wedding, at)
        ready, lost = await self._find(state.objects.values())
        names = {each["chunk"] for one in ready for each in one.manifest["chunks"]}
        reader = self._history.reader
        return Plan(
            wedding=wedding,
            cut=state.cut,
            rows={table: len(rows) for table, rows in state.rows.items()},
            objects=len(ready),
            bytes=sum(one.manifest["size"] for one in ready),
            chunks=len(names),
            frames=sum(reader.frames_of.values()),
            stores=tuple(sorted(reader.frames_of)),
            estimated_seconds=self._measure.estimate(sum(one.manifest["size"] for one in ready)),
            warnings=state.warnings,
            missing=tuple(lost),
            events=len(state.events),
        )

    async def restore(
        self,
        wedding: str | None,
        at: Moment,
        *,
        restore_id: str,
        rows: Callable[[State], RowTarget] | None,
        folder: pathlib.Path | None,
        overwrite: bool = False,
    ) -> RestoreResult:
        """Restore a wedding (None: everything) as of `at` (None: the latest) into a row target and a folder.

        `rows` is asked for the target once the state, with the schema of that time, is known. A folder that
        holds anything is refused unless `overwrite`.

        Raises:
            RefusedError: not restorable, or something is there already.
            CorruptionError: a change is damaged on every store.
            TransientError: the stores or the target do not answer; begin again.
        """
        if folder is not None and not overwrite:
            await asyncio.get_running_loop().run_in_executor(self._files, _refuse_full, folder)
        state = await self.state_at(wedding, at)
        ready, lost = await self._find(state.objects.values()) if folder is not None else ([], [])
        self._measure.expect("rows", 0)
        written = await rows(state).write(state.tables(), restore_id=restore_id) if rows is not None else None
        wrote, more = await self._write_objects(ready, folder)
        self._measure.finish()
        return self._result(state, at=at, restore_id=restore_id, written=written, wrote=wrote, lost=(*lost, *more))

    async def _cut(self, weddings: Sequence[str] | None, at: Moment) -> Cut:
        known = least_frontiers(
            await self._history.frontiers(), source=self._source, weddings=weddings, partitions=self._partitions
        )
        if isinstance(at, TransactionId):
            at = await place_of(self._history, at, source=self._source, known=known)
        place = at if isinstance(at, LogPlace) else None
        at_us = microseconds(at) if isinstance(at, dt.datetime) else None
        commits = await commits_near(self._history, source=self._source, known=known, at_us=at_us, place=place)
        try:
            return decide_cut(commits, known, source=self._source, at_us=at_us, place=place)
        except RefusedError as error:
            # Where a gap was filed that its instant falls into, the refusal names it.
            reasons = gap_telling.reasons(await self._capture_gaps(weddings), self._source, at_us)
            raise RefusedError(f"{error} (gap: {reasons})" if reasons else str(error), hint=error.hint) from error

    async def _replay(self, replay: Replay, wedding: str, frames: Sequence[FrameAt], *, is_needed: bool) -> bool:
        """Replay one wedding's frames; return False for one whose key is gone, unless it is the one asked for."""
        try:
            await self._history.key(wedding)
        except (CorruptionError, RefusedError):
            if is_needed or (wedding == PLATFORM and frames):
                raise
            return not frames
        async with contextlib.aclosing(self._history.changes(wedding, frames)) as read:
            async for at, changes in read:
                replay.take(changes)
                self._measure.done(at.length)
        return True

    async def _check_copies(self, replay: Replay, cut: Cut) -> list[str]:
        """Refuse a cut before a table's first complete copy; return the tables that never had one in this epoch."""
        waiting = set(replay.incomplete())
        if not waiting:
            return []
        frames = [at for at in await self._history.frames(PLATFORM) if at.latest_us >= cut.committed_us - _SLACK_US]
        async with contextlib.aclosing(self._history.changes(PLATFORM, frames)) as read:
            async for _, changes in read:
                for table, complete_us in _completed_later(changes, cut):
                    if table in waiting:
                        raise _too_early(table, complete_us)
        return sorted(waiting)

    async def _capture_gaps(self, weddings: Sequence[str] | None) -> list[Gap]:
        """Return the gaps of the sources' logs, and of the partitions this restore depends on."""
        places = {gap_source(*place) for place in await self._places(weddings)}
        return gap_telling.relevant(await self._history.capture_gaps(), places)

    async def _places(self, weddings: Sequence[str] | None) -> list[tuple[str, int]]:
        """Return the partitions this restore depends on."""
        rows = await self._history.frontiers()
        partitions = relevant_partitions(weddings, self._partitions or _partitions_ever(rows))
        return [(topic, partition) for topic in BACKUP_TOPICS for partition in sorted(partitions)]

    async def _find(self, versions: Iterable[ObjectVersion]) -> tuple[list[ReadyObject], list[Missing]]:
        """Return where the bytes of versions are, and which cannot be had."""
        unique, doubled = _by_path(versions)
        ready: list[ReadyObject] = []
        lost = [missing(each, "another bucket has an object of the same key") for each in doubled]
        async with contextlib.aclosing(in_order(self._objects.find, unique, at_once=_MANIFESTS_AT_ONCE)) as found:
            async for each in found:
                (lost if isinstance(each, Missing) else ready).append(each)  # type: ignore[arg-type]
        return ready, lost

    async def _write_objects(
        self, ready: Sequence[ReadyObject], folder: pathlib.Path | None
    ) -> tuple[list[ReadyObject], list[Missing]]:
        if folder is None:
            return [], []
        self._measure.expect("objects", sum(each.manifest["size"] for each in ready))

        async def write(each: ReadyObject) -> tuple[ReadyObject, Missing | None]:
            return each, await self._objects.write(each, folder, self._measure.done)

        async with contextlib.aclosing(in_order(write, ready, at_once=_OBJECTS_AT_ONCE)) as written:
            results = [each async for each in written]
        return [one for one, gone in results if gone is None], [gone for _, gone in results if gone is not None]

    def _result(
        self,
        state: State,
        *,
        at: Moment,
        restore_id: str,
        written: WriteReport | None,
        wrote: Sequence[ReadyObject],
        lost: tuple[Missing, ...],
    ) -> RestoreResult:
        reader = self._history.reader
        warnings = [*state.warnings]
        if not state.audit.is_passed:
            warnings.append("the transactions' ENDs count other changes than were found: see `audit`")
        if reader.damages:
            warnings.append(f"{len(reader.damages)} damaged copies were passed over: run `verify --repair`")
        is_whole = state.is_whole and state.audit.is_passed and not lost
        has_brought = bool(wrote) or (written is not None and bool(sum(written.rows.values())))
        return RestoreResult(
            restore_id=restore_id,
            wedding=state.wedding,
            at=at,
            cut=state.cut,
            rows={} if written is None else dict(written.rows),
            objects=len(wrote),
            bytes=sum(each.manifest["size"] for each in wrote),
            seconds=self._measure.elapsed_seconds,
            status=Status.WHOLE if is_whole else Status.PARTIAL if has_brought else Status.FAILED,
            warnings=tuple(warnings),
            missing=lost,
            sources=dict(collections.Counter(reader.frames_of)),
            damages=tuple(reader.damages),
            audit=state.audit,
            written=written,
            events=len(state.events),
        )


def _refuse_full(folder: pathlib.Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(f"{folder} holds something already", hint="name a new folder, or ask for overwrite")


def _completed_later(changes: Changes, cut: Cut) -> Iterable[tuple[str, int]]:
    """Yield tables whose copy became complete after the cut, and since when they are restorable, in microseconds."""
    for change in changes:
        if change["kind"] == "snapshot" and change["source"] == cut.source and change["epoch"] == cut.order.epoch:
            table = completed_table(change)
            if table is not None and change["position"] >= cut.until.position:
                yield table, max(change["committed_at"], change["epoch"] * _MICRO)


def _too_early(table: str, complete_us: int) -> RefusedError:
    return RefusedError(
        f"table {table} is restorable from {instant(complete_us).isoformat()} on: then its first copy was complete",
        hint="ask for that instant or a later one",
    )


def _partitions_ever(rows: Sequence[FrontierRow]) -> int:
    return max((partition_count(rows, row.epoch) for row in rows), default=1)


def _is_platform(table: str, mapping: TableMapping) -> bool:
    rule = mapping.rule(table)
    return rule is not None and rule.is_platform


def _never_copied(tables: Sequence[str]) -> list[str]:
    if not tables:
        return []
    names = ", ".join(tables)
    return [f"never copied in this epoch: {names}: rows older than the capture and never touched since are missing"]


def _erased(weddings: Sequence[str]) -> list[str]:
    if not weddings:
        return []
    return [f"{len(weddings)} weddings have changes but no key any more (erased?): they are not part of this restore"]


def _warned(state: State, more: Sequence[str], *, is_whole: bool) -> State:
    return dataclasses.replace(state, warnings=(*state.warnings, *more), is_whole=state.is_whole and is_whole)


def _by_path(versions: Iterable[ObjectVersion]) -> tuple[list[ObjectVersion], list[ObjectVersion]]:
    """Return one version for each path, and those whose path was taken."""
    taken: dict[str, ObjectVersion] = {}
    doubled = [each for each in versions if taken.setdefault(each.notice.key, each) is not each]
    return list(taken.values()), doubled
