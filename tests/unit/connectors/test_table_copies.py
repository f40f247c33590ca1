"""Copies of tables by signal: what Debezium's notifications say of what was asked."""

from __future__ import annotations

import re

import orjson
import pytest

from connectors.table_copies import (
    EXECUTE,
    PAUSE,
    RESUME,
    STOP,
    CopyNotice,
    CopyState,
    Signal,
    asked_tables,
    asked_us,
    epoch_copy,
    execute_data,
    is_partial,
    is_pause_wanted,
    progress_of,
    signal_name,
)

ASKED = Signal(name="copy-e7", type=EXECUTE, data=execute_data(["public.a", "public.b"]))


def said(type_: str, table: str = "", position: int = 0, **fields: object) -> CopyNotice:
    """Return a notification about the copy."""
    return CopyNotice(copy=ASKED.name, type=type_, table=table, position=position, fields=fields)


def state(*notices: CopyNotice, steered: str = "") -> CopyState:
    """Return what a copy is, given what was said of it."""
    signals = [ASKED, *([Signal(name=f"x-{steered}", type=steered, data="{}")] if steered else [])]
    return progress_of(signals, notices)[0].state


def test_a_copy_runs_until_all_its_tables_are_done() -> None:
    """Only then everything that was there is there."""
    done = [said("TABLE_SCAN_COMPLETED", table, 5, status="SUCCEEDED") for table in ("public.a", "public.b")]

    assert state() is CopyState.ASKED
    assert state(said("STARTED")) is CopyState.RUNNING
    assert state(said("STARTED"), *done, said("COMPLETED", "", 9)) is CopyState.DONE
    assert state(said("STARTED"), *done[:1], said("COMPLETED", "", 9)) is CopyState.FAILED


def test_the_last_word_steers_a_copy() -> None:
    """Pause, resume, stop."""
    assert state(said("STARTED"), steered=PAUSE) is CopyState.PAUSED
    assert state(said("STARTED"), steered=RESUME) is CopyState.RUNNING
    assert state(said("STARTED"), said("COMPLETED"), steered=STOP) is CopyState.STOPPED


def test_progress_counts_tables_and_chunks() -> None:
    """One table done of two, the other a quarter through."""
    notices = [
        said("TABLE_SCAN_COMPLETED", "public.a", 5, status="EMPTY", total_rows_scanned="0"),
        said("IN_PROGRESS", "public.b", 6, chunk_index="1", total_chunks="4", total_rows="4000"),
    ]
    (found,) = progress_of([ASKED], notices)

    assert (found.percent, [each.rows for each in found.tables]) == (62.5, [0, 1000])


def test_the_last_signal_says_whether_a_pause_is_wanted() -> None:
    """Whatever a new copy, a resume or a stop followed is not."""
    pause, resume = (Signal(name=f"{word}-1", type=word, data="{}") for word in (PAUSE, RESUME))

    assert is_pause_wanted([ASKED, pause])
    assert not is_pause_wanted([ASKED, pause, resume])
    assert not is_pause_wanted([ASKED, pause, ASKED])
    assert not is_pause_wanted([])


def test_names_say_what_a_copy_means_and_when_it_was_asked() -> None:
    """Whole tables, or some of their rows."""
    assert not is_partial(epoch_copy(7))
    assert is_partial(signal_name("part-", 12))
    assert [asked_us(name) for name in ("copy-e7", "part-12", "somebody-else")] == [7_000_000, 12, 0]


@pytest.mark.parametrize("name", ["public.guests", "Shop.Order", "public.$dollar*", "public.Gäste"])
def test_a_table_may_have_almost_any_name(name: str) -> None:
    """Its condition is a regular expression that means this name and no other."""
    data = execute_data([name], {name: "id = 1"})
    (condition,) = orjson.loads(data)["additional-conditions"]

    assert asked_tables(Signal(name="part-1", type=EXECUTE, data=data)) == (name,)
    assert re.fullmatch(condition["data-collection"], name)
    assert not re.fullmatch(condition["data-collection"], name.replace(".", "x"))


@pytest.mark.parametrize(
    "name", ["My Shop.orders", "public.sp ace", "public.with.dot", 'public.quo"ted', "public.new\nline"]
)
def test_a_name_that_would_end_capture_is_never_asked_for(name: str) -> None:
    """Debezium could not read it back from its offsets when it starts again."""
    assert asked_tables(Signal(name="copy-1", type=EXECUTE, data=execute_data(["public.a", name]))) == ("public.a",)
