"""A captured log to route: what Debezium would write of a business of so many weddings, to the byte's shape.

First each wedding's calendar row, then transactions of ten row changes between BEGIN and END: mostly guests that
change, some that are new, and rows that find their wedding only by their guest. Seeded; nothing here is timed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import uuid
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.backup import Priority
from schemas.topics import backup_topic, capture_topic
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.produce import BatchProducer

_EPOCH_DAY: Final = dt.date(1970, 1, 1)
_ROWS_A_TRANSACTION: Final = 10
_NEW_SHARE, _FOLLOWING_SHARE = 0.15, 0.15
_NEAR_SHARE: Final = 0.1
_NEAR_DAYS, _FAR_DAYS = 3, 60
_DELIVERED_AT_ONCE: Final = 5_000
_LSN_STEP: Final = 400
BEGINNING: Final = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BenchLog:
    """One log: `warm_up` records (the calendar) come before the `records` in all, of which `changes` are rows timed."""

    topic: str
    records: int
    warm_up: int
    changes: int
    lanes: dict[str, str]
    """Wedding → the backup topic its changes belong on."""


async def write_log(producer: BatchProducer, *, epoch: int, weddings: int, changes: int, now: dt.datetime) -> BenchLog:
    """Write a log of its own epoch into its capture topic, which must exist."""
    topic = capture_topic("bench", epoch)
    maker = _Maker(weddings, now)
    warm_up = written = 0
    pending: list[Outgoing] = []
    for value in maker.records(changes):
        pending.append(Outgoing(topic, 0, None, value))
        written += 1
        if len(pending) >= _DELIVERED_AT_ONCE:
            await producer.deliver(pending)
            pending = []
    await producer.deliver(pending)
    warm_up = maker.warm_up
    return BenchLog(topic=topic, records=written, warm_up=warm_up, changes=maker.changes, lanes=maker.lanes)


class _Maker:
    def __init__(self, weddings: int, now: dt.datetime) -> None:
        self._rng = random.Random(weddings)  # noqa: S311 - a repeatable load, no secret
        self._today = (now.date() - _EPOCH_DAY).days
        self._us = int(now.timestamp()) * 1_000_000
        self._names = [str(uuid.UUID(int=self._rng.getrandbits(128))) for _ in range(weddings)]
        near, far = backup_topic(Priority.CRITICAL), backup_topic(Priority.STANDARD)
        self.lanes = {name: near if self._rng.random() < _NEAR_SHARE else far for name in self._names}
        self._is_near = {name: topic == near for name, topic in self.lanes.items()}
        self._guests: list[tuple[str, str]] = []
        self._after_lsn, self._transaction = BEGINNING, 700
        self.changes = self.warm_up = 0

    def records(self, changes: int) -> Iterator[bytes]:
        """Yield the calendar, then transactions with so many row changes in all."""
        for start in range(0, len(self._names), 1_000):
            for value in self._commit([self._calendar_row(name) for name in self._names[start : start + 1_000]]):
                self.warm_up += 1
                yield value
        for _ in range(changes // _ROWS_A_TRANSACTION):
            self.changes += _ROWS_A_TRANSACTION
            yield from self._commit([self._change() for _ in range(_ROWS_A_TRANSACTION)])

    def _commit(self, rows: list[tuple[str, Any, Any]]) -> Iterator[bytes]:
        self._transaction += 1
        self._us += 1_000
        lsn = self._after_lsn + _LSN_STEP * (len(rows) + 1)
        named = f"{self._transaction}:{lsn}"
        yield orjson.dumps({"status": "BEGIN", "id": named, "ts_ms": self._us // 1000})
        for order, (table, before, after) in enumerate(rows, 1):
            yield self._row(table, before, after, order, self._after_lsn + _LSN_STEP * order)
        counts: dict[str, int] = {}
        for table, _, _ in rows:
            counts[f"public.{table}"] = counts.get(f"public.{table}", 0) + 1
        collections = [{"data_collection": name, "event_count": count} for name, count in counts.items()]
        end = {"status": "END", "id": named, "ts_ms": self._us // 1000, "event_count": len(rows)}
        yield orjson.dumps({**end, "data_collections": collections})
        self._after_lsn = lsn

    def _row(self, table: str, before: Any, after: Any, order: int, lsn: int) -> bytes:
        source = {
            "version": "3.7.0.Final", "connector": "postgresql", "name": "bench", "ts_ms": self._us // 1000,
            "snapshot": "false", "db": "platform", "sequence": f'["{self._after_lsn}","{lsn}"]',
            "ts_us": self._us, "ts_ns": self._us * 1000, "schema": "public", "table": table,
            "txId": self._transaction, "lsn": lsn, "xmin": None,
        }  # fmt: skip
        place = {"id": f"{self._transaction}:{lsn}", "total_order": order, "data_collection_order": order}
        operation = "u" if before else "c"
        stamps = {"ts_ms": self._us // 1000 + 3, "ts_us": self._us + 3_000, "ts_ns": self._us * 1000 + 3_000_000}
        return orjson.dumps(
            {"before": before, "after": after, "source": source, "transaction": place, "op": operation, **stamps}
        )

    def _calendar_row(self, name: str) -> tuple[str, Any, Any]:
        day = self._today + (_NEAR_DAYS if self._is_near[name] else _FAR_DAYS)
        couple = {"couple": "Ada & Grace", "venue_timezone": "Europe/Paris", "country": "FR"}
        return "weddings", None, {"id": name, "wedding_date": day, **couple}

    def _change(self) -> tuple[str, Any, Any]:
        kind = self._rng.random()
        if kind < _NEW_SHARE or not self._guests:
            return "guests", None, self._guest(str(uuid.UUID(int=self._rng.getrandbits(128))), self._a_wedding())
        guest, wedding = self._rng.choice(self._guests)
        if kind < _NEW_SHARE + _FOLLOWING_SHARE:
            need = {"guest_id": guest, "need": self._rng.choice(("vegan", "nuts", "gluten")), "severity": "strict"}
            return "guest_dietary", None, need
        before = self._guest(guest, wedding, is_new=False)
        return "guests", before, {**before, "rsvp": self._rng.choice(("yes", "no")), "table_no": 7}

    def _a_wedding(self) -> str:
        return self._rng.choice(self._names)

    def _guest(self, guest: str, wedding: str, *, is_new: bool = True) -> dict[str, Any]:
        if is_new:
            self._guests.append((guest, wedding))
        about = {"full_name": "Zoë Ångström-Smith", "email": "zoe.angstrom@example.org", "phone": "+33 1 23 45 67 89"}
        return {
            "id": guest, "wedding_id": wedding, **about, "rsvp": "pending", "table_no": None,
            "invited_at": "2026-03-01T10:00:00.123456Z", "notes": "arrives late",
        }  # fmt: skip
