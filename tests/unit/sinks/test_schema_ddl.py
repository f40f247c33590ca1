"""SQL from shapes: what is spoken of comes before who speaks of it."""

from __future__ import annotations

from schemas.shapes import Schema
from sinks.schema_ddl import schema_sql
from tests.unit.schemas.shaping import a_change, a_column, a_table


def test_types_and_sequences_come_before_tables_and_references_after() -> None:
    """An empty database takes the statements one by one."""
    sequence = {"is": "sequence", "oid": 5, "name": "public.s", "sql": "CREATE SEQUENCE s", "owner": [7, 1]}
    view = {"is": "view", "oid": 6, "name": "public.v", "sql": "CREATE VIEW v"}
    constraints = [{"name": "k", "type": "f", "sql": "FOREIGN KEY"}, {"name": "p", "type": "p", "sql": "PRIMARY KEY"}]
    table = a_table(7, "public.a", constraints=constraints, indexes=["CREATE INDEX i"])
    lines = schema_sql(Schema().after(a_change(view, table, sequence))).splitlines()

    begins = [
        "SET",
        "SET",
        "CREATE SEQUENCE",
        "CREATE TABLE",
        "ALTER SEQUENCE",
        "ALTER TABLE",
        "CREATE INDEX",
        "ALTER TABLE",
    ]
    assert [line.startswith(begin) for line, begin in zip(lines, [*begins, "CREATE VIEW"], strict=True)] == [True] * 9
    assert "PRIMARY KEY" in lines[5]


def test_names_are_quoted_whatever_they_are() -> None:
    """Quotes inside them too."""
    sql = schema_sql(Schema().after(a_change(a_table(7, 'my.odd "one"', a_column(1, "A b")))))

    assert 'CREATE TABLE "my"."odd ""one""" ("A b" integer)' in sql


def test_a_partition_is_made_of_its_root() -> None:
    """After it, though its oid may be smaller."""
    root = a_table(9, "public.r", sort="p", partition_key="RANGE (id)")
    part = a_table(3, "public.p", parent=9, bound="FOR VALUES FROM (1) TO (2)")
    lines = schema_sql(Schema().after(a_change(root, part))).splitlines()

    assert lines[2] == 'CREATE TABLE "public"."r" ("id" integer) PARTITION BY RANGE (id);'
    assert lines[3] == 'CREATE TABLE "public"."p" PARTITION OF "public"."r" FOR VALUES FROM (1) TO (2);'


def test_a_reference_is_written_in_the_names_both_tables_have_now() -> None:
    """The table it leads to may have been told again under another name since."""
    link = {"columns": [1], "table": 9, "references": [1], "name": "up", "rules": "ON DELETE CASCADE"}
    schema = Schema().after(a_change(a_table(9, "public.old"), a_table(7, "public.a", links=[link])))
    lines = schema_sql(schema.after(a_change(a_table(9, "public.new")))).splitlines()

    key = 'FOREIGN KEY ("id") REFERENCES "public"."new" ("id") ON DELETE CASCADE'
    assert lines[-1] == f'ALTER TABLE "public"."a" ADD CONSTRAINT "up" {key};'
