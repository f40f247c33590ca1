"""Building packs and reading them back. Pure: salts, keys and instants come in.

A window of a backup partition becomes one log pack for each placement class: for each wedding one
frame, then the sealed index. What was built is opened again and compared before anybody uploads it:
a compressor or a cipher gone wrong must not be found out at restore.
"""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any, Final

import blake3

from schemas import codec, pack
from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, FormatError
from sinks.seal import FrameKind, PackSealer, compress, decompress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.pack import Footer, LogEntry

_FRAME_KINDS: Final = {
    "log": FrameKind.LOG,
    "chunk": FrameKind.CHUNK,
    "manifest": FrameKind.MANIFEST,
    "checkpoint": FrameKind.CHECKPOINT,
}
_PACK_KINDS: Final = {pack.KIND_LOG: "log", pack.KIND_BLOB: "blob", pack.KIND_CHECKPOINT: "checkpoint"}
_COUNT_BYTES: Final = 4
INDEX_KEYS: Final = {PlacementClass.EU: "@index-eu", PlacementClass.ANYWHERE: "@index-anywhere"}
"""The pseudo-weddings whose data keys seal the indexes: one for each class, so that keys obey residency too."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlainFrame:
    """One frame before sealing; instants in microseconds, `name` the chunk's or object version's id."""

    kind: str
    wedding: str
    plain: bytes
    events: int = 0
    earliest_us: int = 0
    latest_us: int = 0
    name: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPack:
    """A pack ready to be written: `content` is the file, `index` what its sealed index says."""

    name: str
    content: bytes
    pack_hash: bytes
    index: dict[str, Any]


class PackBuilder:
    """Gathers frames into one pack; frames are sealed as they come, so memory holds the pack once."""

    def __init__(self, *, kind: int, salt: bytes) -> None:
        self._kind = kind
        self._sealer = PackSealer(salt)
        self._out = io.BytesIO()
        self._out.write(pack.encode_header(kind=kind, salt=salt))
        self._frames: list[dict[str, Any]] = []

    @property
    def size_bytes(self) -> int:
        """Return how large the pack is by now, without its index."""
        return self._out.tell()

    def add(self, frame: PlainFrame, data_key: bytes) -> None:
        """Compress, seal and append one frame; it is opened again at once and compared.

        Raises:
            CorruptionError: what was sealed does not open to what was given.
        """
        number, kind = len(self._frames), _FRAME_KINDS[frame.kind]
        sealed = self._sealer.seal(data_key, number=number, kind=kind, plain=compress(frame.plain))
        if decompress(self._sealer.open(data_key, number=number, kind=kind, sealed=sealed)) != frame.plain:
            raise CorruptionError("a sealed frame opens to other bytes", hint="suspect this machine's memory")
        self._frames.append(
            {
                "kind": frame.kind,
                "wedding": frame.wedding,
                "offset": self._out.tell(),
                "length": len(sealed),
                "events": frame.events,
                "earliest_at": frame.earliest_us,
                "latest_at": frame.latest_us,
                "chunk": frame.name,
            }
        )
        self._out.write(sealed)

    def finish(
        self, *, index_key: bytes, previous: bytes = pack.NO_PREVIOUS, **about: Any
    ) -> tuple[bytes, bytes, dict[str, Any]]:
        """Return (content, hash, index) of the whole pack; `about` are the index's other fields."""
        index = {"kind": _PACK_KINDS[self._kind], "frames": self._frames, **about}
        plain = codec.encode("PackIndex", index)
        at = self._out.tell()
        number = len(self._frames)
        sealed = self._sealer.seal(index_key, number=number, kind=FrameKind.INDEX, plain=compress(plain))
        # An index names its own frame number by the count of frames, which its reader does not know yet:
        # it stands in front of it in the clear.
        self._out.write(number.to_bytes(_COUNT_BYTES, "little") + sealed)
        body_hash = blake3.blake3(self._out.getbuffer()).digest()
        self._out.write(
            pack.encode_footer(
                index_offset=at, index_length=self._out.tell() - at, previous=previous, body_hash=body_hash
            )
        )
        content = self._out.getvalue()
        return content, blake3.blake3(content).digest(), index


def open_index(pack_tail: bytes | memoryview, footer: Footer, *, salt: bytes, index_key: bytes) -> dict[str, Any]:
    """Return the index, given a pack's bytes from `footer.index_offset` on.

    Raises:
        CorruptionError: altered, or another key.
        FormatError: not an index.
    """
    blob = memoryview(pack_tail)[: footer.index_length]
    if len(blob) != footer.index_length or len(blob) <= _COUNT_BYTES:
        raise FormatError("the pack's index is cut off", hint="repair it from another copy")
    number = int.from_bytes(blob[:_COUNT_BYTES], "little")
    opened = PackSealer(salt).open(index_key, number=number, kind=FrameKind.INDEX, sealed=blob[_COUNT_BYTES:])
    index = codec.decode("PackIndex", decompress(opened))
    if len(index["frames"]) != number:
        raise FormatError("the index counts other frames than it lists", hint="repair it from another copy")
    return index


def open_frame(sealed: bytes | memoryview, *, salt: bytes, number: int, kind: str, data_key: bytes) -> bytes:
    """Return a frame's plaintext.

    Raises:
        CorruptionError: altered, moved, or under another key.
    """
    opened = PackSealer(salt).open(data_key, number=number, kind=_FRAME_KINDS[kind], sealed=sealed)
    return decompress(opened)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowPart:
    """The events of one window and one placement class: wedding → (entries, earliest, latest commit)."""

    placement: PlacementClass
    weddings: Mapping[str, WeddingEvents]


@dataclasses.dataclass(slots=True, kw_only=True)
class WeddingEvents:
    """One wedding's records in a window, with the range of their commit times in microseconds."""

    entries: list[LogEntry]
    earliest_us: int
    latest_us: int


def build_log_pack(
    part: WindowPart,
    *,
    keys: Mapping[str, bytes],
    salt: bytes,
    previous: bytes,
    about: Mapping[str, Any],
    topic_id: str,
) -> BuiltPack:
    """Return the pack of one part of a window; `keys` holds every wedding's and the index's data key."""
    builder = PackBuilder(kind=pack.KIND_LOG, salt=salt)
    for wedding, events in sorted(part.weddings.items()):
        frame = PlainFrame(
            kind="log",
            wedding=wedding,
            plain=pack.encode_log_entries(events.entries),
            events=len(events.entries),
            earliest_us=events.earliest_us,
            latest_us=events.latest_us,
        )
        builder.add(frame, keys[wedding])
    content, pack_hash, index = builder.finish(
        index_key=keys[INDEX_KEYS[part.placement]], previous=previous, placement=part.placement.value, **about
    )
    name = pack.log_pack_name(
        topic_id=topic_id,
        partition=about["partition"],
        first=about["first"],
        last=about["last"],
        part=about["window_part"],
        pack_hash=pack_hash,
    )
    return BuiltPack(name=name, content=content, pack_hash=pack_hash, index=index)


def decode_changes(entries: Sequence[LogEntry]) -> list[dict[str, Any]]:
    """Return the change records of log entries, each with the broker's `routed_at` in microseconds.

    Raises:
        FormatError: an entry is not a change.
    """
    return [
        {**codec.decode("BackupChange", entry.value), "routed_at": entry.timestamp_ms * 1000, "offset": entry.offset}
        for entry in entries
    ]
