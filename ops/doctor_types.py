"""What the doctor makes of a database's types: each column comes back equal, or is refused before it is captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors.column_types import COLUMNS_SQL, Column, Fidelity, colliding_names, verdict
from ops.doctor_rules import Check, failed, passed, warned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import psycopg


async def read_columns(connection: psycopg.AsyncConnection[Any]) -> list[Column]:
    """Return every column of the user's tables, its type named in full."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('search_path', '', true)")
        rows = await (await connection.execute(COLUMNS_SQL)).fetchall()
    return [Column(table=row[0], name=row[1], type=row[2], kind=row[3], checks=tuple(row[4])) for row in rows]


def check_columns(columns: Sequence[Column], *, dropped: Collection[tuple[str, str]] = ()) -> list[Check]:
    """Return the checks of the columns that are captured; `dropped` (table, column) are not."""
    captured = [column for column in columns if (column.table, column.name) not in dropped]
    found = [*_types(captured), *_names(captured)]
    return found or [passed("types", f"all {len(captured)} columns come back equal")]


def _types(columns: Sequence[Column]) -> Iterator[Check]:
    for column in columns:
        found = verdict(column)
        if found.fidelity is Fidelity.REFUSED:
            yield failed("types", found.reason, found.fix_sql)
        elif found.fidelity is Fidelity.BOUNDED:
            yield warned("types", found.reason, found.fix_sql)


def _names(columns: Sequence[Column]) -> Iterator[Check]:
    tables: dict[str, list[str]] = {}
    for column in columns:
        tables.setdefault(column.table, []).append(column.name)
    for table, names in tables.items():
        if same := sorted(colliding_names(names)):
            says = f"{table}: {', '.join(same)} differ in case only, and capture stops at such a table"
            yield failed("types", says, f'ALTER TABLE {table} RENAME COLUMN "{same[0]}" TO …;')
