"""The newest version of each row, through every change of its table's name, columns and key. Pure.

A row is known by its table and by its key *at that place of the log*: when the primary key changes, what was
known by the old one is named anew by the new one, and goes on. Rows may arrive in any order and any number
of times; of each only the newest version is kept, so that memory follows what is alive.

A row read by a table's copy stands later in the log than what it was read from, so within an epoch any change
of that row in the log outranks it, and a TRUNCATE ends all copied rows, also those that come after it: what
lives behind it was inserted behind it, and is in the log by itself.

Rows without a key are told apart by nothing: as long as a table has none all its changes are kept, and at the
end it is counted, in the log's order, how many equal ones there are.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from schemas.errors import FormatError
from sinks.cut import Order
from sinks.pgtext import column_type, renamed_elements, to_pg_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from connectors.debezium import Image
    from schemas.mapping import TableMapping
    from schemas.shapes import ColumnShape, TableShape
    from sinks.schema_history import SchemaHistory

START: Final = Order(-1, -1)
_LAST: Final = 1 << 63
_FOR_EVER: Final = Order(_LAST, _LAST)

Identity = int | str
"""A table's oid; where no message ever told of it, its name."""


class PgText(str):
    """A value that is Postgres' own text already, because it was captured when its column had another type."""

    __slots__ = ()


class _Version(NamedTuple):
    order: Order
    image: Image | None
    shape: TableShape | None
    is_copied: bool = False

    @property
    def rank(self) -> tuple[int, bool, Order]:
        """Return what decides between two versions of one row: the higher is the newer."""
        return self.order.epoch, not self.is_copied, self.order


class _End(NamedTuple):
    """Up to where a table's rows are dead: those that changed, and those that a copy read."""

    changed: Order = START
    copied: Order = START

    def spares(self, version: _Version) -> bool:
        """Return whether a version lies behind its end."""
        return version.order > (self.copied if version.is_copied else self.changed)

    def later(self, other: _End) -> _End:
        """Return the later of both ends."""
        return _End(max(self.changed, other.changed), max(self.copied, other.copied))


class _Keyless(NamedTuple):
    """One change of a table without a key: each image with the shape it has there."""

    segment: int
    is_copied: bool
    before: tuple[Image, TableShape | None] | None
    after: tuple[Image, TableShape | None] | None


_Slot = tuple[bytes, bool]
"""A row's key, and whether a copy read it: both are kept, since which one counts depends on what ended the table."""


_Place = tuple[Identity, int, bytes, "TableShape | None"]
"""A row's table, the segment between two changes of the table's key, the row's key in it, and its image's shape."""


class RowVersions:
    """All rows of one restore; `history` must know of a table's changes before its rows are taken, or at the end."""

    def __init__(self, history: SchemaHistory, mapping: TableMapping) -> None:
        self._history, self._mapping = history, mapping
        self._rows: dict[Identity, dict[int, dict[_Slot, _Version]]] = collections.defaultdict(
            lambda: collections.defaultdict(dict)
        )
        self._ends: dict[Identity, _End] = {}
        self._keyless: dict[Identity, dict[Order, _Keyless]] = collections.defaultdict(dict)

    def take(
        self, order: Order, table: str, before: Image | None, after: Image | None, *, is_copied: bool = False
    ) -> None:
        """Take one change of a row, or a row read by a copy; the image before names the row that is no longer there.

        Raises:
            FormatError: the image fits no shape that the table ever had.
        """
        wanted = None if after is None else self._place(order, table, after)
        gone = None if before is None else self._place(order, table, before)
        named = wanted or gone
        if named is not None and self._is_keyless(table, named):
            self._keyless[named[0]][order] = _Keyless(
                named[1],
                is_copied,
                None if gone is None or before is None else (before, gone[3]),
                None if wanted is None or after is None else (after, wanted[3]),
            )
            if not isinstance(named[0], str):
                self._rows.setdefault(named[0], collections.defaultdict(dict))
                return
        if gone is not None and (wanted is None or wanted[:3] != gone[:3]):
            self._put(gone, _Version(order, None, None))
        if wanted is not None:
            self._put(wanted, _Version(order, after, wanted[3], is_copied))

    def _put(self, place: _Place, version: _Version) -> None:
        identity, segment, key, _ = place
        rows, slot = self._rows[identity][segment], (key, version.is_copied)
        held = rows.get(slot)
        if held is None or held.order < version.order:
            rows[slot] = version

    def truncate(self, order: Order, table: str) -> None:
        """End all rows of a table that lie before a place, and all that copies read in this epoch."""
        self._end(self.identity(table, order), _End(order, _end_of(order)))

    def _end(self, identity: Identity, end: _End) -> None:
        self._ends[identity] = self._ends.get(identity, _End()).later(end)

    def identity(self, table: str, order: Order) -> Identity:
        """Return which table bears a name at a place."""
        shape = self._history.table(table, order)
        return table if shape is None else shape.oid

    def alive(self, begins: Mapping[Identity, Order]) -> dict[str, dict[bytes, Image]]:
        """Return table → key → image, in the names of the schema now; `begins` ends what is older than it says."""
        self._settle()
        last = self._history.last()
        tables = last[1].tables if last is not None else {}
        found: dict[str, dict[bytes, Image]] = {}
        for identity in self._rows:
            begin = begins.get(identity, START)
            end = self._ends.get(identity, _End()).later(_End(begin, begin))
            if isinstance(identity, str):
                # Without a rule nobody knows its key: such rows are told of (`unknown`), never guessed.
                found[identity] = {} if self._mapping.rule(identity) is None else self._plain(identity, end)
            elif (shape := tables.get(identity)) is not None and not shape.is_root:
                found[shape.name] = self._converted(shape, end)
        return {name: rows for name, rows in found.items() if rows}

    def unknown(self) -> dict[str, int]:
        """Return the tables that no message and no rule ever spoke of, and how many of their rows were taken."""
        self._settle()
        names = [each for each in self._rows if isinstance(each, str) and self._mapping.rule(each) is None]
        return {name: sum(map(len, self._rows[name].values())) for name in names}

    def _is_keyless(self, table: str, place: _Place) -> bool:
        """Return whether nothing tells a table's rows apart at a place, as far as is known by now."""
        identity, segment, _, shape = place
        if shape is None or isinstance(identity, str):
            return self._mapping.rule(table) is None
        keys = self._history.keys(identity)
        return self._has_no_key(shape, keys[segment][1] if keys else ())

    def _has_no_key(self, shape: TableShape, numbers: tuple[int, ...]) -> bool:
        rule = self._mapping.rule(shape.name)
        return not numbers and (rule is None or not shape.numbers(rule.key))

    def _place(self, order: Order, table: str, image: Image) -> _Place:
        """Return where a row belongs at a place of the log."""
        shape = self._history.table(table, order)
        if shape is None:
            rule = self._mapping.rule(table)
            return table, -1, _key_of(image, tuple(sorted(image)) if rule is None else rule.key, table), None
        if not image.keys() <= {column.name for column in shape.columns}:
            fitting = self._history.fitting(shape.oid, order, image)
            if fitting is None:
                raise FormatError(f"a row of {table} fits no shape it had", hint="run `wedsync-backup doctor`")
            shape = fitting
        segment, numbers = self._segment(shape.oid, order)
        return shape.oid, segment, self._key(image, shape, numbers), shape

    def _segment(self, oid: int, order: Order) -> tuple[int, tuple[int, ...]]:
        keys = self._history.keys(oid)
        segment = max(0, sum(1 for begin, _ in keys if begin < order) - 1)
        return segment, keys[segment][1] if keys else ()

    def _key(self, image: Image, shape: TableShape, numbers: tuple[int, ...]) -> bytes:
        """Return a row's key; without a key, or where a part of it is gone, all its columns are one."""
        if not numbers and (rule := self._mapping.rule(shape.name)) is not None:
            numbers = shape.numbers(rule.key) or ()
        columns = [shape.column(number) for number in numbers]
        if columns and None not in columns:
            names = tuple(column.name for column in columns if column is not None)
        else:
            names = tuple(column.name for column in shape.columns if column.name in image)
        return _key_of(image, names, shape.name)

    def _settle(self) -> None:
        """Give rows that came before any message of their table to the table it proved to be."""
        for name in [each for each in self._rows if isinstance(each, str)]:
            versions = self._rows.pop(name)
            for order, change in self._keyless.pop(name, {}).items():
                images = change.before and change.before[0], change.after and change.after[0]
                self.take(order, name, *images, is_copied=change.is_copied)
            for slot, version in [pair for some in versions.values() for pair in some.items()]:
                shape = self._history.table(name, version.order)
                if shape is None:
                    self._rows[name][-1][slot] = version
                elif version.image is not None:
                    self.take(version.order, name, None, version.image, is_copied=version.is_copied)
            end = self._ends.get(name)
            if end is not None and (shape := self._history.table(name, end.changed)) is not None:
                self._end(shape.oid, self._ends.pop(name))

    def _plain(self, name: str, end: _End) -> dict[bytes, Image]:
        rows = _newest({}, self._rows[name].get(-1, {}), end)
        return {key: each.image for key, each in rows.items() if each.image is not None}

    def _converted(self, shape: TableShape, end: _End) -> dict[bytes, Image]:
        """Fold a table's segments: what lived in one is named by the next one's key, and goes on in it."""
        segments = self._rows[shape.oid]
        keys = self._history.keys(shape.oid) or [(START, ())]
        live: dict[bytes, _Version] = {}
        into = _Conversion(self._history, shape)
        rewrites = [(order, follow) for order, oid, follow in self._history.rewritten() if oid == shape.oid]
        for segment, (begin, numbers) in enumerate(keys):
            until = keys[segment + 1][0] if segment + 1 < len(keys) else _FOR_EVER
            if self._has_no_key(shape, numbers):
                within = [order for order, _ in rewrites if begin <= order < until]
                live = self._counted(live.values(), segment, into, end, within)
                continue
            for order, follow in rewrites:
                if order < until:
                    end = end.later(_End(order, _end_of(order) if follow else order))
            live = self._renamed(live.values(), numbers) if segment else live
            live = _newest(live, segments.get(segment, {}), end)
        return {key: into.image(each) for key, each in live.items() if each.image is not None}

    def _counted(
        self, live: Iterable[_Version], segment: int, into: _Conversion, end: _End, rewrites: list[Order]
    ) -> dict[bytes, _Version]:
        """Return as many equal rows as there are, each under a key of its own; `rewrites` are those of the segment."""
        rows: dict[bytes, list[_Version]] = collections.defaultdict(list)
        for version in live:
            if version.image is not None:
                rows[into.text(version)].append(version)
        changes = self._keyless.get(into.shape.oid, {})
        retold = 0
        for order in sorted(each for each, change in changes.items() if change.segment == segment):
            if order <= end.changed:
                continue
            while rewrites and rewrites[0] < order:
                # Its rows are written once more directly behind it, each as an update of itself.
                retold = sum(map(len, rows.values()))
                rows.clear()
                rewrites.pop(0)
            _, is_copied, *images = changes[order]
            before, after = ((each and (into.text(v := _Version(order, *each)), v)) for each in images)
            if retold and before and after and before[0] == after[0]:
                retold -= 1
            elif before and (equal := rows.get(before[0])):
                equal.pop()
            # A copy that began under a key may have read what is known already.
            if after and not (is_copied and rows.get(after[0])):
                rows[after[0]].append(after[1])
        return {b"%b %d" % (text, n): each for text, equal in rows.items() for n, each in enumerate(equal)}

    def _renamed(self, versions: Iterable[_Version], numbers: tuple[int, ...]) -> dict[bytes, _Version]:
        renamed: dict[bytes, _Version] = {}
        for version in versions:
            if version.image is None or version.shape is None:
                continue
            values = [self._value(version.image, version.shape, number) for number in numbers]
            key = orjson.dumps(values)
            if key not in renamed or renamed[key].rank < version.rank:
                renamed[key] = version
        return renamed

    def _value(self, image: Image, shape: TableShape, number: int) -> Any:
        column = shape.column(number)
        if column is not None:
            return image.get(column.name)
        born = self._history.born(shape.oid, number)
        return born and born.missing


def _newest(live: dict[bytes, _Version], rows: Mapping[_Slot, _Version], end: _End) -> dict[bytes, _Version]:
    """Return what lives with the rows' versions taken in, the highest rank of each that its table's end spares."""
    for (key, _), version in rows.items():
        held = live.get(key)
        if end.spares(version) and (held is None or held.rank < version.rank):
            live[key] = version
    return live


def _end_of(order: Order) -> Order:
    return Order(order.epoch, _LAST)


class _Step(NamedTuple):
    """How one present column is had from an older image: its name now and then, and what must be done.

    Without a name then the column was not there, and `told` says what older rows hold; else a `told` says
    that it had that other type.
    """

    name: str
    earlier: str | None
    told: ColumnShape | None
    labels: Mapping[str, str]
    is_array: bool = False


class _Conversion:
    """From the shape an image was captured in to the shape its table has now."""

    def __init__(self, history: SchemaHistory, shape: TableShape) -> None:
        self._history, self.shape = history, shape
        self._ways: dict[tuple[int, int], list[_Step]] = {}

    def image(self, version: _Version) -> Image:
        """Return the image in the present names; a value of another type becomes Postgres' text of it."""
        assert version.image is not None
        if version.shape is None:
            return version.image
        way = self._way(version.shape, version.order)
        if not way:
            return version.image
        converted: Image = {}
        for step in way:
            if step.earlier is None:
                converted[step.name] = step.told and (step.told.missing and PgText(step.told.missing))
            elif step.earlier in version.image:
                converted[step.name] = _converted(version.image[step.earlier], step)
        return converted

    def text(self, version: _Version) -> bytes:
        """Return a whole row as Postgres' text of its present columns: equal for equal rows, whenever captured."""
        present = self.image(version)
        return orjson.dumps([_text(present.get(column.name), column) for column in self.shape.columns])

    def _way(self, was: TableShape, order: Order) -> list[_Step]:
        """Return the steps from a shape at a place; none where nothing has changed."""
        place = self._history.place(order)
        if (id(was), place) not in self._ways:
            way = [self._step(column, was, order) for column in self.shape.columns if not column.is_generated]
            is_same = was.columns == self.shape.columns and not any(step.labels for step in way)
            self._ways[id(was), place] = [] if is_same else way
        return self._ways[id(was), place]

    def _step(self, column: ColumnShape, was: TableShape, order: Order) -> _Step:
        then = was.column(column.number)
        if then is None:
            return _Step(column.name, None, self._history.born(self.shape.oid, column.number), {})
        is_same = (then.type, then.kind) == (column.type, column.kind)
        labels = self._history.renamed_labels(then.type.removesuffix("[]"), order) if then.kind == "e" else {}
        return _Step(column.name, then.name, None if is_same else then, labels, then.type.endswith("[]"))


def _converted(value: Any, step: _Step) -> Any:
    if value is None:
        return None
    if step.labels:
        value = renamed_elements(value, step.labels) if step.is_array else step.labels.get(value, value)
    if step.told is None:
        return value
    text = to_pg_text(value, column_type(step.told.type, kind=step.told.kind))
    assert text is not None, "only NULL has no text"
    return PgText(text)


def _text(value: Any, column: ColumnShape) -> str | None:
    return str(value) if isinstance(value, PgText) else to_pg_text(value, column_type(column.type, kind=column.kind))


def _key_of(image: Image, names: tuple[str, ...], table: str) -> bytes:
    if not image.keys() >= set(names):
        raise FormatError(f"a row of {table} lacks its key", hint="was the key declared rightly?")
    return orjson.dumps([image[name] for name in names])
