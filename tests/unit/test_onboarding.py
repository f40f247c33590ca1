"""The proposal for a user's own database, decided from what its catalog says."""

from __future__ import annotations

import tomllib

import pytest

from ops.onboarding import print_sql, render_toml
from ops.onboarding_catalog import ColumnShape, ForeignKeyShape, TableShape
from ops.onboarding_dump import find_pg_dump
from ops.onboarding_mapping import mapping_from_dict, mapping_to_dict, mapping_to_toml
from ops.onboarding_propose import Proposal, propose_mapping
from ops.sample.platform import sample_mapping
from schemas.errors import ConfigError
from schemas.mapping import OutboxRule


def a_table(
    name: str, *columns: str, key: tuple[str, ...] = ("id",), links: tuple[ForeignKeyShape, ...] = ()
) -> TableShape:
    """Return a table; a column is written `name type`, a nullable one `name type?`."""
    shapes = {}
    for column in ("id uuid", *columns):
        title, _, of_type = column.partition(" ")
        shapes[title] = ColumnShape(name=title, type=of_type.removesuffix("?"), is_required=not of_type.endswith("?"))
    return TableShape(name=f"public.{name}", columns=shapes, key=key, foreign_keys=links)


def a_link(column: str, table: str) -> ForeignKeyShape:
    """Return a foreign key to a table's id."""
    return ForeignKeyShape(columns=(column,), table=f"public.{table}", references=("id",))


WEDDINGS = a_table("weddings", "wedding_date date", "venue_timezone text?", "country character(2)?")
GUESTS = a_table("guests", "wedding_id uuid", links=(a_link("wedding_id", "weddings"),))
DIETS = a_table("diets", "guest_id uuid", links=(a_link("guest_id", "guests"),))


def test_the_weddings_table_becomes_the_calendar() -> None:
    """By its name, its date and its zone."""
    calendar = propose_mapping([GUESTS, WEDDINGS]).mapping.calendar

    assert (calendar.table, calendar.wedding, calendar.day) == ("public.weddings", "id", "wedding_date")
    assert (calendar.venue_zone, calendar.residency) == ("venue_timezone", "country")


def test_a_foreign_key_to_the_calendar_makes_a_table_the_weddings() -> None:
    """And one to such a table makes it follow."""
    mapping = propose_mapping([WEDDINGS, GUESTS, DIETS]).mapping

    assert mapping.tables["public.guests"].wedding_column == "wedding_id"
    parent = mapping.tables["public.diets"].parent
    assert parent is not None
    assert parent.table == "public.guests"


def test_the_shortest_way_to_the_wedding_is_taken() -> None:
    """A table with both an own column and a parent has an own column."""
    links = (a_link("guest_id", "guests"), a_link("wedding_id", "weddings"))
    gifts = a_table("gifts", "guest_id uuid", "wedding_id uuid", links=links)

    assert propose_mapping([WEDDINGS, GUESTS, gifts]).mapping.tables["public.gifts"].wedding_column == "wedding_id"


def test_of_two_equal_ways_the_one_every_row_has_is_taken() -> None:
    """A null on the way would lose the row's wedding."""
    tables = a_table("tables", "wedding_id uuid", links=(a_link("wedding_id", "weddings"),))
    links = (a_link("guest_id", "guests"), a_link("table_id", "tables"))
    seats = a_table("seats", "guest_id uuid?", "table_id uuid", links=links)

    parent = propose_mapping([WEDDINGS, GUESTS, tables, seats]).mapping.tables["public.seats"].parent
    assert parent is not None
    assert parent.table == "public.tables"


def test_a_table_nobody_links_is_the_platforms() -> None:
    """Vendors serve all weddings."""
    assert propose_mapping([WEDDINGS, a_table("vendors")]).mapping.tables["public.vendors"].is_platform


def test_a_table_that_refers_to_itself_is_no_circle() -> None:
    """A note that answers a note still belongs to nobody's wedding."""
    notes = a_table("notes", "answers uuid?", links=(a_link("answers", "notes"),))

    assert propose_mapping([WEDDINGS, notes]).mapping.tables["public.notes"].is_platform


def test_a_table_with_an_outbox_s_columns_is_the_outbox() -> None:
    """Its rows are events, never rows of a restore; the settings say the same after a round trip."""
    columns = ("aggregatetype text", "aggregateid text", "type text", "payload jsonb")
    mapping = propose_mapping([WEDDINGS, a_table("messages_to_send", *columns)]).mapping

    assert mapping.rule("public.messages_to_send") is None
    assert mapping.outbox == OutboxRule(table="public.messages_to_send", wedding_types=("wedding", "weddings"))
    assert mapping_from_dict(tomllib.loads(mapping_to_toml(mapping))["mapping"]) == mapping


def test_a_table_without_a_key_is_a_warning() -> None:
    """It is named, and left out of the mapping."""
    proposal = propose_mapping([WEDDINGS, a_table("log", key=())])

    assert "public.log has no primary key" in proposal.warnings[0]
    assert proposal.mapping.rule("public.log") is None


def test_a_nullable_link_is_a_warning() -> None:
    """Rows without a wedding are the platform's: the owner should know."""
    notes = a_table("notes", "wedding_id uuid?", links=(a_link("wedding_id", "weddings"),))

    assert any("public.notes.wedding_id may be null" in line for line in propose_mapping([WEDDINGS, notes]).warnings)


def test_a_calendar_without_a_zone_is_a_warning() -> None:
    """The widest day is taken then."""
    assert any("no time zone" in line for line in propose_mapping([a_table("events", "date date")]).warnings)


def test_no_calendar_is_an_error_that_says_how_to_name_one() -> None:
    """Nothing is guessed out of thin air."""
    with pytest.raises(ConfigError) as caught:
        propose_mapping([a_table("invoices", "issued date")])

    assert "--calendar" in caught.value.hint


def test_a_named_calendar_overrides_the_guess() -> None:
    """The owner knows best."""
    jobs = a_table("jobs", "held_on date")

    assert propose_mapping([WEDDINGS, jobs], calendar="jobs").mapping.calendar.table == "public.jobs"


def test_settings_text_reads_back_as_the_same_mapping() -> None:
    """TOML out, the same rules in."""
    read = tomllib.loads(mapping_to_toml(sample_mapping()))

    assert mapping_from_dict(read["mapping"]) == sample_mapping()
    assert read["mapping"] == mapping_to_dict(sample_mapping())


def test_settings_text_survives_odd_names() -> None:
    """Quotes, backslashes and line breaks are somebody's column names."""
    odd = a_table('o"d\\d\n\x7f', "wedding_id uuid", links=(a_link("wedding_id", "weddings"),))
    proposal = propose_mapping([WEDDINGS, odd])

    assert mapping_from_dict(tomllib.loads(render_toml(proposal))["mapping"]) == proposal.mapping


def test_warnings_stand_above_the_settings_as_comments() -> None:
    """A person reads them first; a parser never."""
    text = render_toml(Proposal(mapping=sample_mapping(), warnings=("two\nlines",)))

    assert text.startswith("# check: two lines\n[mapping]")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"calender": {}}, "mapping.calender"),
        ({"calendar": None}, "mapping.calendar"),
        ({"tables": [{"name": "public.a", "key": "id"}]}, r"mapping.tables\[0\].key"),
        ({"tables": [{"name": "public.a", "key": ["id"], "wedding": "x"}]}, r"mapping.tables\[0\].wedding"),
        ({"deliveries": [{"table": "public.a"}]}, r"mapping.deliveries\[0\].due"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, object], named: str) -> None:
    """One line, with its path."""
    with pytest.raises(ConfigError, match=named):
        mapping_from_dict(mapping_to_dict(sample_mapping()) | change)


def test_the_printed_script_holds_every_part() -> None:
    """For servers where only somebody else may run it."""
    script = print_sql()

    for part in ("FOR ALL TABLES", "REPLICA IDENTITY FULL", "CREATE EVENT TRIGGER", "wedsync.heartbeat"):
        assert part in script


async def test_a_missing_pg_dump_says_what_to_install() -> None:
    """The hint names the package's version."""
    with pytest.raises(ConfigError) as caught:
        await find_pg_dump(99, folders=())

    assert "postgresql-client-99" in caught.value.hint
