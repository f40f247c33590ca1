"""Sealing: opens only where, and as what, it was sealed."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import CorruptionError, FormatError
from sinks import seal
from sinks.seal import FrameKind, PackSealer

KEY, OTHER_KEY, SALT = b"k" * 32, b"o" * 32, b"s" * 32
PLAIN = b"the cake has four tiers"
SEALED = PackSealer(SALT).seal(KEY, number=3, kind=FrameKind.LOG, plain=PLAIN)


@given(st.binary(max_size=2000))
def test_a_frame_opens_to_what_was_sealed(plain: bytes) -> None:
    """Compressed, sealed, opened, decompressed."""
    sealer = PackSealer(SALT)
    sealed = sealer.seal(KEY, number=0, kind=FrameKind.CHUNK, plain=seal.compress(plain))

    assert seal.decompress(sealer.open(KEY, number=0, kind=FrameKind.CHUNK, sealed=sealed)) == plain


@pytest.mark.parametrize(
    ("key", "salt", "number", "kind"),
    [
        (OTHER_KEY, SALT, 3, FrameKind.LOG),
        (KEY, OTHER_KEY, 3, FrameKind.LOG),
        (KEY, SALT, 4, FrameKind.LOG),
        (KEY, SALT, 3, FrameKind.CHUNK),
    ],
)
def test_a_frame_opens_nowhere_else(key: bytes, salt: bytes, number: int, kind: FrameKind) -> None:
    """Not under another key, in another pack, at another place, as another kind."""
    with pytest.raises(CorruptionError):
        PackSealer(salt).open(key, number=number, kind=kind, sealed=SEALED)


def test_every_turned_bit_is_noticed() -> None:
    """Tag included."""
    for at in range(len(SEALED)):
        for bit in range(8):
            altered = SEALED[:at] + bytes([SEALED[at] ^ 1 << bit]) + SEALED[at + 1 :]
            with pytest.raises(CorruptionError):
                PackSealer(SALT).open(KEY, number=3, kind=FrameKind.LOG, sealed=altered)


def test_the_same_bytes_look_different_in_every_pack_and_place() -> None:
    """Salt and number make them so."""
    sealed = {
        PackSealer(salt).seal(KEY, number=number, kind=FrameKind.LOG, plain=PLAIN)
        for salt in (SALT, OTHER_KEY)
        for number in (0, 1)
    }

    assert len(sealed) == 4


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    """What claims to grow beyond a frame's limit is not a frame of ours."""
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(seal.FRAME_BYTES_MAX + 1))

    with pytest.raises(FormatError, match="claims"):
        seal.decompress(b"\x01" + bomb)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_do_worse_than_a_format_error(packed: bytes) -> None:
    """A hostile frame costs an error."""
    try:
        seal.decompress(packed)
    except FormatError:
        return


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    """Photos are compressed already."""
    noise = PackSealer(SALT).seal(KEY, number=0, kind=FrameKind.CHUNK, plain=bytes(100_000))

    assert (seal.compress(noise)[:1], seal.compress(bytes(100_000))[:1]) == (b"\x00", b"\x01")


def test_names_tell_nothing_across_weddings() -> None:
    """The same photo has another name in each."""
    assert seal.keyed_name(seal.naming_key(KEY), PLAIN) != seal.keyed_name(seal.naming_key(OTHER_KEY), PLAIN)


def test_a_note_opens_under_its_key_only() -> None:
    """The catalog holds it and cannot read it."""
    note = seal.seal_note(KEY, PLAIN, salt=SALT)

    assert (PLAIN in note, seal.open_note(KEY, note)) == (False, PLAIN)
    with pytest.raises(CorruptionError):
        seal.open_note(OTHER_KEY, note)
