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
from connectors.debezium import Boundary, Captured, Change, Notice, Operation
from schemas import codec
from schemas.backup import PLATFORM, QUARANTINE, UNREAD
from schemas.change_encoder import KINDS, ChangeEncoder, text
from schemas.errors import FormatError
from schemas.shapes import SHAPE_PREFIX
from schemas.topics import SOURCE_BYTES_MAX
from streams import dead_letters, events, objects
from streams.live_rules import LiveRules
from streams.records import Outgoing, Record
from streams.released import released
from streams.row_reading import OUR_SCHEMA, as_wedding, calendar_line, date, own_name, parent_of
from streams.state import Member
from streams.witness import Continuity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.mapping import TableMapping, TableRule
    from streams.destinations import Destinations
    from streams.row_reading import Table
    from streams.state import RouterState

_SCHEMA_PREFIX: Final = "wedsync.schema"
_SINGLE_OBJECT: Final = b"\xc3\x01"
_NOWHERE: Final = text("")
_ROW: Final = KINDS["row"]
_EVENT: Final = KINDS[events.KIND]
_new: Final = tuple.__new__
"""What a named tuple does in the end, without the call between: there is one for every change."""
_PLATFORM_S: Final = (Operation.TRUNCATE, Operation.MESSAGE)


def _refuse_unfit(record: Record) -> None:
    """Refuse what its connector could not read, what is empty, and what is too large; headers count, too."""
    objects.refuse_unreadable(record)
    if not record.value:
        raise FormatError("an empty record", hint="tombstones are switched off: who else writes here?")
    dead_letters.refuse_too_large(record)


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
        self._state, self._destinations = state, destinations
        self._rules = LiveRules(mapping, state, source)
        self._continuity = Continuity(source, epoch, state.witness)
        self._encode = ChangeEncoder(source, epoch).encode
        self._committed_us = 0
        self._now = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._out: list[Outgoing] = []
        self._is_retry = self._has_place = False
        self._ours = {"ApplicationEvent": self._event, "DeadLetter": self._retry}
        self.dead_letters = 0

    def decide(self, records: Sequence[Record], *, committed_us: int, now: dt.datetime) -> tuple[list[Outgoing], int]:
        """Return what to produce, and the time of the last whole commit, in microseconds."""
        self._committed_us, self._now = committed_us, now
        self._order = self._state.order(self._source, self._epoch)
        outgoing = self._out = []
        for record in records:
            self._has_place = False
            try:
                self._route(record)
            except dead_letters.POISON as error:
                if not self._has_place:
                    # The log has a hole where this record lies, and the order must not stop at it.
                    self._order.pass_over()
                self._dead_letter(record, dead_letters.reason_of(error))
        return outgoing, self._committed_us

    def _route(self, record: Record) -> None:
        value = record.value
        if not value or len(value) > SOURCE_BYTES_MAX or record.headers:
            _refuse_unfit(record)
            assert value is not None
        if value[0] == _SINGLE_OBJECT[0] and value.startswith(_SINGLE_OBJECT):
            self._ours.get(codec.name_of(value), self._object)(record)
            return
        captured = debezium.parse(value)
        if type(captured) is Notice:
            self._notice(captured, record)
            return
        if not self._is_retry and self._is_repeated(captured, record):
            return
        self._has_place = True
        if type(captured) is Change:
            self._change(captured, record)
        else:
            assert type(captured) is Boundary
            self._boundary(captured, record)

    def _is_repeated(self, captured: Captured, record: Record) -> bool:
        if (
            type(captured) is Change
            and captured.operation is not Operation.READ
            # Nearly all come one right behind the other: two numbers say so.
            and self._order.takes(captured.after_lsn, captured.order)
        ):
            return False
        assert not isinstance(captured, Notice)
        return self._continuity.is_repeated(
            self._order, captured, record.offset, committed_us=self._committed_us, now=self._now
        )

    def _change(self, change: Change, record: Record) -> None:
        table = self._rules.table(change.table)
        if table.is_ours:
            if not self._is_retry:
                self._continuity.check_beat(change, record.offset, now=self._now)
            self._committed_us = max(self._committed_us, change.committed_us)
        elif change.operation in _PLATFORM_S:
            self._platform_event(change, table, record)
        elif table.is_outbox:
            self._outbox(change, table, record)
        else:
            self._row(debezium.with_whole_images(change), table, record)

    def _retry(self, record: Record) -> None:
        """Route the record inside a letter, at the position and with the instants it had; tell what came of it."""
        letter = dead_letters.letter_in(record, self._source)
        present, begin, reason = (self._epoch, self._encode, self._committed_us), len(self._out), ""
        self._epoch, self._committed_us, self._is_retry = letter["epoch"], letter["committed_at"], True
        self._encode = ChangeEncoder(self._source, self._epoch).encode
        try:
            self._route(dead_letters.record_of(letter))
        except dead_letters.POISON as error:
            reason = dead_letters.reason_of(error)
        finally:
            (self._epoch, self._encode, self._committed_us), self._is_retry = present, False
        self._out[begin:] = map(dead_letters.sealed_again, self._out[begin:])
        self._keep_unread([dead_letters.retried_change(letter, reason, self._epoch, record)])

    def _keep_unread(self, changes: Sequence[bytes]) -> None:
        to = self._destinations.of(UNREAD, self._now)
        self._out.extend(Outgoing(to.topic, to.partition, to.key, value, to.headers) for value in changes)

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

    def _platform_event(self, change: Change, table: Table, record: Record) -> None:
        if change.transaction:
            self._committed_us = change.committed_us
        kind = "truncate" if change.operation is Operation.TRUNCATE else "message"
        if change.prefix in (_SCHEMA_PREFIX, SHAPE_PREFIX):
            kind = "schema"
        if change.prefix == SHAPE_PREFIX:
            assert record.value is not None
            content = debezium.message_content(record.value)
            self._rules.take(content, epoch=self._epoch, position=record.offset)
        self._out.append(
            self._outgoing(
                record,
                PLATFORM,
                KINDS[kind],
                committed_at=change.committed_us,
                table=table.encoded,
                transaction=change.transaction,
                order=change.order,
            )
        )

    def _row(self, change: Change, table: Table, record: Record) -> None:
        operation, _, before, after, committed_us, transaction, order, *_ = change
        if operation is not Operation.READ:
            self._committed_us = committed_us
        elif self._committed_us:
            # A row read by a snapshot is as old as the last commit before it, whatever its own clock says.
            committed_us = self._committed_us
        weddings = self._weddings(before, after, table.rule)
        if table.is_followed and after is not None:
            self._learn_members(change, after, table, Member(weddings[-1], self._epoch, record.offset))
        if table.is_calendar or table.due is not None:
            self._learn_dates(change, table, weddings[-1])
        for wedding in weddings:
            outgoing = self._outgoing(
                record,
                wedding,
                _ROW,
                committed_us,
                table=table.encoded,
                transaction=transaction,
                order=order,
                also=() if len(weddings) == 1 else [each for each in weddings if each != wedding],
            )
            if wedding == QUARANTINE:
                self._wait(change, table, record, outgoing)
            self._out.append(outgoing)
        if self._state.has_waiting and table.is_followed:
            self._release_children_of(change, table, weddings[-1])

    def _weddings(
        self, before: dict[str, Any] | None, after: dict[str, Any] | None, rule: TableRule | None
    ) -> Sequence[str]:
        """Return the weddings of both images, the present one last: a moved row lies in both."""
        if rule is None or rule.is_platform:
            return (PLATFORM,)
        if after is None:
            return (PLATFORM if before is None else self._wedding_of(before, rule),)
        now = self._wedding_of(after, rule)
        # Nearly always both images name one wedding in one column.
        column = rule.wedding_column
        if before is None or (column is not None and before.get(column) == now):
            return (now,)
        then = self._wedding_of(before, rule)
        return (now,) if then == now else (then, now)

    def _wedding_of(self, image: dict[str, Any], rule: TableRule) -> str:
        if rule.wedding_column is not None:
            wedding = image.get(rule.wedding_column)
            return PLATFORM if wedding is None else as_wedding(wedding if type(wedding) is str else str(wedding))
        parent = parent_of(image, rule)
        if parent is None:
            return PLATFORM
        return self._state.wedding_of(parent) or QUARANTINE

    def _learn_members(self, change: Change, image: dict[str, Any], table: Table, member: Member) -> None:
        """Remember whose a row is that others follow."""
        for columns in table.references:
            parent = own_name(change.table, image, columns)
            # Under quarantine too: a row that moved to an unknown parent is no longer where it was.
            if member.wedding == QUARANTINE or self._state.wedding_of(parent) != member.wedding:
                self._state.remember_member(parent, member, may_move=change.operation is not Operation.READ)

    def _learn_dates(self, change: Change, table: Table, wedding: str) -> None:
        """Remember what a row says of its wedding's day, or of a day by which something is promised."""
        if table.rule is None or wedding == QUARANTINE:
            return
        # Known before and asked again afterwards, a wedding that came into a faster lane is noticed.
        self._destinations.of(wedding, self._now)
        if table.is_calendar and change.after is not None:
            line = calendar_line(change.after, self._rules.mapping)
            # Of two rows of the calendar nobody knows which is the newer: a letter's is taken for the older.
            if not self._is_retry or self._state.wedding(line.wedding) is None:
                self._state.remember_wedding(line)
        if self._is_retry:
            return
        if table.due is not None and wedding != PLATFORM:
            day = date(change.after.get(table.due)) if change.after is not None else None
            self._state.remember_delivery(own_name(change.table, change.image, table.rule.key), wedding, day)

    def _wait(self, change: Change, table: Table, record: Record, outgoing: Outgoing) -> None:
        """Wait for each unknown parent: the one the row had as well as the one it has now."""
        assert table.rule is not None
        assert outgoing.value is not None
        for image in (change.before, change.after):
            if image is not None and self._wedding_of(image, table.rule) == QUARANTINE:
                parent = parent_of(image, table.rule)
                assert parent is not None
                self._state.wait_for_parent(parent, self._source, self._epoch, record.offset, outgoing.value)

    def _release_children_of(self, change: Change, table: Table, wedding: str) -> None:
        """Seal again, under its wedding, whatever waited for the row just seen; its own children in turn."""
        if change.after is None or wedding == QUARANTINE:
            return
        for columns in table.references:
            name = own_name(change.table, change.after, columns)
            for waited in released(name, wedding, state=self._state, rules=self._rules):
                to = self._destinations.of(wedding, self._now)
                again = {**waited, "wedding": wedding, "residency": to.residency, "again": True}
                value = codec.encode("BackupChange", again)
                self._out.append(Outgoing(to.topic, to.partition, to.key, value, to.headers))

    def _object(self, record: Record) -> None:
        assert record.value is not None
        notice = storage.decode_notice(record.value)
        self._committed_us = max(self._committed_us, notice.modified_us)
        mapping, member = self._rules.mapping, Member(PLATFORM, self._epoch, record.offset)
        wedding = objects.wedding_of(notice, mapping, self._state, member)
        if wedding not in (PLATFORM, QUARANTINE) and notice.action is storage.ObjectAction.PUT:
            self._uploads(record, wedding, notice.modified_us)
        kind = KINDS[f"object_{notice.action.value}"]
        self._out.append(outgoing := self._outgoing(record, wedding, kind, committed_at=notice.modified_us))
        for row in objects.rows_with(notice.key, mapping) if wedding == QUARANTINE else ():
            assert outgoing.value is not None
            self._state.wait_for_parent(row, self._source, self._epoch, record.offset, outgoing.value)

    def _event(self, record: Record) -> None:
        assert record.value is not None
        wedding, received_us, is_upload = events.of_application(record.value)
        self._committed_us = max(self._committed_us, received_us)
        if is_upload and wedding != PLATFORM:
            self._uploads(record, wedding, received_us)
        until = events.urgent_until(record.value, came_us=record.timestamp_ms * 1000)
        if until is not None and wedding != PLATFORM:
            self._destinations.of(wedding, self._now)
            self._state.remember_urgent(wedding, until)
        self._out.append(self._outgoing(record, wedding, _EVENT, committed_at=received_us))

    def _uploads(self, record: Record, wedding: str, at_us: int) -> None:
        self._destinations.of(wedding, self._now)
        # A store whose clock is ahead must not keep a wedding in the critical lane for ever.
        self._state.remember_upload(wedding, min(at_us, record.timestamp_ms * 1000))

    def _outbox(self, change: Change, table: Table, record: Record) -> None:
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
                events.of_outbox(change, self._rules.mapping),
                _EVENT,
                committed_at=committed_us,
                table=table.encoded,
                transaction=change.transaction,
                order=change.order,
            )
        )

    def _outgoing(
        self,
        record: Record,
        wedding: str,
        kind: bytes,
        committed_at: int,
        *,
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
        return _new(Outgoing, (to.topic, to.partition, to.key, value, to.headers))

    def _dead_letter(self, record: Record, reason: str) -> None:
        """Keep a record that cannot be read: on the topic for whoever looks there, and in the archive for good."""
        self.dead_letters += 1
        self._out.append(dead_letters.on_its_topic(record, self._topic, reason))
        place = dead_letters.Place(
            origin=self._topic, source=self._source, epoch=self._epoch, committed_us=max(0, self._committed_us)
        )
        self._keep_unread(dead_letters.letter_changes(record, place, reason))
