"""COPY: the fastest way of row images into a table, with every value in Postgres' own text form."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from psycopg import sql

from schemas.errors import ConfigError, FormatError
from sinks.pgtext import to_pg_text
from sinks.row_versions import PgText
from sinks.wedding_rows import identifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from sinks.target_tables import TargetColumn, TargetTable


async def copy_rows(
    connection: psycopg.AsyncConnection[Any],
    table: TargetTable,
    rows: Sequence[Mapping[str, Any]],
    *,
    into: sql.Identifier | None = None,
) -> int:
    """COPY row images into `table`, or into a table of its shape; columns an image lacks get their default.

    Raises:
        ConfigError: an image has a column that the table lacks.
        FormatError: a value has no exact text form; the message names table and column.
    """
    for names, group in itertools.groupby(rows, key=lambda row: tuple(sorted(row))):
        columns = _columns(table, names)
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(
            into or identifier(table.name), sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
        )
        async with connection.cursor() as cursor, cursor.copy(query) as copy:
            for row in group:
                await copy.write_row([_text(table, column, row[column.name]) for column in columns])
    return len(rows)


def _columns(table: TargetTable, names: Sequence[str]) -> list[TargetColumn]:
    """Return the columns to write; generated ones are the database's own affair."""
    for name in names:
        if name not in table.columns:
            raise ConfigError(
                f"the target's {table.name} has no column {name}", hint="create the target with the schema of that time"
            )
    return [table.columns[name] for name in names if not table.columns[name].is_generated]


def _text(table: TargetTable, column: TargetColumn, value: Any) -> str | None:
    if isinstance(value, PgText):
        return value
    try:
        return to_pg_text(value, column.type)
    except FormatError as error:
        raise FormatError(f"{table.name}.{column.name}: {error}", hint=error.hint) from error
