"""The type table: what travels how, and what is refused with the line that mends it."""

from __future__ import annotations

import re

import pytest

from connectors.column_types import AS_DEBEZIUM_WRITES, Column, Fidelity, carriage, colliding_names, verdict
from ops.stack.artifacts import JAVA_SOURCES

# Object ids of built-in types are the same on every server.
TYPE_OF = {
    16: "boolean",
    17: "bytea",
    20: "bigint",
    21: "smallint",
    23: "integer",
    25: "text",
    26: "oid",
    700: "real",
    701: "double precision",
    1042: "character",
    1043: "character varying",
    1700: "numeric",
    1184: "timestamp with time zone",
}


def a_column(type_text: str, *, kind: str = "b") -> Column:
    """Return a column of a type."""
    return Column(table="public.guests", name="seat", type=type_text, kind=kind)


@pytest.mark.parametrize(
    ("type_text", "kind", "fidelity"),
    [
        ("integer", "b", Fidelity.EXACT),
        ("numeric(12,2)", "b", Fidelity.MAPPED),
        ("timestamp(3) with time zone", "b", Fidelity.MAPPED),
        ("interval day to second(3)", "b", Fidelity.BOUNDED),
        ("interval[]", "b", Fidelity.EXACT),
        ("integer[]", "b", Fidelity.EXACT),
        ('"char"', "b", Fidelity.EXACT),
        ("public.mood", "e", Fidelity.EXACT),
        ("public.place[]", "c", Fidelity.EXACT),
        ("public.hstore", "b", Fidelity.EXACT),
        ('public."odd(1) [] name"', "e", Fidelity.EXACT),
        ('"odd schema".date', "e", Fidelity.REFUSED),
        ("public.int4", "c", Fidelity.REFUSED),
        ("regclass", "b", Fidelity.REFUSED),
        ("regclass[]", "b", Fidelity.REFUSED),
        ("pg_node_tree", "b", Fidelity.REFUSED),
    ],
)
def test_a_type_is_found_as_postgres_writes_it(type_text: str, kind: str, fidelity: Fidelity) -> None:
    """Modifiers and arrays do not hide a type, nor does a name look like one."""
    assert verdict(a_column(type_text, kind=kind)).fidelity is fidelity


def test_a_refusal_names_the_column_and_the_line_that_mends_it() -> None:
    """Whoever reads it can act on it."""
    refused = verdict(Column(table='public.od"d', name="What", type="regclass"))

    assert not refused.is_safe
    assert 'public.od"d.What is regclass' in refused.reason
    assert refused.fix_sql == 'ALTER TABLE "public"."od""d" ALTER COLUMN "What" TYPE text USING "What"::text;'


def test_a_check_on_its_hours_makes_an_interval_exact() -> None:
    """As the fix proposes it, and as the catalog then shows it."""
    bounded = Column(
        table="public.stays",
        name="lasts",
        type="interval",
        checks=("CHECK ((abs(EXTRACT(hour FROM lasts)) <= (2147483647)::numeric))",),
    )

    assert verdict(bounded).fidelity is Fidelity.EXACT
    assert "extract(hour" in verdict(a_column("interval")).fix_sql


def test_an_array_of_mapped_elements_travels_as_text() -> None:
    """Element by element, NaN would vanish and nested arrays be mangled."""
    assert carriage("numeric[]") == carriage("integer[]") == carriage("json")


def test_names_that_differ_in_case_only_are_told() -> None:
    """Debezium stops at a table that has them."""
    assert colliding_names(["id", "Name", "name", "seat"]) == {"Name", "name"}


def test_the_converter_leaves_alone_just_what_the_table_says() -> None:
    """Two tables, one truth: what the Java class skips is what travels as Debezium writes it."""
    source = (JAVA_SOURCES / "wedsync" / "backup" / "PostgresText.java").read_text(encoding="utf-8")
    skipped = re.search(r"EXACT_ALREADY =\s+Set\.of\(([\d, ]+)\)", source)

    assert skipped is not None
    assert {TYPE_OF[int(number)] for number in skipped[1].split(",")} == AS_DEBEZIUM_WRITES.keys() - {"bpchar"}
