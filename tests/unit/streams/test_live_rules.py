"""The router's mapping follows the schema, also after a restart, and keeps what it knows of renamed parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.errors import FormatError
from streams.live_rules import LiveRules
from streams.state import Member, RouterState, parent_name
from tests import builders
from tests.unit.schemas.shaping import a_column, a_message, a_table

if TYPE_CHECKING:
    import pathlib

GUESTS = a_table(2, "public.guests", a_column(1, "id"), a_column(2, "wedding_id"))
PEOPLE = a_table(2, "public.people", a_column(1, "id"), a_column(2, "feast"))


def rules(state: RouterState) -> LiveRules:
    """Return the rules of the sample mapping over a state."""
    return LiveRules(builders.a_mapping(), state, "platform")


def test_a_renamed_parent_keeps_its_members(tmp_path: pathlib.Path) -> None:
    """Its children must not fall under quarantine because of its name."""
    state = RouterState(tmp_path / "state.db")
    live = rules(state)
    with state.one_batch():
        live.take(a_message(GUESTS, whole=True), epoch=1, position=1)
        state.remember_member(parent_name("public.guests", [7]), Member("w1", 1, 2))
    with state.one_batch():
        live.take(a_message(PEOPLE), epoch=1, position=5)

    assert state.wedding_of(parent_name("public.people", [7])) == "w1"
    assert live.table("public.people").rule == live.mapping.tables["public.people"]
    assert live.mapping.tables["public.people"].wedding_column == "feast"


def test_a_restarted_router_knows_what_the_log_has_told(tmp_path: pathlib.Path) -> None:
    """The declared name is bound to its table as it was first seen, not as it is called now."""
    state = RouterState(tmp_path / "state.db")
    live = rules(state)
    for position, table in enumerate((GUESTS, PEOPLE), 1):
        live.take(a_message(table), epoch=1, position=position)

    assert rules(RouterState(tmp_path / "state.db")).mapping == live.mapping


def test_a_message_told_late_changes_nothing_that_was_told_after_it(tmp_path: pathlib.Path) -> None:
    """A letter that was retried keeps its old place."""
    state = RouterState(tmp_path / "state.db")
    live = rules(state)
    live.take(a_message(PEOPLE), epoch=1, position=9)
    live.take(a_message(GUESTS, whole=True), epoch=1, position=3)

    assert "public.people" in live.mapping.tables
    assert live.mapping.tables["public.people"].wedding_column == "feast"


def test_a_message_that_cannot_be_read_leaves_everything_as_it_was(tmp_path: pathlib.Path) -> None:
    """It becomes a dead letter; nothing of it is remembered."""
    state = RouterState(tmp_path / "state.db")
    with pytest.raises(FormatError):
        rules(state).take(b"{}", epoch=1, position=1)

    assert state.schema_messages("platform") == []
