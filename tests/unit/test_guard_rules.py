"""What the guard makes of what it sees: when an epoch cannot go on, when to alarm, when to try again."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from connectors.connect import ConnectorStatus, TaskStatus
from connectors.table_copies import CopyProgress, CopyState, TableProgress
from ops.guard_rules import (
    COPIES_MAX,
    RESTARTS_MAX,
    LagClock,
    Level,
    Restarts,
    SlotFacts,
    TableFacts,
    connector_alarms,
    copy_again,
    copy_alarms,
    epoch_reason,
    gap_of_ended,
    log_alarms,
    slot_alarms,
    table_alarms,
)
from streams.witness import Hole
from tests.builders import NOON

SECOND = dt.timedelta(seconds=1)
SLOT = SlotFacts(
    is_there=True, current_lsn=1000, keep_bytes=1000, active_pid=7, restart_lsn=900, confirmed_lsn=950, wal_status="ok"
)
HOLE = Hole("platform", 1, 7, 900, 0, 0, "the log has a hole")


def test_an_epoch_goes_on_while_its_slot_does() -> None:
    """Confirmed up to what was captured, or less."""
    assert epoch_reason(SLOT, 950, None) is None
    assert epoch_reason(SLOT, None, None) is None


@pytest.mark.parametrize(
    ("slot", "captured", "hole", "word"),
    [
        (SlotFacts(is_there=False, current_lsn=1000), 950, None, "dropped"),
        (dataclasses.replace(SLOT, wal_status="lost", restart_lsn=None), 950, None, "invalidated"),
        (SLOT, 949, None, "moved on to 0/3B6"),
        (SLOT, 950, HOLE, "hole"),
    ],
)
def test_an_epoch_ends_where_commits_may_be_missing(
    slot: SlotFacts, captured: int, hole: Hole | None, word: str
) -> None:
    """Dropped, lost, moved on, or a hole in the log."""
    assert word in (epoch_reason(slot, captured, hole) or "")


@pytest.mark.parametrize(
    ("kept", "levels"), [(490, []), (500, [Level.WARN]), (799, [Level.WARN]), (800, [Level.CRITICAL])]
)
def test_the_slot_alarms_at_half_and_at_four_fifths(kept: int, levels: list[Level]) -> None:
    """Of what the server keeps before it takes the slot away."""
    slot = dataclasses.replace(SLOT, restart_lsn=SLOT.current_lsn - kept)

    assert [alarm.level for alarm in slot_alarms(slot, dt.timedelta())] == levels


def test_a_slot_without_a_limit_never_fills() -> None:
    """But somebody must read it, and not too late."""
    slot = dataclasses.replace(SLOT, keep_bytes=None, restart_lsn=0, active_pid=None)

    assert [alarm.what for alarm in slot_alarms(slot, dt.timedelta(minutes=1))] == ["slot_idle", "slot_lag"]


def test_lag_is_the_age_of_the_first_log_not_confirmed() -> None:
    """In seconds, whatever the rate."""
    clock = LagClock()

    assert clock.lag(100, 100, NOON) == dt.timedelta()
    assert clock.lag(200, 100, NOON + SECOND) == dt.timedelta()
    assert clock.lag(300, 100, NOON + 5 * SECOND) == 4 * SECOND
    assert clock.lag(300, 200, NOON + 6 * SECOND) == SECOND
    assert clock.lag(300, 300, NOON + 7 * SECOND) == dt.timedelta()


def test_a_failed_task_is_started_again_ever_more_slowly_and_not_for_ever() -> None:
    """It is given up loudly, and forgotten once it has run for a while."""
    restarts, now, tries = Restarts(), NOON, 0
    for _ in range(2000):
        now += SECOND
        tries += restarts.may(now)
    assert tries == RESTARTS_MAX
    restarts.ran(now + dt.timedelta(minutes=5))

    assert restarts.may(now)


def test_a_connector_without_a_task_does_not_run() -> None:
    """RUNNING is what Connect calls a connector that captures nothing."""
    failed = ConnectorStatus(name="c", state="RUNNING", trace="", tasks=(TaskStatus(number=0, state="FAILED"),))
    idle, running = (
        dataclasses.replace(failed, tasks=tasks) for tasks in ((), (TaskStatus(number=0, state="RUNNING"),))
    )

    assert [connector_alarms(each, Restarts())[0].what for each in (None, failed, idle)] == [
        *("connector_gone", "connector_failed", "connector_idle"),
    ]
    assert connector_alarms(running, Restarts()) == []


def test_tables_that_capture_does_not_see_whole_are_critical() -> None:
    """Each with the line that mends it."""
    found = table_alarms(TableFacts(unpublished=("public.a",), not_full=("public.b",), has_trigger=False))

    assert [(alarm.level, bool(alarm.hint)) for alarm in found] == [(Level.CRITICAL, True)] * 3
    assert table_alarms(TableFacts()) == []


def a_copy(number: int, state: CopyState, **statuses: str) -> CopyProgress:
    """Return a copy of whole tables, asked for so many seconds after noon."""
    tables = tuple(
        TableProgress(table=f"public.{name}", rows=0, rows_total=0, status=status) for name, status in statuses.items()
    )
    name = f"copy-{int((NOON + number * SECOND).timestamp() * 1_000_000)}"
    return CopyProgress(copy=name, state=state, tables=tables)


FAILED = a_copy(0, CopyState.FAILED, guests="SQL_EXCEPTION", vendors="SUCCEEDED", notes="NO_PRIMARY_KEY")
THERE = ("public.guests", "public.vendors", "public.notes")


def test_what_was_not_copied_is_copied_again_after_a_pause() -> None:
    """Only what failed; never beside another copy, and no longer once it was done."""
    assert copy_again([FAILED], THERE, NOON) == []
    assert copy_again([FAILED], THERE, NOON + 2 * SECOND) == ["public.guests"]
    for state, status in ((CopyState.RUNNING, ""), (CopyState.PAUSED, ""), (CopyState.DONE, "SUCCEEDED")):
        assert copy_again([FAILED, a_copy(3, state, guests=status)], THERE, NOON + 999 * SECOND) == []


def test_a_table_that_was_renamed_amid_its_copy_is_copied_under_its_new_name() -> None:
    """The old name is gone: whatever nobody asked for yet may be it."""
    assert copy_again([FAILED], ("public.vendors", "public.invited"), NOON + 9 * SECOND) == ["public.invited"]
    assert copy_again([FAILED], ("public.vendors",), NOON + 9 * SECOND) == []


def test_a_copy_that_fails_and_fails_is_left_to_a_person() -> None:
    """Critical then, and a warning as long as it is tried."""
    again = [a_copy(number, CopyState.FAILED, guests="SQL_EXCEPTION") for number in range(COPIES_MAX)]

    assert copy_again(again, THERE, NOON + 9999 * SECOND) == []
    assert [each.level for each in copy_alarms(again, THERE)] == [Level.CRITICAL]
    assert [each.level for each in copy_alarms([FAILED], THERE)] == [Level.WARN]
    assert copy_alarms(again, ()) == []


def test_a_log_that_is_over_is_an_alarm_and_a_gap() -> None:
    """Nothing else would tell: its records wait in Kafka, and nobody reads them."""
    hole = Hole("objects", 5, 70, 0, 9_000_000, 10_000_000, "Kafka lost records 60 to 69 of it")

    (alarm,) = log_alarms([hole])
    assert (alarm.level, "lost records 60 to 69" in alarm.text) == (Level.CRITICAL, True)
    gap = gap_of_ended(hole)
    assert (gap.source, gap.from_us, gap.to_us) == ("objects", 9_000_000, 10_000_000)
