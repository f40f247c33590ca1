"""What becomes of one captured record: which weddings, which lane, or a dead letter.

A synchronous decision over a record and the router's memory; the memory is the only thing it
changes. Nothing is ever dropped for being odd: a record that cannot be read becomes a dead letter,
a row without a wedding is the platform's, a row whose parent is unknown goes under quarantine and
is sealed again once the parent is known.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectors import debezium, storage
from connectors.debezium import Boundary, Change, Notice, Operation
from schemas import codec
from schemas.backup import PLATFORM, QUARANTINE, Residency, residency_of_country
from schemas.change_encoder import KINDS, ChangeEncoder, text
from schemas.errors import FormatError
from schemas.topics import DEAD_LETTERS
from schemas.wedding import Wedding
from streams import events
from streams.records import Outgoing, Record
from streams.state import Member, parent_name
from streams.witness import Continuity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.mapping import TableMapping, TableRule
    from streams.destinations import Destinations
    from streams.state import RouterState

OUR_SCHEMA: Final = "wedsync."
"""Heartbeats and signals are ours: they move the frontier and are not worth a copy."""

_MESSAGE_SCHEMA: Final = "wedsync.schema"
_SINGLE_OBJECT: Final = b"\xc3\x01"
_EPOCH_DAY: Final = dt.date(1970, 1, 1)
_NOWHERE: Final = text("")
_ROW: Final = KINDS["row"]
_EVENT: Final = KINDS[events.KIND]


class Table(NamedTuple):
    """What routing must know of one table, looked up once: its rule, and by which columns others point at it."""

    rule: TableRule | None
    encoded: bytes
    references: tuple[tuple[str, ...], ...]
    is_calendar: bool
    due: str | None


class SourceRouting:
    """Decides for one source and epoch; call in offset order, inside the state's batch."""

    def __init__(
        self,
        *,
        source: str,
        epoch: int,
        mapping: TableMapping,
        state: RouterState,
        destinations: Destinations,
        topic: str,
    ) -> None:
        self._source, self._epoch, self._topic = source, epoch, topic
        self._mapping, self._state, self._destinations = mapping, state, destinations
        self._references = _references(mapping)
        self._deliveries = {rule.table: rule.due for rule in mapping.deliveries}
        self._continuity = Continuity(source, epoch, state.witness)
        self._tables: dict[str, Table] = {}
        self._encode = ChangeEncoder(source, epoch).encode
        self._committed_us = 0
        self._now = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._out: list[Outgoing] = []
        self.dead_letters = 0

    def decide(self, records: Sequence[Record], *, committed_us: int, now: dt.datetime) -> tuple[list[Outgoing], int]:
        """Return what to produce, and the time of the last whole commit, in microseconds."""
        self._committed_us, self._now = committed_us, now
        outgoing = self._out = []
        for record in records:
            try:
                self._route(record)
            except (FormatError, UnicodeDecodeError, RecursionError) as error:
                outgoing.append(self._dead_letter(record, str(error)))
        return outgoing, self._committed_us

    def _route(self, record: Record) -> None:
        if not record.value:
            raise FormatError("an empty record", hint="tombstones are switched off: who else writes here?")
        if record.value.startswith(_SINGLE_OBJECT):
            (self._event if events.is_event(record.value) else self._object)(record)
            return
        captured = debezium.parse(record.value)
        if isinstance(captured, Notice):
            self._notice(captured, record)
            return
        order = self._state.order(self._source, self._epoch)
        if self._continuity.is_repeated(order, captured, record.offset, committed_us=self._committed_us, now=self._now):
            return
        if isinstance(captured, Boundary):
            self._boundary(captured, record)
        elif captured.table.startswith(OUR_SCHEMA):
            self._continuity.check_beat(captured, record.offset, now=self._now)
            self._committed_us = max(self._committed_us, captured.committed_us)
        elif captured.operation in (Operation.TRUNCATE, Operation.MESSAGE):
            self._platform_event(captured, record)
        elif self._mapping.outbox is not None and captured.table == self._mapping.outbox.table:
            self._outbox(captured, record)
        else:
            self._row(captured, record)

    def _notice(self, notice: Notice, record: Record) -> None:
        """Pass on that a table's copy is complete: restore must know from where on it has every row."""
        self._continuity.note_copy(notice.fields, record.offset, now=self._now)
        if notice.fields.get("type") == "TABLE_SCAN_COMPLETED":
            table = str((notice.fields.get("additional_data") or {}).get("scanned_collection", ""))
            self._out.append(
                self._outgoing(record, PLATFORM, KINDS["snapshot"], committed_at=self._committed_us, table=text(table))
            )

    def _boundary(self, boundary: Boundary, record: Record) -> None:
        # END has whole milliseconds, its rows microseconds of the same commit.
        if self._committed_us // 1000 != boundary.committed_us // 1000:
            self._committed_us = boundary.committed_us
        if any(not table.startswith(OUR_SCHEMA) for table in boundary.counts) or not boundary.counts:
            transaction = boundary.transaction
            self._out.append(
                self._outgoing(
                    record, PLATFORM, KINDS["commit"], committed_at=self._committed_us, transaction=transaction
                )
            )

    def _platform_event(self, change: Change, record: Record) -> None:
        if change.transaction:
            self._committed_us = change.committed_us
        kind = "truncate" if change.operation is Operation.TRUNCATE else "message"
        if change.prefix == _MESSAGE_SCHEMA:
            kind = "schema"
        table = self._table(change.table).encoded
        self._out.append(
            self._outgoing(
                record,
                PLATFORM,
                KINDS[kind],
                committed_at=change.committed_us,
                table=table,
                transaction=change.transaction,
                order=change.order,
            )
        )

    def _row(self, change: Change, record: Record) -> None:
        change = debezium.with_whole_images(change)
        table = self._table(change.table)
        committed_us = change.committed_us
        if change.operation is not Operation.READ:
            self._committed_us = committed_us
        elif self._committed_us:
            # A row read by a snapshot is as old as the last commit before it, whatever its own clock says.
            committed_us = self._committed_us
        weddings = self._weddings(change, table.rule)
        self._learn(change, table, weddings[-1], record.offset)
        for wedding in weddings:
            also = () if len(weddings) == 1 else [each for each in weddings if each != wedding]
            outgoing = self._outgoing(
                record,
                wedding,
                _ROW,
                committed_at=committed_us,
                table=table.encoded,
                transaction=change.transaction,
                order=change.order,
                also=also,
            )
            if wedding == QUARANTINE:
                self._wait(change, table, record, outgoing)
            self._out.append(outgoing)
        if table.references:
            self._release_children_of(change, table, weddings[-1])

    def _table(self, name: str) -> Table:
        """Return what to do with a table's rows; forget `_tables` whenever a rule changes."""
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = Table(
                rule=self._mapping.rule(name),
                encoded=text(name),
                references=tuple(sorted(self._references.get(name, ()))),
                is_calendar=name == self._mapping.calendar.table,
                due=self._deliveries.get(name),
            )
        return table

    def _weddings(self, change: Change, rule: TableRule | None) -> list[str]:
        """Return the weddings of both images, the present one last: a moved row lies in both."""
        if rule is None or rule.is_platform:
            return [PLATFORM]
        if change.after is None:
            return [PLATFORM if change.before is None else self._wedding_of(change.before, rule)]
        now = self._wedding_of(change.after, rule)
        if change.before is None or (then := self._wedding_of(change.before, rule)) == now:
            return [now]
        return [then, now]

    def _wedding_of(self, image: dict[str, Any], rule: TableRule) -> str:
        if rule.wedding_column is not None:
            wedding = image.get(rule.wedding_column)
            return PLATFORM if wedding is None else str(wedding)
        parent = _parent_of(image, rule)
        if parent is None:
            return PLATFORM
        return self._state.wedding_of(parent) or QUARANTINE

    def _learn(self, change: Change, table: Table, wedding: str, position: int) -> None:
        if table.rule is None:
            return
        if table.references and change.after is not None:
            # Under quarantine too: a row that moved to an unknown parent is no longer where it was.
            member = Member(wedding, self._epoch, position)
            for columns in table.references:
                self._state.remember_member(_own_name(change.table, change.after, columns), member)
        if wedding == QUARANTINE:
            return
        if table.is_calendar or table.due is not None:
            # Known before and asked again afterwards, a wedding that came into a faster lane is noticed.
            self._destinations.of(wedding, self._now)
        if table.is_calendar and change.after is not None:
            self._state.remember_wedding(_calendar_line(change.after, self._mapping))
        if table.due is not None and wedding != PLATFORM:
            day = _date(change.after.get(table.due)) if change.after is not None else None
            self._state.remember_delivery(_own_name(change.table, change.image, table.rule.key), wedding, day)

    def _wait(self, change: Change, table: Table, record: Record, outgoing: Outgoing) -> None:
        """Wait for each unknown parent: the one the row had as well as the one it has now."""
        assert table.rule is not None
        assert outgoing.value is not None
        for image in (change.before, change.after):
            if image is not None and self._wedding_of(image, table.rule) == QUARANTINE:
                parent = _parent_of(image, table.rule)
                assert parent is not None
                self._state.wait_for_parent(parent, self._source, self._epoch, record.offset, outgoing.value)

    def _release_children_of(self, change: Change, table: Table, wedding: str) -> None:
        """Seal again, under its wedding, whatever waited for the row just seen; its own children in turn."""
        if change.after is None or wedding == QUARANTINE:
            return
        for columns in table.references:
            self._release(_own_name(change.table, change.after, columns), wedding)

    def _release(self, parent: bytes, wedding: str) -> None:
        for value in self._state.take_waiting(parent):
            record = codec.decode("BackupChange", value)
            to = self._destinations.of(wedding, self._now)
            again = {**record, "wedding": wedding, "residency": to.residency, "again": True}
            self._out.append(Outgoing(to.topic, to.partition, to.key, codec.encode("BackupChange", again), to.headers))
            self._release_children(record, parent, wedding)

    def _release_children(self, record: dict[str, Any], parent: bytes, wedding: str) -> None:
        """Do the same for what follows the row just released, if it is (and stays) with this parent."""
        change = debezium.parse(record["payload"])
        assert isinstance(change, Change)
        table = self._table(change.table)
        assert table.rule is not None
        if _parent_of(change.image, table.rule) != parent:
            return
        for columns in table.references:
            name = _own_name(change.table, change.image, columns)
            if self._state.remember_member(name, Member(wedding, record["epoch"], record["position"])):
                self._release(name, wedding)

    def _object(self, record: Record) -> None:
        assert record.value is not None
        notice = storage.decode_notice(record.value)
        self._committed_us = max(self._committed_us, notice.modified_us)
        wedding = storage.wedding_of_key(notice.key, self._mapping) or PLATFORM
        if wedding != PLATFORM and notice.action is storage.ObjectAction.PUT:
            self._destinations.of(wedding, self._now)
            # A store whose clock is ahead must not keep a wedding in the critical lane for ever.
            self._state.remember_upload(wedding, min(notice.modified_us, record.timestamp_ms * 1000))
        self._out.append(
            self._outgoing(record, wedding, KINDS[f"object_{notice.action.value}"], committed_at=notice.modified_us)
        )

    def _event(self, record: Record) -> None:
        assert record.value is not None
        wedding, received_us, is_upload = events.of_application(record.value)
        self._committed_us = max(self._committed_us, received_us)
        if is_upload and wedding != PLATFORM:
            self._state.remember_upload(wedding, min(received_us, record.timestamp_ms * 1000))
        self._out.append(self._outgoing(record, wedding, _EVENT, committed_at=received_us))

    def _outbox(self, change: Change, record: Record) -> None:
        """Pass on a row of the outbox: an event in its transaction's order, nobody's row and nobody's parent."""
        committed_us = change.committed_us
        if change.operation is not Operation.READ:
            self._committed_us = committed_us
        elif self._committed_us:
            committed_us = self._committed_us
        change = debezium.with_whole_images(change)
        self._out.append(
            self._outgoing(
                record,
                events.of_outbox(change, self._mapping),
                _EVENT,
                committed_at=committed_us,
                table=self._table(change.table).encoded,
                transaction=change.transaction,
                order=change.order,
            )
        )

    def _outgoing(
        self,
        record: Record,
        wedding: str,
        kind: bytes,
        *,
        committed_at: int,
        table: bytes = _NOWHERE,
        transaction: int = 0,
        order: int = 0,
        also: Sequence[str] = (),
    ) -> Outgoing:
        assert record.value is not None
        to = self._destinations.of(wedding, self._now)
        value = self._encode(
            position=record.offset,
            kind=kind,
            owner=to.owner,
            table=table,
            transaction=transaction,
            order=order,
            committed_at=committed_at,
            captured_at=record.timestamp_ms * 1000,
            also=also,
            payload=record.value,
        )
        return Outgoing(to.topic, to.partition, to.key, value, to.headers)

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
