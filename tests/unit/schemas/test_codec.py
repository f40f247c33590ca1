"""Single-object encoding: our records, and nothing else, are decoded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.errors import FormatError
from tests import builders

LONGS = st.integers(-(2**63), 2**63 - 1)
CHANGES = st.fixed_dictionaries(
    {
        "source": st.text(),
        "epoch": LONGS,
        "position": LONGS,
        "kind": st.sampled_from(["row", "truncate", "commit", "schema", "message", "object_put", "undecodable"]),
        "wedding": st.text(),
        "residency": st.sampled_from(["eu", "anywhere", "unknown"]),
        "table": st.text(),
        "transaction": LONGS,
        "order": LONGS,
        "committed_at": LONGS,
        "captured_at": LONGS,
        "again": st.booleans(),
        "also": st.lists(st.text(), max_size=3),
        "payload": st.binary(),
    }
)


@given(CHANGES)
def test_a_change_comes_back_as_it_was(change: dict[str, Any]) -> None:
    """Encoder and decoder are each other's inverse."""
    assert codec.decode("BackupChange", codec.encode("BackupChange", change)) == change


@given(st.binary(max_size=60))
def test_arbitrary_bytes_behind_a_header_never_do_worse_than_a_format_error(body: bytes) -> None:
    """A hostile record costs an error."""
    try:
        codec.decode("BackupChange", codec.header("BackupChange") + body)
    except FormatError:
        return


def test_every_truncation_is_refused() -> None:
    """No prefix of a record is a record."""
    value = builders.change_value()

    for length in range(len(value)):
        with pytest.raises(FormatError):
            codec.decode("BackupChange", value[:length])


def test_another_record_is_not_taken_for_this_one() -> None:
    """The fingerprint decides, not the shape."""
    with pytest.raises(FormatError, match="expected a BackupChange, found a Frontier"):
        codec.decode("BackupChange", builders.frontier_value())


def test_bytes_after_a_record_are_refused() -> None:
    """Nothing may hide behind a record."""
    with pytest.raises(FormatError, match="follow"):
        codec.decode("Frontier", builders.frontier_value() + b"\x00")
