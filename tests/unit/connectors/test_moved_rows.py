"""What follows rows that moved to another wedding: which rows, in which order, and when they are asked for."""

from __future__ import annotations

import orjson
import pytest

from connectors import moved_rows
from connectors.table_copies import CopyProgress, CopyState, is_partial
from ops.moved_copies import next_copy
from streams.moves import Moves
from streams.state import parent_name
from tests.builders import a_mapping

GUESTS = [(5, parent_name("public.guests", [7])), (6, parent_name("public.guests", ["it's"]))]


def a_copy(name: str, state: CopyState) -> CopyProgress:
    """Return a copy in a state."""
    return CopyProgress(copy=name, state=state, tables=())


def test_a_copy_s_name_says_up_to_where_its_moves_lie() -> None:
    """So the signals alone tell what is owed; only a copy that is done counts, and it completes no table."""
    copies = [a_copy("part-moved40-1", CopyState.DONE), a_copy(moved_rows.copy_name(90, 2), CopyState.FAILED)]

    assert (moved_rows.done_up_to(copies), moved_rows.done_up_to([a_copy("part-12", CopyState.DONE)])) == (40, -1)
    assert is_partial(moved_rows.copy_name(90, 2))


@pytest.mark.parametrize(
    ("name", "state", "may"),
    [
        ("copy-e1", CopyState.RUNNING, False),
        ("copy-e1", CopyState.DONE, True),
        ("part-moved4-1000000", CopyState.DONE, True),
        ("part-moved4-1000000", CopyState.STOPPED, False),
        ("part-moved4-1000000", CopyState.PAUSED, False),
    ],
)
def test_one_copy_at_a_time_and_a_failed_one_is_not_asked_for_at_once(
    name: str, state: CopyState, *, may: bool
) -> None:
    """Debezium would mix the names of two up; after a minute it is owed again."""
    assert moved_rows.may_ask([a_copy("copy-e1", CopyState.DONE), a_copy(name, state)], 2_000_000) is may
    assert moved_rows.may_ask([a_copy("part-moved4-1000000", CopyState.STOPPED)], 62_000_000)


def test_nothing_is_asked_for_before_the_epoch_s_own_copy() -> None:
    """It will read them all."""
    assert not moved_rows.may_ask([], 2_000_000)


def test_few_moves_are_read_by_condition_parents_first() -> None:
    """Children by their foreign key, theirs by a look at the children; nobody else's row is read."""
    asked = next_copy(a_mapping(), Moves(2, 6, tuple(GUESTS)), 9)
    assert asked is not None
    data = orjson.loads(asked[1])
    conditions = {each["data-collection"]: each["filter"] for each in data["additional-conditions"]}

    assert (asked[0], data["data-collections"]) == ("part-moved6-9", ["public.meals", "public.notes"])
    assert conditions["public\\.meals"] == """("meals"."guest_id" = '7' OR "meals"."guest_id" = 'it''s')"""
    assert conditions["public\\.notes"] == (
        '(EXISTS (SELECT FROM "public"."meals" AS "notesp" WHERE "notesp"."id" = "notes"."meal_id"'
        """ AND ("notesp"."guest_id" = '7' OR "notesp"."guest_id" = 'it''s')))"""
    )


def test_very_many_moves_are_one_copy_of_whole_tables() -> None:
    """A condition for each would be asked for every chunk."""
    asked = next_copy(a_mapping(), Moves(100_000, 99, tuple(GUESTS)), 9)

    assert asked is not None
    assert orjson.loads(asked[1]) == {
        "type": "incremental",
        "data-collections": ["public.meals", "public.notes"],
    }


def test_rows_that_nothing_follows_owe_nothing() -> None:
    """Only objects point at them, or nobody any more."""
    assert next_copy(a_mapping(), Moves(1, 5, ((5, parent_name("public.vendors", [1])),)), 9) is None
