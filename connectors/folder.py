"""A folder as a storage source: watched for what happens, swept for what was missed.

A file is announced once it has been quiet for a moment, so that an upload in progress is not claimed
piece by piece. What has been announced is remembered only after the log took it: a crash announces
it again, and whoever reads the log tells versions apart. Files whose names begin with a dot are
somebody's temporary files.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import os
import pathlib
import stat
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import watchfiles

from connectors.storage import ObjectAction, ObjectNotice
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

log = structlog.get_logger(__name__)

_MICRO: Final = 1_000_000
_NANOS_PER_MICRO: Final = 1000
_WATCH_STEP_MS: Final = 10
_WATCH_DEBOUNCE_MS: Final = 50
_NOTICES_AT_ONCE: Final = 500


class KnownObjects(Protocol):
    """Which versions have been announced. One caller at a time."""

    def versions(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Return the announced version of each key that has one."""
        ...

    def keys(self) -> Iterator[str]:
        """Yield all announced keys."""
        ...

    def remember(self, notices: Sequence[ObjectNotice]) -> None:
        """Remember what was announced; deleted objects are forgotten."""
        ...

    def say_again(self, hole: int) -> bool:
        """Forget which versions were announced, once for each hole of the log; return whether this one was new."""
        ...


class NoticeLog(Protocol):
    """Where notices go."""

    async def append(self, notices: Sequence[ObjectNotice]) -> None:
        """Return when every notice is durably in the log, in order.

        Raises:
            TransientError: at least one may not be.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings:
    """One folder: `bucket` is its name in notices; a file is quiet after `settle`."""

    bucket: str
    root: pathlib.Path
    settle: dt.timedelta = dt.timedelta(milliseconds=30)
    sweep_every: dt.timedelta = dt.timedelta(seconds=30)


_ASK_AGAIN_SECONDS: Final = 1.0
"""How soon sweeps go on once they may; notices never stopped."""


class FolderConnector:
    """Announces what happens in one folder."""

    def __init__(
        self,
        settings: FolderSettings,
        *,
        known: KnownObjects,
        notices: NoticeLog,
        now: Callable[[], dt.datetime],
        may_sweep: Callable[[], bool] = lambda: True,
        newest_hole: Callable[[], int] = lambda: -1,
    ) -> None:
        """`newest_hole` says where the log lost notices that were in it: the next sweep says them again."""
        self._may_sweep, self._newest_hole = may_sweep, newest_hole
        self._settings, self._known, self._log, self._now = settings, known, notices, now
        self._root = settings.root.resolve()
        self._unsettled: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self.announced = 0

    async def run(self) -> None:
        """Watch and sweep for ever.

        Raises:
            ConfigError: the folder does not exist.
        """
        if not self._root.is_dir():
            raise ConfigError(
                f"the objects folder {self._root} does not exist", hint="set objects.folder, or create it"
            )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._settle())
            tasks.create_task(self._sweep())

    async def sweep(self) -> int:
        """Compare the whole listing with what is known, announce the difference, and return its size."""
        hole = await asyncio.to_thread(self._newest_hole)
        if hole >= 0 and self._known.say_again(hole):
            log.warning("the log lost notices: all are said again", action="folder.again", position=hole)
        listed = await asyncio.to_thread(self._listed, self._root)
        announced = 0
        for at in range(0, len(listed), _NOTICES_AT_ONCE):
            announced += await self._announce(listed[at : at + _NOTICES_AT_ONCE])
        gone = set(self._known.keys()).difference(listed)
        return announced + await self._announce(sorted(gone))

    async def _watch(self) -> None:
        watching = watchfiles.awatch(
            self._root, step=_WATCH_STEP_MS, debounce=_WATCH_DEBOUNCE_MS, watch_filter=None, recursive=True
        )
        async for changes in watching:
            paths = [pathlib.Path(path) for _, path in changes]
            keys = [key for path in paths if (key := self._key(path)) is not None]
            # What was put into a new folder before the watch reached it made no sound.
            for folder in filter(pathlib.Path.is_dir, paths):
                keys += await asyncio.to_thread(self._listed, folder)
            await self._announce(keys)

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(self._settings.settle.total_seconds())
            if self._unsettled:
                await self._announce(sorted(self._unsettled))

    async def _sweep(self) -> None:
        while True:
            if not self._may_sweep():
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
                continue
            found = await self.sweep()
            if found:
                log.info("a sweep found what was not announced", action="folder.swept", count=found)
            await asyncio.sleep(self._settings.sweep_every.total_seconds())

    async def _announce(self, keys: Iterable[str]) -> int:
        async with self._one_at_a_time:
            wanted = sorted(set(keys))
            known = self._known.versions(wanted)
            notices = [notice for key in wanted if (notice := self._notice(key, known.get(key))) is not None]
            notices.sort(key=lambda notice: notice.modified_us)
            if notices:
                await self._log.append(notices)
                self._known.remember(notices)
                self.announced += len(notices)
            return len(notices)

    def _notice(self, key: str, known_version: str | None) -> ObjectNotice | None:
        """Return the notice a key deserves now: none when nothing is new, or it is still being written."""
        now = self._now()
        self._unsettled.discard(key)
        try:
            found = (self._root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None if known_version is None else self._deleted(key, now)
        if not stat.S_ISREG(found.st_mode):
            return None
        version = version_of(found)
        if version == known_version:
            return None
        age_seconds = now.timestamp() - found.st_mtime
        if 0 <= age_seconds < self._settings.settle.total_seconds():
            self._unsettled.add(key)
            return None
        return ObjectNotice(
            action=ObjectAction.PUT,
            bucket=self._settings.bucket,
            key=key,
            version=version,
            size=found.st_size,
            modified_us=found.st_mtime_ns // _NANOS_PER_MICRO,
            noticed_us=int(now.timestamp() * _MICRO),
        )

    def _deleted(self, key: str, now: dt.datetime) -> ObjectNotice:
        now_us = int(now.timestamp() * _MICRO)
        return ObjectNotice(
            action=ObjectAction.DELETE,
            bucket=self._settings.bucket,
            key=key,
            version="",
            size=0,
            modified_us=now_us,
            noticed_us=now_us,
        )

    def _listed(self, root: pathlib.Path) -> list[str]:
        return list(self._listing(root))

    def _listing(self, root: pathlib.Path) -> Iterator[str]:
        for folder, _, names in os.walk(root):
            for name in names:
                key = self._key(pathlib.Path(folder, name))
                if key is not None:
                    yield key

    def _key(self, path: pathlib.Path) -> str | None:
        if path.name.startswith("."):
            return None
        key = path.relative_to(self._root).as_posix()
        try:
            key.encode()
        except UnicodeEncodeError:
            # Loud, because such a file is not protected; its name cannot be written into any log of ours.
            refused = os.fsencode(path.name).hex()
            log.error("a name is not UTF-8", action="folder.name_refused", name=refused)  # noqa: TRY400 - no trace needed
            return None
        return key


def version_of(found: os.stat_result) -> str:
    """Return what names a version of a file: modification time, size and inode."""
    return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"
