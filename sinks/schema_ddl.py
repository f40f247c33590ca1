"""SQL that makes a schema again from what its log told of it. Pure.

Written so that an empty database takes it statement by statement in this order: schemas, extensions, types,
functions, sequences, tables (roots before their partitions), keys and checks, indexes, references, views,
triggers. Functions are made without their bodies being checked: they may speak of tables that come later.
Privileges, comments, policies and rules are not told; a dump taken since the last change has those too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schemas.shapes import ColumnShape, Schema, TableShape

_PREAMBLE: Final = "SET check_function_bodies = false;\nSET search_path = '';\n"
_BEFORE_TABLES: Final = ("schema", "extension", "type", "function", "sequence")
_AFTER_TABLES: Final = ("view", "trigger")
_KEYS: Final = ("p", "u", "x", "c")
_REFERENCES: Final = ("f",)


def schema_sql(schema: Schema) -> str:
    """Return the statements, each ended by a semicolon, as one text."""
    return _PREAMBLE + "".join(f"{statement};\n" for statement in _statements(schema))


def _statements(schema: Schema) -> Iterator[str]:
    tables = _roots_first(schema)
    for kind in _BEFORE_TABLES:
        yield from _others(schema, kind)
    for table in tables:
        yield _table(table, schema)
    yield from _owners(schema)
    for types in (_KEYS, None, _REFERENCES):
        for table in tables:
            yield from _indexes(table) if types is None else _constraints(table, types)
    for table in tables:
        yield from _links(table, schema)
    for kind in _AFTER_TABLES:
        yield from _others(schema, kind)


def quoted(name: str) -> str:
    """Return a schema-qualified name with both parts quoted."""
    namespace, _, bare = name.partition(".")
    return f"{_identifier(namespace)}.{_identifier(bare)}"


def _identifier(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _others(schema: Schema, kind: str) -> Iterator[str]:
    """Yield one kind's statements, the older first: what is spoken of was there before who speaks of it."""
    found = sorted((each for each in schema.others.values() if each.kind == kind), key=lambda each: each.oid)
    yield from (each.sql for each in found if each.sql)


def _roots_first(schema: Schema) -> list[TableShape]:
    def depth(table: TableShape) -> int:
        above = schema.tables.get(table.parent) if table.parent is not None else None
        return 0 if above is None else depth(above) + 1

    return sorted(schema.tables.values(), key=lambda table: (depth(table), table.oid))


def _table(table: TableShape, schema: Schema) -> str:
    told = table.definition
    root = schema.tables.get(table.parent) if table.parent is not None else None
    partitioned = f" PARTITION BY {told['partition_key']}" if told.get("partition_key") else ""
    if root is not None and told.get("bound"):
        # A partition may number its columns otherwise than its root: by name they are the same.
        return f"CREATE TABLE {quoted(table.name)} PARTITION OF {quoted(root.name)} {told['bound']}{partitioned}"
    columns = ", ".join(_column(column) for column in table.columns)
    inherits = f" INHERITS ({quoted(root.name)})" if root is not None else ""
    return f"CREATE TABLE {quoted(table.name)} ({columns}){inherits}{partitioned}"


def _column(column: ColumnShape) -> str:
    words = [_identifier(column.name), column.declared or column.type]
    if column.collation:
        words.append(f"COLLATE {column.collation}")
    if column.is_generated:
        words.append(f"GENERATED ALWAYS AS ({column.default}) STORED")
    elif column.identity:
        words.append(f"GENERATED {'ALWAYS' if column.identity == 'a' else 'BY DEFAULT'} AS IDENTITY")
    elif column.default is not None:
        words.append(f"DEFAULT {column.default}")
    if column.is_required:
        words.append("NOT NULL")
    return " ".join(words)


def _owners(schema: Schema) -> Iterator[str]:
    for each in schema.others.values():
        table = schema.tables.get(each.owner[0]) if each.owner is not None else None
        column = table.column(each.owner[1]) if table is not None and each.owner is not None else None
        if table is not None and column is not None:
            yield f"ALTER SEQUENCE {quoted(each.name)} OWNED BY {quoted(table.name)}.{_identifier(column.name)}"


def _constraints(table: TableShape, types: tuple[str, ...]) -> Iterator[str]:
    told: Iterable[Any] = table.definition.get("constraints") or ()
    for each in sorted(
        told, key=lambda constraint: types.index(constraint["type"]) if constraint["type"] in types else -1
    ):
        if each["type"] in types:
            yield f"ALTER TABLE {quoted(table.name)} ADD CONSTRAINT {_identifier(each['name'])} {each['sql']}"


def _links(table: TableShape, schema: Schema) -> Iterator[str]:
    """Yield foreign keys, in the names that all tables have now; older messages told them as constraints."""
    for link in table.links:
        there = schema.tables.get(link.table)
        if link.name and there is not None:
            here, references = _listed(table.names(link.columns)), _listed(there.names(link.references))
            key = f"FOREIGN KEY ({here}) REFERENCES {quoted(there.name)} ({references}) {link.rules}"
            yield f"ALTER TABLE {quoted(table.name)} ADD CONSTRAINT {_identifier(link.name)} {key.rstrip()}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_identifier(name) for name in names)


def _indexes(table: TableShape) -> Iterator[str]:
    yield from table.definition.get("indexes") or ()
