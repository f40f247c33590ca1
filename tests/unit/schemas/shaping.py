"""Schema messages as the database writes them, in few words."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.shapes import ShapeChange, parse_shape


def a_column(number: int, name: str, **fields: Any) -> dict[str, Any]:
    """Return a column; an integer unless told otherwise."""
    return {"n": number, "name": name, "type": "integer", **fields}


def a_table(oid: int, name: str, *columns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a table keyed by its first column, with a column `id` alone unless told otherwise."""
    return {
        "is": "table",
        "oid": oid,
        "name": name,
        "columns": list(columns) or [a_column(1, "id")],
        "key": [1],
        **fields,
    }


def a_message(*objects: dict[str, Any], **fields: Any) -> bytes:
    """Return a message's content."""
    return orjson.dumps({"version": 1, "objects": list(objects), "dropped": [], "rewritten": [], **fields})


def a_change(*objects: dict[str, Any], **fields: Any) -> ShapeChange:
    """Return a message as it is read."""
    return parse_shape(a_message(*objects, **fields))


def a_link(column: int, table: int) -> list[dict[str, Any]]:
    """Return a foreign key to another table's first column."""
    return [{"columns": [column], "table": table, "references": [1]}]
