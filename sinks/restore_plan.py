"""Which rows and objects existed at the cut. Pure: changes in, in any order and any number of times, state out.

Of each row and each object the newest version at or below the cut counts; all others are passed over, so
that memory follows what is alive and not how often it changed. What decides is the order of the log
(epoch, position), never the order of arrival: a change that was routed twice, or sealed again under
another wedding, is the same change. A TRUNCATE kills what lies before it. A row belongs to the wedding
that its last image names, or that its parent belongs to. A row that moved lies in the history of two
weddings, and may have changed again in the other: `related` says whose histories must be read as well.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors import debezium, storage
from connectors.debezium import Boundary, Change, Notice, Operation
from connectors.storage import ObjectAction, ObjectNotice
from connectors.table_copies import is_partial
from schemas.backup import UNREAD
from schemas.errors import FormatError
from schemas.shapes import SHAPE_PREFIX, parse_shape
from sinks.commits import commit_of
from sinks.cut import Order, instant
from sinks.restored_events import Events
from sinks.restored_sequences import Sequences, UsedNumbers, without_column
from sinks.row_versions import START, RowVersions
from sinks.schema_ddl import schema_sql
from sinks.schema_history import SchemaHistory
from streams.dead_letters import Letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connectors.debezium import Image
    from schemas.mapping import TableMapping, TableRule
    from sinks.cut import Cut
    from sinks.restored_events import RestoredEvent
    from sinks.row_versions import Identity

_COMPLETE: Final = frozenset({"SUCCEEDED", "EMPTY"})
_OUR_SCHEMA: Final = "wedsync."

ObjectName = tuple[str, str, str]
"""Source, bucket, key."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of an object, as its notice announced it; `wedding` is the one under whose key it lies."""

    source: str
    wedding: str
    order: Order
    notice: ObjectNotice

    @property
    def name(self) -> ObjectName:
        """Return what identifies the object."""
        return self.source, self.notice.bucket, self.notice.key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the ENDs say against what was found.

    `torn` counts transactions with changes but without an END at or below the cut: a cut never tears,
    so each is a lost END. For everything (`is_exact`) `expected` must equal `found`; of one wedding
    nobody can know how many of a transaction's changes were its own.
    """

    transactions: int
    torn: int
    is_exact: bool
    expected: int
    found: int

    @property
    def is_passed(self) -> bool:
        """Whether nothing is missing as far as can be known."""
        return not self.torn and (not self.is_exact or self.expected == self.found)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What existed at the cut: table → key → image, and objects; all in the names of that time.

    `ddl` is the schema of that time, if captured, `mapping` how rows found their wedding then. `sequences` are the
    values last told, `used_numbers` the largest that any row read ever bore, by table and column.
    """

    wedding: str | None
    cut: Cut
    rows: Mapping[str, Mapping[bytes, Image]]
    objects: Mapping[ObjectName, ObjectVersion]
    ddl: str | None
    audit: Audit
    events: tuple[RestoredEvent, ...] = ()
    warnings: tuple[str, ...] = ()
    is_whole: bool = True
    mapping: TableMapping | None = None
    sequences: Mapping[str, int] = dataclasses.field(default_factory=dict)
    used_numbers: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    def tables(self) -> dict[str, list[Image]]:
        """Return the row images of each table that has any, in the order of their keys."""
        return {table: [rows[key] for key in sorted(rows)] for table, rows in sorted(self.rows.items())}


class Replay:
    """Takes changes of one wedding and of the platform, or with None all there are; says what existed."""

    def __init__(self, *, mapping: TableMapping, wedding: str | None, cut: Cut) -> None:
        self._mapping, self._wedding, self._cut = mapping, wedding, cut
        self._history = SchemaHistory()
        self._rows = RowVersions(self._history, mapping)
        self._complete: list[tuple[Order, str]] = []
        self._objects: dict[tuple[ObjectName, bool], ObjectVersion] = {}
        self._events = Events(wedding=wedding, at_us=cut.at_us)
        self._sequences = Sequences()
        self._numbers = UsedNumbers(self._history, mapping, self._sequences)
        self.related: set[str] = set()
        self._dump: tuple[Order, bytes] = (START, b"")
        self._audit = _Auditor(is_exact=wedding is None)
        self._unreadable = 0
        self._letters = Letters()

    def take(self, changes: Iterable[Mapping[str, Any]]) -> None:
        """Take changes, each as `sinks.packer.decode_changes` returns it."""
        for change in changes:
            try:
                self._take(change)
            except FormatError:
                self._unreadable += 1

    def _take(self, change: Mapping[str, Any]) -> None:
        kind = change["kind"]
        if change["wedding"] == UNREAD:
            self._letters.take(change)
            return
        if self._events.take_application(change):
            return
        if kind.startswith("object"):
            self._take_object(change)
        elif kind == "undecodable":
            self._unreadable += 1
        elif change["source"] == self._cut.source:
            self._take_ordered(kind, change)

    def _take_ordered(self, kind: str, change: Mapping[str, Any]) -> None:
        order = Order(change["epoch"], change["position"])
        if not self._cut.has(order, change["transaction"]):
            return
        match kind:
            case "row":
                self._audit.saw(order, change)
                self._take_row(order, change)
            case "truncate":
                self._audit.saw(order, change)
                self._rows.truncate(order, change["table"])
            case "commit":
                self._audit.ended(order, commit_of(change)[1])
            case "snapshot":
                self._take_snapshot(order, change)
            case "schema":
                self._audit.saw(order, change)
                self._take_schema(order, change["payload"])
            case _:
                self._audit.saw(order, change)
                self._events.take_outbox(change)
                self._sequences.take(order, change)

    def _take_schema(self, order: Order, payload: bytes) -> None:
        """Take a whole schema as SQL, or what a change of the schema tells of it."""
        message = debezium.parse(payload)
        if isinstance(message, Change) and message.prefix == SHAPE_PREFIX:
            self._history.take(order, parse_shape(debezium.message_content(payload)))
        else:
            self._dump = max(self._dump, (order, payload))

    def _take_row(self, order: Order, change: Mapping[str, Any]) -> None:
        captured = debezium.parse(change["payload"])
        if not isinstance(captured, Change):
            raise FormatError("a row whose payload is no change", hint="it was written by another version")
        captured = debezium.with_whole_images(captured)
        self.related.update(change["also"])
        self._numbers.take(order, change["table"], captured.before, captured.after)
        is_copied = captured.operation is Operation.READ
        self._rows.take(order, change["table"], captured.before, captured.after, is_copied=is_copied)

    def _take_snapshot(self, order: Order, change: Mapping[str, Any]) -> None:
        table = completed_table(change)
        if table is not None and order.epoch == self._cut.order.epoch:
            self._complete.append((order, table))

    def _take_object(self, change: Mapping[str, Any]) -> None:
        if self._wedding not in (None, change["wedding"]):
            return
        notice = storage.decode_notice(change["payload"])
        if self._cut.at_us is not None and notice.modified_us > self._cut.at_us:
            return
        version = ObjectVersion(
            source=change["source"],
            wedding=change["wedding"],
            order=Order(change["epoch"], change["position"]),
            notice=notice,
        )
        # What the store put in order is compared by that order, the rest by time: two rules, so two winners.
        held = self._objects.get(place := (version.name, bool(notice.sequencer)))
        if held is None or _age(held) < _age(version):
            self._objects[place] = version

    def incomplete(self) -> list[str]:
        """Return the tables of whose earlier rows no complete copy lies at or below the cut, in its epoch."""
        resets: dict[Identity, Order] = {oid: order for order, oid, follow in self._history.rewritten() if not follow}
        named = [(self._rows.identity(table, order), order) for order, table in self._complete]
        complete = {identity for identity, order in named if order > resets.get(identity, START)}
        last = self._history.last()
        if last is None:
            return sorted(self._mapping.tables.keys() - complete)
        made = self._history.made(self._cut.order.epoch)
        return sorted(
            table.name
            for oid, table in last[1].tables.items()
            if not table.is_root and oid not in complete and (oid not in made or oid in resets)
        )

    def state(self) -> State:
        """Return what existed at the cut."""
        begin = Order(self._cut.order.epoch, -1)
        begins = {self._rows.identity(table, order): begin for order, table in self._complete}
        rows = self._rows.alive(begins)
        mapping = self._history.mapping(self._mapping)
        if self._wedding is not None:
            rows = _Families(mapping, self._wedding, rows).kept()
        warnings = tuple(self._warnings(rows))
        return State(
            wedding=self._wedding,
            cut=self._cut,
            rows={table: alive for table, alive in rows.items() if alive},
            objects=self._living_objects(),
            ddl=self._ddl(),
            audit=self._audit.result(),
            sequences=self._sequences.values,
            used_numbers=self._numbers.largest(),
            events=self._events.found(),
            warnings=warnings,
            is_whole=not (self._unreadable or self._rows.unknown() or self._unresolved() or self._history.failures()),
            mapping=mapping,
        )

    def _living_objects(self) -> dict[ObjectName, ObjectVersion]:
        newest: dict[ObjectName, ObjectVersion] = {}
        for (name, _), each in sorted(self._objects.items()):
            held = newest.get(name)
            if held is None or _instant(held) < _instant(each):
                newest[name] = each
        return {name: each for name, each in newest.items() if each.notice.action is ObjectAction.PUT}

    def _ddl(self) -> str | None:
        """Return the schema as it was dumped, or, where it has changed since, as its messages tell it."""
        last = self._history.last()
        if last is not None and last[0] > self._dump[0]:
            return schema_sql(last[1])
        return debezium.message_content(self._dump[1]).decode() if self._dump[1] else None

    def _unresolved(self) -> int:
        """Return how many dead letters of before the cut nobody has resolved: any may be about this wedding."""
        return sum(self._is_before(letter.about) for letter in self._letters.unresolved())

    def _is_before(self, letter: Mapping[str, Any]) -> bool:
        if letter["source"] == self._cut.source:
            return self._cut.has(Order(letter["epoch"], letter["offset"]), 0)
        return self._cut.at_us is None or letter["captured_at"] <= self._cut.at_us

    def _warnings(self, rows: Mapping[str, Mapping[bytes, Image]]) -> Iterable[str]:
        if letters := self._unresolved():
            yield f"{letters} dead letters are not part of this restore: see `wedsync-backup dead-letters ls`"
        if self._unreadable:
            yield f"{self._unreadable} changes could not be read: they are not part of this restore"
        for table, count in sorted(self._rows.unknown().items()):
            yield f"table {table} has no rule in the mapping: {count} changes of it are not part of this restore"
        yield from (each.note for each in self._mapping.hidden if rows.get(each.table))
        last = self._history.last()
        if names := without_column(self._sequences.newest, last[1] if last is not None else None):
            assert self._sequences.newest is not None, "they were told"
            told_at = instant(self._sequences.newest.at_us).isoformat()
            yield f"sequences that no column draws from stand where they were told at {told_at}: {', '.join(names)}"
        for failure in self._history.failures():
            yield f"a change of the schema could not be noted ({failure}): rows behind it may be read wrongly"


def completed_table(change: Mapping[str, Any]) -> str | None:
    """Return the table whose copy a `snapshot` change says is complete; None when it failed or left rows out.

    Raises:
        FormatError: its payload is no notification.
    """
    notice = debezium.parse(change["payload"])
    if not isinstance(notice, Notice):
        raise FormatError("a snapshot whose payload is no notification", hint="it was written by another version")
    if is_partial(str(notice.fields.get("id", ""))):
        return None
    about = notice.fields.get("additional_data") or {}
    return str(about["scanned_collection"]) if about.get("status") in _COMPLETE else None


def _age(version: ObjectVersion) -> tuple[str, int, Order]:
    return version.notice.sequencer, *_instant(version)


def _instant(version: ObjectVersion) -> tuple[int, Order]:
    return version.notice.modified_us, version.order


class _Families:
    """Keeps of each table only the wedding's own rows: by their column, or because their parent row is kept."""

    def __init__(self, mapping: TableMapping, wedding: str, rows: Mapping[str, dict[bytes, Image]]) -> None:
        self._mapping, self._wedding, self._rows = mapping, wedding, rows
        self._kept: dict[str, dict[bytes, Image]] = {}
        self._names: dict[tuple[str, tuple[str, ...]], set[bytes]] = {}

    def kept(self) -> dict[str, dict[bytes, Image]]:
        """Return the rows of the wedding's own tables; the platform's are nobody's here."""
        rules = [rule for rule in self._mapping.tables.values() if not rule.is_platform]
        return {rule.name: self._keep(rule) for rule in rules}

    def _keep(self, rule: TableRule) -> dict[bytes, Image]:
        if rule.name not in self._kept:
            rows = self._rows.get(rule.name, {})
            self._kept[rule.name] = {key: image for key, image in rows.items() if self._is_own(image, rule)}
        return self._kept[rule.name]

    def _is_own(self, image: Image, rule: TableRule) -> bool:
        if rule.wedding_column is not None:
            return bool(_said(image.get(rule.wedding_column)) == self._wedding)
        if rule.parent is None:
            return False
        pointed = _reference(image, rule.parent.columns)
        return pointed in self._parents(rule.parent.table, rule.parent.references)

    def _parents(self, table: str, columns: tuple[str, ...]) -> set[bytes]:
        if (table, columns) not in self._names:
            parents = self._keep(self._mapping.tables[table]).values()
            self._names[table, columns] = {_reference(image, columns) for image in parents}
        return self._names[table, columns]


def _reference(image: Image, columns: tuple[str, ...]) -> bytes:
    """Return the values by which a row is pointed at, alike whether they were captured as numbers or as texts."""
    return orjson.dumps([_said(image.get(column)) for column in columns])


def _said(value: Any) -> Any:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else value


class _Auditor:
    """Counts changes of transactions against their ENDs."""

    def __init__(self, *, is_exact: bool) -> None:
        self._is_exact = is_exact
        self._seen: dict[tuple[int, int], set[int]] = collections.defaultdict(set)
        self._ends: dict[tuple[int, int], tuple[Order, int]] = {}

    def saw(self, order: Order, change: Mapping[str, Any]) -> None:
        if change["transaction"] and change["order"]:
            seen = self._seen[order.epoch, change["transaction"]]
            if self._is_exact or not seen:
                seen.add(change["order"])

    def ended(self, order: Order, end: Boundary) -> None:
        ours = sum(count for table, count in end.counts.items() if table.startswith(_OUR_SCHEMA))
        self._ends[order.epoch, end.transaction] = order, end.events - ours

    def result(self) -> Audit:
        # A log may begin in the middle of a transaction: the first END of an epoch counts what came before it too.
        firsts = {min(order for order, _ in self._ends.values() if order.epoch == epoch) for epoch in self._epochs()}
        whole = {name: count for name, (order, count) in self._ends.items() if order not in firsts}
        return Audit(
            transactions=len(self._ends),
            torn=len(self._seen.keys() - self._ends.keys()),
            is_exact=self._is_exact,
            expected=sum(whole.values()) if self._is_exact else 0,
            found=sum(len(self._seen.get(name, ())) for name in whole) if self._is_exact else 0,
        )

    def _epochs(self) -> set[int]:
        return {epoch for epoch, _ in self._ends}
