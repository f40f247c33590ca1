"""From captured value to Postgres' text: exact or refused. Round trips through a server are an integration test."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import FormatError
from sinks.pgtext import UNAVAILABLE, ColumnType, column_type, renamed_elements, to_pg_text

EPOCH = dt.date(1970, 1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text", ColumnType(name="text")),
        ("numeric(12,2)", ColumnType(name="numeric", modifier=12)),
        ("character varying(3)[]", ColumnType(name="character varying", modifier=3, is_array=True)),
        ("timestamp(3) with time zone", ColumnType(name="timestamp with time zone", modifier=3)),
        ("interval day to second(3)", ColumnType(name="interval", modifier=3)),
        ("extensions.citext", ColumnType(name="extensions.citext")),
    ],
)
def test_a_type_is_read_as_postgres_writes_it(text: str, expected: ColumnType) -> None:
    """Modifiers stand in odd places."""
    assert column_type(text) == expected


@pytest.mark.parametrize(
    ("value", "type_text", "expected"),
    [
        (None, "text", None),
        ("a\tb\\", "text", "a\tb\\"),
        ("12345.60", "numeric(12,2)", "12345.60"),
        ("NaN", "numeric", "NaN"),
        (9223372036854775807, "bigint", "9223372036854775807"),
        (0.1, "double precision", "0.1"),
        ("-Infinity", "real", "-Infinity"),
        (True, "boolean", "t"),
        ("AP8Q", "bytea", "\\x00ff10"),
        ("1010", "bit varying(8)", "1010"),
        (0, "date", "1970-01-01"),
        (2_146_033_979, "date", "infinity"),
        (-719_529, "date", "0002-12-31 BC"),
        ("0044-03-15 12:00:00 BC", "timestamp without time zone", "0044-03-15 12:00:00 BC"),
        ("-infinity", "timestamp with time zone", "-infinity"),
        ("-0043-03-15T12:00:00.000000Z", "timestamp with time zone", "0044-03-15 12:00:00.000000+00 BC"),
        ("24:00:00-15:59", "time with time zone", "24:00:00-15:59"),
        ("[0:1]={1,NULL}", "integer[]", "[0:1]={1,NULL}"),
        ("{NaN,1.10}", "numeric(12,2)[]", "{NaN,1.10}"),
        ('"a"=>NULL', "extensions.hstore", '"a"=>NULL'),
    ],
)
def test_a_captured_value_becomes_postgres_text(value: Any, type_text: str, expected: str | None) -> None:
    """What Postgres reads back as the very same value."""
    assert to_pg_text(value, type_text) == expected


@pytest.mark.parametrize(
    ("value", "type_text"),
    [
        (1.5, "numeric"),
        (1.5, "integer"),
        (True, "integer"),
        (40_000, "smallint"),
        ("1.5 or so", "numeric"),
        ({"a": 1}, "jsonb"),
        (7, "text"),
        ("2026-06-21Z", "date"),
        ("not base64!", "bytea"),
        (True, "bit(1)"),
        (7, "time without time zone"),
        (7, "timestamp without time zone"),
        ("2026-06-21T00:00:00", "timestamp with time zone"),
        ([1, 2], "integer[]"),
        ({"x": 1.0, "y": -2.5}, "point"),
        ("guests", "regclass"),
        ("{guests}", "regclass[]"),
        (UNAVAILABLE, "text"),
        ("X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", "bytea"),
        (UNAVAILABLE, "text[]"),
    ],
)
def test_what_cannot_be_exact_is_refused_with_a_hint(value: Any, type_text: str) -> None:
    """Never altered in silence."""
    with pytest.raises(FormatError) as caught:
        to_pg_text(value, type_text)

    assert caught.value.hint


def test_an_enums_text_is_taken_as_it_is() -> None:
    """Its name tells nothing: the catalog says that it is one."""
    assert to_pg_text("maybe", column_type("public.rsvp", kind="e")) == "maybe"
    assert to_pg_text("{yes,NULL}", column_type("public.rsvp[]", kind="e")) == "{yes,NULL}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{sad,NULL,glad}", '{"moved",NULL,"glad"}'),
        ('[0:1]={{sad,"a,\\"b"},{"NULL",x}}', '[0:1]={{"moved","a,\\"b"},{"NULL","x"}}'),
        ('{"sad","\\\\"}', '{"moved","\\\\"}'),
        ("{}", "{}"),
    ],
)
def test_renamed_labels_are_found_inside_arrays(text: str, expected: str) -> None:
    """Bounds, nesting, quotes and NULLs stay; a label spelled NULL is no NULL."""
    assert renamed_elements(text, {"sad": "moved"}) == expected


def test_an_error_never_shows_the_value() -> None:
    """It may be anybody's secret."""
    with pytest.raises(FormatError) as caught:
        to_pg_text("secret", "integer")

    assert "secret" not in str(caught.value)


@given(st.dates())
def test_every_day_is_the_calendars_day(day: dt.date) -> None:
    """Our reckoning agrees with Python's for all years that Python has."""
    assert to_pg_text((day - EPOCH).days, "date") == day.isoformat()
