"""The pack's layout: everything that is altered or cut off is noticed before anybody believes it."""

from __future__ import annotations

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import pack
from schemas.errors import CorruptionError, FormatError
from schemas.pack import LogEntry

HASH = bytes(range(32))
ENTRIES = st.lists(
    st.builds(
        LogEntry,
        offset=st.integers(0, 2**63 - 1),
        timestamp_ms=st.integers(-(2**63), 2**63 - 1),
        value=st.binary(max_size=50),
    ),
    max_size=8,
)


def a_pack(body: bytes = b"sealed frames", index: bytes = b"sealed index") -> bytes:
    """Return a pack whose frames nobody opens."""
    front = pack.encode_header(kind=pack.KIND_LOG, salt=HASH) + body
    whole = front + index
    return whole + pack.encode_footer(
        index_offset=len(front), index_length=len(index), previous=HASH, body_hash=blake3.blake3(whole).digest()
    )


def test_a_whole_pack_is_believed() -> None:
    """What was written is what is read."""
    footer = pack.check_body(a_pack())

    assert (footer.index_offset, footer.index_length, footer.previous) == (48 + 13, 12, HASH)


def test_every_truncation_is_noticed() -> None:
    """A pack cut off anywhere is no pack."""
    whole = a_pack()

    for length in range(len(whole)):
        with pytest.raises((FormatError, CorruptionError)):
            pack.check_body(whole[:length])


def test_every_turned_bit_is_noticed() -> None:
    """Header, body and index are under the hash; in the footer only the chain and the reserved bytes are not.

    Those are under the hash in the pack's name.
    """
    whole = a_pack()
    unchecked = range(len(whole) - 80, len(whole) - 48), range(len(whole) - 16, len(whole) - 8)

    for at in range(len(whole)):
        if any(at in each for each in unchecked):
            continue
        for bit in range(8):
            with pytest.raises((FormatError, CorruptionError)):
                pack.check_body(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])


def test_a_newer_version_is_refused_and_not_guessed_at() -> None:
    """The hint says what to do."""
    newer = pack.MAGIC + b"\x02" + a_pack()[9:]

    with pytest.raises(FormatError) as caught:
        pack.decode_header(newer)
    assert "newer" in caught.value.hint


@given(ENTRIES)
def test_log_entries_come_back_as_they_were(entries: list[LogEntry]) -> None:
    """Encoder and decoder are each other's inverse."""
    assert pack.decode_log_entries(pack.encode_log_entries(entries)) == entries


@given(ENTRIES.filter(bool), st.data())
def test_a_cut_log_frame_is_refused(entries: list[LogEntry], data: st.DataObject) -> None:
    """No prefix of a frame is a frame."""
    plain = pack.encode_log_entries(entries)
    length = data.draw(st.integers(0, len(plain) - 1))

    with pytest.raises(FormatError):
        pack.decode_log_entries(plain[:length])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_do_worse_than_a_format_error(plain: bytes) -> None:
    """A hostile frame costs an error, not memory or a crash."""
    try:
        pack.decode_log_entries(plain)
    except FormatError:
        return


def test_bytes_after_the_last_entry_are_refused() -> None:
    """Nothing may hide behind a frame."""
    with pytest.raises(FormatError):
        pack.decode_log_entries(pack.encode_log_entries([]) + b"x")


def test_a_name_says_what_it_holds() -> None:
    """Names are parsed back to what they were made of."""
    name = pack.log_pack_name(topic_id="t-1", partition=3, first=7, last=9, part=1, pack_hash=HASH)
    parsed = pack.parse_pack_name(name)

    assert (parsed.topic_id, parsed.partition, parsed.first, parsed.last, parsed.part) == ("t-1", 3, 7, 9, 1)
    assert parsed.pack_hash == pack.parse_pack_name(pack.blob_pack_name(HASH)).pack_hash == HASH


@pytest.mark.parametrize("name", ["", "log/../x.pack", "blob/00/abc.pack", "keyring/a/b", "log/t/0/1-2-0-ff.pack"])
def test_a_foreign_name_is_no_pack_s(name: str) -> None:
    """What is not ours is left alone."""
    with pytest.raises(FormatError):
        pack.parse_pack_name(name)


def test_the_chain_depends_on_every_part_and_their_order() -> None:
    """No window can be left out or swapped without a trace."""
    one, other = b"1" * 32, b"2" * 32
    heads = {pack.chain_head(HASH, [one, other]), pack.chain_head(HASH, [other, one]), pack.chain_head(HASH, [one])}

    assert len(heads) == 3
