"""Rows through changes of names, columns and keys, in whatever order they arrive."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from schemas.errors import FormatError
from sinks.cut import Order
from sinks.row_versions import RowVersions
from sinks.schema_history import SchemaHistory
from tests import builders
from tests.unit.schemas.shaping import a_change, a_column, a_table

if TYPE_CHECKING:
    from schemas.shapes import ShapeChange

Row = dict[str, Any]

ID, NAME = a_column(1, "id"), a_column(2, "name", type="text")
GIFTS = a_table(7, "public.gifts", ID, NAME)


def at(position: int) -> Order:
    """Return a place."""
    return Order(1, position)


def alive(
    messages: dict[int, ShapeChange], rows: list[tuple[int, str, Row | None, Row | None]], *, seed: int = 0
) -> dict[str, list[Row]]:
    """Take messages, then rows in a drawn order, and return what lives."""
    history = SchemaHistory()
    versions = RowVersions(history, builders.a_mapping())
    for position, message in messages.items():
        history.take(at(position), message)
    random.Random(seed).shuffle(rows)
    for position, table, before, after in rows:
        versions.take(at(position), f"public.{table}", before, after)
    return {name: sorted(found.values(), key=str) for name, found in versions.alive({}).items()}


@pytest.mark.parametrize("seed", range(5))
def test_a_renamed_table_and_column_keep_their_rows(seed: int) -> None:
    """A row written under the old names stands under the new ones."""
    renamed = a_table(7, "public.presents", ID, a_column(2, "title", type="text"))
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        (2, "gifts", None, {"id": 1, "name": "a"}),
        (3, "gifts", None, {"id": 2, "name": "b"}),
        (11, "presents", {"id": 2, "title": "b"}, {"id": 2, "title": "c"}),
    ]

    found = alive({1: a_change(GIFTS), 10: a_change(renamed)}, rows, seed=seed)
    assert found == {"public.presents": [{"id": 1, "title": "a"}, {"id": 2, "title": "c"}]}


def test_rows_from_before_a_column_hold_what_it_was_added_with() -> None:
    """Postgres never wrote it into them, and shows it all the same; without a default it is NULL."""
    more = a_table(7, "public.gifts", ID, NAME, a_column(3, "n", missing="4"), a_column(4, "m"))

    found = alive({1: a_change(GIFTS), 10: a_change(more)}, [(2, "gifts", None, {"id": 1, "name": "a"})])
    assert found == {"public.gifts": [{"id": 1, "name": "a", "n": "4", "m": None}]}


def test_a_column_dropped_and_added_again_under_its_name_is_another() -> None:
    """What it held before is gone."""
    again = a_table(7, "public.gifts", ID, a_column(3, "name", type="text"))

    found = alive({1: a_change(GIFTS), 10: a_change(again)}, [(2, "gifts", None, {"id": 1, "name": "a"})])
    assert found == {"public.gifts": [{"id": 1, "name": None}]}


def test_a_dropped_table_takes_its_rows_along() -> None:
    """One made anew under its name begins empty."""
    gone = a_change(dropped=[{"is": "table", "oid": 7}])
    again = a_change(a_table(8, "public.gifts", ID, NAME))
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        (2, "gifts", None, {"id": 1, "name": "a"}),
        (30, "gifts", None, {"id": 2, "name": "b"}),
    ]

    found = alive({1: a_change(GIFTS), 10: gone, 20: again}, rows)
    assert found == {"public.gifts": [{"id": 2, "name": "b"}]}


@pytest.mark.parametrize("seed", range(5))
def test_another_primary_key_names_the_rows_anew(seed: int) -> None:
    """Updates and deletes by the new key find rows that were written under the old one."""
    by_name = a_table(7, "public.gifts", ID, NAME, key=[2])
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        (2, "gifts", None, {"id": 1, "name": "a"}),
        (3, "gifts", None, {"id": 2, "name": "b"}),
        (11, "gifts", {"id": 1, "name": "a"}, {"id": 5, "name": "a"}),
        (12, "gifts", {"id": 2, "name": "b"}, None),
        (13, "gifts", None, {"id": 5, "name": "c"}),
    ]

    found = alive({1: a_change(GIFTS), 10: a_change(by_name)}, rows, seed=seed)
    assert found == {"public.gifts": [{"id": 5, "name": "a"}, {"id": 5, "name": "c"}]}


def test_a_rewritten_table_has_only_the_rows_that_followed() -> None:
    """What the change computed is what counts, not what was there before it."""
    retyped = a_table(7, "public.gifts", a_column(1, "id", type="text"), NAME)
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        (2, "gifts", None, {"id": 1, "name": "a"}),
        (11, "gifts", {"id": "x1", "name": "a"}, {"id": "x1", "name": "a"}),
    ]

    found = alive({1: a_change(GIFTS), 10: a_change(retyped, rewritten=[[7, True]])}, rows)
    assert found == {"public.gifts": [{"id": "x1", "name": "a"}]}


def test_another_type_without_a_rewrite_keeps_the_old_types_text() -> None:
    """A number captured as a number becomes Postgres' text of it."""
    retyped = a_table(7, "public.gifts", a_column(1, "id", type="numeric"), NAME)

    found = alive({1: a_change(GIFTS), 10: a_change(retyped)}, [(2, "gifts", None, {"id": 1, "name": "a"})])
    assert found == {"public.gifts": [{"id": "1", "name": "a"}]}


def test_rows_that_come_before_their_tables_message_are_its_rows() -> None:
    """CREATE TABLE AS writes its rows first."""
    found = alive({5: a_change(GIFTS)}, [(2, "gifts", None, {"id": 1, "name": "a"})])

    assert found == {"public.gifts": [{"id": 1, "name": "a"}]}


def test_renamed_labels_of_an_enum_are_read_as_they_are_called_now() -> None:
    """Rows written before hold the label's old name."""
    mood = {"is": "type", "oid": 9, "name": "public.mood", "labels": [[91, "sad"]]}
    table = a_table(7, "public.gifts", ID, a_column(2, "mood", type="public.mood", kind="e"))

    messages = {1: a_change(mood, table), 10: a_change({**mood, "labels": [[91, "moved"]]})}
    found = alive(messages, [(2, "gifts", None, {"id": 1, "mood": "sad"})])
    assert found == {"public.gifts": [{"id": 1, "mood": "moved"}]}


def test_an_image_that_fits_no_shape_is_refused() -> None:
    """Nothing is guessed."""
    with pytest.raises(FormatError, match="fits no shape"):
        alive({1: a_change(GIFTS)}, [(2, "gifts", None, {"id": 1, "what": "a"})])
