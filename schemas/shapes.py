"""The shape of a database at a place in its log: tables, columns, keys, told by messages in the log itself. Pure.

A table is its oid and a column its number: names change, and a table made anew under an old name is another.
A message tells what differs from the one before; the first of an epoch is whole. What cannot be read is an
error, never a guess: a row read by the wrong shape would be altered in silence.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAPE_PREFIX: Final = "wedsync.shape"
SHAPE_VERSION: Final = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShape:
    """One column: `type` as `format_type` writes it, domains followed down; `kind` is `pg_type.typtype` of it.

    `missing` is what rows from before the column hold, in Postgres' text form; None is NULL.
    `declared`, `default`, `identity` and `collation` are what its definition says.
    """

    number: int
    name: str
    type: str
    kind: str = "b"
    declared: str = ""
    is_required: bool = False
    is_generated: bool = False
    identity: str = ""
    default: str | None = None
    missing: str | None = None
    collation: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LinkShape:
    """A foreign key: column numbers here equal column numbers of the table with that oid.

    `name` is empty for one that another constraint brings with it; `rules` is the rest of its definition, as SQL.
    """

    columns: tuple[int, ...]
    table: int
    references: tuple[int, ...]
    name: str = ""
    rules: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """One table; `key` is its primary key, else its narrowest unique one, by column number; empty for none."""

    oid: int
    name: str
    columns: tuple[ColumnShape, ...]
    key: tuple[int, ...] = ()
    links: tuple[LinkShape, ...] = ()
    parent: int | None = None
    is_root: bool = False
    definition: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def names(self, numbers: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of columns, in the order of these numbers."""
        by_number = {column.number: column.name for column in self.columns}
        return tuple(by_number[number] for number in numbers)

    def numbers(self, names: tuple[str, ...]) -> tuple[int, ...] | None:
        """Return the numbers of columns, or None when one is not there."""
        by_name = {column.name: column.number for column in self.columns}
        found = tuple(by_name.get(name) for name in names)
        return None if None in found else found  # type: ignore[return-value]

    def column(self, number: int) -> ColumnShape | None:
        """Return a column, or None when the table has none of that number."""
        return next((column for column in self.columns if column.number == number), None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SchemaObject:
    """Anything else a definition may speak of (types, functions, sequences, views …) with the SQL that makes it.

    `owner` is the table and column a sequence belongs to, `labels` an enum's (oid, label): labels may be renamed.
    """

    kind: str
    oid: int
    name: str
    sql: str
    owner: tuple[int, int] | None = None
    labels: tuple[tuple[int, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShapeChange:
    """One message. `rewritten` are tables whose rows the change itself replaced; True: they follow in its transaction.

    `failed` says why the schema could not be described: from here on nobody knows it, until a whole message.
    """

    is_whole: bool = False
    tables: tuple[TableShape, ...] = ()
    others: tuple[SchemaObject, ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    rewritten: Mapping[int, bool] = dataclasses.field(default_factory=dict)
    failed: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All of it at one place in the log."""

    tables: Mapping[int, TableShape] = dataclasses.field(default_factory=dict)
    others: Mapping[tuple[str, int], SchemaObject] = dataclasses.field(default_factory=dict)

    def after(self, change: ShapeChange) -> Schema:
        """Return the schema as a message leaves it."""
        tables = {} if change.is_whole else dict(self.tables)
        others = {} if change.is_whole else dict(self.others)
        for kind, oid in change.dropped:
            (tables.pop(oid, None) if kind == "table" else others.pop((kind, oid), None))
        tables.update({table.oid: table for table in change.tables})
        others.update({(each.kind, each.oid): each for each in change.others})
        return Schema(tables=tables, others=others)

    def named(self, name: str) -> TableShape | None:
        """Return the table of a schema-qualified name."""
        return next((table for table in self.tables.values() if table.name == name), None)


def parse_shape(content: bytes) -> ShapeChange:
    """Return what a message says.

    Raises:
        FormatError: not one of ours, or of a newer version.
    """
    try:
        told = orjson.loads(content)
        if told["version"] != SHAPE_VERSION:
            raise FormatError(f"a schema message of version {told['version']}", hint="was it written by a newer one?")
        objects = told.get("objects", [])
        return ShapeChange(
            is_whole=bool(told.get("whole", False)),
            tables=tuple(_table(each) for each in objects if each["is"] == "table"),
            others=tuple(_object(each) for each in objects if each["is"] != "table"),
            dropped=tuple((each["is"], each["oid"]) for each in told.get("dropped", [])),
            rewritten={int(oid): bool(follow) for oid, follow in told.get("rewritten", [])},
            failed=told.get("failed") or "",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"not a schema message: {error!r}", hint="who else writes wedsync.shape?") from error


def _table(told: Mapping[str, Any]) -> TableShape:
    unique = told.get("unique") or [[]]
    return TableShape(
        oid=told["oid"],
        name=told["name"],
        columns=tuple(_column(each) for each in told.get("columns") or ()),
        key=tuple(told.get("key") or unique[0]),
        links=tuple(
            LinkShape(
                columns=tuple(each["columns"]),
                table=each["table"],
                references=tuple(each["references"]),
                name=each.get("name", ""),
                rules=each.get("rules", ""),
            )
            for each in told.get("links") or ()
        ),
        parent=told.get("parent"),
        is_root=told.get("sort") == "p",
        definition=told,
    )


def _column(told: Mapping[str, Any]) -> ColumnShape:
    return ColumnShape(
        number=told["n"],
        name=told["name"],
        type=told["type"],
        kind=told.get("kind", "b"),
        declared=told.get("declared", told["type"]),
        is_required=bool(told.get("required", False)),
        is_generated=bool(told.get("generated")),
        identity=told.get("identity", ""),
        default=told.get("default"),
        missing=told.get("missing"),
        collation=told.get("collation"),
    )


def _object(told: Mapping[str, Any]) -> SchemaObject:
    owner = told.get("owner")
    return SchemaObject(
        kind=told["is"],
        oid=told["oid"],
        name=told["name"],
        sql=told.get("sql") or "",
        owner=(owner[0], owner[1]) if owner else None,
        labels=tuple((oid, label) for oid, label in told.get("labels") or ()),
    )
