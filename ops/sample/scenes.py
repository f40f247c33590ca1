"""What happens to one wedding: each scene is a few row changes that belong together. Pure and seeded.

A scene looks at the rows that are there (`WeddingState`) and changes that picture with the statements it
returns, so that every later statement touches exactly one row. A scene that has nothing to act on returns none.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Final

import orjson

from ops.sample import statements as say
from ops.sample.cast import SampleWedding, full_name, happens, preferences, seeded_uuid
from ops.sample.statements import Statement

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Scene = Callable[["Stage"], list[Statement]]

DIETS: Final = ("vegan", "nut allergy", "gluten-free", "halal", "kosher", "shellfish")
ANSWERS: Final = ("yes", "no", "maybe", "invited")
TITLES: Final = ("Ceremony", "Toast", "First dance", "Cake", "Fireworks 🎆", "Group photo")
BODIES: Final = ("Can we move the toast?", "Two more vegans.\nSorry!", 'She said "yes" \\o/', "Où est le gâteau ? 🍰")
WORDS: Final = ("peonies", "ivory", "late bus", "grandmother", "no strobe lights", "piñata", "tab\there", "{braces}")
SEATS: Final = 10
GUESTS_MAX: Final = 160


@dataclasses.dataclass(slots=True)
class WeddingState:
    """The rows a wedding has at this point of the plan."""

    guests: list[str] = dataclasses.field(default_factory=list)
    diets: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    tables: list[str] = dataclasses.field(default_factory=list)
    seat_of: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    items: list[str] = dataclasses.field(default_factory=list)
    bookings: list[str] = dataclasses.field(default_factory=list)
    unsigned: list[str] = dataclasses.field(default_factory=list)
    signed: list[str] = dataclasses.field(default_factory=list)
    due: list[str] = dataclasses.field(default_factory=list)
    paid: list[str] = dataclasses.field(default_factory=list)
    deliveries: list[str] = dataclasses.field(default_factory=list)
    messages: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, kw_only=True)
class Stage:
    """Where a scene plays: the wedding, its rows so far, the vendors, chance and the time of day."""

    rng: random.Random
    now: dt.datetime
    wedding: SampleWedding
    state: WeddingState
    vendors: tuple[str, ...]


def guests_added(stage: Stage) -> list[Statement]:
    """Invite one to three guests, some with a dietary need."""
    if len(stage.state.guests) > GUESTS_MAX:
        return []
    return [row for _ in range(stage.rng.randrange(1, 4)) for row in _guest(stage)]


def _guest(stage: Stage) -> list[Statement]:
    rng, guest = stage.rng, seeded_uuid(stage.rng)
    stage.state.guests.append(guest)
    row = (guest, stage.wedding.id, full_name(rng), f"{guest[:8]}@guests.example", "invited", happens(rng, 0.3))
    rows = [Statement(sql=say.GUEST_ADDED, parameters=(*row, rng.choice((None, 7, 34, 81))))]
    if happens(rng, 0.25):
        need = rng.choice(DIETS)
        stage.state.diets[guest] = [need]
        rows.append(Statement(sql=say.DIET_ADDED, parameters=(guest, need, rng.randrange(1, 4), None)))
    return rows


def guest_answered(stage: Stage) -> list[Statement]:
    """A guest says yes, no or maybe."""
    if not stage.state.guests:
        return []
    rng = stage.rng
    answer = (rng.choice(ANSWERS), happens(rng, 0.5), stage.now, rng.choice(stage.state.guests))
    return [Statement(sql=say.GUEST_ANSWERED, parameters=answer)]


def guest_removed(stage: Stage) -> list[Statement]:
    """A guest is struck off: the seat and the dietary needs go first, as the application would."""
    state = stage.state
    if len(state.guests) < SEATS:
        return []
    guest = _drawn(stage.rng, state.guests)
    rows = [Statement(sql=say.DIET_REMOVED, parameters=(guest, need)) for need in state.diets.pop(guest, [])]
    seat = state.seat_of.pop(guest, None)
    if seat is not None:
        rows.append(Statement(sql=say.SEAT_FREED, parameters=seat))
    return [*rows, Statement(sql=say.GUEST_REMOVED, parameters=(guest,))]


def diet_changed(stage: Stage) -> list[Statement]:
    """A dietary need gets worse, or a remark."""
    if not stage.state.diets:
        return []
    guest = stage.rng.choice(list(stage.state.diets))
    need = stage.state.diets[guest][0]
    change = (stage.rng.randrange(1, 4), stage.rng.choice(BODIES), guest, need)
    return [Statement(sql=say.DIET_CHANGED, parameters=change)]


def table_added(stage: Stage) -> list[Statement]:
    """Another table is set."""
    if len(stage.state.tables) * SEATS > GUESTS_MAX:
        return []
    table = seeded_uuid(stage.rng)
    stage.state.tables.append(table)
    label = f"Table {len(stage.state.tables)}"
    shape = stage.rng.choice(("round", "long"))
    return [Statement(sql=say.TABLE_ADDED, parameters=(table, stage.wedding.id, label, SEATS, shape))]


def guest_seated(stage: Stage) -> list[Statement]:
    """A guest gets a seat, or is moved to another one: then the row's primary key changes."""
    state, rng = stage.state, stage.rng
    if not state.guests or not state.tables:
        return []
    guest, seat = rng.choice(state.guests), (rng.choice(state.tables), rng.randrange(1, SEATS + 1))
    if seat in state.seat_of.values():
        return []
    old, state.seat_of[guest] = state.seat_of.get(guest), seat
    if old is None:
        return [Statement(sql=say.SEAT_TAKEN, parameters=(*seat, guest))]
    return [Statement(sql=say.SEAT_CHANGED, parameters=(*seat, *old))]


def item_added(stage: Stage) -> list[Statement]:
    """The day's timeline grows."""
    rng, item = stage.rng, seeded_uuid(stage.rng)
    stage.state.items.append(item)
    starts = dt.time(rng.randrange(8, 24), rng.choice((0, 15, 30)), microsecond=rng.choice((0, 123456)))
    row = (item, stage.wedding.id, rng.choice(TITLES), starts, dt.timedelta(minutes=rng.randrange(5, 240)))
    details = orjson.dumps({"cue": rng.choice(WORDS), "steps": [1, [2, 3]]}).decode()
    local = dt.datetime.combine(stage.wedding.day, starts)
    return [Statement(sql=say.ITEM_ADDED, parameters=(*row, local, happens(rng, 0.8), details))]


def item_moved(stage: Stage) -> list[Statement]:
    """A part of the day starts later."""
    if not stage.state.items:
        return []
    rng = stage.rng
    starts, lasts = dt.time(rng.randrange(24), rng.randrange(60)), dt.timedelta(seconds=rng.randrange(60, 9_000))
    change = (starts, lasts, happens(rng, 0.5), rng.choice(stage.state.items))
    return [Statement(sql=say.ITEM_MOVED, parameters=change)]


def item_removed(stage: Stage) -> list[Statement]:
    """A part of the day falls out."""
    if len(stage.state.items) < len(TITLES):
        return []
    return [Statement(sql=say.ITEM_REMOVED, parameters=(_drawn(stage.rng, stage.state.items),))]


def vendor_booked(stage: Stage) -> list[Statement]:
    """A vendor is booked."""
    rng, booking = stage.rng, seeded_uuid(stage.rng)
    stage.state.bookings.append(booking)
    stays = None if happens(rng, 0.3) else dt.timedelta(hours=rng.randrange(1, 30), microseconds=7)
    arrives = dt.datetime.combine(stage.wedding.day, dt.time(9), tzinfo=dt.UTC)
    row = (booking, stage.wedding.id, rng.choice(stage.vendors), arrives, stays, rng.choice(WORDS))
    return [Statement(sql=say.BOOKING_ADDED, parameters=row)]


def booking_changed(stage: Stage) -> list[Statement]:
    """A vendor comes at another hour, or not at all."""
    state, rng = stage.state, stage.rng
    if not state.bookings:
        return []
    if len(state.bookings) > SEATS:
        return [Statement(sql=say.BOOKING_REMOVED, parameters=(_drawn(rng, state.bookings),))]
    arrives = stage.now + dt.timedelta(hours=rng.randrange(200))
    change = (arrives, rng.choice(WORDS), rng.choice(state.bookings))
    return [Statement(sql=say.BOOKING_CHANGED, parameters=change)]


def contract_drawn(stage: Stage) -> list[Statement]:
    """A contract is drawn up with its two payments: three rows of two tables, or none."""
    rng, contract = stage.rng, seeded_uuid(stage.rng)
    stage.state.unsigned.append(contract)
    terms = orjson.dumps({"clauses": [rng.choice(WORDS)], "cancellable": happens(rng, 0.5)}).decode()
    row = (contract, stage.wedding.id, rng.choice(stage.vendors), _money(rng), rng.choice(("EUR", "USD")), terms)
    return [Statement(sql=say.CONTRACT_ADDED, parameters=row), *(_payment(stage, contract) for _ in range(2))]


def _payment(stage: Stage, contract: str) -> Statement:
    rng, payment = stage.rng, seeded_uuid(stage.rng)
    stage.state.due.append(payment)
    fee = None if happens(rng, 0.5) else f"0.0{rng.randrange(10**12)}"
    row = (payment, contract, f"INV-{payment}", _money(rng), fee, "due", stage.wedding.day)
    return Statement(sql=say.PAYMENT_ADDED, parameters=row)


def contract_signed(stage: Stage) -> list[Statement]:
    """A contract is signed, once."""
    if not stage.state.unsigned:
        return []
    contract = _drawn(stage.rng, stage.state.unsigned)
    stage.state.signed.append(contract)
    return [Statement(sql=say.CONTRACT_SIGNED, parameters=(stage.rng.randbytes(64), stage.now, contract))]


def payment_settled(stage: Stage) -> list[Statement]:
    """A payment arrives."""
    if not stage.state.due:
        return []
    payment = _drawn(stage.rng, stage.state.due)
    stage.state.paid.append(payment)
    return [Statement(sql=say.PAYMENT_SETTLED, parameters=("paid", stage.now, payment))]


def payment_refunded(stage: Stage) -> list[Statement]:
    """A payment goes back: its status and the refund commit together."""
    if not stage.state.paid:
        return []
    rng, payment = stage.rng, _drawn(stage.rng, stage.state.paid)
    refund = (seeded_uuid(rng), payment, _money(rng), rng.choice((None, *BODIES)), stage.now)
    return [
        Statement(sql=say.PAYMENT_SETTLED, parameters=("refunded", stage.now, payment)),
        Statement(sql=say.REFUND_ADDED, parameters=refund),
    ]


def delivery_promised(stage: Stage) -> list[Statement]:
    """Something is promised for a day: now and then for tomorrow."""
    rng, delivery = stage.rng, seeded_uuid(stage.rng)
    stage.state.deliveries.append(delivery)
    days = 1 if happens(rng, 0.1) else rng.randrange(2, 90)
    row = (delivery, stage.wedding.id, rng.choice((None, *stage.vendors)), rng.choice(("album", "cake", "flowers")))
    return [Statement(sql=say.DELIVERY_ADDED, parameters=(*row, stage.now.date() + dt.timedelta(days=days)))]


def delivery_made(stage: Stage) -> list[Statement]:
    """A promise is kept."""
    if not stage.state.deliveries:
        return []
    return [Statement(sql=say.DELIVERY_MADE, parameters=(stage.now, _drawn(stage.rng, stage.state.deliveries)))]


def message_sent(stage: Stage) -> list[Statement]:
    """Somebody writes."""
    rng, message = stage.rng, seeded_uuid(stage.rng)
    stage.state.messages.append(message)
    mentions = rng.sample(WORDS, k=rng.randrange(3))
    row = (message, stage.wedding.id, full_name(rng), rng.choice(BODIES), mentions, stage.now)
    return [Statement(sql=say.MESSAGE_SENT, parameters=row)]


def message_read(stage: Stage) -> list[Statement]:
    """Somebody reads; old messages are thrown away."""
    state = stage.state
    if not state.messages:
        return []
    if len(state.messages) > SEATS * 4:
        return [Statement(sql=say.MESSAGE_REMOVED, parameters=(_drawn(stage.rng, state.messages),))]
    return [Statement(sql=say.MESSAGE_READ, parameters=(stage.now, stage.rng.choice(state.messages)))]


def note_kept(stage: Stage) -> list[Statement]:
    """A note is written, rewritten or thrown away."""
    state, rng = stage.state, stage.rng
    body, colours = " / ".join(rng.sample(WORDS, k=3)), rng.choice((None, [], [1, 2, 3]))
    if len(state.notes) < len(WORDS):
        state.notes.append(seeded_uuid(rng))
        return [Statement(sql=say.NOTE_ADDED, parameters=(state.notes[-1], stage.wedding.id, body, colours))]
    if happens(rng, 0.2):
        return [Statement(sql=say.NOTE_REMOVED, parameters=(_drawn(rng, state.notes),))]
    return [Statement(sql=say.NOTE_REWRITTEN, parameters=(body, colours, rng.choice(state.notes)))]


def wedding_planned(stage: Stage) -> list[Statement]:
    """The couple thinks again about money and music."""
    tags = stage.rng.sample(WORDS, k=stage.rng.randrange(3))
    change = (_money(stage.rng), preferences(stage.rng), tags, stage.now, stage.wedding.id)
    return [Statement(sql=say.WEDDING_PLANNED, parameters=change)]


def wedding_confirmed(stage: Stage) -> list[Statement]:
    """The wedding is confirmed."""
    return [Statement(sql=say.WEDDING_STATUS_SET, parameters=("confirmed", stage.now, stage.wedding.id))]


def _money(rng: random.Random) -> str:
    return f"{rng.randrange(1, 5_000_000) / 100:.2f}"


def _drawn(rng: random.Random, rows: list[str]) -> str:
    """Take one row out, wherever it stands: the last takes its place."""
    index = rng.randrange(len(rows))
    rows[index], rows[-1] = rows[-1], rows[index]
    return rows.pop()


SCENES: Final[tuple[tuple[Scene, int], ...]] = (
    (guests_added, 10),
    (guest_answered, 22),
    (guest_removed, 4),
    (diet_changed, 3),
    (table_added, 2),
    (guest_seated, 14),
    (item_added, 5),
    (item_moved, 9),
    (item_removed, 2),
    (vendor_booked, 3),
    (booking_changed, 4),
    (contract_drawn, 3),
    (contract_signed, 3),
    (payment_settled, 5),
    (payment_refunded, 1),
    (delivery_promised, 3),
    (delivery_made, 2),
    (message_sent, 10),
    (message_read, 8),
    (note_kept, 6),
    (wedding_planned, 3),
    (wedding_confirmed, 1),
)
OPENING: Final = (table_added, guests_added, guests_added, item_added, vendor_booked, delivery_promised, contract_drawn)
