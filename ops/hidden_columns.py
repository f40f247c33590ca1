"""Hidden columns against the database they are in: refused where hiding would fail in silence.

Debezium masks and hashes character columns only and passes all others by as they are, and a name it does
not find it passes by too. Both would be clear text in the archive, so both are refused before capture begins.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg

from schemas.errors import ConfigError
from schemas.hidden_columns import MASK, ColumnAction, HiddenColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CHARACTERS: Final = re.compile(r"text|character varying(?:\((\d+)\))?|character\((\d+)\)")
_SALT_FOR: Final = b"wedsync hidden columns v1"
_HASH_CHARS: Final = 64
_CONNECT_SECONDS: Final = 10
_COLUMN: Final[LiteralString] = """
SELECT format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[])),
    EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f'
        AND (k.conrelid = c.oid AND a.attnum = ANY (k.conkey) OR k.confrelid = c.oid AND a.attnum = ANY (k.confkey))),
    EXISTS (SELECT FROM pg_constraint k
        WHERE k.contype = 'c' AND k.conrelid = c.oid AND a.attnum = ANY (k.conkey)),
    c.relkind <> 'r' OR EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname || '.' || c.relname = %s AND a.attname = %s AND a.attnum > 0 AND NOT a.attisdropped
"""


def salt_of(master_key: bytes) -> str:
    """Return the salt of hashed columns: the same for as long as the master key is, so that hashes can be compared."""
    return hmac.new(master_key, _SALT_FOR, hashlib.sha256).hexdigest()


async def check(dsn: str, columns: Sequence[HiddenColumn]) -> None:
    """Refuse columns that cannot be hidden in this database.

    Raises:
        ConfigError: one line that names the first such column, and why.
    """
    if not columns:
        return
    async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=_CONNECT_SECONDS) as connection:
        for each in columns:
            row = await (await connection.execute(_COLUMN, (each.table, each.column))).fetchone()
            for problem, hint in problems(each, row):
                raise ConfigError(f"setting source.columns: {each.name} {problem}", hint=hint)


def problems(hidden: HiddenColumn, found: tuple[Any, ...] | None) -> Iterable[tuple[str, str]]:
    """Yield why a column cannot be hidden, each with what to do; `found` is what the database says of it."""
    if found is None:
        yield "does not exist", "correct its name: it would be captured as it is"
        return
    type_text, needs_value, is_unique, is_linked, is_checked, has_parts = found
    if has_parts:
        yield "is of a table with partitions or children", "hide the column in each of them"
    if is_linked:
        yield "is part of a foreign key", "a restore could not find the other row"
    if hidden.action is not ColumnAction.DROP:
        yield from _of_text(hidden.action, type_text, is_unique=is_unique, is_checked=is_checked)
    elif needs_value:
        yield "must have a value and has no default", "give it a default, or let it be NULL"


def _of_text(action: ColumnAction, type_text: str, *, is_unique: bool, is_checked: bool) -> Iterable[tuple[str, str]]:
    """Yield why something else cannot stand for a column's values."""
    match = _CHARACTERS.fullmatch(type_text)
    if match is None:
        yield f"is of type {type_text}, and only text can be masked or hashed", 'action = "drop"'
        return
    if is_checked:
        yield "has a CHECK, which what stands for its values may not pass", 'action = "drop"'
    if action is ColumnAction.MASK and is_unique:
        yield "is unique, and all its masks are equal", 'action = "hash"'
    length = int(match[1] or match[2] or _HASH_CHARS)
    needed, what = (len(MASK), "mask") if action is ColumnAction.MASK else (_HASH_CHARS, "hash")
    if length < needed:
        yield f"holds {length} characters, fewer than a {what}", 'action = "drop"'
