"""A folder of photos: versions come and go, sometimes while they are being read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import TYPE_CHECKING, BinaryIO

from connectors.storage import ObjectAction, ObjectNotice, encode_notice
from schemas.backup import PLATFORM
from schemas.errors import CorruptionError, TransientError
from tests.builders import OBJECTS
from tests.simulation.platform import WEDDINGS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.simulation.lives import Life
    from tests.simulation.log import Log


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of one object."""

    key: str
    version: str
    content: bytes


class Folder:
    """What lies there now, what ever lay there, and what was announced: offset → (notice, wedding)."""

    def __init__(self, rng: random.Random, log: Log, now_us: Callable[[], int]) -> None:
        self._rng, self._log, self._now_us = rng, log, now_us
        self.current: dict[str, Version] = {}
        self.versions: dict[tuple[str, str], Version] = {}
        self.announced: dict[int, tuple[ObjectNotice, str]] = {}

    def put(self, key: str = "") -> None:
        """Write a new version of some object and announce it, perhaps twice."""
        wedding = self._rng.choice(WEDDINGS)
        key = key or self._rng.choice([f"weddings/{wedding}/{self._rng.randint(0, 2)}.jpg", "CANARY-brochure.pdf"])
        content = self._content()
        version = Version(key=key, version=f"v{len(self.versions)}", content=content)
        self.current[key] = self.versions[key, version.version] = version
        for _ in range(self._rng.choice([1, 1, 2])):
            self._announce(ObjectAction.PUT, version)

    def delete(self) -> None:
        """Delete some object and announce it."""
        if self.current:
            version = self.current.pop(self._rng.choice(sorted(self.current)))
            self._announce(ObjectAction.DELETE, version)

    def _content(self) -> bytes:
        old = [each.content for each in self.versions.values()]
        if old and self._rng.random() < 0.3:
            return self._rng.choice(old)
        return b"CANARY" + self._rng.randbytes(self._rng.choice([0, 10, 900, 6000]))

    def _announce(self, action: ObjectAction, version: Version) -> None:
        notice = ObjectNotice(
            action=action,
            bucket="photos",
            key=version.key,
            version=version.version,
            size=len(version.content),
            modified_us=self._now_us(),
            noticed_us=self._now_us(),
        )
        offset = self._log.append(OBJECTS, 0, None, encode_notice(notice))
        parts = version.key.split("/")
        self.announced[offset] = (notice, parts[1] if len(parts) > 1 else PLATFORM)


class FaultyFolder:
    """One life's way to the folder: an `ObjectSource`."""

    def __init__(self, folder: Folder, life: Life, rng: random.Random, *, trouble: float) -> None:
        self._folder, self._life, self._rng, self._trouble = folder, life, rng, trouble

    @contextlib.contextmanager
    def open(self, notice: ObjectNotice) -> Iterator[BinaryIO]:
        """See `ObjectSource.open`."""
        self._life.step()
        if self._rng.random() < self._trouble:
            raise TransientError("the folder does not answer", hint="simulated")
        found = self._find(notice)
        content = found.content
        if self._rng.random() < self._trouble:
            self._folder.put(notice.key)
            half = len(content) // 2
            content = content[:half] + self._folder.current[notice.key].content[half:]
        yield io.BytesIO(content)
        self._find(notice)

    def _find(self, notice: ObjectNotice) -> Version:
        found = self._folder.current.get(notice.key)
        if found is None or found.version != notice.version:
            raise CorruptionError("the announced version is gone", hint="simulated")
        return found
