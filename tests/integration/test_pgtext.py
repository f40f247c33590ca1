"""What `pgtext` writes, a real server reads as the very same value: compared in its binary form."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import struct
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.pgtext import to_pg_text
from sinks.target_tables import CANONICAL_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import LocalStack

pytestmark = pytest.mark.integration

FIRST_DAY, LAST_DAY = -2_440_588, 2_145_042_905  # 4713-11-24 BC and 5874897-12-31
EPOCH_2000_DAYS = 10_957
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """Values to draw, how capture writes one, what the server is asked, and what it must answer."""

    drawn: st.SearchStrategy[Any]
    question: str
    answer: Callable[[Any], Any]
    captured: Callable[[Any], Any] = lambda value: value
    read: Callable[[str], Any] = lambda answer: answer


def _packed(form: str, less: int = 0) -> Callable[[Any], str]:
    return lambda value: struct.pack(form, value - less if less else value).hex()


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


ROUND_TRIPS = {
    "smallint": RoundTrip(drawn=st.integers(-(2**15), 2**15 - 1), question="int2send", answer=_packed(">h")),
    "integer": RoundTrip(drawn=st.integers(-(2**31), 2**31 - 1), question="int4send", answer=_packed(">i")),
    "bigint": RoundTrip(drawn=st.integers(-(2**63), 2**63 - 1), question="int8send", answer=_packed(">q")),
    "real": RoundTrip(
        drawn=st.floats(width=32, allow_nan=False, allow_infinity=False), question="float4send", answer=_packed(">f")
    ),
    "double precision": RoundTrip(
        drawn=st.floats(allow_nan=False, allow_infinity=False), question="float8send", answer=_packed(">d")
    ),
    "numeric": RoundTrip(
        drawn=st.decimals(allow_infinity=False, allow_nan=False, min_value=-(10**30), max_value=10**30).map(
            "{:f}".format
        ),
        question="textsend(v::text)",
        answer=lambda value: value.replace("-0", "0").encode().hex() if float(value) == 0 else value.encode().hex(),
    ),
    "boolean": RoundTrip(drawn=st.booleans(), question="boolsend", answer=_packed(">?")),
    "text": RoundTrip(drawn=TEXT, question="textsend", answer=lambda value: value.encode().hex()),
    "uuid": RoundTrip(drawn=st.uuids(), question="uuid_send", answer=lambda value: value.hex, captured=str),
    "bytea": RoundTrip(drawn=st.binary(), question="byteasend", answer=bytes.hex, captured=_base64),
    "jsonb": RoundTrip(
        drawn=st.dictionaries(TEXT, st.integers() | TEXT),
        question="v",
        answer=lambda value: value,
        captured=json.dumps,
        read=json.loads,
    ),
    "date": RoundTrip(
        drawn=st.integers(FIRST_DAY, LAST_DAY), question="date_send", answer=_packed(">i", EPOCH_2000_DAYS)
    ),
    "timestamp with time zone": RoundTrip(
        drawn=st.datetimes(),
        question="timestamptz_send",
        answer=lambda value: _packed(">q")((value - dt.datetime(2000, 1, 1)) // dt.timedelta(microseconds=1)),  # noqa: DTZ001 - in UTC
        captured=lambda value: f"{value.isoformat(timespec='microseconds')}Z",
    ),
}


@pytest.fixture(scope="module")
def connection(stack: LocalStack) -> Iterator[psycopg.Connection[Any]]:
    """Open a session with the settings that a restore uses."""
    with psycopg.connect(stack.dsn()) as connection:
        connection.execute(CANONICAL_SETTINGS)
        yield connection
        connection.rollback()


def _asked(connection: psycopg.Connection[Any], type_text: str, question: str, text: str | None) -> Any:
    """Ask the server what it makes of a text of a type."""
    asked = f"encode({question if '(' in question else question + '(v)'}, 'hex')" if "send" in question else question
    row = connection.execute(
        f"SELECT ({asked})::text FROM (SELECT %s::{type_text} AS v) AS given".encode(), (text,)
    ).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("type_text", ROUND_TRIPS)
def test_a_value_survives_the_round_trip(connection: psycopg.Connection[Any], type_text: str) -> None:
    """Bit by bit, over the type's whole range."""
    trip = ROUND_TRIPS[type_text]

    @settings(deadline=None, max_examples=150)
    @given(trip.drawn)
    def survives(value: Any) -> None:
        answer = _asked(connection, type_text, trip.question, to_pg_text(trip.captured(value), type_text))
        assert trip.read(answer) == trip.answer(value)

    survives()


@pytest.mark.parametrize(
    ("captured", "type_text", "meant"),
    [
        (2_146_033_979, "date", "infinity"),
        (-2_147_472_691, "date", "-infinity"),
        ("infinity", "timestamp with time zone", "infinity"),
        ("-0043-03-15T12:00:00.000000Z", "timestamp with time zone", "0044-03-15 12:00:00+00 BC"),
        ("0000-12-31T23:59:59.000000Z", "timestamp with time zone", "0001-12-31 23:59:59+00 BC"),
        ("+294276-12-31T23:59:59.999999Z", "timestamp with time zone", "294276-12-31 23:59:59.999999+00"),
        ("NaN", "numeric", "NaN"),
        ("-Infinity", "double precision", "-Infinity"),
        ("1E+3", "numeric", "1000"),
        ("12345.60", "numeric(12,2)", "12345.60"),
        ("ab   ", "character(5)", "ab   "),
    ],
)
def test_a_special_value_is_read_as_meant(
    connection: psycopg.Connection[Any], captured: Any, type_text: str, meant: str
) -> None:
    """The edges of each type, as the connector writes them."""
    text = to_pg_text(captured, type_text)
    assert _asked(connection, type_text, "format('%%s', v)", text) == meant
