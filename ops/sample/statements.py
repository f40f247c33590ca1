"""What the load says to Postgres: fixed statements, and the values that carry them.

Every statement touches exactly one row, so the number of statements in a committed transaction
is the number of row changes that capture must see. The texts are constants: Postgres plans each once.
"""

from __future__ import annotations

import dataclasses
from typing import Final


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One row change: a constant text and its parameters in order."""

    sql: str
    parameters: tuple[object, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Row changes that commit together, or are rolled back together.

    `weddings` are all it touches; transactions of one `lane` must run one after the other.
    """

    weddings: tuple[str, ...]
    lane: int
    statements: tuple[Statement, ...]
    rolls_back: bool = False

    @property
    def changes(self) -> int:
        """How many row changes it leaves behind."""
        return 0 if self.rolls_back else len(self.statements)


def _insert(table: str, columns: str) -> str:
    marks = ", ".join(["%s"] * len(columns.split(", ")))
    return f"INSERT INTO public.{table} ({columns}) VALUES ({marks})"


VENUE_ADDED: Final = _insert(
    "venues", "id, name, city, country, timezone, capacity, latitude, longitude, opens_at, amenities"
)
VENDOR_ADDED: Final = _insert(
    "vendors", "id, kind, name, email, rating, service_countries, price_steps, is_verified, logo, joined_at"
)
VENDOR_RATED: Final = "UPDATE public.vendors SET rating = %s, is_verified = %s WHERE id = %s"
WEDDING_ADDED: Final = _insert(
    "weddings",
    "id, partner_one, partner_two, wedding_date, venue_id, venue_timezone, country, status, budget, preferences, tags,"
    " created_at",
)
WEDDING_PLANNED: Final = (
    "UPDATE public.weddings SET budget = %s, preferences = %s, tags = %s, updated_at = %s WHERE id = %s"
)
WEDDING_STATUS_SET: Final = "UPDATE public.weddings SET status = %s, updated_at = %s WHERE id = %s"
GUEST_ADDED: Final = _insert("guests", "id, wedding_id, full_name, email, answer, plus_one, age")
GUEST_ANSWERED: Final = "UPDATE public.guests SET answer = %s, plus_one = %s, answered_at = %s WHERE id = %s"
GUEST_REMOVED: Final = "DELETE FROM public.guests WHERE id = %s"
DIET_ADDED: Final = _insert("guest_dietary", "guest_id, need, severity, remark")
DIET_CHANGED: Final = "UPDATE public.guest_dietary SET severity = %s, remark = %s WHERE guest_id = %s AND need = %s"
DIET_REMOVED: Final = "DELETE FROM public.guest_dietary WHERE guest_id = %s AND need = %s"
TABLE_ADDED: Final = _insert("seating_tables", "id, wedding_id, label, seats, shape")
SEAT_TAKEN: Final = _insert("seat_assignments", "table_id, seat_no, guest_id")
SEAT_CHANGED: Final = (
    "UPDATE public.seat_assignments SET table_id = %s, seat_no = %s WHERE table_id = %s AND seat_no = %s"
)
SEAT_FREED: Final = "DELETE FROM public.seat_assignments WHERE table_id = %s AND seat_no = %s"
ITEM_ADDED: Final = _insert(
    "timeline_items", "id, wedding_id, title, starts_at, lasts, local_start, is_public, details"
)
ITEM_MOVED: Final = "UPDATE public.timeline_items SET starts_at = %s, lasts = %s, is_public = %s WHERE id = %s"
ITEM_REMOVED: Final = "DELETE FROM public.timeline_items WHERE id = %s"
BOOKING_ADDED: Final = _insert("vendor_bookings", "id, wedding_id, vendor_id, arrives_at, stays, wishes")
BOOKING_CHANGED: Final = "UPDATE public.vendor_bookings SET arrives_at = %s, wishes = %s WHERE id = %s"
BOOKING_REMOVED: Final = "DELETE FROM public.vendor_bookings WHERE id = %s"
CONTRACT_ADDED: Final = _insert("contracts", "id, wedding_id, vendor_id, total, currency, terms")
CONTRACT_SIGNED: Final = "UPDATE public.contracts SET signature = %s, signed_at = %s WHERE id = %s"
PAYMENT_ADDED: Final = _insert("payments", "id, contract_id, reference, amount, fee_rate, status, due_on")
PAYMENT_SETTLED: Final = "UPDATE public.payments SET status = %s, paid_at = %s WHERE id = %s"
REFUND_ADDED: Final = _insert("refunds", "id, payment_id, amount, reason, refunded_at")
DELIVERY_ADDED: Final = _insert("deliveries", "id, wedding_id, vendor_id, what, due_on")
DELIVERY_MADE: Final = "UPDATE public.deliveries SET delivered_at = %s WHERE id = %s"
PHOTO_ADDED: Final = _insert("photos", "id, wedding_id, object_key, size_bytes, checksum, taken_at, exif")
MESSAGE_SENT: Final = _insert("messages", "client_ref, wedding_id, author, body, mentions, sent_at")
MESSAGE_READ: Final = "UPDATE public.messages SET read_at = %s WHERE client_ref = %s"
MESSAGE_REMOVED: Final = "DELETE FROM public.messages WHERE client_ref = %s"
MESSAGE_MISFILED: Final = "UPDATE public.messages SET wedding_id = %s WHERE client_ref = %s"
NOTE_ADDED: Final = _insert("notes", "client_ref, wedding_id, body, colours")
NOTE_REWRITTEN: Final = "UPDATE public.notes SET body = %s, colours = %s WHERE client_ref = %s"
NOTE_REMOVED: Final = "DELETE FROM public.notes WHERE client_ref = %s"
