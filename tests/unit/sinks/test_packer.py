"""Packs built and opened again; not one altered byte is believed."""

from __future__ import annotations

import blake3
import pytest

from schemas import pack
from schemas.backup import PlacementClass
from schemas.errors import CorruptionError, FormatError
from schemas.pack import LogEntry
from sinks.packer import (
    INDEX_KEYS,
    BuiltPack,
    WeddingEvents,
    WindowPart,
    build_log_pack,
    decode_changes,
    open_frame,
    open_index,
)
from tests import builders

KEYS = {"w1": b"1" * 32, "w2": b"2" * 32, INDEX_KEYS[PlacementClass.EU]: b"i" * 32}
SALT, PREVIOUS = b"s" * 32, b"p" * 32


def entries(wedding: str) -> list[LogEntry]:
    """Return two changes of a wedding."""
    return [
        LogEntry(offset=at, timestamp_ms=at, value=builders.change_value(position=at, wedding=wedding)) for at in (5, 6)
    ]


def a_log_pack() -> BuiltPack:
    """Return a pack of two weddings."""
    weddings = {name: WeddingEvents(entries=entries(name), earliest_us=1, latest_us=2) for name in ("w2", "w1")}
    about = {"topic": "backup.high", "partition": 1, "first": 5, "last": 6, "window_part": 0, "copies": 3}
    return build_log_pack(
        WindowPart(placement=PlacementClass.EU, weddings=weddings),
        keys=KEYS,
        salt=SALT,
        previous=PREVIOUS,
        about={**about, "created_at": 9},
        topic_id="id-high",
    )


def opened(content: bytes) -> list[bytes]:
    """Open all frames of a pack, as a reader that trusts nothing."""
    footer = pack.check_body(content)
    _, salt = pack.decode_header(content)
    key = KEYS[INDEX_KEYS[PlacementClass.EU]]
    index = open_index(content[footer.index_offset :], footer, salt=salt, index_key=key)
    return [
        open_frame(
            content[each["offset"] : each["offset"] + each["length"]],
            salt=salt,
            number=number,
            kind=each["kind"],
            data_key=KEYS[each["wedding"]],
        )
        for number, each in enumerate(index["frames"])
    ]


def test_each_wedding_has_a_frame_of_its_own() -> None:
    """In the order of their names, with all their records."""
    frames = [pack.decode_log_entries(each) for each in opened(a_log_pack().content)]

    assert frames == [entries("w1"), entries("w2")]
    assert [each["position"] for each in decode_changes(frames[0])] == [5, 6]


def test_the_name_tells_range_and_hash() -> None:
    """The same name always means the same bytes."""
    built = a_log_pack()
    name = pack.parse_pack_name(built.name)

    assert (name.topic_id, name.partition, name.first, name.last) == ("id-high", 1, 5, 6)
    assert name.pack_hash == built.pack_hash == blake3.blake3(built.content).digest()


def test_the_chain_is_in_the_footer() -> None:
    """Readable without a key."""
    assert pack.check_body(a_log_pack().content).previous == PREVIOUS


def test_nothing_of_a_wedding_can_be_read_in_the_pack() -> None:
    """Neither names nor payloads."""
    content = a_log_pack().content

    assert b"w1" not in content
    assert b"public.guests" not in content


def test_one_wedding_s_key_opens_nothing_of_another() -> None:
    """That is what makes erasure possible."""
    built = a_log_pack()
    frame = built.index["frames"][1]
    sealed = built.content[frame["offset"] : frame["offset"] + frame["length"]]

    with pytest.raises(CorruptionError):
        open_frame(sealed, salt=SALT, number=1, kind="log", data_key=KEYS["w1"])


def test_every_truncation_is_noticed() -> None:
    """A pack cut off anywhere opens nowhere."""
    content = a_log_pack().content

    for length in range(len(content)):
        with pytest.raises((FormatError, CorruptionError)):
            opened(content[:length])


def test_every_altered_byte_is_noticed_by_the_name() -> None:
    """The name holds the hash of the whole file, footer included."""
    built = a_log_pack()

    for at in range(len(built.content)):
        altered = built.content[:at] + bytes([built.content[at] ^ 0x10]) + built.content[at + 1 :]
        assert blake3.blake3(altered).digest() != built.pack_hash


def test_every_altered_byte_that_matters_is_noticed_without_the_name() -> None:
    """All but the chain and the reserved bytes of the footer, and never as other content."""
    content = a_log_pack().content
    whole = opened(content)

    for at in range(len(content)):
        altered = content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]
        try:
            assert opened(altered) == whole
        except (FormatError, CorruptionError):
            continue
        assert len(content) - 80 <= at < len(content) - 8


def test_an_index_does_not_open_under_a_wedding_s_key() -> None:
    """Which weddings there are is a secret of its own."""
    content = a_log_pack().content
    footer = pack.check_body(content)

    with pytest.raises(CorruptionError):
        open_index(content[footer.index_offset :], footer, salt=SALT, index_key=KEYS["w1"])
