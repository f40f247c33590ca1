"""Tables whose shape changes all the time: the changes, and rows that fit what the catalog says just now. Pure.

Everything is drawn for a `Catalog` that was read a moment ago; what another transaction changed since then makes a
statement fail, as in life. Names, keys and columns come from small pools, so that dropped ones come back as others.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from tests.oracle.acts import Act, Statement

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from tests.oracle.catalog import Catalog, ColumnNow, TableNow

NAMES: Final = ("shift_a", "shift_b", "shift_c", "shift_d", "shift_e")
COLUMNS: Final = tuple(f"c{number}" for number in range(8))
PARTS: Final = 5
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "integer": ("0", "-1", "7", "2147483647"),
    "bigint": ("0", "-9000000000", "12"),
    "numeric": ("0", "1.50", "NaN", "12345678901234567890.000000001"),
    "double precision": ("0.1", "-0", "NaN", "1e300"),
    "text": ("", "a", " ", "NULL", "\\N", "{1,2}", "Zoë ❤", "x" * 3000),
    "character varying": ("", "b", "null", "it's"),
    "character": ("", "c", "abc"),
    "boolean": ("t", "f"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "c0ffee00-1111-2222-3333-444455556666"),
    "jsonb": ("null", '{"a": [1, null, ""]}', "1.10", '"text"'),
    "timestamp with time zone": ("infinity", "2026-10-25 02:30:00+14", "0044-03-15 12:00:00+00 BC"),
    "timestamp without time zone": ("-infinity", "2026-03-29 02:30:00.000001", "0001-01-01"),
    "date": ("infinity", "2026-02-28", "4713-01-01 BC"),
    "interval": ("-1 year -2 days", "00:00:00.000001"),
    "bytea": ("\\x", "\\x00ff", "\\x" + "ab" * 2500),
    "text[]": ("{}", "{NULL}", '{"",a,"b,c"}', "{{a,b},{c,NULL}}"),
    "integer[]": ("{}", "{1,NULL,3}", "[2:3]={5,6}"),
    "inet": ("10.0.0.1", "2001:db8::/32"),
    "share": ("1.5", "-3", "0"),
}
"""What columns of each type may hold, by the type's name without its length; an enum's labels are the catalog's."""
DECLARED: Final = (
    *VALUES,
    "character varying(40)",
    "numeric(12,3)",
    "timestamp(0) with time zone",
    "mood",
    "mood",
)
COMPUTED: Final[dict[str, str]] = {
    "integer": "length({c}::text)",
    "bigint": "length({c}::text) * 3000000000",
    "numeric": "length({c}::text) / 3.0",
    "double precision": "length({c}::text) * 0.1",
    "text": "'about ' || {c}::text",
    "character varying": "left({c}::text, 9)",
    "character": "left({c}::text, 1)",
    "boolean": "{c} IS NULL",
    "uuid": "md5({c}::text)::uuid",
    "jsonb": "to_jsonb({c}::text)",
    "timestamp with time zone": "timestamptz '2026-01-01 00:00+00' + length({c}::text) * interval '1 hour'",
    "timestamp without time zone": "timestamp '2026-01-01' + length({c}::text) * interval '1 hour'",
    "date": "date '2026-01-01' + length({c}::text)",
    "interval": "length({c}::text) * interval '1 minute'",
    "bytea": "convert_to({c}::text, 'UTF8')",
    "text[]": "ARRAY[{c}::text, NULL]",
    "integer[]": "ARRAY[length({c}::text)]",
    "inet": "inet '10.0.0.0' + length({c}::text)",
    "share": "1.25",
}
"""How a value of any type becomes one of this type."""
CASTS: Final[dict[str, tuple[str, ...]]] = {
    "integer": ("bigint", "numeric", "text", "double precision", "share"),
    "bigint": ("numeric", "text", "integer"),
    "numeric": ("text", "numeric(12,3)", "numeric", "double precision", "share"),
    "text": ("character varying", "character varying(4000)"),
    "character varying": ("text", "character varying(80)", "character varying"),
    "character": ("text",),
    "timestamp with time zone": ("timestamp without time zone", "text", "date"),
    "timestamp without time zone": ("timestamp with time zone", "date"),
    "date": ("timestamp with time zone", "text"),
    "mood": ("text",),
    "boolean": ("integer", "text"),
    "uuid": ("text",),
    "share": ("numeric", "text"),
    "jsonb": ("text",),
    "text[]": ("text",),
    "inet": ("text",),
}
KEYS: Final[dict[str, str]] = {
    "uuid": "md5('{n}')::uuid",
    "bigint": "{n} * 300000000::bigint",
    "integer": "{n}",
    "numeric": "{n}",
    "double precision": "{n}",
    "share": "{n}",
    "boolean": "mod({n}, 2) = 0",
    "jsonb": "'{n}'::jsonb",
    "timestamp with time zone": "timestamptz '2026-01-01 00:00+00' + {n} * interval '1 day'",
    "timestamp without time zone": "timestamp '2026-01-01' + {n} * interval '1 day'",
    "date": "date '2026-01-01' + {n}",
    "interval": "{n} * interval '1 day'",
    "bytea": "convert_to('{n}', 'UTF8')",
    "text[]": "ARRAY['{n}']",
    "integer[]": "ARRAY[{n}]",
    "inet": "inet '10.0.0.0' + {n}",
    "mood": "'glad'",
    "character": "left('{n}', 1)",
}
"""A value of a key of each type, by a number; any other is a text."""
VOLATILE: Final[dict[str, str]] = {
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "clock_timestamp()",
    "integer": "(random() * 1000)::integer",
    "text": "md5(random()::text)",
    "double precision": "random()",
}


def plain(type_name: str) -> str:
    """Return a type's name without its length, by which the tables above know it."""
    words = type_name.partition("(")
    return (words[0] + words[2].partition(")")[2]).strip()


class Shifts:
    """Draws changes of shape, and rows."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._of_table: list[Callable[[Catalog, TableNow], list[str]]] = [
            *(self._add, self._add, self._add, self._add_computed, self._add_wedding, self._add_follower),
            *(self._drop_column, self._drop_column, self._rename_column, self._rename_column, self._swap_columns),
            *(self._replace_column, self._retype, self._retype, self._cast, self._cast, self._default, self._required),
            *(self._key, self._key, self._several, self._index, self._check, self._rename, self._swap_tables),
            *(self._recreate, self._recreate, self._drop, self._copy, self._truncate, self._unlink),
        ]

    def change(self, now: Catalog) -> Sequence[Act]:
        """Return statements that change a shape: one, or a few that belong together."""
        rng = self._rng
        roots = [table for table in now.tables if table.is_root]
        whole = [
            table for table in now.tables if not table.is_root and table.root is None and "split" not in table.name
        ]
        draw = rng.random()
        if draw < 0.06:
            texts = self._type()
        elif draw < 0.12:
            texts = self._aside()
        elif draw < 0.3:
            texts = self._split(now, roots)
        elif len(whole) < 2 or draw < 0.38:
            texts = self._create(now)
        else:
            texts = rng.choice(self._of_table)(now, rng.choice(whole))
        if texts and rng.random() < 0.1:
            texts = [_in_a_block(text) for text in texts]
        return [Statement(text=text) for text in texts]

    def rows(self, now: Catalog) -> Sequence[Act]:
        """Return statements that write, change and remove rows of one table as it is now."""
        rng = self._rng
        tables = [table for table in now.tables if table.root is None]
        if not tables:
            return []
        table = rng.choice(tables)
        acts: list[Act] = [self._insert(now, table) for _ in range(rng.randint(1, 2))]
        acts += [self._update(now, table)] * (rng.random() < 0.6)
        acts += [self._delete(table)] * (rng.random() < 0.4)
        rng.shuffle(acts)
        return acts

    # Rows.

    def _insert(self, now: Catalog, table: TableNow) -> Act:
        rng = self._rng
        columns = [
            column
            for column in table.columns
            if not column.is_generated and (column.name in table.key or column.is_required or rng.random() < 0.8)
            if not (column.is_identity and rng.random() < 0.5)
        ]
        if not columns:
            return Statement(text=f"INSERT INTO {table.name} DEFAULT VALUES")
        lines, values = [], []
        for _ in range(rng.randint(1, 4)):
            texts, given = zip(*(self._value(now, table, column) for column in columns), strict=True)
            lines.append(f"({', '.join(texts)})")
            values += [each for some in given for each in some]
        names = ", ".join(column.name for column in columns)
        text = f"INSERT INTO {table.name} ({names}) VALUES {', '.join(lines)} ON CONFLICT DO NOTHING"
        return Statement(text=text, values=tuple(values))

    def _update(self, now: Catalog, table: TableNow) -> Act:
        rng = self._rng
        able = [column for column in table.columns if not column.is_generated]
        columns = rng.sample(able, min(len(able), rng.randint(1, 2)))
        pairs = [(column, *self._value(now, table, column)) for column in columns]
        sets = ", ".join(f"{column.name} = {text}" for column, text, _ in pairs)
        limit = 1 if any(column.name in table.key for column in columns) else rng.randint(1, 6)
        values = tuple(each for _, _, given in pairs for each in given)
        return Statement(text=f"UPDATE {table.name} SET {sets} WHERE {self._some(table, limit)}", values=values)

    def _delete(self, table: TableNow) -> Act:
        return Statement(text=f"DELETE FROM {table.name} WHERE {self._some(table, self._rng.choice((1, 2, 9)))}")

    def _some(self, table: TableNow, limit: int) -> str:
        salt = self._rng.randrange(1000)
        order = f"ORDER BY md5(t::text || '{salt}') LIMIT {limit}"
        return f"(tableoid, ctid) IN (SELECT tableoid, ctid FROM {table.name} AS t {order})"

    def _value(self, now: Catalog, table: TableNow, column: ColumnNow) -> tuple[str, tuple[str | None, ...]]:
        """Return an expression for a value, and what its placeholders stand for."""
        rng = self._rng
        if column.points_at is not None:
            there, name = column.points_at
            if not column.is_required and column.name not in table.key and rng.random() < 0.1:
                return "NULL", ()
            return f"(SELECT {name} FROM {there} ORDER BY md5({name}::text || %s) LIMIT 1)", (str(rng.random()),)
        if column.name == "part":
            return "%s::integer", (str(rng.randrange(PARTS)),)
        if column.name in table.key:
            return _key_value(plain(column.type), rng.randrange(60)), ()
        if not column.is_required and rng.random() < 0.15:
            return "NULL", ()
        known = now.labels if plain(column.type) == "mood" else VALUES.get(plain(column.type), ("0",))
        return f"%s::text::{column.type}", (rng.choice(known),)

    # Whole tables.

    def _create(self, now: Catalog, name: str | None = None) -> list[str]:
        rng = self._rng
        free = [each for each in NAMES if each not in now.names()]
        name = name or (rng.choice(free) if free else None)
        if name is None:
            return []
        keys: tuple[str, ...] = ("integer", "bigint", "uuid DEFAULT gen_random_uuid()", "text", "serial")
        keys += ("bigint GENERATED BY DEFAULT AS IDENTITY",)
        columns = [f"id {rng.choice(keys)}", *self._links(now, name)]
        columns += [self._column(each) for each in rng.sample(COLUMNS, rng.randint(1, 4))]
        rng.shuffle(columns)
        key = "id"
        if rng.random() < 0.3:
            columns.append("k2 integer NOT NULL DEFAULT 0")
            key = rng.choice(("id, k2", "k2, id"))
        return [f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({key}))"]

    def _links(self, now: Catalog, name: str) -> list[str]:
        """Return columns that make rows belong to a wedding: straight, over an album, over another such table."""
        rng = self._rng
        ways = ["wedding_id uuid REFERENCES weddings (id) ON DELETE CASCADE"]
        ways += ["album_id integer REFERENCES albums (id) ON UPDATE CASCADE ON DELETE CASCADE"]
        for table in now.tables:
            key = [column for column in table.columns if column.name in table.key]
            if len(key) == 1 and table.root is None and not table.is_root and table.name != name:
                way = f"up {key[0].type} REFERENCES {table.name} ({key[0].name})"
                ways.append(f"{way} ON UPDATE CASCADE ON DELETE CASCADE")
        return rng.sample(ways, rng.choice((0, 1, 1, 1)))

    def _column(self, name: str) -> str:
        type_name = self._rng.choice(DECLARED)
        return f"{name} {type_name}{self._maybe_default(type_name)}"

    def _maybe_default(self, type_name: str) -> str:
        rng = self._rng
        draw = rng.random()
        value = "glad" if type_name == "mood" else rng.choice(VALUES[plain(type_name)])
        default = f" DEFAULT {_quoted(value)}::{type_name}"
        if draw < 0.4:
            return ""
        if draw < 0.6:
            return default
        if draw < 0.8:
            return f"{default} NOT NULL"
        volatile = VOLATILE.get(type_name)
        return f" DEFAULT {volatile}{rng.choice(('', ' NOT NULL'))}" if volatile else default

    def _recreate(self, now: Catalog, table: TableNow) -> list[str]:
        return [f"DROP TABLE {table.name} CASCADE", *self._create(now, table.name)]

    def _drop(self, _now: Catalog, table: TableNow) -> list[str]:
        return [f"DROP TABLE {table.name} CASCADE"]

    def _copy(self, now: Catalog, table: TableNow) -> list[str]:
        """Make a table from a query; it gets a key in the same transaction."""
        free = [each for each in NAMES if each not in now.names()]
        if not free or not table.key:
            return []
        name, key = self._rng.choice(free), ", ".join(table.key)
        more = ", ".join(column.name for column in table.columns if column.name not in table.key)
        query = f"SELECT {key}{self._rng.choice(('', f', {more}' if more else ''))} "
        made = (f"CREATE TABLE {name} AS {query} FROM {table.name}", f"{query} INTO {name} FROM {table.name}")
        return [self._rng.choice(made), f"ALTER TABLE {name} ADD PRIMARY KEY ({key})"]

    def _truncate(self, _now: Catalog, table: TableNow) -> list[str]:
        return [f"TRUNCATE {table.name} CASCADE"]

    def _rename(self, now: Catalog, table: TableNow) -> list[str]:
        free = [each for each in NAMES if each not in now.names()]
        return [f"ALTER TABLE {table.name} RENAME TO {self._rng.choice(free)}"] if free else []

    def _swap_tables(self, now: Catalog, table: TableNow) -> list[str]:
        others = [each for each in now.tables if each.name in NAMES and each.name != table.name]
        if not others:
            return []
        other = self._rng.choice(others).name
        return [
            f"ALTER TABLE {table.name} RENAME TO shift_z",
            f"ALTER TABLE {other} RENAME TO {table.name}",
            f"ALTER TABLE shift_z RENAME TO {other}",
        ]

    # Columns.

    def _unused(self, table: TableNow) -> str:
        taken = {column.name for column in table.columns}
        return self._rng.choice([each for each in (*COLUMNS, "c8", "c9") if each not in taken] or ["c0"])

    def _one(self, table: TableNow) -> ColumnNow | None:
        return self._rng.choice(table.free) if table.free else None

    def _add(self, _now: Catalog, table: TableNow) -> list[str]:
        return [f"ALTER TABLE {table.name} ADD COLUMN {self._column(self._unused(table))}"]

    def _add_computed(self, _now: Catalog, table: TableNow) -> list[str]:
        name = self._unused(table)
        texts = [each.name for each in table.free if plain(each.type) == "text" and not each.is_generated]
        ways = ["bigint GENERATED BY DEFAULT AS IDENTITY", "serial", "bigserial"]
        ways += [f"integer GENERATED ALWAYS AS (length({each})) STORED" for each in texts]
        return [f"ALTER TABLE {table.name} ADD COLUMN {name} {self._rng.choice(ways)}"]

    def _add_wedding(self, _now: Catalog, table: TableNow) -> list[str]:
        """Rows that were the platform's come to belong to weddings, or to others than before."""
        if any(column.name == "wedding_id" for column in table.columns):
            return [f"ALTER TABLE {table.name} DROP COLUMN wedding_id"]
        one = "(SELECT id FROM weddings ORDER BY md5(id::text || t::text) LIMIT 1)"
        return [
            f"ALTER TABLE {table.name} ADD COLUMN wedding_id uuid REFERENCES weddings (id) ON DELETE CASCADE",
            f"UPDATE {table.name} AS t SET wedding_id = {one}",
        ]

    def _add_follower(self, now: Catalog, table: TableNow) -> list[str]:
        """Rows come to follow rows of a table that nobody followed before."""
        if any(column.name == "up" for column in table.columns):
            return [f"ALTER TABLE {table.name} DROP COLUMN up"]
        ways = [each for each in self._links(now, table.name) if each.startswith("up ")]
        return [f"ALTER TABLE {table.name} ADD COLUMN {ways[0]}"] if ways else []

    def _unlink(self, _now: Catalog, table: TableNow) -> list[str]:
        """Rows that belonged to a wedding become the platform's."""
        links = [column.name for column in table.columns if column.points_at is not None]
        return [f"ALTER TABLE {table.name} DROP COLUMN {self._rng.choice(links)}"] if links else []

    def _drop_column(self, _now: Catalog, table: TableNow) -> list[str]:
        one = self._one(table)
        return [f"ALTER TABLE {table.name} DROP COLUMN {one.name} CASCADE"] if one else []

    def _replace_column(self, _now: Catalog, table: TableNow) -> list[str]:
        """A column of the dropped one's name, and perhaps of another type."""
        one = self._one(table)
        if one is None:
            return []
        add = f"ALTER TABLE {table.name} ADD COLUMN {self._column(one.name)}"
        return [f"ALTER TABLE {table.name} DROP COLUMN {one.name} CASCADE", add]

    def _rename_column(self, _now: Catalog, table: TableNow) -> list[str]:
        one = self._rng.choice(table.columns) if self._rng.random() < 0.3 else self._one(table)
        if one is None or one.name == "part":
            return []
        return [f"ALTER TABLE {table.name} RENAME COLUMN {one.name} TO {self._unused(table)}"]

    def _swap_columns(self, _now: Catalog, table: TableNow) -> list[str]:
        if len(table.free) < 2:
            return []
        one, two = (each.name for each in self._rng.sample(table.free, 2))
        pairs = ((one, "c_"), (two, one), ("c_", two))
        return [f"ALTER TABLE {table.name} RENAME COLUMN {was} TO {new}" for was, new in pairs]

    def _retype(self, _now: Catalog, table: TableNow) -> list[str]:
        return self._retyped(table, self._rng.choice([*COMPUTED]), is_computed=True)

    def _cast(self, _now: Catalog, table: TableNow) -> list[str]:
        return self._retyped(table, None, is_computed=False)

    def _retyped(self, table: TableNow, type_name: str | None, *, is_computed: bool) -> list[str]:
        one = self._one(table)
        if one is None or one.is_generated or one.is_identity:
            return []
        if not is_computed:
            type_name = self._rng.choice(CASTS.get(plain(one.type), ("text",)))
        using = f" USING {COMPUTED[str(type_name)].format(c=one.name)}" if is_computed else ""
        change = f"ALTER COLUMN {one.name} DROP DEFAULT, ALTER COLUMN {one.name} TYPE {type_name}{using}"
        return [f"ALTER TABLE {table.name} {change}"]

    def _default(self, _now: Catalog, table: TableNow) -> list[str]:
        one = self._one(table)
        if one is None or one.is_generated or one.is_identity:
            return []
        known = ("glad",) if one.type == "mood" else VALUES.get(plain(one.type), ("0",))
        default = f"SET DEFAULT {_quoted(self._rng.choice(known))}::{one.type}"
        action = default if not one.has_default or self._rng.random() < 0.5 else "DROP DEFAULT"
        return [f"ALTER TABLE {table.name} ALTER COLUMN {one.name} {action}"]

    def _required(self, _now: Catalog, table: TableNow) -> list[str]:
        one = self._one(table)
        if one is None:
            return []
        if one.is_required:
            return [f"ALTER TABLE {table.name} ALTER COLUMN {one.name} DROP NOT NULL"]
        return [
            f"DELETE FROM {table.name} WHERE {one.name} IS NULL",
            f"ALTER TABLE {table.name} ALTER COLUMN {one.name} SET NOT NULL",
        ]

    def _key(self, _now: Catalog, table: TableNow) -> list[str]:
        """Another primary key: a new column, one more column, or the same again; perhaps rows change between."""
        if table.key_name is None:
            return []
        drop, name = f"DROP CONSTRAINT {table.key_name} CASCADE", self._unused(table)
        able = [each.name for each in table.free if each.is_required]
        ways = [f"ADD COLUMN {name} uuid DEFAULT gen_random_uuid() NOT NULL, ADD PRIMARY KEY ({name})"]
        ways += [f"ADD PRIMARY KEY ({', '.join((*table.key, *able[:1]))})", f"ADD PRIMARY KEY ({', '.join(table.key)})"]
        add = self._rng.choice(ways)
        if self._rng.random() < 0.5:
            return [f"ALTER TABLE {table.name} {drop}, {add}"]
        free = [each.name for each in table.free if not each.is_generated and not each.is_identity]
        between = [f"UPDATE {table.name} SET {each} = {each}" for each in free[:1]]
        return [f"ALTER TABLE {table.name} {drop}", *between, f"ALTER TABLE {table.name} {add}"]

    def _several(self, _now: Catalog, table: TableNow) -> list[str]:
        """Several changes in one command."""
        one = self._one(table)
        new = iter([each for each in COLUMNS if all(each != column.name for column in table.columns)])
        adds = [f"ADD COLUMN {self._column(each)}" for each in itertools.islice(new, 2)]
        drops = [] if one is None else [f"DROP COLUMN {one.name} CASCADE"]
        return [f"ALTER TABLE {table.name} {', '.join((*drops, *adds))}"] if adds else []

    def _index(self, _now: Catalog, table: TableNow) -> list[str]:
        one = self._one(table)
        if one is None or plain(one.type) in {"json", "text", "bytea", "text[]"}:
            return []
        return [f"CREATE INDEX ON {table.name} ({one.name})"]

    def _check(self, _now: Catalog, table: TableNow) -> list[str]:
        one = self._one(table)
        return (
            []
            if one is None
            else [f"ALTER TABLE {table.name} ADD CHECK ({one.name} IS NULL OR {one.name} = {one.name})"]
        )

    # Types, and what is nobody's business.

    def _type(self) -> list[str]:
        number = self._rng.randrange(100)
        return self._rng.choice(
            (
                [f"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'mood {number}'"],
                [f"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'mood {number}' BEFORE 'glad'"],
                ["ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'"],
                ["ALTER TYPE mood RENAME VALUE 'blue' TO 'sad'"],
                [f"ALTER DOMAIN share ADD CHECK (VALUE <> {number + 100})"],
            )
        )

    def _aside(self) -> list[str]:
        number = self._rng.randrange(5)
        return self._rng.choice(
            (
                ["CREATE TEMP TABLE aside (a int PRIMARY KEY) ON COMMIT DROP", "INSERT INTO aside VALUES (1)"],
                [f"CREATE SEQUENCE IF NOT EXISTS aside_{number}"],
                [f"CREATE OR REPLACE VIEW aside_view AS SELECT {number} AS n"],
                [f"CREATE OR REPLACE FUNCTION aside_{number}() RETURNS int LANGUAGE sql AS 'SELECT {number}'"],
                [f"DROP FUNCTION IF EXISTS aside_{number}()"],
                ["COMMENT ON TABLE weddings IS 'all of them'"],
            )
        )

    # Partitions.

    def _split(self, now: Catalog, roots: Sequence[TableNow]) -> list[str]:
        rng = self._rng
        if not roots:
            return [
                "CREATE TABLE split (id int, part int, note text, PRIMARY KEY (id, part)) PARTITION BY LIST (part)",
                "CREATE TABLE split_rest PARTITION OF split DEFAULT",
            ]
        root = roots[0]
        number = rng.randrange(PARTS)
        name, key = f"split_{number}", ", ".join(root.key)
        here = next((table for table in now.tables if table.name == name), None)
        if here is None:
            into = f"({number})"
            moved = f"DELETE FROM {root.name} WHERE part = {number}"
            return rng.choice(
                (
                    [moved, f"CREATE TABLE {name} PARTITION OF {root.name} FOR VALUES IN {into}"],
                    [
                        f"CREATE TABLE {name} (LIKE {root.name} INCLUDING DEFAULTS INCLUDING GENERATED)",
                        f"ALTER TABLE {name} ADD PRIMARY KEY ({key})",
                        f"WITH moved AS ({moved} RETURNING *) INSERT INTO {name} SELECT * FROM moved",
                        f"ALTER TABLE {root.name} ATTACH PARTITION {name} FOR VALUES IN {into}",
                    ],
                )
            )
        if here.root is None:
            attach = f"ALTER TABLE {root.name} ATTACH PARTITION {name} FOR VALUES IN ({number})"
            return rng.choice(([f"DELETE FROM {root.name} WHERE part = {number}", attach], [f"DROP TABLE {name}"]))
        choices = [
            [f"ALTER TABLE {root.name} DETACH PARTITION {name}"],
            [f"ALTER TABLE {root.name} DETACH PARTITION {name}", f"UPDATE {name} SET note = 'apart'"],
            [f"DROP TABLE {name}"],
            [f"TRUNCATE {name}"],
            [f"TRUNCATE {root.name}"],
            [f"ALTER TABLE {name} RENAME TO split_{rng.randrange(PARTS)}"],
            *(
                draw(now, root)
                for draw in (self._add, self._drop_column, self._rename_column, self._retype, self._cast)
            ),
            [f"DROP TABLE {root.name} CASCADE"],
        ]
        return rng.choice(choices)


def _key_value(type_name: str, number: int) -> str:
    """Return a value of a key; few, so that they meet again."""
    return KEYS.get(type_name, "'k{n}'").format(n=number)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _in_a_block(text: str) -> str:
    """Return the statement inside a block of its own that forgives: a subtransaction nobody sees from outside."""
    return f"DO $block$ BEGIN EXECUTE {_quoted(text)}; EXCEPTION WHEN undefined_table THEN NULL; END $block$"
