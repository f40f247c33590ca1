"""Events waiting on disk to be sent: appended durably, read in order, let go once they were accepted.

A folder of segments, files of lines, each a checksum and an event. Every method may be called by several
processes at once: appending takes a lock, and so does draining, which only one process does at a time. A
process killed at any instant leaves at most a torn last line, of an event that nobody was told is safe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import zlib
from typing import IO, TYPE_CHECKING, Any, Final

from schemas.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

SEGMENT_BYTES: Final = 4 << 20
BYTES_MAX: Final = 256 << 20
_SEGMENT: Final = re.compile(r"(\d{12})\.events")
_CHECKSUM_CHARS: Final = 8
_POSITION: Final = "position.json"
_REJECTED: Final = "rejected.ndjson"

Event = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in the spool: all before it was accepted."""

    segment: int
    offset: int


class Spool:
    """One folder; `bytes_max` bounds what may wait, `segment_bytes` is where a new file begins."""

    def __init__(self, folder: pathlib.Path, *, bytes_max: int = BYTES_MAX, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Raises: ConfigError when the folder cannot be written to."""
        self._folder, self._bytes_max, self._segment_bytes = folder, bytes_max, segment_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"the spool {folder} cannot be made: {error.strerror}", hint="name another") from error
        with self._locked("append"):
            last = self._path(max(self._segments(), default=0))
            if _is_torn(last):
                with last.open("ab") as file:
                    file.write(b"\n")

    def append(self, events: Sequence[Event]) -> None:
        """Put events behind all others; they are on the disk when this returns.

        Raises:
            RefusedError: so much waits already that there is no room; nothing was put.
        """
        lines = b"".join(_line(each) for each in events)
        with self._locked("append"):
            if self.waiting_bytes() + len(lines) > self._bytes_max:
                raise RefusedError(
                    f"{self._bytes_max} bytes of events wait in {self._folder}",
                    hint="they are sent once the receiver answers; name a larger bound, or stop sending",
                )
            path = self._last_segment()
            is_new = not path.exists()
            with path.open("ab") as file:
                # Whoever was killed here before left half a line: end it, so that it spoils only itself.
                file.write(b"\n" + lines if _is_torn(path) else lines)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                self._sync_folder()

    def read(self, place: Place, *, events_max: int, bytes_max: int) -> tuple[list[Event], Place]:
        """Return the next events, at least one if there is any, and the place behind them."""
        found: list[Event] = []
        size = 0
        for number in [each for each in self._segments() if each >= place.segment]:
            at = place.offset if number == place.segment else 0
            place = Place(number, at)
            with self._path(number).open("rb") as file:
                file.seek(at)
                for line in file:
                    if not line.endswith(b"\n") or (found and size + len(line) > bytes_max):
                        return found, place
                    event = _event(line)
                    place = Place(number, place.offset + len(line))
                    if event is not None:
                        found.append(event)
                        size += len(line)
                    if len(found) == events_max:
                        return found, place
        return found, place

    def place(self) -> Place:
        """Return where to go on."""
        try:
            about = json.loads((self._folder / _POSITION).read_bytes())
        except FileNotFoundError:
            return Place(0, 0)
        return Place(int(about["segment"]), int(about["offset"]))

    def accepted(self, place: Place) -> None:
        """Remember that all before a place was accepted, and remove the files that hold nothing else."""
        path = self._folder / _POSITION
        unfinished = path.with_suffix(".part")
        with unfinished.open("w") as file:
            json.dump(dataclasses.asdict(place), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        self._sync_folder()
        for number in [each for each in self._segments() if each < place.segment]:
            self._path(number).unlink(missing_ok=True)

    def reject(self, event: Event, reason: str) -> None:
        """Put an event aside that will never be accepted, with the reason: a person must look at it."""
        with (self._folder / _REJECTED).open("ab") as file:
            file.write(json.dumps({"reason": reason, "event": event}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def rejected(self) -> int:
        """Return how many events were put aside."""
        try:
            return (self._folder / _REJECTED).read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def waiting_bytes(self) -> int:
        """Return how much waits."""
        place = self.place()
        sizes = {number: self._size(number) for number in self._segments() if number >= place.segment}
        return sum(sizes.values()) - (place.offset if place.segment in sizes else 0)

    @contextlib.contextmanager
    def draining(self) -> Iterator[bool]:
        """Hold the right to drain: True for one process at a time, False for the others."""
        with (self._folder / "drain.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[IO[str]]:
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def _segments(self) -> list[int]:
        names = (_SEGMENT.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def _last_segment(self) -> pathlib.Path:
        """Return the file to append to: never one that may be removed meanwhile."""
        last = max([*self._segments(), self.place().segment, 1])
        has_room = self._size(last) < self._segment_bytes or _is_torn(self._path(last))
        return self._path(last if has_room else last + 1)

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / f"{number:012}.events"

    def _size(self, number: int) -> int:
        try:
            return self._path(number).stat().st_size
        except FileNotFoundError:
            return 0

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _line(event: Event) -> bytes:
    content = json.dumps(event, separators=(",", ":")).encode()
    return f"{zlib.crc32(content):08x} ".encode() + content + b"\n"


def _event(line: bytes) -> Event | None:
    """Return the event of a line, or None for one that was never finished."""
    checksum, content = line[:_CHECKSUM_CHARS], line[_CHECKSUM_CHARS + 1 : -1]
    if checksum != f"{zlib.crc32(content):08x}".encode():
        return None
    event = json.loads(content)
    return event if isinstance(event, dict) else None


def _is_torn(path: pathlib.Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
