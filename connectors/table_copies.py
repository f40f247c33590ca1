"""Copies of tables by signal (Debezium calls them incremental snapshots): what is asked, and what became of it. Pure.

A signal is a row of `wedsync.debezium_signal`; its id is the copy's name, and comes back in every
notification. The name says what a copy means: `copy-…` reads whole tables, so what it completes has
every row; `part-…` reads some rows of them, and says nothing about the others.

    asked     a signal's row: execute, pause, resume, stop
    noticed   what Debezium said of it, in the capture topic: started, in progress, a table done, the end
"""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MICRO: Final = 1_000_000
WHOLE: Final = "copy-"
PART: Final = "part-"
EXECUTE: Final = "execute-snapshot"
PAUSE: Final = "pause-snapshot"
RESUME: Final = "resume-snapshot"
STOP: Final = "stop-snapshot"
_SUCCEEDED: Final = frozenset({"SUCCEEDED", "EMPTY"})
_UNREADABLE: Final = re.compile(r'[\s"]|\..*\.')
_NEVER: Final = "NO_PRIMARY_KEY"


def epoch_copy(epoch: int) -> str:
    """Return the name of the copy of all tables that an epoch begins with."""
    return f"{WHOLE}e{epoch}"


def is_partial(copy: str) -> bool:
    """Return whether a copy of this name read only some rows of its tables."""
    return copy.startswith(PART)


def execute_data(
    tables: Iterable[str], conditions: Mapping[str, str] | None = None, *, is_ordered: bool = False
) -> str:
    """Return the data of a signal that has tables copied; `conditions` are SQL by table, and choose rows.

    A table that is not copiable is left out. They are copied one after the other, in the order of their names or,
    `is_ordered`, as they are given.
    """
    ordered = [table for table in (tables if is_ordered else sorted(tables)) if is_copiable(table)]
    data: dict[str, Any] = {"type": "incremental", "data-collections": ordered}
    if conditions:
        # Debezium reads this name as a regular expression.
        data["additional-conditions"] = [
            {"data-collection": re.escape(table), "filter": conditions[table]}
            for table in sorted(conditions)
            if is_copiable(table)
        ]
    return orjson.dumps(data).decode()


def is_copiable(table: str) -> bool:
    """Return whether Debezium can copy a table of this name.

    With a space or a double quote in it the name cannot be read back from the connector's offsets: amid the
    copy the task would die, and never start again. With a dot in it the rows come as another table's.
    """
    return not _UNREADABLE.search(table)


def signal_name(what: str, now_us: int) -> str:
    """Return the name of a new signal: names of one epoch sort by their instant."""
    return f"{what}{now_us}"


def asked_us(name: str) -> int:
    """Return when a signal of ours was made, in microseconds; 0 for another's."""
    _, _, when = name.rpartition("-")
    if when.startswith("e") and when[1:].isdecimal():
        return int(when[1:]) * _MICRO
    return int(when) if when.isdecimal() else 0


STEERING_DATA: Final = '{"type":"incremental"}'
"""The data of pause, resume and stop: they mean the copy that runs."""


class CopyState(enum.StrEnum):
    """The life of a copy: asked for, running, paused, and one of three ends."""

    ASKED = "asked"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


ENDS: Final = frozenset({CopyState.DONE, CopyState.FAILED, CopyState.STOPPED})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One row of the signal table; `name` is its id."""

    name: str
    type: str
    data: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyNotice:
    """One notification about a copy: the last of its type, by table."""

    copy: str
    type: str
    table: str
    position: int
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableProgress:
    """How far one table's copy is; `rows_total` is 0 where Debezium has not counted."""

    table: str
    rows: int
    rows_total: int
    status: str

    @property
    def is_done(self) -> bool:
        """Return whether every row was read."""
        return self.status in _SUCCEEDED


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """What is known of one copy."""

    copy: str
    state: CopyState
    tables: tuple[TableProgress, ...]

    @property
    def percent(self) -> float:
        """Return how much is done, counted in tables and in the chunks of the one under way."""
        if self.state is CopyState.DONE or not self.tables:
            return 100.0 if self.state is CopyState.DONE else 0.0
        done = sum(1.0 if each.is_done else _share(each) for each in self.tables)
        return round(100 * done / len(self.tables), 1)


def _share(table: TableProgress) -> float:
    return min(1.0, table.rows / table.rows_total) if table.rows_total else 0.0


def asked_tables(signal: Signal) -> tuple[str, ...]:
    """Return the tables a signal names; nothing for one that cannot be read."""
    try:
        return tuple(str(each) for each in orjson.loads(signal.data)["data-collections"])
    except (ValueError, KeyError, TypeError):
        return ()


def progress_of(signals: Sequence[Signal], notices: Sequence[CopyNotice]) -> list[CopyProgress]:
    """Return the copies asked for, in the order of the signals, with what became of each.

    The signals are those since the epoch began, oldest first: pause, resume and stop mean the copy before them.
    """
    by_copy: dict[str, list[CopyNotice]] = {}
    for notice in notices:
        by_copy.setdefault(notice.copy, []).append(notice)
    steered = _steered(signals)
    return [
        _progress(signal, by_copy.get(signal.name, []), steered.get(signal.name))
        for signal in signals
        if signal.type == EXECUTE
    ]


def failures(copies: Sequence[CopyProgress]) -> dict[str, int]:
    """Return the tables whose last copy of the whole table failed, and how often it did in a row.

    A rename or a drop of a column while the table is read is enough (Debezium reads on with the old names).
    A table without a key is no failure: it is never copied, which `doctor` says.
    """
    failed: dict[str, int] = {}
    for copy in copies:
        if is_partial(copy.copy):
            continue
        for table in copy.tables:
            if copy.state is CopyState.DONE or table.is_done:
                failed.pop(table.table, None)
            elif copy.state is CopyState.FAILED and table.status != _NEVER:
                failed[table.table] = failed.get(table.table, 0) + 1
    return failed


def is_pause_wanted(signals: Sequence[Signal]) -> bool:
    """Return whether the last word about pausing was to pause: Debezium forgets it when it restarts."""
    words = [signal.type for signal in signals if signal.type in (PAUSE, RESUME, STOP, EXECUTE)]
    return bool(words) and words[-1] == PAUSE


def _steered(signals: Sequence[Signal]) -> dict[str, str]:
    """Return the last steering word for each copy."""
    words: dict[str, str] = {}
    running = ""
    for signal in signals:
        if signal.type == EXECUTE:
            running = signal.name
        elif running:
            words[running] = signal.type
    return words


def _progress(signal: Signal, notices: Sequence[CopyNotice], steered: str | None) -> CopyProgress:
    tables = {table: TableProgress(table=table, rows=0, rows_total=0, status="") for table in asked_tables(signal)}
    for notice in sorted(notices, key=lambda each: each.position):
        if notice.table:
            tables[notice.table] = _table_progress(notice)
    return CopyProgress(
        copy=signal.name, state=_state(tables.values(), notices, steered), tables=tuple(tables.values())
    )


def _table_progress(notice: CopyNotice) -> TableProgress:
    about = notice.fields
    rows = about.get("total_rows_scanned")
    if rows is None:  # Chunks are of one size but for the last.
        share = _number(about.get("chunk_index")) / max(1, _number(about.get("total_chunks")))
        rows = int(share * _number(about.get("total_rows")))
    return TableProgress(
        table=notice.table,
        rows=_number(rows),
        rows_total=_number(about.get("total_rows")),
        status=str(about.get("status", "")),
    )


def _state(tables: Iterable[TableProgress], notices: Sequence[CopyNotice], steered: str | None) -> CopyState:
    statuses = [each.status for each in tables]
    types = {notice.type for notice in notices}
    if "COMPLETED" in types:
        if all(status in _SUCCEEDED for status in statuses):
            return CopyState.DONE
        return CopyState.STOPPED if steered == STOP else CopyState.FAILED
    if steered == STOP:
        return CopyState.STOPPED
    if steered == PAUSE:
        return CopyState.PAUSED
    return CopyState.RUNNING if notices else CopyState.ASKED


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
