"""The router's memory: all of a batch or none of it, and what it knows of parents."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from schemas.backup import QUARANTINE, Residency
from streams.state import Member, RouterState, parent_name
from tests.builders import a_wedding

if TYPE_CHECKING:
    import pathlib

GUEST = parent_name("public.guests", [1])


def a_member(wedding: str = "w1", position: int = 5, epoch: int = 1) -> Member:
    """Return what a change said of a row."""
    return Member(wedding, epoch, position)


def test_a_batch_that_fails_leaves_no_trace() -> None:
    """Not on disk, and not in what was cached."""
    state = RouterState(":memory:")
    with pytest.raises(RuntimeError):
        _fail_in_a_batch(state)

    assert (state.wedding_of(GUEST), state.wedding("w1"), state.progress("platform", 1)) == (None, None, None)
    assert state.order("platform", 1).whole_lsn == 0


def _fail_in_a_batch(state: RouterState) -> None:
    with state.one_batch():
        state.remember_member(GUEST, a_member())
        state.remember_wedding(a_wedding())
        state.order("platform", 1).whole_lsn = 99
        state.advance("platform", 1, next_offset=7, committed_us=1)
        raise RuntimeError


def test_everything_survives_a_new_process(tmp_path: pathlib.Path) -> None:
    """Position, order, membership, calendar and promises lie in one file."""
    line = a_wedding(residency=Residency.EU, deliveries_due=frozenset({dt.date(2026, 6, 12)}))
    first = RouterState(tmp_path / "state.db")
    with first.one_batch():
        first.order("platform", 1).whole_lsn = 99
        first.advance("platform", 1, next_offset=7, committed_us=1)
        first.remember_wedding(line)
        first.remember_delivery(b"row", "w1", dt.date(2026, 6, 12))
        first.remember_member(GUEST, a_member())
        first.wait_for_parent(b"parent", "platform", 1, 3, b"change")
    first.close()
    second = RouterState(tmp_path / "state.db")

    assert second.progress("platform", 1) == (7, 1, 99)
    assert (second.wedding("w1"), second.wedding_of(GUEST)) == (line, "w1")
    assert second.take_waiting(b"parent") == [b"change"]
    second.close()


@pytest.mark.parametrize("held_max", [1, 3, 4, 5, 100])
def test_what_memory_cannot_hold_is_found_in_the_file(tmp_path: pathlib.Path, held_max: int) -> None:
    """And what memory holds all of is not looked for there."""
    names = [parent_name("public.guests", [number]) for number in range(4)]
    state = RouterState(tmp_path / "state.db", held_max=held_max)
    for number, name in enumerate(names):
        with state.one_batch():
            state.remember_member(name, a_member(f"w{number}", position=number))
    assert [state.wedding_of(name) for name in names] == ["w0", "w1", "w2", "w3"]
    state.close()
    again = RouterState(tmp_path / "state.db", held_max=held_max)

    assert [again.wedding_of(name) for name in (*names, GUEST + b"?")] == ["w0", "w1", "w2", "w3", None]
    again.close()


def test_whoever_follows_is_told_of_each_line_that_became_another() -> None:
    """By whatever it was moved, and of all when a batch is undone."""
    state = RouterState(":memory:")
    moved = state.follow_weddings()
    state.remember_wedding(a_wedding())
    state.remember_delivery(b"row", "w2", dt.date(2026, 6, 12))
    state.remember_urgent("w3", None)
    state.remember_upload("w4", 1)
    assert moved == {"w1", "w2", "w3", "w4"}
    moved.clear()
    state.reread()

    assert moved >= {"w1", "w2"}


def test_an_older_change_does_not_move_a_row_back() -> None:
    """What waited for a parent is released late, after newer changes of the same row."""
    state = RouterState(":memory:")
    state.remember_member(GUEST, a_member("w2", position=9))

    assert not state.remember_member(GUEST, a_member("w1", position=5))
    assert state.wedding_of(GUEST) == "w2"


def test_a_row_that_moved_from_one_unknown_parent_to_another_is_where_it_went_last() -> None:
    """Both times nobody knew where; what is learnt of the first parent says nothing any more."""
    state = RouterState(":memory:")
    for position in (5, 9):
        state.remember_member(GUEST, a_member(QUARANTINE, position=position))

    assert not state.remember_member(GUEST, a_member("w1", position=5))


def test_a_new_epoch_counts_from_nothing() -> None:
    """Its positions are small, and yet later."""
    state = RouterState(":memory:")
    state.remember_member(GUEST, a_member("w1", position=9_000, epoch=1))

    assert state.remember_member(GUEST, a_member("w2", position=3, epoch=2))


def test_what_waits_is_handed_out_once_and_in_order() -> None:
    """By the source's order, not by that of arrival."""
    state = RouterState(":memory:")
    state.wait_for_parent(b"p", "platform", 1, 10, b"later")
    state.wait_for_parent(b"p", "platform", 1, 9, b"earlier")
    state.wait_for_parent(b"other", "platform", 1, 1, b"other")

    assert state.take_waiting(b"p") == [b"earlier", b"later"]
    assert state.take_waiting(b"p") == []
    assert state.counts()["waiting"] == 1


def test_a_promise_taken_back_is_forgotten() -> None:
    """A deleted task makes nobody critical."""
    state = RouterState(":memory:")
    state.remember_wedding(a_wedding())
    state.remember_delivery(b"row", "w1", dt.date(2026, 6, 12))
    state.remember_delivery(b"row", "w1", None)

    assert state.wedding("w1") == a_wedding()


def test_a_promise_that_moves_leaves_its_old_wedding() -> None:
    """Or that wedding stayed in a lane it has no claim to."""
    state = RouterState(":memory:")
    for wedding in ("w1", "w2"):
        state.remember_wedding(a_wedding(wedding=wedding))
    state.remember_delivery(b"row", "w1", dt.date(2026, 6, 12))
    state.remember_delivery(b"row", "w2", dt.date(2026, 6, 12))

    assert state.wedding("w1") == a_wedding()
