"""What Connect sends again is dropped, what is missing is noticed; by two numbers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import debezium
from connectors.debezium import Boundary, Change
from connectors.log_order import LogOrder
from schemas.errors import CorruptionError
from tests import builders

EVENTS = [
    builders.a_begin(lsn=1010),
    builders.a_row("public.guests", after={"id": 1}, order=1, lsn=1010, after_lsn=1000),
    builders.a_row("public.guests", after={"id": 2}, order=2, lsn=1010, after_lsn=1000),
    builders.an_end({"public.guests": 2}, lsn=1100),
    builders.a_message("wedsync.note", lsn=1150, after_lsn=1150),
    builders.a_row("public.guests", before={"id": 2}, order=1, lsn=1210, after_lsn=1150, transaction=701),
    builders.a_row("public.guests", after={"id": 3}, order=2, lsn=1210, after_lsn=1150, transaction=701),
    builders.an_end({"public.guests": 2}, lsn=1300, transaction=701),
]


def is_repeated(order: LogOrder, value: bytes) -> bool:
    """Ask of one record."""
    captured = debezium.parse(value)
    assert isinstance(captured, Change | Boundary)
    return order.is_repeated(captured)


def kept(values: list[bytes], order: LogOrder | None = None) -> list[bytes]:
    """Return what is new in a log."""
    order = order or LogOrder()
    return [value for value in values if not is_repeated(order, value)]


def test_a_log_that_is_sent_once_is_kept_whole() -> None:
    """All but BEGIN, which says nothing the rest does not."""
    assert kept(EVENTS) == EVENTS[1:]


@pytest.mark.parametrize("crashed_after", range(1, len(EVENTS) + 1))
def test_whatever_is_sent_again_is_dropped(crashed_after: int) -> None:
    """From wherever Connect begins again, in the middle of a transaction too."""
    for again_from in range(crashed_after):
        log = EVENTS[:crashed_after] + EVENTS[again_from:]
        assert kept(log) == EVENTS[1:], (crashed_after, again_from)


@pytest.mark.parametrize("missing", [2, 3, 5, 6])
def test_whatever_is_missing_is_noticed(missing: int) -> None:
    """A hole stops the router; it is never passed over."""
    with pytest.raises(CorruptionError, match="hole"):
        kept([*EVENTS[:missing], *EVENTS[missing + 1 :]])


@given(
    st.tuples(*[st.integers(0, 3)] * 3),
    st.integers(0, 3),
    st.integers(1, 3),
    st.sampled_from(["c", "u", "d", "t", "m"]),
)
def test_what_is_taken_at_a_glance_is_what_the_whole_rule_takes(
    state: tuple[int, int, int], after_lsn: int, count: int, operation: str
) -> None:
    """Never more than it, and to the same two numbers."""
    at_a_glance, whole = (LogOrder(whole_lsn=state[0], order=state[1], unread=state[2]) for _ in range(2))
    change = Change(debezium.Operation(operation), "public.guests", None, {}, 1, 7, count, 9, after_lsn)
    if at_a_glance.takes(after_lsn, count):
        assert not whole.is_repeated(change)
        assert (whole.whole_lsn, whole.order, whole.unread) == (at_a_glance.whole_lsn, at_a_glance.order, 0)
    else:
        assert (at_a_glance.whole_lsn, at_a_glance.order, at_a_glance.unread) == state


def test_a_log_may_begin_in_the_middle_of_a_transaction() -> None:
    """Only where it begins at all."""
    assert kept(EVENTS[2:]) == EVENTS[2:]


def test_the_first_transaction_is_told_apart_from_its_repetition() -> None:
    """Before any commit has been seen, what the first change follows stands in for it."""
    assert kept([EVENTS[1], EVENTS[1], EVENTS[2], EVENTS[1], EVENTS[2], EVENTS[3]]) == EVENTS[1:4]


def test_rows_of_a_table_copy_are_never_repetitions() -> None:
    """Read again is newer, not wrong."""
    read = builders.a_row("public.guests", after={"id": 1}, operation="r")

    assert kept([read, read]) == [read, read]


def test_two_numbers_are_all_that_must_be_remembered() -> None:
    """A router that begins anew with them goes on as if nothing had been."""
    order = LogOrder()
    kept(EVENTS[:6], order)
    state: dict[str, Any] = {"whole_lsn": order.whole_lsn, "order": order.order}

    assert kept(EVENTS, LogOrder(**state)) == EVENTS[6:]
