"""Shapes: a schema told piece by piece, and a mapping that follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.errors import FormatError
from schemas.live_mapping import LiveMapping
from schemas.shapes import Schema, parse_shape
from tests import builders
from tests.unit.schemas.shaping import a_change, a_column, a_link, a_message, a_table

if TYPE_CHECKING:
    from schemas.mapping import TableMapping

GUESTS = a_table(2, "public.guests", a_column(1, "id"), a_column(2, "wedding_id"))
MEALS = a_table(3, "public.meals", a_column(1, "id"), a_column(2, "guest_id"))
WEDDINGS = a_table(
    1, "public.weddings", *(a_column(n, c) for n, c in enumerate(["id", "day", "venue_zone", "country"], 1))
)


def after(*messages: bytes) -> TableMapping:
    """Return the mapping as messages leave it."""
    live, schema, mapping = LiveMapping(builders.a_mapping()), Schema(), builders.a_mapping()
    for message in messages:
        schema = schema.after(parse_shape(message))
        mapping = live.at(schema)
    return mapping


def test_a_whole_message_forgets_what_was_before() -> None:
    """A new epoch begins from what is."""
    schema = Schema().after(a_change(GUESTS)).after(a_change(MEALS, whole=True))

    assert [table.name for table in schema.tables.values()] == ["public.meals"]


def test_what_was_dropped_is_gone() -> None:
    """Tables by oid, everything else by kind and oid."""
    mood = {"is": "type", "oid": 9, "name": "public.mood", "sql": "CREATE TYPE"}
    schema = Schema().after(a_change(GUESTS, mood))
    schema = schema.after(a_change(dropped=[{"is": "table", "oid": 2}, {"is": "type", "oid": 9}]))

    assert not schema.tables
    assert not schema.others


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"version": 1, "objects": [{}]}', b'{"objects": []}', b'{"version": 2, "objects": []}']
)
def test_what_cannot_be_read_is_refused(content: bytes) -> None:
    """Rows read by a guessed shape would be altered in silence."""
    with pytest.raises(FormatError):
        parse_shape(content)


def test_a_rule_follows_its_table_and_columns_through_renaming() -> None:
    """And its children find it under its new name."""
    renamed = a_table(2, "public.people", a_column(1, "person"), a_column(2, "feast"))
    mapping = after(a_message(WEDDINGS, GUESTS, MEALS, whole=True), a_message(renamed))

    people, meals = mapping.tables["public.people"], mapping.tables["public.meals"]
    assert (people.key, people.wedding_column) == (("person",), "feast")
    assert meals.parent is not None
    assert (meals.parent.table, meals.parent.references) == ("public.people", ("person",))
    assert mapping.rule("public.guests") is None


def test_a_renamed_calendar_is_still_the_calendar() -> None:
    """Its columns too."""
    columns = (a_column(1, "id"), a_column(2, "held_on"), a_column(3, "zone"), a_column(4, "country"))
    calendar = after(a_message(WEDDINGS), a_message(a_table(1, "public.feasts", *columns))).calendar

    assert (calendar.table, calendar.day, calendar.venue_zone) == ("public.feasts", "held_on", "zone")


def test_a_new_table_finds_its_wedding_by_its_foreign_keys() -> None:
    """Straight to the calendar, or over a parent that reaches it; else it is the platform's."""
    gifts = a_table(7, "public.gifts", a_column(1, "id"), a_column(2, "w"), links=a_link(2, 1))
    cards = a_table(8, "public.cards", a_column(1, "id"), a_column(2, "gift"), links=a_link(2, 7))
    mapping = after(a_message(WEDDINGS, GUESTS), a_message(cards, gifts, a_table(9, "public.colours")))

    assert mapping.tables["public.gifts"].wedding_column == "w"
    assert mapping.tables["public.cards"].parent is not None
    assert mapping.tables["public.colours"].is_platform


def test_a_partition_has_its_roots_rule() -> None:
    """Whatever it is called."""
    part = a_table(5, "public.guests_1", a_column(1, "id"), a_column(2, "wedding_id"), parent=2)

    assert after(a_message(WEDDINGS, GUESTS, part)).tables["public.guests_1"].wedding_column == "wedding_id"


def test_a_table_made_anew_under_its_name_is_bound_again() -> None:
    """The operator meant the name."""
    again = a_table(22, "public.guests", a_column(1, "id"), a_column(2, "x"), a_column(3, "wedding_id"))
    gone = [{"is": "table", "oid": 2}]
    mapping = after(a_message(WEDDINGS, GUESTS), a_message(dropped=gone), a_message(again))

    assert mapping.tables["public.guests"].wedding_column == "wedding_id"


def test_tables_that_follow_each_other_in_a_circle_are_the_platforms() -> None:
    """Nothing hangs."""
    one = a_table(7, "public.one", a_column(1, "id"), a_column(2, "two"), links=a_link(2, 8))
    two = a_table(8, "public.two", a_column(1, "id"), a_column(2, "one"), links=a_link(2, 7))

    mapping = after(a_message(WEDDINGS, one, two))
    assert mapping.tables["public.one"].is_platform
    assert mapping.tables["public.two"].is_platform


def test_a_child_of_a_table_that_became_the_platforms_is_the_platforms_too() -> None:
    """Its declared way leads to no wedding any more, until another foreign key does."""
    guests = a_table(2, "public.guests", a_column(1, "id"))
    mapping = after(a_message(WEDDINGS, GUESTS, MEALS), a_message(guests))

    assert mapping.tables["public.guests"].is_platform
    assert mapping.tables["public.meals"].is_platform
