"""The sample platform: creates its schema and says how each of its tables finds its wedding."""

from __future__ import annotations

import importlib.resources

import psycopg

from schemas.mapping import (
    CalendarRule,
    DeliveryRule,
    ParentLink,
    TableMapping,
    TableRule,
    table_mapping,
)

PLATFORM_TABLES = ("venues", "vendors")
OWN_TABLES = (
    "guests",
    "seating_tables",
    "timeline_items",
    "vendor_bookings",
    "contracts",
    "deliveries",
    "photos",
    "messages",
    "notes",
)


def schema_sql() -> str:
    """Return the sample schema's DDL."""
    return importlib.resources.files("ops.sample").joinpath("schema.sql").read_text(encoding="utf-8")


async def create(dsn: str) -> None:
    """Create the sample schema in an empty database; all of it or nothing."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(schema_sql())


def sample_mapping() -> TableMapping:
    """Return the mapping of the sample schema, the one `init` proposes for it."""
    return table_mapping(
        [
            _owning("weddings", "id"),
            *(_owning(name, "wedding_id") for name in OWN_TABLES),
            *(TableRule(name=f"public.{name}", key=("id",)) for name in PLATFORM_TABLES),
            _following("guest_dietary", ("guest_id", "need"), "guest_id", "guests"),
            _following("seat_assignments", ("table_id", "seat_no"), "table_id", "seating_tables"),
            _following("payments", ("id",), "contract_id", "contracts"),
            _following("refunds", ("id",), "payment_id", "payments"),
        ],
        calendar=CalendarRule(
            table="public.weddings", wedding="id", day="wedding_date", venue_zone="venue_timezone", residency="country"
        ),
        deliveries=[DeliveryRule(table="public.deliveries", due="due_on")],
    )


def _owning(name: str, column: str) -> TableRule:
    return TableRule(name=f"public.{name}", key=("id",), wedding_column=column)


def _following(name: str, key: tuple[str, ...], column: str, parent: str) -> TableRule:
    link = ParentLink(table=f"public.{parent}", columns=(column,), references=("id",))
    return TableRule(name=f"public.{name}", key=key, parent=link)
