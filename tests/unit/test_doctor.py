"""The doctor's rules: what is lost fails, what is risky warns, and each says the line that mends it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest

from ops import doctor_rules
from ops.doctor_facts import SourceFacts, TableKind
from ops.doctor_rules import Outcome, check_source, find_circle
from ops.guard_rules import SlotFacts, TableFacts
from schemas.mapping import OutboxRule
from tests import builders

GOOD_SLOT = SlotFacts(is_there=True, current_lsn=100, keep_bytes=1000, active_pid=7, restart_lsn=90, confirmed_lsn=95)


def a_source(**fields: Any) -> SourceFacts:
    """Return a database that has nothing wrong."""
    given: dict[str, Any] = {
        "settings": {
            "wal_level": "logical",
            "max_replication_slots": "10",
            "max_wal_senders": "10",
            "max_slot_wal_keep_size": "4096",
        },
        "slots_used": 1,
        "senders_used": 1,
        "is_superuser": True,
        "may_replicate": True,
        "may_read_all": True,
        "publication": True,
        "slot": GOOD_SLOT,
        "tables": tuple(a_table(name) for name in builders.a_mapping().tables),
        "watched": TableFacts(),
        "has_heartbeat": True,
        "has_signals": True,
        "large_objects": 0,
        "references": (("public.meals", "public.guests"),),
        "skew": dt.timedelta(milliseconds=3),
    }
    return SourceFacts(**{**given, **fields})


def a_table(name: str, **fields: Any) -> TableKind:
    """Return an ordinary table."""
    given: dict[str, Any] = {"kind": "r", "persistence": "p", "has_key": True, "is_inherited": False}
    return TableKind(name=name, **{**given, **fields})


def outcomes(facts: SourceFacts) -> dict[str, Outcome]:
    """Return what did not pass."""
    checks = check_source(facts, builders.a_mapping(), is_prepared=True)
    assert all(check.fix for check in checks if check.outcome is not Outcome.PASS), "each says what mends it"
    return {check.name: check.outcome for check in checks if check.outcome is not Outcome.PASS}


def test_a_good_database_passes() -> None:
    """Nothing to say."""
    assert outcomes(a_source()) == {}


def with_setting(name: str, value: str) -> SourceFacts:
    """Return a database with one setting changed."""
    facts = a_source()
    return dataclasses.replace(facts, settings={**facts.settings, name: value})


FAILING = {
    "wal_level": with_setting("wal_level", "replica"),
    "max_replication_slots": with_setting("max_replication_slots", "0"),
    "replication": a_source(may_replicate=False),
    "reading": a_source(may_read_all=False),
    "superuser": a_source(is_superuser=False, publication=False),
    "publication": a_source(publication=False),
    "heartbeat": a_source(has_signals=False),
    "event_trigger": a_source(watched=TableFacts(has_trigger=False)),
    "replica_identity": a_source(watched=TableFacts(not_full=("public.guests",))),
    "slot": a_source(slot=dataclasses.replace(GOOD_SLOT, wal_status="lost", restart_lsn=None)),
    "keys": a_source(tables=(*a_source().tables, a_table("public.log", has_key=False))),
    "names": a_source(tables=(*a_source().tables, a_table('public.the "list"'))),
    "unlogged": a_source(tables=(*a_source().tables, a_table("public.cache", persistence="u"))),
    "foreign_tables": a_source(tables=(*a_source().tables, a_table("public.far", kind="f"))),
    "large_objects": a_source(large_objects=3),
    "mapped_tables": a_source(tables=a_source().tables[1:]),
    "clock": a_source(skew=dt.timedelta(minutes=-6)),
}
WARNING = {
    "max_slot_wal_keep_size": with_setting("max_slot_wal_keep_size", "-1"),
    "mapping": a_source(tables=(*a_source().tables, a_table("public.new"))),
    "foreign_keys": a_source(references=(("a", "b"), ("b", "a"))),
    "inheritance": a_source(tables=(*a_source().tables[:-1], a_table("public.vendors", is_inherited=True))),
    "slot": a_source(slot=dataclasses.replace(GOOD_SLOT, active_pid=None)),
    "clock": a_source(skew=dt.timedelta(seconds=2)),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_would_lose_data_fails(name: str) -> None:
    """Each by its own check."""
    assert outcomes(FAILING[name])[name] is Outcome.FAIL


@pytest.mark.parametrize("name", WARNING)
def test_what_is_only_risky_warns(name: str) -> None:
    """And nothing else fails with it."""
    assert outcomes(WARNING[name]) == {name: Outcome.WARN}


def test_a_declared_key_serves_a_table_without_one() -> None:
    """The mapping says how its rows are told apart."""
    keyless = tuple(dataclasses.replace(each, has_key=False) for each in a_source().tables)

    assert outcomes(a_source(tables=keyless)) == {}


def test_the_outbox_is_known_and_must_be_there() -> None:
    """Its rows are events: no table rule speaks of it."""
    mapping = dataclasses.replace(builders.a_mapping(), outbox=OutboxRule(table="public.outbox"))
    with_it = (*a_source().tables, a_table("public.outbox"))
    there = check_source(a_source(tables=with_it), mapping, is_prepared=True)
    gone = check_source(a_source(), mapping, is_prepared=True)

    assert {each.outcome for each in there} == {Outcome.PASS}
    assert [each.says for each in gone if each.outcome is Outcome.FAIL] == ["the database has no public.outbox"]


def test_a_circle_is_found_wherever_it_is_entered() -> None:
    """Also behind tables that only lead into it."""
    assert sorted(find_circle([("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "leaf")])) == ["a", "b", "c"]
    assert find_circle([("a", "b"), ("b", "c")]) == []


def test_many_names_are_counted_instead_of_listed() -> None:
    """A thousand tables make no page of text."""
    assert doctor_rules._named([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
