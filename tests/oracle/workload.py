"""What is done to the database, drawn from a seed: transactions as lists of acts. Pure.

Keys come from small ranges, so that they meet again; statements may fail (a foreign key, a doubled key) and then undo
their savepoint or their transaction, as in life. Nobody keeps a model of what should be there: that is Postgres' part.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

import orjson

from tests.oracle.acts import Act, Copy, Drawn, Statement, Step, Transaction
from tests.oracle.shifting import Shifts

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

WEDDINGS, GUESTS, CONTRACTS, ALBUMS = 16, 120, 60, 40
"""How many keys there are of each."""
LARGE = 9_000
"""Characters that no row keeps in its own page."""


def key(kind: str, number: int) -> uuid.UUID:
    """Return the key of a row of the sample's tables."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {number}")


class Workload:
    """Draws transactions; `today` decides how near the weddings are, `is_shifting` whether shapes change."""

    def __init__(self, rng: random.Random, *, today: dt.date, is_shifting: bool = True) -> None:
        self._rng, self._today, self._is_shifting = rng, today, is_shifting
        self._shifts = Shifts(rng)
        self._scenes = [
            *(self._wedding, self._guests, self._guests, self._money, self._money, self._talk, self._move),
            *(self._album, self._album, self._pages, self._orphans_first, self._rename, self._nodes, self._keyed),
            *(self._keyed, self._blanks, self._blanks, self._again, self._same, self._ledger, self._copied),
            *(self._shifted_rows, self._shifted_rows, self._shifted_rows),
        ]

    def founding(self) -> Transaction:
        """Return the transaction that makes venues, vendors and every wedding."""
        acts: list[Act] = [
            *(self._vendor(number) for number in range(4)),
            *(act for number in range(WEDDINGS) for act in self._wedding(number)),
        ]
        return Transaction(acts=tuple(acts))

    def transaction(self) -> Transaction:
        """Return the next transaction."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.03:
            return Transaction(acts=tuple(self._nothing()), is_committed=rng.random() < 0.7)
        if draw < 0.05:
            return self._truncate()
        if draw < 0.07:
            return Transaction(acts=(Statement(text="DELETE FROM weddings WHERE id = %s", values=(self._any(),)),))
        if draw < 0.1 and self._is_shifting:
            return self.shift()
        acts = [act for _ in range(rng.choice((1, 1, 2, 3, 6))) for act in self._maybe_nested(self._scene())]
        return Transaction(acts=tuple(acts), is_committed=rng.random() > 0.1)

    def long_open(self) -> Transaction:
        """Return a transaction that stays open while many others come and go."""
        acts: list[Act] = []
        for _ in range(self._rng.randint(3, 6)):
            change = [Drawn(draw=self._shifts.change)] if self._is_shifting and self._rng.random() < 0.05 else []
            acts += [*self._maybe_nested([*self._scene(), *change]), Step.PAUSE]
        return Transaction(acts=tuple(acts), is_committed=self._rng.random() > 0.2, mark="long")

    def shift(self) -> Transaction:
        """Change shapes, and write rows before, between and after; each part perhaps undone again."""
        rng, acts = self._rng, list[Act]()
        for _ in range(rng.choice((1, 1, 2, 3))):
            acts += self._maybe_nested(self._shifted_rows()) if rng.random() < 0.5 else []
            acts += self._maybe_nested([Drawn(draw=self._shifts.change)])
            acts += self._maybe_nested(self._shifted_rows()) if rng.random() < 0.7 else []
            acts += self._maybe_nested(self._scene()) if rng.random() < 0.2 else []
        return Transaction(acts=tuple(acts), is_committed=rng.random() > 0.15, mark="ddl")

    def huge(self, rows: int) -> Transaction:
        """Return one transaction of so many changes."""
        some = "INSERT INTO ledger (wedding_id, amount, note) SELECT %s, n, 'huge' FROM generate_series(1, %s) AS n"
        update = "UPDATE ledger SET amount = amount + 1 WHERE note = 'huge' AND id %% 7 = 0"
        text = "DELETE FROM ledger WHERE note = 'huge' AND id %% 5 = 0"
        acts: list[Act] = [
            Statement(text=some, values=(self._any(), rows)),
            Step.SAVEPOINT,
            Statement(text=some, values=(self._any(), max(1, rows // 20))),
            Step.ROLLBACK_TO,
            Statement(text=update),
            *self._scene(),
            Statement(text=text),
        ]
        return Transaction(acts=tuple(acts), mark="huge")

    def _scene(self) -> Sequence[Act]:
        return self._rng.choice(self._scenes)()

    def _maybe_nested(self, acts: Sequence[Act]) -> Sequence[Act]:
        """Put acts into a savepoint, or two, which may be rolled back."""
        draw = self._rng.random()
        if draw < 0.6:
            return acts
        inner: list[Act] = [Step.SAVEPOINT, *acts, self._close()]
        if draw < 0.8:
            return inner
        return [Step.SAVEPOINT, *self._scene(), *inner, *self._scene(), self._close()]

    def _close(self) -> Step:
        return self._rng.choice((Step.RELEASE, Step.ROLLBACK_TO))

    def _any(self) -> uuid.UUID:
        return key("wedding", self._rng.randrange(WEDDINGS))

    def _text(self) -> str | None:
        rng = self._rng
        plain = ("", None, "a", " ", "\\N", "\t\n\r", "quote \" and '", "{NULL}", "Zoë & Øyvind ❤", "\\x00", "null")
        return rng.choice(plain) if rng.random() < 0.6 else self._large()

    def _large(self) -> str:
        return self._rng.randbytes(LARGE // 2).hex()

    def _vendor(self, number: int) -> Act:
        return Statement(
            text="INSERT INTO vendors (id, kind, name, email, joined_at) VALUES (%s, 'baker', %s, %s, now())"
            " ON CONFLICT DO NOTHING",
            values=(key("vendor", number), f"vendor {number}", ""),
        )

    def _wedding(self, number: int | None = None) -> Sequence[Act]:
        rng = self._rng
        day = self._today + dt.timedelta(days=rng.choice((-30, -1, 0, 1, 2, 5, 8, 20, 200)))
        values = (
            *(key("wedding", rng.randrange(WEDDINGS) if number is None else number), self._text() or "", "two", day),
            *(rng.choice(("Europe/Berlin", "Australia/Sydney", None)), rng.choice(("DE", "US", None))),
            *(
                rng.choice((None, 0, 12345.67)),
                orjson.dumps({"a": [1, None, self._text()]}).decode(),
            ),
            rng.choice(([], ["a", None, ""], ["NULL", 'q"', "\\"])),
        )
        return [
            Statement(
                text="INSERT INTO weddings (id, partner_one, partner_two, wedding_date, venue_timezone, country,"
                " budget, preferences, tags, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, now())"
                " ON CONFLICT (id) DO UPDATE SET wedding_date = excluded.wedding_date, country = excluded.country,"
                " venue_timezone = excluded.venue_timezone, updated_at = clock_timestamp()",
                values=values,
            )
        ]

    def _guests(self) -> Sequence[Act]:
        rng = self._rng
        guest, table = rng.randrange(GUESTS), rng.randrange(GUESTS)
        upsert = (
            "INSERT INTO guests (id, wedding_id, full_name, email) VALUES (%s, %s, %s, %s) ON CONFLICT (id)"
            " DO UPDATE SET email = excluded.email, answered_at = now()"
        )
        need = "INSERT INTO guest_dietary (guest_id, need, remark) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
        acts: list[Act] = [
            Statement(text=upsert, values=(key("guest", guest), self._any(), f"guest {guest}", self._text())),
            Statement(text=need, values=(key("guest", guest), rng.choice(("nuts", "milk", "")), self._text())),
            Statement(
                text="INSERT INTO seating_tables (id, wedding_id, label, seats) VALUES (%s, %s, %s, 8)"
                " ON CONFLICT (id) DO UPDATE SET wedding_id = excluded.wedding_id",
                values=(key("table", table), self._any(), self._text() or ""),
            ),
            Statement(
                text="INSERT INTO seat_assignments (table_id, seat_no, guest_id) VALUES (%s, %s, %s)"
                " ON CONFLICT (table_id, seat_no) DO UPDATE SET guest_id = excluded.guest_id",
                values=(key("table", table), rng.randint(1, 3), key("guest", guest)),
            ),
            Statement(text="DELETE FROM guests WHERE id = %s", values=(key("guest", rng.randrange(GUESTS)),)),
            Statement(
                text="UPDATE guest_dietary SET need = need || 'x' WHERE guest_id = %s",
                values=(key("guest", rng.randrange(GUESTS)),),
            ),
        ]
        return rng.sample(acts, rng.randint(1, len(acts)))

    def _money(self) -> Sequence[Act]:
        rng = self._rng
        contract, payment = rng.randrange(CONTRACTS), rng.randrange(CONTRACTS)
        acts: list[Act] = [
            Statement(
                text="INSERT INTO contracts (id, wedding_id, vendor_id, total, currency, signature) VALUES"
                " (%s, %s, %s, %s, 'EUR', %s) ON CONFLICT (id) DO UPDATE SET total = excluded.total",
                values=(
                    *(key("contract", contract), self._any(), key("vendor", rng.randrange(4))),
                    *(rng.randrange(10_000) / 100, rng.choice((None, b"", b"\x00\xff", rng.randbytes(5_000)))),
                ),
            ),
            Statement(
                text="INSERT INTO payments (id, contract_id, reference, amount, due_on) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT (id) DO UPDATE SET contract_id = excluded.contract_id, status = 'paid'",
                values=(key("payment", payment), key("contract", contract), f"r{payment}", 1 + contract, self._today),
            ),
            Statement(
                text="INSERT INTO refunds (id, payment_id, amount, reason, refunded_at) VALUES (%s, %s, 1, %s, now())"
                " ON CONFLICT (id) DO UPDATE SET payment_id = excluded.payment_id",
                values=(key("refund", rng.randrange(CONTRACTS)), key("payment", payment), self._text()),
            ),
            Statement(text="DELETE FROM contracts WHERE id = %s", values=(key("contract", rng.randrange(CONTRACTS)),)),
        ]
        return acts[: rng.randint(1, len(acts))]

    def _talk(self) -> Sequence[Act]:
        values = [(uuid.UUID(int=self._rng.getrandbits(128)), self._any(), self._text() or "") for _ in range(3)]
        return [
            Statement(
                text="INSERT INTO messages (client_ref, wedding_id, author, body, sent_at) VALUES"
                " (%s, %s, 'x', %s, now()), (%s, %s, 'y', %s, now()), (%s, %s, 'z', %s, now())",
                values=tuple(each for row in values for each in row),
            ),
            Statement(text="DELETE FROM messages WHERE id %% 11 = %s", values=(self._rng.randrange(11),)),
        ]

    def _move(self) -> Sequence[Act]:
        """Move rows, and parents with all that follows them, to another wedding; or to none."""
        rng = self._rng
        there = rng.choice((self._any(), self._any(), None))
        moves: list[Act] = [
            Statement(
                text="UPDATE guests SET wedding_id = %s WHERE id = %s",
                values=(self._any(), key("guest", rng.randrange(GUESTS))),
            ),
            Statement(
                text="UPDATE contracts SET wedding_id = %s WHERE id = %s",
                values=(self._any(), key("contract", rng.randrange(CONTRACTS))),
            ),
            Statement(text="UPDATE albums SET wedding_id = %s WHERE id = %s", values=(there, rng.randrange(ALBUMS))),
            Statement(text="UPDATE ledger SET wedding_id = %s WHERE id %% 97 = %s", values=(there, rng.randrange(97))),
            Statement(text="UPDATE pages SET album_id = %s WHERE album_id = %s AND no = 1",
                      values=(rng.randrange(ALBUMS), rng.randrange(ALBUMS))),
        ]  # fmt: skip
        return rng.sample(moves, rng.randint(1, 3))

    def _album(self) -> Sequence[Act]:
        rng = self._rng
        number = rng.randrange(ALBUMS)
        acts: list[Act] = [
            Statement(
                text="INSERT INTO albums (id, wedding_id, title) VALUES (%s, %s, %s)"
                " ON CONFLICT (id) DO UPDATE SET title = excluded.title",
                values=(number, rng.choice((self._any(), None)), self._text()),
            )
        ]
        page = "INSERT INTO pages (album_id, no, body, blob) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
        for no in range(rng.randint(0, 3)):
            values = (number, no, rng.choice((self._large(), "", None)), rng.choice((None, rng.randbytes(LARGE))))
            acts += [Statement(text=page, values=values)]
        return acts

    def _pages(self) -> Sequence[Act]:
        """Touch a row beside its large values, which are then not written again; or replace them."""
        rng = self._rng
        one = rng.randrange(ALBUMS)
        acts: list[Act] = [
            Statement(text="UPDATE pages SET no = no + 10 WHERE album_id = %s AND no < 20", values=(one,)),
            Statement(text="UPDATE pages SET blob = NULL WHERE album_id = %s", values=(one,)),
            Statement(text="UPDATE pages SET body = body || 'x' WHERE album_id = %s", values=(one,)),
            Statement(text="UPDATE pages SET blob = '\\x01'::bytea WHERE album_id = %s", values=(one,)),
            Statement(text="DELETE FROM pages WHERE album_id = %s AND no >= 10", values=(one,)),
        ]
        return rng.sample(acts, rng.randint(1, 2))

    def _orphans_first(self) -> Sequence[Act]:
        """Children come before their parents: foreign keys are looked at when the transaction ends."""
        rng = self._rng
        album, no = rng.randrange(ALBUMS), rng.randint(30, 33)
        sticker = "INSERT INTO stickers (id, album_id, no, what) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
        page = "INSERT INTO pages (album_id, no, body) VALUES (%s, %s, 'late') ON CONFLICT DO NOTHING"
        parent = "INSERT INTO albums (id, wedding_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"
        return [
            Statement(text=sticker, values=(rng.randrange(500), album, no, self._text())),
            Statement(text=page, values=(album, no)),
            Statement(text=parent, values=(album, self._any())),
        ]

    def _rename(self) -> Sequence[Act]:
        """Give a parent another key; its children follow."""
        rng = self._rng
        return [
            Statement(
                text="UPDATE albums SET id = %s WHERE id = %s", values=(rng.randrange(ALBUMS), rng.randrange(ALBUMS))
            ),
            Statement(text="UPDATE albums SET id = id + 1000 WHERE id = %s", values=(rng.randrange(ALBUMS),)),
            Statement(text="UPDATE albums SET id = id - 1000 WHERE id = %s", values=(1000 + rng.randrange(ALBUMS),)),
        ][: rng.randint(1, 3)]

    def _nodes(self) -> Sequence[Act]:
        rng = self._rng
        a, b = rng.randrange(30), rng.randrange(30)
        insert = "INSERT INTO nodes (id, up, label) VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE SET up = excluded.up"
        acts: list[Act] = [
            Statement(text=insert, values=(a, b, self._text())),
            Statement(text=insert, values=(b, a, self._text())),
            Statement(text="DELETE FROM nodes WHERE id = %s", values=(a,)),
        ]
        return acts[: rng.randint(2, 3)]

    def _keyed(self) -> Sequence[Act]:
        rng = self._rng
        a, b = rng.randrange(12), rng.choice(("", "x", "y"))
        acts: list[Act] = [
            Statement(
                text="INSERT INTO keyed VALUES (%s, %s, %s, %s) ON CONFLICT (a, b) DO UPDATE SET c = excluded.c",
                values=(a, b, self._text(), rng.choice((None, "null", '{"n": 1e400, "m": 0.10}', "[]"))),
            ),
            Statement(text="UPDATE keyed SET a = %s WHERE a = %s AND b = %s", values=(rng.randrange(12), a, b)),
            Statement(
                text="UPDATE keyed SET b = %s WHERE a = %s AND b = %s", values=(rng.choice(("", "x", "z")), a, b)
            ),
            Statement(text="DELETE FROM keyed WHERE a = %s", values=(rng.randrange(12),)),
            Statement(text="UPDATE keyed SET a = a + 100 WHERE a < 6"),
            Statement(text="UPDATE keyed SET a = a - 100 WHERE a >= 100"),
        ]
        return rng.sample(acts, rng.randint(1, 4))

    def _blanks(self) -> Sequence[Act]:
        rng = self._rng
        values = (
            *(
                rng.choice(("", " ", "a", "NULL", "\\")),
                self._text(),
                rng.choice((None, [], [None], [""], ["a,b", "{}"])),
            ),
            *(rng.choice((None, "infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "2026-10-25 02:30:00+14")),),
            *(rng.choice((None, "infinity", "0001-01-01", "4713-01-01 BC", "9999-12-31")),),
            *(rng.choice((None, "-1 year -2 days", "00:00:00.000001", "178000000 years")),),
            *(rng.choice((None, "NaN", "Infinity", "-0", "1e-300", "0.1")),),
        )
        return [
            Statement(
                text="INSERT INTO blanks (k, v, w, at, on_day, lasts, ratio) VALUES"
                " (%s, %s, %s::text[], %s::text::timestamptz, %s::text::date, %s::text::interval, %s::text::float8)"
                " ON CONFLICT (k) DO UPDATE SET v = excluded.v, w = excluded.w, at = excluded.at,"
                " on_day = excluded.on_day, lasts = excluded.lasts, ratio = excluded.ratio",
                values=values,
            )
        ]

    def _again(self) -> Sequence[Act]:
        """Delete rows and write the same keys again, in one transaction."""
        a = self._rng.randrange(12)
        return [
            Statement(text="DELETE FROM keyed WHERE a = %s", values=(a,)),
            Statement(text="INSERT INTO keyed VALUES (%s, '', 'again', NULL)", values=(a,)),
            Statement(text="DELETE FROM keyed WHERE a = %s AND b = ''", values=(a,)),
            Statement(text="INSERT INTO keyed VALUES (%s, '', NULL, '{}')", values=(a,)),
        ]

    def _same(self) -> Sequence[Act]:
        """Update rows to what they are."""
        return [
            Statement(text="UPDATE pages SET body = body WHERE album_id = %s", values=(self._rng.randrange(ALBUMS),)),
            Statement(text="UPDATE blanks SET v = v"),
        ]

    def _ledger(self) -> Sequence[Act]:
        rng = self._rng
        return [
            Statement(
                text="INSERT INTO ledger (wedding_id, amount, note)"
                " SELECT %s, n * 1.50, %s FROM generate_series(1, %s) AS n",
                values=(rng.choice((self._any(), None)), self._text(), rng.randint(1, 60)),
            ),
            Statement(text="DELETE FROM ledger WHERE id %% 13 = %s AND note <> 'huge'", values=(rng.randrange(13),)),
        ][: rng.randint(1, 2)]

    def _copied(self) -> Sequence[Act]:
        rng = self._rng
        rows = tuple((self._any(), rng.randrange(100), self._text()) for _ in range(rng.randint(2, 40)))
        return [Copy(text="COPY ledger (wedding_id, amount, note) FROM STDIN", rows=rows)]

    def _nothing(self) -> Sequence[Act]:
        nothings: tuple[Sequence[Act], ...] = (
            [],
            [Statement(text="SELECT 1")],
            [Step.SAVEPOINT, *self._keyed(), Step.ROLLBACK_TO],
            [Step.SAVEPOINT, Step.RELEASE],
        )
        return self._rng.choice(nothings)

    def _shifted_rows(self) -> Sequence[Act]:
        return [Drawn(draw=self._shifts.rows)]

    def _truncate(self) -> Transaction:
        rng = self._rng
        texts = (
            "keyed",
            "blanks",
            "ledger",
            "nodes",
            "stickers",
            "albums CASCADE",
            "keyed, blanks",
            "pages CASCADE",
            "contracts CASCADE",
        )
        truncate = Statement(text=f"TRUNCATE {rng.choice(texts)}")
        acts = [*self._scene(), truncate, *self._scene()]
        return Transaction(acts=tuple(self._maybe_nested(acts)), is_committed=rng.random() > 0.2, mark="truncate")
