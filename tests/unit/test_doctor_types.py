"""The doctor on types: silence is not an answer, and neither is a refusal without a remedy."""

from __future__ import annotations

from connectors.column_types import Column
from ops.doctor_rules import Outcome
from ops.doctor_types import check_columns

GUESTS = "public.guests"


def test_columns_that_come_back_equal_pass_in_one_line() -> None:
    """Nobody reads a hundred lines of praise."""
    checks = check_columns([Column(table=GUESTS, name=name, type="text") for name in ("name", "seat")])

    assert [check.outcome for check in checks] == [Outcome.PASS]


def test_a_refused_type_fails_and_a_bounded_one_warns() -> None:
    """Each with the column's name and the line that mends it."""
    checks = check_columns(
        [
            Column(table=GUESTS, name="seat", type="regclass"),
            Column(table=GUESTS, name="stays", type="interval"),
        ]
    )

    assert [check.outcome for check in checks] == [Outcome.FAIL, Outcome.WARN]
    assert all(check.fix.startswith('ALTER TABLE "public"."guests"') for check in checks)
    assert "public.guests.seat" in checks[0].says


def test_a_column_that_is_not_captured_is_not_examined() -> None:
    """To drop it at capture is a remedy, too."""
    checks = check_columns([Column(table=GUESTS, name="seat", type="regclass")], dropped={(GUESTS, "seat")})

    assert [check.outcome for check in checks] == [Outcome.PASS]


def test_names_that_differ_in_case_only_fail() -> None:
    """Debezium stops there."""
    checks = check_columns([Column(table=GUESTS, name=name, type="text") for name in ("Name", "name")])

    assert [check.outcome for check in checks] == [Outcome.FAIL]
