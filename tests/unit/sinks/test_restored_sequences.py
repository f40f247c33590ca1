"""Which numbers a restore must not hand out again."""

from __future__ import annotations

from typing import Any

import pytest

from connectors import ledger
from schemas.shapes import SHAPE_PREFIX
from sinks.cut import Order, instant
from sinks.restored_sequences import Sequences, UsedNumbers, without_column
from sinks.schema_history import SchemaHistory
from tests import builders
from tests.unit.schemas.shaping import a_change, a_column, a_message, a_table
from tests.unit.sinks.archive import EPOCH, Archive, added, removed

TOPIC = f"capture.platform.e{EPOCH}"
SERIAL = {"default": "nextval('invoices_id_seq'::regclass)"}


def at(position: int) -> Order:
    """Return a place of the log."""
    return Order(EPOCH, position)


def telling(value: int) -> dict[str, Any]:
    """Return a message that tells of one sequence."""
    payload = builders.a_message(ledger.SEQUENCES_PREFIX, ledger.encode_sequences({"public.s": value}))
    return {"kind": "message", "committed_at": value, "payload": payload}


def used(*tables: dict[str, Any], told: tuple[int, ...] = ()) -> UsedNumbers:
    """Return what counts numbers of these tables, after tellings at these positions."""
    history, sequences = SchemaHistory(), Sequences()
    history.take(at(0), a_change(*tables, whole=True))
    for position in told:
        sequences.take(at(position), telling(position))
    return UsedNumbers(history, builders.a_mapping(), sequences)


async def test_the_number_of_a_row_that_is_gone_is_not_handed_out_again() -> None:
    """It was drawn after the last telling, and its row deleted: only the history knows it."""
    archive = Archive()
    table = a_table(7, "public.guests", a_column(1, "id", **SERIAL), a_column(2, "wedding_id"), a_column(3, "name"))
    archive.capture(TOPIC, builders.a_message(SHAPE_PREFIX, a_message(table, whole=True).decode(), lsn=1_000))
    rows = [{"id": number, "wedding_id": "w1", "name": "x"} for number in (1, 2, 3)]
    archive.commit(added("guests", rows[0]), added("guests", rows[1]))
    archive.commit(removed("guests", rows[1]))
    cut_us = archive.beat()
    archive.commit(added("guests", rows[2]))
    await archive.settle()

    states = [await archive.restorer().state_at(None, when) for when in (instant(cut_us), None)]
    assert [each.used_numbers for each in states] == [{"public.guests": {"id": 2}}, {"public.guests": {"id": 3}}]


@pytest.mark.parametrize("column", [{"identity": "a"}, {"identity": "d"}, SERIAL])
def test_numbers_count_of_columns_that_draw_from_a_sequence(column: dict[str, str]) -> None:
    """Of both images, whether captured as number or as text; of no other column."""
    found = used(a_table(7, "public.t", a_column(1, "id", **column), a_column(2, "size")))
    found.take(at(5), "public.t", {"id": 9, "size": 70}, {"id": "12", "size": 80})
    found.take(at(4), "public.t", None, {"id": 3, "size": None})

    assert found.largest() == {"public.t": {"id": 12}}


def test_what_was_used_before_the_last_telling_but_one_is_told() -> None:
    """A number far beyond what was told was never drawn: somebody wrote it."""
    found = used(a_table(7, "public.t", a_column(1, "id", **SERIAL)), told=(10, 20))
    found.take(at(9), "public.t", None, {"id": 2_000_000_000})
    assert found.largest() == {}
    found.take(at(15), "public.t", None, {"id": 41})
    assert found.largest() == {"public.t": {"id": 41}}


def test_a_partition_draws_from_its_root_s_identity() -> None:
    """Rows are captured under the partition, the sequence belongs to the root."""
    root = a_table(7, "public.t", a_column(1, "id", identity="a"), sort="p")
    found = used(root, a_table(8, "public.t_june", a_column(1, "id"), parent=7))
    found.take(at(5), "public.t_june", None, {"id": 9})

    assert found.largest() == {"public.t": {"id": 9}}


def test_numbers_follow_a_column_that_is_renamed() -> None:
    """The target knows it by its last name."""
    history = SchemaHistory()
    history.take(at(0), a_change(a_table(7, "public.t", a_column(1, "id", **SERIAL)), whole=True))
    history.take(at(9), a_change(a_table(7, "public.u", a_column(1, "number", **SERIAL))))
    found = UsedNumbers(history, builders.a_mapping(), Sequences())
    found.take(at(5), "public.t", None, {"id": 9})

    assert found.largest() == {"public.u": {"number": 9}}


def test_without_a_schema_the_mapping_s_keys_count() -> None:
    """An archive of before schemas were told."""
    found = UsedNumbers(SchemaHistory(), builders.a_mapping(), Sequences())
    found.take(at(5), "public.guests", {"id": 9}, None)

    assert found.largest() == {"public.guests": {"id": 9}}


def test_tellings_may_come_in_any_order() -> None:
    """The newest counts, and what lies before the last but one is certain."""
    sequences = Sequences()
    for position in (20, 10, 30, 20, 5):
        sequences.take(at(position), telling(position))

    assert (dict(sequences.values), sequences.certain) == ({"public.s": 30}, at(20))


def test_a_sequence_that_no_column_draws_from_is_told_of() -> None:
    """Nothing but the tellings says how far it came."""
    loose, drawn, owned = (
        {"is": "sequence", "oid": oid, "name": f"public.{name}", **more}
        for oid, name, more in ((1, "loose", {}), (2, "drawn", {}), (3, "owned", {"owner": [7, 1]}))
    )
    column = a_column(1, "id", default="nextval('drawn'::regclass)")
    history, sequences = SchemaHistory(), Sequences()
    history.take(at(0), a_change(a_table(7, "public.t", column), loose, drawn, owned, whole=True))
    values = {"public.loose": 1, "public.drawn": 2, "public.owned": 3, "public.dropped": 4}
    payload = builders.a_message(ledger.SEQUENCES_PREFIX, ledger.encode_sequences(values))
    sequences.take(at(1), {"kind": "message", "committed_at": 1, "payload": payload})
    last = history.last()

    assert last is not None
    assert without_column(sequences.newest, last[1]) == ["public.loose"]
