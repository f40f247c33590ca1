"""Sequences of the database that takes a restore: moved on, never back, in the transaction that writes the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, LiteralString

from psycopg import sql

from sinks.wedding_rows import identifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from sinks.target_tables import TargetTable

_SET_SEQUENCE: Final[LiteralString] = """
SELECT setval({sequence}::regclass, greatest((SELECT max({column}) FROM {table}), s.last_value, s.min_value), true)
FROM pg_sequences AS s
WHERE format('%I.%I', s.schemaname, s.sequencename)::regclass = {sequence}::regclass AND EXISTS (SELECT FROM {table})
"""
_RAISE_SEQUENCES: Final[LiteralString] = """
SELECT told.name, setval(format('%%I.%%I', s.schemaname, s.sequencename)::regclass, told.value, true)
FROM unnest(%s::text[], %s::bigint[]) AS told (name, value)
JOIN pg_sequences s ON s.schemaname || '.' || s.sequencename = told.name
WHERE s.increment_by > 0 AND told.value <= s.max_value AND coalesce(s.last_value < told.value, true)
"""
_PAST_USED: Final[LiteralString] = """
SELECT DISTINCT ON (s.seqrelid) n.nspname || '.' || c.relname, setval(s.seqrelid::regclass, used.value, true)
FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS used (name, attribute, value)
JOIN pg_class t ON t.oid = to_regclass(format('%%I.%%I', split_part(used.name, '.', 1), split_part(used.name, '.', 2)))
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = used.attribute AND NOT a.attisdropped
LEFT JOIN pg_attrdef f ON f.adrelid = t.oid AND f.adnum = a.attnum
JOIN pg_depend d ON (d.classid, d.objid) = ('pg_attrdef'::regclass, f.oid) AND d.refclassid = 'pg_class'::regclass
    OR (d.refclassid, d.refobjid, d.refobjsubid) = ('pg_class'::regclass, t.oid, a.attnum)
    AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_sequence s ON s.seqrelid IN (d.objid, d.refobjid)
JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.seqincrement > 0 AND used.value BETWEEN s.seqmin AND s.seqmax
    AND coalesce(pg_sequence_last_value(s.seqrelid) < used.value, true)
ORDER BY s.seqrelid, used.value DESC
"""


async def raise_to_told(connection: psycopg.AsyncConnection[Any], told: Mapping[str, int]) -> dict[str, int]:
    """Move sequences to the values that were told of them, where they have not come so far."""
    if not told:
        return {}
    rows = await connection.execute(_RAISE_SEQUENCES, (list(told), list(told.values())))
    return {str(name): int(value) for name, value in await rows.fetchall()}


async def set_past_used(
    connection: psycopg.AsyncConnection[Any], used: Mapping[str, Mapping[str, int]]
) -> dict[str, int]:
    """Move sequences past what the columns that draw from them have ever borne; never back."""
    each = [(table, column, value) for table, columns in used.items() for column, value in columns.items()]
    if not each:
        return {}
    rows = await connection.execute(_PAST_USED, [list(part) for part in zip(*each, strict=True)])
    return {str(name): int(value) for name, value in await rows.fetchall()}


async def set_past_rows(connection: psycopg.AsyncConnection[Any], tables: Sequence[TargetTable]) -> dict[str, int]:
    """Move each sequence owned by a restored column past the column's values; never back."""
    ends = {}
    for table in tables:
        for column in table.columns.values():
            if column.sequence is not None:
                query = sql.SQL(_SET_SEQUENCE).format(
                    sequence=sql.Literal(column.sequence),
                    column=sql.Identifier(column.name),
                    table=identifier(table.name),
                )
                moved = await (await connection.execute(query)).fetchone()
                if moved is not None:
                    ends[column.sequence] = int(moved[0])
    return ends
