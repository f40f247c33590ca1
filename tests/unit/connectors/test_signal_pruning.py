"""Which rows of the signal table go: old ones that nobody needs."""

from __future__ import annotations

import datetime as dt

import pytest

from connectors.signal_pruning import WINDOWS, old_signals, old_windows
from connectors.table_copies import EXECUTE, PAUSE, RESUME, CopyProgress, CopyState, Signal

EPOCH = 1_780_000_000
NOW = dt.datetime.fromtimestamp(EPOCH, dt.UTC) + dt.timedelta(days=3)
DONE, STOPPED, FAILED, RUNNING = CopyState.DONE, CopyState.STOPPED, CopyState.FAILED, CopyState.RUNNING


def name(what: str, *, days: float) -> str:
    """Return the name of a signal made so many days after the epoch began."""
    return f"{what}-{int((EPOCH + days * 86_400) * 1_000_000)}"


def pruned(*asked: tuple[str, str, CopyState | None]) -> list[str]:
    """Return what goes of the epoch's own copy and these signals (name, type, state of a copy)."""
    everything = [(f"copy-e{EPOCH}", EXECUTE, DONE), *asked]
    signals = [Signal(name=each, type=type_, data="{}") for each, type_, _ in everything]
    copies = [CopyProgress(copy=each, state=state, tables=()) for each, _, state in everything if state is not None]
    return old_signals(signals, copies, EPOCH, NOW)


def test_old_copies_go_with_the_words_that_steered_them() -> None:
    """The newest stays, and what is younger than a day."""
    old = [(name("copy", days=0.1), EXECUTE, DONE), (name("pause", days=0.2), PAUSE, None)]
    old += [(name("resume", days=0.3), RESUME, None), (name("part", days=0.4), EXECUTE, STOPPED)]
    new = [(name("copy", days=2.5), EXECUTE, DONE), (name("copy", days=2.6), EXECUTE, RUNNING)]

    assert pruned(*old, *new) == [each for each, _, _ in old]


def test_a_pause_that_holds_stays() -> None:
    """It is the last word, however old."""
    assert pruned((name("copy", days=0.1), EXECUTE, RUNNING), (name("pause", days=0.2), PAUSE, None)) == []


def test_the_copy_that_says_up_to_where_moved_rows_are_done_stays() -> None:
    """Without it they would be owed again."""
    first, second = name("part-moved7", days=0.1), name("part-moved9", days=0.2)
    last = (name("copy", days=0.3), EXECUTE, DONE)

    assert pruned((second, EXECUTE, DONE), (first, EXECUTE, DONE), last) == [first]


def test_nothing_goes_of_an_epoch_in_which_a_copy_failed() -> None:
    """What went well after it is what says that it was mended."""
    assert pruned((name("copy", days=0.1), EXECUTE, FAILED), (name("copy", days=0.2), EXECUTE, DONE)) == []


def test_signals_of_earlier_epochs_go_and_strangers_stay() -> None:
    """Whatever became of them, all tables were copied since."""
    earlier = name("copy", days=-9)

    assert pruned((earlier, EXECUTE, None), ("copy-e1700000000", EXECUTE, None), ("by-hand", EXECUTE, None)) == [
        "copy-e1700000000",
        earlier,
    ]


@pytest.mark.parametrize(
    ("data", "goes"),
    [
        ('{"openWindowTimestamp": "2026-05-20T10:00:00.123456789Z", "closeWindowTimestamp": ""}', True),
        ('{"closeWindowTimestamp": "2026-05-20T10:00:00Z"}', True),
        (f'{{"openWindowTimestamp": "{NOW.isoformat()}"}}', False),
        ("", False),
        ("[]", False),
        ('{"openWindowTimestamp": "yesterday"}', False),
    ],
)
def test_rows_of_chunks_go_by_the_instant_they_bear(data: str, *, goes: bool) -> None:
    """One that bears none stays."""
    rows = [Signal(name="a", type=WINDOWS[0], data=data), Signal(name="b", type=EXECUTE, data=data)]

    assert old_windows(rows, NOW) == (["a"] if goes else [])
