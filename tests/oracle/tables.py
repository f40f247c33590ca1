"""Tables of the proof's own, beside the sample platform's: what is easy to lose or to double."""

from __future__ import annotations

from ops.sample import platform
from schemas.mapping import ParentLink, TableMapping, TableRule, table_mapping

OWN_SQL = """
CREATE TABLE public.ledger (
    id bigserial PRIMARY KEY,
    wedding_id uuid,
    amount numeric,
    note text DEFAULT 'none'
);
CREATE TABLE public.albums (
    id integer PRIMARY KEY,
    wedding_id uuid REFERENCES public.weddings (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    title text
);
CREATE TABLE public.pages (
    album_id integer NOT NULL REFERENCES public.albums (id)
        ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    no integer NOT NULL,
    body text,
    blob bytea,
    PRIMARY KEY (album_id, no)
);
CREATE TABLE public.stickers (
    id integer PRIMARY KEY,
    album_id integer NOT NULL,
    no integer NOT NULL,
    what text,
    FOREIGN KEY (album_id, no) REFERENCES public.pages (album_id, no)
        ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE public.nodes (
    id integer PRIMARY KEY,
    up integer REFERENCES public.nodes (id) DEFERRABLE INITIALLY DEFERRED,
    label text
);
CREATE TABLE public.keyed (
    a integer NOT NULL,
    b text NOT NULL,
    c text,
    d jsonb,
    PRIMARY KEY (a, b)
);
CREATE TABLE public.blanks (
    k text PRIMARY KEY,
    v text,
    w text[],
    at timestamp with time zone,
    on_day date,
    lasts interval,
    ratio double precision,
    doubled integer GENERATED ALWAYS AS (length(v) * 2) STORED
);
ALTER TABLE public.pages ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TYPE public.mood AS ENUM ('glad', 'sad');
CREATE DOMAIN public.share AS numeric;
CREATE TABLE public.shift_a (
    id integer PRIMARY KEY,
    wedding_id uuid REFERENCES public.weddings (id) ON DELETE CASCADE,
    c0 text DEFAULT 'none',
    c1 integer
);
CREATE TABLE public.shift_b (
    id bigint PRIMARY KEY,
    up integer REFERENCES public.shift_a (id) ON UPDATE CASCADE ON DELETE CASCADE,
    c0 public.mood DEFAULT 'sad',
    c1 timestamp with time zone
);
INSERT INTO public.shift_a (id, c1) SELECT n, n * n FROM generate_series(0, 39) AS n;
INSERT INTO public.shift_b (id, up) SELECT n, n % 40 FROM generate_series(0, 59) AS n;
"""


def schema_sql() -> str:
    """Return the sample's schema and ours."""
    return platform.schema_sql() + OWN_SQL


def mapping() -> TableMapping:
    """Return the rules of all tables."""
    sample = platform.sample_mapping()
    return table_mapping(
        [*sample.tables.values(), *_own_rules()], calendar=sample.calendar, deliveries=sample.deliveries
    )


def _own_rules() -> list[TableRule]:
    album = ParentLink(table="public.albums", columns=("album_id",), references=("id",))
    page = ParentLink(table="public.pages", columns=("album_id", "no"), references=("album_id", "no"))
    return [
        TableRule(name="public.ledger", key=("id",), wedding_column="wedding_id"),
        TableRule(name="public.albums", key=("id",), wedding_column="wedding_id"),
        TableRule(name="public.pages", key=("album_id", "no"), parent=album),
        TableRule(name="public.stickers", key=("id",), parent=page),
        TableRule(name="public.nodes", key=("id",)),
        TableRule(name="public.keyed", key=("a", "b")),
        TableRule(name="public.blanks", key=("k",)),
        # Declared, and soon something else: a rule follows its table, or gives way to what the schema says.
        TableRule(name="public.shift_a", key=("id",), wedding_column="wedding_id"),
        TableRule(
            name="public.shift_b",
            key=("id",),
            parent=ParentLink(table="public.shift_a", columns=("up",), references=("id",)),
        ),
    ]
