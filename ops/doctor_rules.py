"""What the doctor makes of a database: pass, warn or fail, and the line that mends it. Pure.

Fail means that data would be lost or could not be restored; a connector is not registered then.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import TYPE_CHECKING, Final

from connectors.connector_config import PUBLICATION, SLOT
from connectors.table_copies import is_copiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ops.doctor_facts import SourceFacts
    from schemas.mapping import TableMapping

SKEW_WARN: Final = dt.timedelta(seconds=1)
SKEW_FAIL: Final = dt.timedelta(minutes=5)
LAG_WARN_PERCENT: Final = 50
_SLOTS_SPARE: Final = 1
_TRIGGER_FIX: Final = "wedsync-backup up   # where it is disabled: ALTER EVENT TRIGGER … ENABLE ALWAYS;"
_NAMES_SHOWN: Final = 5


class Outcome(enum.StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: what was found, and, unless it passed, the line that mends it."""

    name: str
    outcome: Outcome
    says: str
    fix: str = ""


def check_source(facts: SourceFacts, mapping: TableMapping, *, is_prepared: bool) -> list[Check]:
    """Return all checks of a database; before it is prepared, what preparing makes is not missed."""
    checks = [*_server(facts), *_permissions(facts), *_tables(facts, mapping), _clock(facts)]
    if is_prepared:
        checks += [*_preparation(facts), *_slot(facts)]
    return checks


def passed(name: str, says: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, outcome=Outcome.PASS, says=says)


def warned(name: str, says: str, fix: str) -> Check:
    """Return a check whose finding is worth knowing."""
    return Check(name=name, outcome=Outcome.WARN, says=says, fix=fix)


def failed(name: str, says: str, fix: str) -> Check:
    """Return a check without which data would be lost."""
    return Check(name=name, outcome=Outcome.FAIL, says=says, fix=fix)


def _server(facts: SourceFacts) -> Iterator[Check]:
    level = facts.settings.get("wal_level", "")
    yield (
        passed("wal_level", "logical")
        if level == "logical"
        else failed("wal_level", level, "ALTER SYSTEM SET wal_level = 'logical';  -- then restart the server")
    )
    used = facts.slots_used - facts.slot.is_there
    yield _room("max_replication_slots", int(facts.settings.get("max_replication_slots", "0")), used)
    reads = facts.senders_used - (facts.slot.active_pid is not None)
    yield _room("max_wal_senders", int(facts.settings.get("max_wal_senders", "0")), reads)
    keep = int(facts.settings.get("max_slot_wal_keep_size", "-1"))
    yield (
        warned(
            "max_slot_wal_keep_size",
            "-1: while capture is down, the server keeps its log until its disk is full and the platform stops",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '16GB'; SELECT pg_reload_conf();",
        )
        if keep < 0
        else passed("max_slot_wal_keep_size", f"{keep} MB: beyond it the slot is lost, and a new epoch begins")
    )


def _room(name: str, limit: int, used: int) -> Check:
    if used + _SLOTS_SPARE > limit:
        return failed(name, f"{used} of {limit} in use", f"ALTER SYSTEM SET {name} = {limit + 4};  -- then restart")
    return passed(name, f"{used} of {limit} in use by others")


def _permissions(facts: SourceFacts) -> Iterator[Check]:
    yield (
        passed("replication", "the role may replicate")
        if facts.may_replicate
        else failed("replication", "the role may not replicate", "ALTER ROLE … REPLICATION;")
    )
    yield (
        passed("reading", "the role may read every table")
        if facts.may_read_all
        else failed("reading", "some tables cannot be read: they cannot be copied", "GRANT pg_read_all_data TO …;")
    )
    is_lacking = not facts.is_superuser and not (facts.publication and facts.watched.has_trigger)
    yield (
        failed(
            "superuser",
            "the role is no superuser: publication for all tables and event trigger are another's to make;"
            " without them new tables and changes of the schema are not captured",
            "wedsync-backup doctor --print-sql   # hand it to whoever administers the server",
        )
        if is_lacking
        else passed("superuser", "what needs a superuser can be done, or is done")
    )


def _preparation(facts: SourceFacts) -> Iterator[Check]:
    if facts.publication is None:
        yield failed("publication", "there is none", f"CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES;")
    elif not facts.publication:
        fix = f"DROP PUBLICATION {PUBLICATION}; CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES;"
        yield failed("publication", "not for all tables: a new or recreated table is never captured, in silence", fix)
    else:
        yield passed("publication", "for all tables")
    yield (
        passed("heartbeat", "the heartbeat and signal tables are there")
        if facts.has_heartbeat and facts.has_signals
        else failed("heartbeat", "a table of ours is missing: a quiet source would look dead", "wedsync-backup up")
    )
    yield (
        passed("event_trigger", "watches over new tables")
        if facts.watched.has_trigger
        else failed("event_trigger", "missing or disabled: new tables lose what UPDATE replaces", _TRIGGER_FIX)
    )
    bare = facts.watched.not_full
    fix = " ".join(f"ALTER TABLE {name} REPLICA IDENTITY FULL;" for name in bare[:_NAMES_SHOWN])
    yield (
        failed("replica_identity", f"not FULL: {_named(bare)}: what UPDATE and DELETE replaced is lost", fix)
        if bare
        else passed("replica_identity", "FULL on every table")
    )


def _slot(facts: SourceFacts) -> Iterator[Check]:
    slot = facts.slot
    if not slot.is_there:
        yield warned("slot", f"slot {SLOT} is not there yet", "wedsync-backup up")
    elif not slot.is_usable:
        yield failed("slot", f"lost: wal_status {slot.wal_status}", "wedsync-backup epoch begin --yes --lost")
    elif slot.active_pid is None:
        yield warned("slot", f"nobody reads it; it keeps {slot.kept_bytes >> 20} MiB", "wedsync-backup up")
    else:
        percent = 100 * slot.kept_bytes // slot.keep_bytes if slot.keep_bytes else 0
        says = f"read by {slot.active_pid}, {slot.wal_status}, keeps {slot.kept_bytes >> 20} MiB ({percent} %)"
        yield (
            warned("slot", says, "see `wedsync-backup status`: capture is behind")
            if percent >= LAG_WARN_PERCENT
            else passed("slot", says)
        )


def _tables(facts: SourceFacts, mapping: TableMapping) -> Iterator[Check]:
    plain = [table for table in facts.tables if table.kind == "r"]
    rules = [
        (
            "keys",
            [t.name for t in plain if not t.has_key and t.name not in mapping.tables and t.persistence == "p"],
            "without a primary key, and none declared: no copy can read them in pieces",
            lambda name: f"ALTER TABLE {name} ADD PRIMARY KEY (…);  -- or declare `key` under [mapping.tables]",
        ),
        (
            "names",
            [t.name for t in plain if not is_copiable(t.name)],
            "with a space, a dot or a double quote in their name: Debezium cannot copy them, and stops at some",
            lambda name: f"ALTER TABLE {name} RENAME TO …;",
        ),
        (
            "unlogged",
            [t.name for t in facts.tables if t.persistence == "u"],
            "unlogged: they are not in the log at all",
            lambda name: f"ALTER TABLE {name} SET LOGGED;",
        ),
        (
            "foreign_tables",
            [t.name for t in facts.tables if t.kind == "f"],
            "foreign tables: their rows are another server's, and must be captured there",
            lambda name: f"-- protect the server of {name} by an installation of its own",
        ),
    ]
    for check, names, says, fix in rules:
        yield _none_of(check, names, says, fix)
    yield (
        failed(
            "large_objects",
            f"{facts.large_objects} large objects: they are not in the log at all",
            "-- move them into bytea columns or files, then vacuumlo",
        )
        if facts.large_objects
        else passed("large_objects", "none")
    )
    yield from _mapped(facts, mapping)


def _mapped(facts: SourceFacts, mapping: TableMapping) -> Iterator[Check]:
    there = {table.name for table in facts.tables if table.kind in "rp"}
    logged = [t.name for t in facts.tables if t.kind == "r" and t.persistence == "p"]
    outbox = set() if mapping.outbox is None else {mapping.outbox.table}
    unknown = [name for name in logged if name not in mapping.tables.keys() | outbox]
    says = f"the mapping does not know {_named(unknown)}: captured, but not part of a wedding's restore"
    yield (
        warned("mapping", says, "wedsync-backup init --database URL --force   # proposes them")
        if unknown
        else passed("mapping", f"{len(mapping.tables)} tables, all known")
    )
    missing = sorted((mapping.tables.keys() | outbox) - there)
    yield (
        failed("mapped_tables", f"the database has no {_named(missing)}", "correct [mapping.tables]")
        if missing
        else passed("mapped_tables", "all there")
    )
    circle = find_circle(facts.references)
    yield (
        warned(
            "foreign_keys",
            f"a circle: {' → '.join(circle)}: a restore writes it with the constraints deferred",
            f"ALTER TABLE {circle[0]} ALTER CONSTRAINT … DEFERRABLE;",
        )
        if circle
        else passed("foreign_keys", "no circle")
    )
    parents = [table.name for table in facts.tables if table.is_inherited]
    roots = [table.name for table in facts.tables if table.kind == "p"]
    yield (
        warned(
            "inheritance",
            f"parents of INHERITS: {_named(parents)}: a copy of the parent reads its children's rows too",
            "-- use declarative partitioning, or check a restore of these tables",
        )
        if parents
        else passed("inheritance", f"none; {len(roots)} partitioned tables, captured partition by partition")
    )


def _none_of(name: str, found: Sequence[str], says: str, fix: Callable[[str], str]) -> Check:
    if not found:
        return passed(name, "none")
    return failed(name, f"{_named(found)}: {says}", " ".join(fix(each) for each in found[:_NAMES_SHOWN]))


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def _clock(facts: SourceFacts) -> Check:
    says = f"the database is {facts.skew.total_seconds():+.3f} s from this machine"
    if abs(facts.skew) > SKEW_FAIL:
        return failed("clock", f"{says}: restores by time would miss", "run NTP on both machines")
    return warned("clock", says, "run NTP on both machines") if abs(facts.skew) > SKEW_WARN else passed("clock", says)


def find_circle(references: Iterable[tuple[str, str]]) -> list[str]:
    """Return tables that refer to each other in a circle, or nothing."""
    onward: dict[str, set[str]] = {}
    for table, parent in references:
        onward.setdefault(table, set()).add(parent)
    # What refers to nothing that is left is in no circle; what remains at the end is in one, or leads into one.
    while leaves := [table for table, parents in onward.items() if not parents & onward.keys()]:
        for table in leaves:
            del onward[table]
    if not onward:
        return []
    way = [min(onward)]
    while (step := min(onward[way[-1]] & onward.keys())) not in way:
        way.append(step)
    return way[way.index(step) :]
