"""What the guard writes into the source's log: gaps and sequences, there and back."""

from __future__ import annotations

import dataclasses

import orjson
import pytest

from connectors import ledger
from schemas.errors import FormatError
from tests import builders


def test_a_gap_comes_back_from_its_message() -> None:
    """As it was filed, whatever a later version added."""
    gap = builders.a_gap()
    content = orjson.dumps({**dataclasses.asdict(gap), "added_later": 1}).decode()

    assert ledger.gap_of(builders.a_message(ledger.GAP_PREFIX, ledger.encode_gap(gap))) == gap
    assert ledger.gap_of(builders.a_message(ledger.GAP_PREFIX, content)) == gap


def test_another_message_is_no_gap() -> None:
    """Nor are rows."""
    assert ledger.gap_of(builders.a_message("wedsync.canary", "")) is None
    assert ledger.gap_of(builders.a_row("public.guests", after={"id": 1})) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"gap": 7}', "not json"])
def test_a_broken_gap_is_refused(content: str) -> None:
    """Never guessed at."""
    with pytest.raises(FormatError):
        ledger.gap_of(builders.a_message(ledger.GAP_PREFIX, content))


def test_sequences_come_back_from_their_message() -> None:
    """By name, each with its last value."""
    values = {"public.b_seq": 7, "public.a_seq": 9_000_000_000}
    message = builders.a_message(ledger.SEQUENCES_PREFIX, ledger.encode_sequences(values))

    assert ledger.sequences_of(message) == values
    assert ledger.sequences_of(builders.a_message("wedsync.canary", "")) is None


def test_a_gap_touches_what_lies_inside_it() -> None:
    """Its last captured commit and its first are not inside."""
    gap = builders.a_gap(from_us=10, to_us=20)

    assert [gap.touches(at) for at in (9, 10, 11, 19, 20)] == [False, False, True, True, False]
