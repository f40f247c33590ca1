"""The encoder by hand against the generic one: the same bytes for every change."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas import change_encoder, codec
from tests import builders

LONGS = st.integers(-(2**63), 2**63 - 1)
CHANGES = st.fixed_dictionaries(
    {
        "source": st.text(),
        "epoch": LONGS,
        "position": LONGS,
        "kind": st.sampled_from(sorted(change_encoder.KINDS)),
        "wedding": st.text(),
        "residency": st.sampled_from(sorted(change_encoder.RESIDENCIES)),
        "table": st.text(),
        "transaction": LONGS,
        "order": LONGS,
        "committed_at": LONGS,
        "captured_at": LONGS,
        "also": st.lists(st.text(), max_size=3),
        "payload": st.binary(max_size=300),
    }
)


def by_hand(change: dict[str, Any], encoder: change_encoder.ChangeEncoder | None = None) -> bytes:
    """Encode a change as the router does."""
    return (encoder or change_encoder.ChangeEncoder(change["source"], change["epoch"])).encode(
        position=change["position"],
        kind=change_encoder.KINDS[change["kind"]],
        owner=change_encoder.whose(change["wedding"], change["residency"]),
        table=change_encoder.text(change["table"]),
        transaction=change["transaction"],
        order=change["order"],
        committed_at=change["committed_at"],
        captured_at=change["captured_at"],
        also=change["also"],
        payload=change["payload"],
    )


@given(CHANGES)
def test_by_hand_or_by_the_library_the_bytes_are_the_same(change: dict[str, Any]) -> None:
    """Whatever the numbers, the texts and the payload."""
    assert by_hand(change) == codec.encode("BackupChange", change)


@given(st.lists(CHANGES, max_size=5))
def test_what_the_change_before_had_is_not_taken_for_this_one_s(changes: list[dict[str, Any]]) -> None:
    """One encoder for a whole log, whose neighbours have much in common."""
    encoder = change_encoder.ChangeEncoder("s", 1)
    log = [{**each, "source": "s", "epoch": 1, "transaction": each["transaction"] % 3} for each in changes]

    for change in [*log, *({**each, "position": number * 4096} for number, each in enumerate(log))]:
        assert by_hand(change, encoder) == codec.encode("BackupChange", change)


def test_a_long_is_right_at_every_length() -> None:
    """Around each power of two, where a byte more is needed, on both sides of zero."""
    for bits in range(64):
        for value in (2**bits - 2, 2**bits - 1, -(2**bits), -(2**bits) + 1):
            change = builders.a_change(position=value)
            assert by_hand(change) == codec.encode("BackupChange", change), value
