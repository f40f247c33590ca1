"""What becomes of one captured record: which weddings, which lane, or a dead letter.

A synchronous decision over a record and the router's memory; the memory is the only thing it
changes. Nothing is ever dropped for being odd: a record that cannot be read becomes a dead letter,
a row without a wedding is the platform's, a row whose parent is unknown goes under quarantine and
is sealed again once the parent is known.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from connectors import debezium, storage
from connectors.debezium import Boundary, Change, Notice, Operation
from schemas import codec
from schemas.backup import PLATFORM, QUARANTINE, Priority, Residency, residency_of_country
from schemas.errors import FormatError
from schemas.partitioning import partition_of
from schemas.topics import DEAD_LETTERS, backup_topic
from schemas.wedding import Wedding
from streams.priority import classify, valid_until
from streams.records import Outgoing, Record
from streams.state import Member, parent_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.mapping import TableMapping, TableRule
    from streams.state import RouterState

OUR_SCHEMA: Final = "wedsync."
"""Heartbeats and signals are ours: they move the frontier and are not worth a copy."""

_MESSAGE_SCHEMA: Final = "wedsync.schema"
_SINGLE_OBJECT: Final = b"\xc3\x01"
_EPOCH_DAY: Final = dt.date(1970, 1, 1)


class SourceRouting:
    """Decides for one source and epoch; call in offset order, inside the state's batch."""

    def __init__(
        self, *, source: str, epoch: int, mapping: TableMapping, state: RouterState, partitions: int, topic: str
    ) -> None:
        self._source, self._epoch, self._topic = source, epoch, topic
        self._mapping, self._state, self._partitions = mapping, state, partitions
        self._references = _references(mapping)
        self._deliveries = {rule.table: rule.due for rule in mapping.deliveries}
        self._lanes: dict[str, tuple[Wedding | None, dt.datetime, Priority]] = {}
        self._committed_us = 0
        self.dead_letters = 0

    def decide(self, records: Sequence[Record], *, committed_us: int, now: dt.datetime) -> tuple[list[Outgoing], int]:
        """Return what to produce, and the time of the last whole commit, in microseconds."""
        self._committed_us = committed_us
        outgoing: list[Outgoing] = []
        for record in records:
            try:
                outgoing.extend(self._route(record, now))
            except (FormatError, UnicodeDecodeError, RecursionError) as error:
                outgoing.append(self._dead_letter(record, str(error)))
        return outgoing, self._committed_us

    def _route(self, record: Record, now: dt.datetime) -> Iterator[Outgoing]:
        if not record.value:
            raise FormatError("an empty record", hint="tombstones are switched off: who else writes here?")
        if record.value.startswith(_SINGLE_OBJECT):
            yield self._object(record, now)
            return
        captured = debezium.parse(record.value)
        if isinstance(captured, Notice):
            yield from self._notice(captured, record, now)
            return
        if self._state.order(self._source, self._epoch).is_repeated(captured):
            return
        if isinstance(captured, Boundary):
            yield from self._boundary(captured, record, now)
        elif not captured.table.startswith(OUR_SCHEMA):
            yield from self._change(captured, record, now)
        else:
            self._committed_us = max(self._committed_us, captured.committed_us)

    def _notice(self, notice: Notice, record: Record, now: dt.datetime) -> Iterator[Outgoing]:
        """Pass on that a table's copy is complete: restore must know from where on it has every row."""
        if notice.fields.get("type") == "TABLE_SCAN_COMPLETED":
            table = str((notice.fields.get("additional_data") or {}).get("scanned_collection", ""))
            yield self._outgoing(record, PLATFORM, now, kind="snapshot", table=table, committed_at=self._committed_us)

    def _boundary(self, boundary: Boundary, record: Record, now: dt.datetime) -> Iterator[Outgoing]:
        # END has whole milliseconds, its rows microseconds of the same commit.
        if self._committed_us // 1000 != boundary.committed_us // 1000:
            self._committed_us = boundary.committed_us
        if any(not table.startswith(OUR_SCHEMA) for table in boundary.counts) or not boundary.counts:
            yield self._outgoing(
                record, PLATFORM, now, kind="commit", transaction=boundary.transaction, committed_at=self._committed_us
            )

    def _change(self, change: Change, record: Record, now: dt.datetime) -> Iterator[Outgoing]:
        if change.operation in (Operation.TRUNCATE, Operation.MESSAGE):
            yield self._platform_event(change, record, now)
            return
        change = debezium.with_whole_images(change)
        rule = self._mapping.rule(change.table)
        if change.operation is not Operation.READ:
            self._committed_us = change.committed_us
        weddings = self._weddings(change, rule)
        self._learn(change, rule, weddings[-1], record.offset)
        for wedding in weddings:
            also = [each for each in weddings if each != wedding]
            outgoing = self._row(change, record, wedding, now, also)
            if wedding == QUARANTINE:
                self._wait(change, rule, record, outgoing)
            yield outgoing
        yield from self._released(change, weddings[-1], now)

    def _platform_event(self, change: Change, record: Record, now: dt.datetime) -> Outgoing:
        if change.transaction:
            self._committed_us = change.committed_us
        kind = "truncate" if change.operation is Operation.TRUNCATE else "message"
        if change.prefix == _MESSAGE_SCHEMA:
            kind = "schema"
        return self._outgoing(
            record,
            PLATFORM,
            now,
            kind=kind,
            table=change.table,
            transaction=change.transaction,
            order=change.order,
            committed_at=change.committed_us,
        )

    def _row(self, change: Change, record: Record, wedding: str, now: dt.datetime, also: list[str]) -> Outgoing:
        # A row read by a snapshot is as old as the last commit before it, whatever its own clock says.
        is_read = change.operation is Operation.READ
        return self._outgoing(
            record,
            wedding,
            now,
            kind="row",
            table=change.table,
            transaction=change.transaction,
            order=change.order,
            committed_at=self._committed_us if is_read and self._committed_us else change.committed_us,
            also=also,
        )

    def _weddings(self, change: Change, rule: TableRule | None) -> list[str]:
        """Return the weddings of both images, the present one last: a moved row lies in both."""
        found = [self._wedding_of(image, rule) for image in (change.before, change.after) if image is not None]
        return list(dict.fromkeys(found)) or [PLATFORM]

    def _wedding_of(self, image: dict[str, Any], rule: TableRule | None) -> str:
        if rule is None or rule.is_platform:
            return PLATFORM
        if rule.wedding_column is not None:
            wedding = image.get(rule.wedding_column)
            return PLATFORM if wedding is None else str(wedding)
        parent = _parent_of(image, rule)
        if parent is None:
            return PLATFORM
        return self._state.wedding_of(parent) or QUARANTINE

    def _learn(self, change: Change, rule: TableRule | None, wedding: str, position: int) -> None:
        if rule is None:
            return
        if change.after is not None:
            # Under quarantine too: a row that moved to an unknown parent is no longer where it was.
            for columns in self._references.get(change.table, ()):
                name = _own_name(change.table, change.after, columns)
                self._state.remember_member(name, Member(wedding, self._epoch, position))
        if wedding == QUARANTINE:
            return
        if change.after is not None and change.table == self._mapping.calendar.table:
            self._state.remember_wedding(_calendar_line(change.after, self._mapping))
        if (due := self._deliveries.get(change.table)) is not None and wedding != PLATFORM:
            day = _date(change.after.get(due)) if change.after is not None else None
            self._state.remember_delivery(_own_name(change.table, change.image, rule.key), wedding, day)

    def _wait(self, change: Change, rule: TableRule | None, record: Record, outgoing: Outgoing) -> None:
        """Wait for each unknown parent: the one the row had as well as the one it has now."""
        assert rule is not None
        assert outgoing.value is not None
        for image in (change.before, change.after):
            if image is not None and self._wedding_of(image, rule) == QUARANTINE:
                parent = _parent_of(image, rule)
                assert parent is not None
                self._state.wait_for_parent(parent, self._source, self._epoch, record.offset, outgoing.value)

    def _released(self, change: Change, wedding: str, now: dt.datetime) -> Iterator[Outgoing]:
        """Seal again, under its wedding, whatever waited for the row just seen; its own children in turn."""
        if change.after is None or wedding == QUARANTINE:
            return
        for columns in self._references.get(change.table, ()):
            yield from self._release(_own_name(change.table, change.after, columns), wedding, now)

    def _release(self, parent: bytes, wedding: str, now: dt.datetime) -> Iterator[Outgoing]:
        for value in self._state.take_waiting(parent):
            record = codec.decode("BackupChange", value)
            residency = self._residency(wedding)
            again = codec.encode("BackupChange", {**record, "wedding": wedding, "residency": residency, "again": True})
            yield self._on_lane(wedding, now, again)
            yield from self._release_children(record, parent, wedding, now)

    def _release_children(
        self, record: dict[str, Any], parent: bytes, wedding: str, now: dt.datetime
    ) -> Iterator[Outgoing]:
        """Do the same for what follows the row just released, if it is (and stays) with this parent."""
        change = debezium.parse(record["payload"])
        assert isinstance(change, Change)
        rule = self._mapping.rule(change.table)
        assert rule is not None
        if _parent_of(change.image, rule) != parent:
            return
        for columns in self._references.get(change.table, ()):
            name = _own_name(change.table, change.image, columns)
            if self._state.remember_member(name, Member(wedding, record["epoch"], record["position"])):
                yield from self._release(name, wedding, now)

    def _object(self, record: Record, now: dt.datetime) -> Outgoing:
        assert record.value is not None
        notice = storage.decode_notice(record.value)
        self._committed_us = max(self._committed_us, notice.modified_us)
        wedding = storage.wedding_of_key(notice.key, self._mapping) or PLATFORM
        return self._outgoing(
            record, wedding, now, kind=f"object_{notice.action.value}", committed_at=notice.modified_us
        )

    def _outgoing(self, record: Record, wedding: str, now: dt.datetime, **fields: Any) -> Outgoing:
        change = {
            "source": self._source,
            "epoch": self._epoch,
            "position": record.offset,
            "wedding": wedding,
            "residency": self._residency(wedding),
            "captured_at": record.timestamp_ms * 1000,
            "payload": record.value,
            **fields,
        }
        return self._on_lane(wedding, now, codec.encode("BackupChange", change))

    def _on_lane(self, wedding: str, now: dt.datetime, value: bytes) -> Outgoing:
        topic = backup_topic(self._lane(wedding, now))
        return Outgoing(topic, partition_of(wedding, self._partitions), wedding.encode(), value)

    def _residency(self, wedding: str) -> str:
        line = self._state.wedding(wedding)
        return (line.residency if line is not None else Residency.UNKNOWN).value

    def _lane(self, wedding: str, now: dt.datetime) -> Priority:
        line = self._state.wedding(wedding)
        cached = self._lanes.get(wedding)
        if cached is not None and cached[0] is line and now < cached[1]:
            return cached[2]
        # Ends and schemas are needed by every restore, so they travel with the most urgent.
        lane = Priority.CRITICAL if wedding == PLATFORM else Priority.STANDARD
        if line is not None:
            lane = classify(line, now=now)
        self._lanes[wedding] = (line, valid_until(now), lane)
        return lane

    def _dead_letter(self, record: Record, reason: str) -> Outgoing:
        self.dead_letters += 1
        headers = (
            *record.headers,
            ("wedsync.reason", reason.encode()),
            ("wedsync.topic", self._topic.encode()),
            ("wedsync.offset", str(record.offset).encode()),
        )
        return Outgoing(DEAD_LETTERS, None, record.key, record.value, headers)


def _references(mapping: TableMapping) -> dict[str, set[tuple[str, ...]]]:
    """Return, for each table that others follow, by which columns they point at it."""
    pointed: dict[str, set[tuple[str, ...]]] = {}
    for rule in mapping.tables.values():
        if rule.parent is not None:
            pointed.setdefault(rule.parent.table, set()).add(rule.parent.references)
    return pointed


def _parent_of(image: dict[str, Any], rule: TableRule) -> bytes | None:
    assert rule.parent is not None
    values = [image.get(column) for column in rule.parent.columns]
    return None if any(value is None for value in values) else parent_name(rule.parent.table, values)


def _own_name(table: str, image: dict[str, Any], columns: Sequence[str]) -> bytes:
    return parent_name(table, [image.get(column) for column in columns])


def _calendar_line(image: dict[str, Any], mapping: TableMapping) -> Wedding:
    rule = mapping.calendar
    if image.get(rule.wedding) is None:
        raise FormatError(f"a row of {rule.table} has no {rule.wedding}", hint="does the calendar rule fit the table?")
    zone = image.get(rule.venue_zone)
    country = image.get(rule.residency) if rule.residency else None
    return Wedding(
        wedding=str(image[rule.wedding]),
        day=_date(image.get(rule.day)),
        venue_zone=str(zone) if zone else None,
        residency=residency_of_country(str(country)) if country else Residency.UNKNOWN,
    )


def _date(value: object) -> dt.date | None:
    """Return a date of Debezium's: days since 1970, or ISO text; anything else is no date."""
    try:
        if isinstance(value, int):
            return _EPOCH_DAY + dt.timedelta(days=value)
        return dt.date.fromisoformat(str(value)[:10]) if value else None
    except (ValueError, OverflowError):
        return None
