"""How each Postgres type travels, and whether what comes back is what was stored. Pure.

The law: a value is equal after a restore, or its column is refused before anything is captured; nothing is
altered in silence. Types whose JSON form is exact travel as Debezium writes them; every other one travels
as the text Postgres itself writes and reads (`java/`, our converter), as `pg_dump` carries it. What cannot be
exact even so is refused, with the SQL that mends it.

For a preflight: read the columns with `COLUMNS_SQL`, ask `verdict` about each and `colliding_names` about each
table. EXACT and MAPPED pass, BOUNDED is worth a warning, REFUSED must fail.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import TYPE_CHECKING, Final, LiteralString

if TYPE_CHECKING:
    from collections.abc import Collection


class Fidelity(enum.StrEnum):
    """What becomes of a type's values on their way into the archive and back."""

    EXACT = "exact"
    """Equal: as JSON has them, or as Postgres' own text."""

    MAPPED = "mapped"
    """Equal after a translation that loses nothing, for every value the type has."""

    BOUNDED = "bounded"
    """Equal, but a value beyond a bound stops all capture until it is gone; a CHECK keeps such values out."""

    REFUSED = "refused"
    """Not to be captured: the same value means something else in another database, or cannot be written at all."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Carriage:
    """How a type travels: `how` says it in words, for a reader of a report."""

    fidelity: Fidelity
    how: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as `COLUMNS_SQL` reads it.

    `type` is what `format_type` writes for the type under all domains; `kind` is `pg_type.typtype` of that type, or
    of its element (b base, c composite, d domain, e enum, m multirange, p pseudo, r range); `checks` are the
    definitions of the CHECKs that apply to it, on the table or on its domains, as `pg_get_constraintdef` writes them.
    """

    table: str
    name: str
    type: str
    kind: str = "b"
    checks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a preflight says of one column; `fix_sql` is empty where nothing need be done."""

    fidelity: Fidelity
    reason: str
    fix_sql: str = ""

    @property
    def is_safe(self) -> bool:
        """Whether the column may be captured: nothing in it will be altered."""
        return self.fidelity is not Fidelity.REFUSED


_AS_JSON: Final = Carriage(fidelity=Fidelity.EXACT, how="as JSON has it")
_AS_TEXT: Final = Carriage(fidelity=Fidelity.EXACT, how="as Postgres' own text")
_AS_DIGITS: Final = Carriage(fidelity=Fidelity.MAPPED, how="as a text of digits; NaN and the infinities by name")
_AS_FLOAT: Final = Carriage(fidelity=Fidelity.MAPPED, how="as the shortest digits that read back as the same number")
_AS_BASE64: Final = Carriage(fidelity=Fidelity.MAPPED, how="as base64")
_AS_DAYS: Final = Carriage(
    fidelity=Fidelity.MAPPED,
    how="as days since 1970, the infinities as numbers beyond; 5 to 24 October 1582 stops the copy of a table",
)
_AS_INSTANT: Final = Carriage(fidelity=Fidelity.MAPPED, how="as ISO 8601 in UTC; the infinities by name")
_AS_BOUNDED_TEXT: Final = Carriage(
    fidelity=Fidelity.BOUNDED, how="as Postgres' own text; more than 2,147,483,647 hours stop capture"
)
_AS_DECLARED_TEXT: Final = Carriage(
    fidelity=Fidelity.MAPPED, how="as Postgres' own text, which leaves out a declaration of version 1.0"
)
_BY_NAME: Final = Carriage(
    fidelity=Fidelity.REFUSED, how="it names an object of its own server, which another one may not have"
)
_MISTAKEN: Final = Carriage(
    fidelity=Fidelity.REFUSED, how="Debezium would take it for the built-in type of the same name, and stop"
)
_INTERNAL: Final = Carriage(fidelity=Fidelity.REFUSED, how="it is Postgres' own, and has no input")

AS_DEBEZIUM_WRITES: Final = {
    **dict.fromkeys(("boolean", "smallint", "integer", "bigint", "oid"), _AS_JSON),
    **dict.fromkeys(("text", "character varying", "character", "bpchar"), _AS_JSON),
    **dict.fromkeys(("real", "double precision"), _AS_FLOAT),
    "numeric": _AS_DIGITS,
    "bytea": _AS_BASE64,
    "timestamp with time zone": _AS_INSTANT,
}
"""The types that the converter leaves alone; its own list in Java has the same."""

_TEXTUAL: Final = (
    *('"char"', "name", "uuid", "json", "jsonb", "jsonpath", "money"),
    *(
        "timestamp without time zone",
        "time without time zone",
        "time with time zone",
        "bit",
        "bit varying",
        "tsvector",
        "tsquery",
    ),
    *("point", "line", "lseg", "box", "path", "polygon", "circle", "inet", "cidr", "macaddr", "macaddr8"),
    *("pg_lsn", "pg_snapshot", "txid_snapshot", "xid", "xid8", "cid", "tid", "int2vector", "oidvector"),
    *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"),
    *("int4multirange", "int8multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange"),
)
_NAMING: Final = (
    *("regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator"),
    *("regproc", "regprocedure", "regrole", "regtype", "aclitem", "refcursor"),
)
_WITHOUT_INPUT: Final = (
    *("pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "gtsvector"),
    *("pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
)
CARRIAGES: Final = {
    **AS_DEBEZIUM_WRITES,
    "date": _AS_DAYS,
    "interval": _AS_BOUNDED_TEXT,
    "xml": _AS_DECLARED_TEXT,
    **dict.fromkeys(_TEXTUAL, _AS_TEXT),
    **dict.fromkeys(_NAMING, _BY_NAME),
    **dict.fromkeys(_WITHOUT_INPUT, _INTERNAL),
}
"""Every built-in type by the name `format_type` gives it, without modifiers."""

# Debezium finds a type by its bare name in these: a user's own of the same name would be read as the built-in.
_READ_BY_NAME: Final = frozenset(
    (
        *("bool", "boolean", "int2", "smallint", "int4", "int", "integer", "int8", "bigint", "oid", "float4", "real"),
        *("float8", "numeric", "decimal", "date", "time", "timetz", "timestamp", "timestamptz", "bytea", "money"),
        *("interval", "box", "circle", "line", "lseg", "path", "point", "polygon"),
    )
)
_HOURS_CHECK: Final = re.compile(r"abs\(EXTRACT\(hour FROM .*<= \(?'?2147483647\b", re.IGNORECASE)
_PSEUDO: Final = "p"
_MODIFIER: Final = re.compile(r"\([\d, -]+\)", re.ASCII)


def carriage(type_text: str, *, kind: str = "b") -> Carriage:
    """Return how a type travels; one that is no built-in (an extension's, a user's own) travels as text."""
    if kind == _PSEUDO:
        return _INTERNAL
    name = bare_type(type_text)
    if name.endswith("[]"):
        element = CARRIAGES.get(name.removesuffix("[]"), _AS_TEXT)
        return element if element.fidelity is Fidelity.REFUSED else _AS_TEXT
    if name not in CARRIAGES and name.rpartition(".")[2].strip('"') in _READ_BY_NAME:
        return _MISTAKEN
    return CARRIAGES.get(name, _AS_TEXT)


def verdict(column: Column) -> Verdict:
    """Return whether a column comes back equal, and else the line that mends it."""
    way = carriage(column.type, kind=column.kind)
    alter = f"ALTER TABLE {_quoted_table(column.table)}"
    name = quoted(column.name)
    if way.fidelity is Fidelity.BOUNDED and any(_HOURS_CHECK.search(check) for check in column.checks):
        return Verdict(fidelity=Fidelity.EXACT, reason=_AS_TEXT.how)
    if way.fidelity is Fidelity.BOUNDED:
        fix = f"{alter} ADD CHECK (abs(extract(hour FROM {name})) <= 2147483647);"
    elif way is _MISTAKEN:
        fix = f"ALTER TYPE {column.type} RENAME TO ...;"
    elif way.fidelity is Fidelity.REFUSED:
        fix = f"{alter} ALTER COLUMN {name} TYPE text USING {name}::text;"
    else:
        return Verdict(fidelity=way.fidelity, reason=way.how)
    return Verdict(
        fidelity=way.fidelity, reason=f"{column.table}.{column.name} is {column.type}: {way.how}", fix_sql=fix
    )


def colliding_names(names: Collection[str]) -> frozenset[str]:
    """Return the columns of one table that differ in case only: Debezium stops at such a table."""
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.lower(), []).append(name)
    return frozenset(name for same in folded.values() if len(same) > 1 for name in same)


def bare_type(type_text: str) -> str:
    """Return a type's name without modifiers (`numeric(12,2)[]` → `numeric[]`, `interval day` → `interval`)."""
    if '"' in type_text.removeprefix('"char"'):  # a user's own name may hold anything
        return type_text
    name = " ".join(_MODIFIER.sub("", type_text).split())
    array = "[]" if name.endswith("[]") else ""
    return f"interval{array}" if name.startswith("interval ") else name


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _quoted_table(table: str) -> str:
    schema, _, name = table.partition(".")
    return f"{quoted(schema)}.{quoted(name)}"


COLUMNS_SQL: Final[LiteralString] = """
WITH RECURSIVE typed(relation, number, type, modifier, depth) AS (
    SELECT a.attrelid, a.attnum, a.atttypid, a.atttypmod, 0
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND c.relkind IN ('r', 'p')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'wedsync') AND n.nspname NOT LIKE 'pg\\_%'
    UNION ALL
    SELECT relation, number, t.typbasetype, t.typtypmod, depth + 1
    FROM typed JOIN pg_catalog.pg_type t ON t.oid = typed.type AND t.typtype = 'd'
), resolved AS (
    SELECT DISTINCT ON (relation, number) relation, number, type, modifier FROM typed
    ORDER BY relation, number, depth DESC
), checks AS (
    SELECT typed.relation, typed.number, pg_catalog.pg_get_constraintdef(k.oid) AS definition
    FROM typed JOIN pg_catalog.pg_constraint k ON k.contype = 'c' AND k.convalidated AND (k.contypid = typed.type
         OR typed.depth = 0 AND k.conrelid = typed.relation AND k.conkey = ARRAY[typed.number])
)
SELECT n.nspname || '.' || c.relname, a.attname::text, pg_catalog.format_type(r.type, r.modifier),
       coalesce(element.typtype, t.typtype)::text,
       ARRAY(SELECT definition FROM checks WHERE checks.relation = r.relation AND checks.number = r.number ORDER BY 1)
FROM resolved r JOIN pg_catalog.pg_class c ON c.oid = r.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.number
JOIN pg_catalog.pg_type t ON t.oid = r.type
LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem AND t.typcategory = 'A'
ORDER BY 1, a.attnum
"""
"""Reads every user column in the order of `Column`'s fields; run it with an empty search_path."""
