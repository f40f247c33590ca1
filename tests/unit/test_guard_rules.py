"""What the guard makes of what it sees: when an epoch cannot go on, when to alarm, when to try again."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from connectors.connect import ConnectorStatus, TaskStatus
from ops.guard_rules import (
    RESTARTS_MAX,
    LagClock,
    Level,
    Restarts,
    SlotFacts,
    TableFacts,
    connector_alarms,
    epoch_reason,
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
