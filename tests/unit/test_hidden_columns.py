"""Hidden columns: refused where a row would be lost, or where hiding would fail in silence."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.connector_config import PostgresSource, connector_config
from ops import bootstrap
from ops.config import Settings
from ops.hidden_columns import problems, salt_of
from schemas.errors import ConfigError
from schemas.hidden_columns import ColumnAction, HiddenColumn, with_hidden
from schemas.mapping import OutboxRule, table_mapping
from sinks.restore_plan import Replay
from tests import builders
from tests.unit.sinks.test_restore_plan import a_cut, a_row

DROP, MASK, HASH = ColumnAction.DROP, ColumnAction.MASK, ColumnAction.HASH


def hidden(name: str, action: ColumnAction = DROP) -> HiddenColumn:
    """Return a hidden column of schema public."""
    table, _, column = name.partition(".")
    return HiddenColumn(table=f"public.{table}", column=column, action=action)


def found(type_text: str = "text", **facts: bool) -> tuple[Any, ...]:
    """Return what a database says of a column."""
    names = ("needs_value", "is_unique", "is_linked", "is_checked", "has_parts")
    return (type_text, *(facts.get(name, False) for name in names))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("guests.id", "key"),
        ("guests.wedding_id", "wedding"),
        ("meals.guest_id", "follows"),
        ("weddings.day", "calendar"),
        ("weddings.country", "calendar"),
        ("tasks.due", "due"),
        ("strangers.name", "mapping"),
        ("outbox.payload", "events"),
    ],
)
def test_a_column_that_is_needed_cannot_be_hidden(name: str, says: str) -> None:
    """Its rows would find no wedding, or no row."""
    plain = builders.a_mapping()
    mapping = table_mapping(
        plain.tables.values(),
        calendar=plain.calendar,
        deliveries=plain.deliveries,
        outbox=OutboxRule(table="public.outbox"),
    )
    with pytest.raises(ConfigError, match=says):
        with_hidden(mapping, [hidden(name)])


def test_a_column_is_hidden_once() -> None:
    """Two actions would be a guess."""
    with pytest.raises(ConfigError, match="twice"):
        with_hidden(builders.a_mapping(), [hidden("guests.name"), hidden("guests.name", MASK)])


def test_settings_hide_columns_of_the_mapping() -> None:
    """As a list of tables under `source`."""
    columns = ({"table": "public.guests", "column": "email", "action": "mask"},)
    settings = Settings(source={"columns": columns})  # type: ignore[arg-type]

    assert bootstrap.mapping(settings).hidden == (hidden("guests.email", MASK),)


def test_debezium_is_told_by_expressions_that_match_one_column() -> None:
    """Dots are dots; where nothing is hidden only the column is named that never was."""
    about: dict[str, Any] = {"host": "h", "port": 1, "user": "u", "password": "p", "database": "d", "epoch": 1}
    columns = (hidden("guests.name"), hidden("guests.age"), hidden("guests.email", MASK), hidden("tasks.who", HASH))
    config = connector_config(PostgresSource(**about, hidden=columns, hash_salt="salt"))

    excluded = config["column.exclude.list"].split(",")
    assert excluded[1:] == [r"public\.guests\.name", r"public\.guests\.age"]
    assert config["column.mask.with.8.chars"] == r"public\.guests\.email"
    assert config["column.mask.hash.v2.SHA-256.with.salt.salt"] == r"public\.tasks\.who"
    plain = connector_config(PostgresSource(**about))
    assert [plain[name] for name in plain if name.startswith("column.")] == excluded[:1]


@pytest.mark.parametrize(
    ("action", "facts", "says"),
    [
        (DROP, None, "does not exist"),
        (DROP, found(has_parts=True), "partitions"),
        (HASH, found(is_linked=True), "foreign key"),
        (DROP, found(needs_value=True), "no default"),
        (MASK, found("jsonb"), "type jsonb"),
        (HASH, found("uuid"), "type uuid"),
        (MASK, found("public.citext"), "type public.citext"),
        (MASK, found("text[]"), "type"),
        (MASK, found("character varying(7)"), "fewer than a mask"),
        (MASK, found(is_unique=True), "unique"),
        (HASH, found(is_checked=True), "CHECK"),
        (HASH, found("character varying(63)"), "fewer than a hash"),
    ],
)
def test_a_column_that_would_not_be_hidden_is_refused(action: ColumnAction, facts: Any, says: str) -> None:
    """With what to do instead."""
    first = next(iter(problems(hidden("guests.email", action), facts)))

    assert says in first[0]
    assert first[1]


@pytest.mark.parametrize(
    ("action", "facts"),
    [
        (DROP, found("jsonb", is_unique=True, is_checked=True)),
        (MASK, found("character varying(8)", needs_value=True)),
        (HASH, found("text", is_unique=True, needs_value=True)),
    ],
)
def test_the_others_are_hidden(action: ColumnAction, facts: Any) -> None:
    """Each where it is safe."""
    assert list(problems(hidden("guests.email", action), facts)) == []


def test_a_restore_says_what_it_could_not_bring_back() -> None:
    """Of the tables it has rows of."""
    mapping = with_hidden(builders.a_mapping(), [hidden("guests.email"), hidden("vendors.name", MASK)])
    replay = Replay(mapping=mapping, wedding="w1", cut=a_cut())
    replay.take([a_row(1, None, {"id": 1, "wedding_id": "w1"})])

    assert [each for each in replay.state().warnings if "left out" in each or "masked" in each] == [
        "public.guests.email was left out: it comes back as its default, or NULL"
    ]


def test_the_salt_follows_from_the_master_key() -> None:
    """And does not tell it."""
    assert salt_of(bytes(32)) == salt_of(bytes(32)) != salt_of(bytes([1]) * 32)
    assert bytes(32).hex() != salt_of(bytes(32))
