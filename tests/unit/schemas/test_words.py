"""The vocabulary: lanes, residency, topics, mapping."""

from __future__ import annotations

import pytest

from schemas import topics
from schemas.backup import SERVICE_LEVELS, PlacementClass, Priority, Residency, residency_of_country
from schemas.errors import ConfigError, FormatError, WedSyncError
from schemas.mapping import CalendarRule, ParentLink, TableRule, table_mapping

CALENDAR = CalendarRule(table="public.weddings", wedding="id", day="day", venue_zone="zone")
WEDDINGS = TableRule(name="public.weddings", key=("id",), wedding_column="id")


def test_the_lanes_share_all_of_the_bandwidth() -> None:
    """Fifty, thirty, twenty."""
    assert [SERVICE_LEVELS[lane].bandwidth_percent for lane in Priority] == [50, 30, 20]


@pytest.mark.parametrize(
    ("country", "residency"),
    [
        ("FR", Residency.EU),
        (" fr ", Residency.EU),
        ("US", Residency.ANYWHERE),
        ("GB", Residency.ANYWHERE),
        (None, Residency.UNKNOWN),
        ("", Residency.UNKNOWN),
        ("France", Residency.UNKNOWN),
    ],
)
def test_a_country_says_where_bytes_may_lie(country: str | None, residency: Residency) -> None:
    """What is not a country code is not known."""
    assert residency_of_country(country) is residency


def test_what_is_not_known_is_kept_as_strictly_as_the_eu() -> None:
    """A byte that left cannot be called back."""
    assert Residency.UNKNOWN.placement_class is PlacementClass.EU


def test_a_capture_topic_names_its_source_and_epoch() -> None:
    """Name and parts are each other's inverse."""
    assert topics.parse_capture_topic(topics.capture_topic("platform", 17)) == ("platform", 17)
    with pytest.raises(FormatError):
        topics.parse_capture_topic("backup.critical")


@pytest.mark.parametrize("lane", Priority)
def test_a_lane_and_its_topic_name_each_other(lane: Priority) -> None:
    """One topic each."""
    assert topics.priority_of_topic(topics.backup_topic(lane)) is lane


def _follows(parent: str) -> ParentLink:
    return ParentLink(table=parent, columns=("p",), references=("id",))


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ([TableRule(name="public.weddings", key=())], "no key"),
        ([WEDDINGS, TableRule(name="a", key=("id",), parent=_follows("b"))], "not declared"),
        (
            [
                WEDDINGS,
                TableRule(name="a", key=("id",), parent=_follows("b")),
                TableRule(name="b", key=("id",), parent=_follows("a")),
            ],
            "circle",
        ),
        ([WEDDINGS, TableRule(name="a", key=("id",), wedding_column="w", parent=_follows("public.weddings"))], "both"),
        ([TableRule(name="a", key=("id",))], "public.weddings has a calendar"),
    ],
)
def test_a_mapping_that_could_lose_a_row_is_refused(tables: list[TableRule], says: str) -> None:
    """Before anything is routed by it."""
    with pytest.raises(ConfigError, match=says):
        table_mapping(tables, calendar=CALENDAR)


def test_a_prefix_without_a_wedding_is_refused() -> None:
    """Or every photo would be the platform's."""
    with pytest.raises(ConfigError, match="object_prefix"):
        table_mapping([WEDDINGS], calendar=CALENDAR, object_prefix="photos/")


def test_an_error_says_what_to_do() -> None:
    """The hint stands beside the message."""
    assert WedSyncError("it broke", hint="mend it").hint == "mend it"
