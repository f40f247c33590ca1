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


def living(*, changed: dict[int, Row], copied: dict[int, Row], truncated: int = 0, history: SchemaHistory) -> list[Row]:
    """Return what lives of gifts that changed, or that a copy read, at these positions."""
    versions = RowVersions(history, builders.a_mapping())
    for position, row in changed.items():
        versions.take(at(position), "public.gifts", None, row)
    for position, row in copied.items():
        versions.take(at(position), "public.gifts", None, row, is_copied=True)
    if truncated:
        versions.truncate(at(truncated), "public.gifts")
    return list(versions.alive({}).get("public.gifts", {}).values())


def a_history(messages: dict[int, ShapeChange]) -> SchemaHistory:
    """Return what messages at these positions tell."""
    history = SchemaHistory()
    for position, message in messages.items():
        history.take(at(position), message)
    return history


def test_a_copied_row_never_outranks_a_change_of_its_epoch() -> None:
    """A copy may read what was there before a commit that the log has already."""
    old, new = {"id": 1, "name": "old"}, {"id": 1, "name": "new"}

    assert living(changed={5: new}, copied={9: old}, history=a_history({1: a_change(GIFTS)})) == [new]


def test_rows_copied_behind_a_truncate_were_read_before_it() -> None:
    """What lives behind it was inserted behind it, and stands in the log by itself."""
    gone, here = {"id": 1, "name": "gone"}, {"id": 2, "name": "here"}

    found = living(changed={8: here}, copied={9: gone}, truncated=7, history=a_history({1: a_change(GIFTS)}))
    assert found == [here]


def test_a_table_rewritten_without_its_rows_is_what_a_later_copy_read() -> None:
    """What changed before the rewrite is void, and outranks nothing."""
    history = a_history({1: a_change(GIFTS), 6: a_change(GIFTS, rewritten=[[7, False]])})

    found = living(changed={5: {"id": 1, "name": "a"}}, copied={9: {"id": 1, "name": "A"}}, history=history)
    assert found == [{"id": 1, "name": "A"}]


TALLY = a_table(8, "public.tally", a_column(1, "what", type="text"), key=())


@pytest.mark.parametrize("seed", range(5))
def test_equal_rows_without_a_key_are_as_many_as_they_were(seed: int) -> None:
    """Each insert adds one and each delete takes one away; the same change told twice counts once."""
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        *((position, "tally", None, {"what": "a"}) for position in (2, 3, 4)),
        (3, "tally", None, {"what": "a"}),
        (5, "tally", {"what": "a"}, None),
        (6, "tally", {"what": "a"}, {"what": "b"}),
        (7, "tally", {"what": "b"}, {"what": "b"}),
    ]

    found = alive({1: a_change(TALLY)}, rows, seed=seed)
    assert found == {"public.tally": [{"what": "a"}, {"what": "b"}]}


def test_rows_without_a_key_go_through_changes_of_their_columns() -> None:
    """A row from before the change is the one that is deleted after it, in whatever words."""
    wider = a_table(8, "public.score", a_column(1, "name", type="text"), a_column(2, "n", missing="7"), key=())
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        *((position, "tally", None, {"what": "a"}) for position in (2, 3, 4)),
        (11, "score", {"name": "a", "n": 7}, None),
        (12, "score", {"name": "a", "n": 7}, {"name": "a", "n": 8}),
    ]

    (found,) = alive({1: a_change(TALLY), 10: a_change(wider)}, rows).values()
    assert [(row["name"], str(row["n"])) for row in found] == [("a", "7"), ("a", "8")]


def test_a_key_may_go_and_come_back() -> None:
    """Rows with a key go on without it, and those that are left at the end have one again."""
    plain, keyed = a_table(8, "public.tally", key=()), a_table(8, "public.tally")
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        *((2 + n, "tally", None, {"id": n}) for n in range(3)),
        (11, "tally", None, {"id": 1}),
        (12, "tally", {"id": 1}, None),
        (13, "tally", {"id": 0}, {"id": 5}),
        (21, "tally", {"id": 5}, {"id": 6}),
    ]

    messages = {1: a_change(keyed), 10: a_change(plain), 20: a_change(keyed)}
    assert alive(messages, rows) == {"public.tally": [{"id": 1}, {"id": 2}, {"id": 6}]}
    assert alive({1: messages[1], 10: messages[10]}, rows[:-1]) == {"public.tally": [{"id": 1}, {"id": 2}, {"id": 5}]}


def test_rows_without_a_key_are_told_once_more_when_their_table_is_rewritten() -> None:
    """Each as an update of itself, which else would mean nothing; one that comes later does."""
    typed = a_table(8, "public.tally", a_column(1, "what", type="integer"), key=())
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        *((position, "tally", None, {"what": "1"}) for position in (2, 3, 4)),
        (5, "tally", {"what": "1"}, None),
        *((position, "tally", {"what": 10}, {"what": 10}) for position in (11, 12)),
        (13, "tally", {"what": 10}, {"what": 10}),
        (14, "tally", None, {"what": 20}),
    ]

    messages = {1: a_change(TALLY), 10: a_change(typed, rewritten=[[8, True]])}
    assert alive(messages, rows) == {"public.tally": [{"what": 10}, {"what": 10}, {"what": 20}]}


def test_a_rewrite_from_before_a_key_went_says_nothing_of_the_rows_behind_it() -> None:
    """And one from behind it nothing of those before."""
    keyed, plain = a_table(8, "public.tally"), a_table(8, "public.tally", key=())
    rows: list[tuple[int, str, Row | None, Row | None]] = [
        (2, "tally", None, {"id": 1}),
        (6, "tally", {"id": 1}, {"id": 1}),
        (11, "tally", None, {"id": 1}),
        (12, "tally", None, {"id": 2}),
    ]
    retold: list[tuple[int, str, Row | None, Row | None]] = [
        (at, "tally", {"id": number}, {"id": number}) for at, number in ((21, 1), (22, 1), (23, 2))
    ]
    messages = {1: a_change(keyed), 5: a_change(keyed, rewritten=[[8, True]]), 10: a_change(plain)}
    found = {"public.tally": [{"id": 1}, {"id": 1}, {"id": 2}]}

    assert alive(messages, list(rows)) == found
    assert alive({**messages, 20: a_change(plain, rewritten=[[8, True]])}, rows + retold) == found
