"""A small wedding platform and what Debezium makes of it; at once the model that restores are held against.

The model knows by itself, without asking the router, which weddings each change belongs to: by the
row's own column, by its parent, or to quarantine until the parent has been seen.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors.debezium import UNAVAILABLE
from schemas.backup import PLATFORM, QUARANTINE, UNREAD, residency_of_country
from tests import builders

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

Row = dict[str, Any]
Tables = dict[str, dict[int, Row]]

WEDDINGS: Final = tuple(f"CANARY-w{number}" for number in range(5))
PARENT: Final = {"public.meals": ("public.guests", "guest_id"), "public.notes": ("public.meals", "meal_id")}
CHILD: Final = {"public.guests": "public.meals", "public.meals": "public.notes"}
OWN_COLUMN: Final = {"public.weddings": "id", "public.guests": "wedding_id", "public.tasks": "wedding_id"}
ZONES: Final = ("Europe/Paris", "America/New_York", "Australia/Sydney", None)
COUNTRIES: Final = ("FR", "US", "AU", None)
TODAY_DAYS: Final = 20616
"""2026-06-12 in days since 1970: the day on which histories begin."""
LSN_STEP: Final = 56

_COMPLETED: Final = orjson.dumps(
    {
        "aggregate_type": "Incremental Snapshot",
        "type": "TABLE_SCAN_COMPLETED",
        "additional_data": {"scanned_collection": "public.guests", "status": "SUCCEEDED"},
    }
)


@dataclasses.dataclass(slots=True, kw_only=True)
class Emission:
    """One record of the captured log, and what must become of it: (wedding, residency) once or more."""

    value: bytes
    kind: str
    seals: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    is_dead_letter: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The platform as it stood after one commit; `last` is the index of its END, `unseen` what no log has shown yet.

    `is_ours`: only tables of ours changed, so the commit itself is not worth archiving.
    """

    lsn: int
    committed_us: int
    last: int
    tables: Tables
    unseen: frozenset[tuple[str, int]]
    is_ours: bool


class Platform:
    """The database: run transactions, and read `log`."""

    def __init__(self, rng: random.Random, now_us: Callable[[], int]) -> None:
        self._rng, self._now_us = rng, now_us
        self.log: list[Emission] = []
        self.commits: list[Commit] = []
        self.completions: list[int] = []
        self.reads: list[tuple[int, tuple[str, int]]] = []
        self.tables: Tables = {name: {} for name in (*OWN_COLUMN, *PARENT, "public.vendors", "public.audit")}
        self._lsn, self._transaction, self._next_id = 5000, 700, 100
        self._after_lsn: int | None = rng.choice([None, 4000])
        self._members: dict[tuple[str, int], tuple[str, int]] = {}
        self._waiting: dict[tuple[str, int], list[int]] = {}
        self._countries: dict[str, str | None] = {}
        self._order = 0
        self._counts: dict[str, int] = {}
        self._us = 0
        self._images: dict[int, tuple[str, Row]] = {}
        self._seed_unseen()
        self.beginning = self._commit(is_ours=False, lsn=0)

    def _seed_unseen(self) -> None:
        """Rows from before the capture began: nobody has seen them until they change or are copied."""
        for number in range(3):
            guest = {"id": number, "wedding_id": self._rng.choice(WEDDINGS), "name": f"CANARY old {number}"}
            self.tables["public.guests"][number] = guest
            self.tables["public.meals"][number] = {"id": number, "guest_id": number, "dish": "CANARY soup"}
        self.unseen = {("public.guests", n) for n in range(3)} | {("public.meals", n) for n in range(3)}

    def transact(self) -> None:
        """Run one transaction of a few changes."""
        self._begin()
        for _ in range(self._rng.randint(1, 4)):
            self._rng.choice(_ACTIONS)(self)
        if not self._order:
            self._insert("public.vendors", {"name": "CANARY florist"})
        self._end()

    def beat(self) -> None:
        """Run the heartbeat's transaction."""
        self._begin()
        self._row("wedsync.heartbeat", before={"id": 1}, after={"id": 1, "beat_at": "2026"})
        self._end()

    def note(self) -> None:
        """Write a logical message outside any transaction."""
        self._lsn += LSN_STEP
        self._us = self._now_us()
        value = builders.a_message("wedsync.note", lsn=self._lsn, after_lsn=self._lsn, committed_us=self._us)
        self._emit(value, "message", [PLATFORM])
        self._after_lsn = self._lsn

    def copy_table(self) -> None:
        """Copy guests by an incremental snapshot, in the transaction that closes its window."""
        self._begin()
        for row in list(self.tables["public.guests"].values()):
            value = builders.a_row("public.guests", after=row, operation="r", committed_us=self._us)
            index = self._emit(value, "read", self._judge("public.guests", None, row))
            self._learn("public.guests", row, index)
            self.unseen.discard(("public.guests", row["id"]))
            self.reads.append((index, ("public.guests", row["id"])))
        if self._rng.random() < 0.5:
            self.completions.append(self._emit(_COMPLETED, "notice", [PLATFORM]))
        self._row("wedsync.debezium_signal", after={"id": "window", "type": "snapshot-window-close"})
        self._end()

    def truncate(self) -> None:
        """Empty the notes."""
        self._begin()
        self._next_order("public.notes")
        value = builders.a_row("public.notes", **self._place())
        self._emit(value, "truncate", [PLATFORM])
        self.tables["public.notes"].clear()
        self._end()

    def _begin(self) -> None:
        self._transaction += 1
        self._lsn += LSN_STEP
        self._order, self._counts, self._us = 0, {}, self._now_us()
        value = builders.a_begin(transaction=self._transaction, lsn=self._lsn, committed_us=self._us)
        self._emit(value, "begin", [])

    def _end(self) -> None:
        self._lsn += LSN_STEP
        value = builders.an_end(
            self._counts, transaction=self._transaction, lsn=self._lsn, committed_us=self._us // 1000 * 1000
        )
        is_ours_only = all(table.startswith("wedsync.") for table in self._counts)
        self._emit(value, "end", [] if is_ours_only else [PLATFORM])
        self._after_lsn = self._lsn
        self.commits.append(self._commit(is_ours=is_ours_only, lsn=self._lsn))

    def _commit(self, *, is_ours: bool, lsn: int) -> Commit:
        return Commit(
            lsn=lsn,
            committed_us=self._us,
            last=len(self.log) - 1,
            tables=copy.deepcopy(self.tables),
            unseen=frozenset(self.unseen),
            is_ours=is_ours,
        )

    def _next_order(self, table: str) -> None:
        self._order += 1
        self._lsn += self._rng.choice([0, LSN_STEP])
        self._counts[table] = self._counts.get(table, 0) + 1

    def _place(self) -> dict[str, Any]:
        return {
            "order": self._order,
            "transaction": self._transaction,
            "lsn": self._lsn,
            "after_lsn": self._after_lsn,
            "committed_us": self._us,
        }

    def _emit(self, value: bytes, kind: str, weddings: list[str], *, is_dead_letter: bool = False) -> int:
        seals = [(wedding, self.residency(wedding)) for wedding in weddings]
        self.log.append(Emission(value=value, kind=kind, seals=seals, is_dead_letter=is_dead_letter))
        return len(self.log) - 1

    def known_weddings(self) -> list[str]:
        """Return every name under which something may have been sealed."""
        return [*WEDDINGS, PLATFORM, QUARANTINE, UNREAD, "@index-eu", "@index-anywhere"]

    def residency(self, wedding: str) -> str:
        """Return a wedding's residency as it is known by now."""
        if wedding not in self._countries:
            return "unknown"
        return residency_of_country(self._countries[wedding]).value

    def _row(self, table: str, *, before: Row | None = None, after: Row | None = None, sent: Row | None = None) -> None:
        """Write one change; `sent` is the after-image as Debezium sends it, when that differs."""
        self._next_order(table)
        value = builders.a_row(table, before=before, after=sent or after, **self._place())
        if table.startswith("wedsync."):
            self._emit(value, "ours", [])
            return
        # What a change teaches about residency counts for the change itself.
        if table == "public.weddings" and after is not None:
            self._countries[after["id"]] = after["country"]
        index = self._emit(value, "row", self._judge(table, before, after))
        self._images[index] = (table, after or before or {})
        for image in (before, after):
            self._wait_for_parent(table, image, index)
        self._keep(table, before, after)
        if after is not None:
            self._learn(table, after, index)

    def _keep(self, table: str, before: Row | None, after: Row | None) -> None:
        if before is not None:
            del self.tables[table][before["id"]]
        if after is not None:
            self.tables[table][after["id"]] = after
            self.unseen.discard((table, after["id"]))

    def _judge(self, table: str, before: Row | None, after: Row | None) -> list[str]:
        return list(dict.fromkeys(self._owner(table, image) for image in (before, after) if image is not None))

    def _owner(self, table: str, image: Row) -> str:
        if table in OWN_COLUMN:
            return str(image[OWN_COLUMN[table]])
        if table in PARENT:
            parent, column = PARENT[table]
            return self._members.get((parent, image[column]), (QUARANTINE, 0))[0]
        return PLATFORM

    def _wait_for_parent(self, table: str, image: Row | None, index: int) -> None:
        if image is not None and table in PARENT and self._owner(table, image) == QUARANTINE:
            parent, column = PARENT[table]
            self._waiting.setdefault((parent, image[column]), []).append(index)

    def _learn(self, table: str, after: Row, index: int) -> None:
        """Know where a row belongs now, or that nobody knows; then settle what waited for it."""
        if table in CHILD:
            wedding = self._owner(table, after)
            self._members[table, after["id"]] = (wedding, index)
            if wedding != QUARANTINE:
                self._settle(table, after["id"], wedding)

    def _settle(self, table: str, row: int, wedding: str) -> None:
        """Seal again under this wedding what waited for the row; its children in turn."""
        for index in self._waiting.pop((table, row), []):
            self.log[index].seals.append((wedding, self.residency(wedding)))
            child_table, child = self._images[index]
            known = self._members.get((child_table, child["id"]), ("", -1))
            if child_table in CHILD and child[PARENT[child_table][1]] == row and known[1] <= index:
                self._members[child_table, child["id"]] = (wedding, index)
                self._settle(child_table, child["id"], wedding)

    @property
    def weddings(self) -> dict[Any, Row]:
        """Return the calendar's rows."""
        return self.tables["public.weddings"]

    def words(self) -> str:
        """Return a text that must never be seen outside a seal."""
        return f"CANARY {self._rng.random()}"

    def _insert(self, table: str, row: Row) -> None:
        self._next_id += 1
        self._row(table, after={"id": self._next_id, **row})

    def _pick(self, table: str) -> Row | None:
        rows = list(self.tables[table].values())
        return self._rng.choice(rows) if rows else None

    def _children(self, table: str, row: Row) -> list[Row]:
        child = CHILD.get(table)
        if child is None:
            return []
        return [each for each in self.tables[child].values() if each[PARENT[child][1]] == row["id"]]


def _new_wedding(platform: Platform) -> None:
    rng = platform._rng
    wedding = rng.choice(WEDDINGS)
    if wedding in platform.weddings:
        _change_wedding(platform)
        return
    day = TODAY_DAYS + rng.choice([0, 1, 3, 8, 9, 40])
    row = {"id": wedding, "day": day, "venue_zone": rng.choice(ZONES), "country": rng.choice(COUNTRIES)}
    platform._row("public.weddings", after=row)


def _change_wedding(platform: Platform) -> None:
    """Move its date; say where it is, when nobody knew (what is known stays: bytes cannot be called back)."""
    rng = platform._rng
    if not platform.weddings:
        return
    before = platform.weddings[rng.choice(sorted(platform.weddings))]
    country = before["country"] or rng.choice(COUNTRIES)
    after = {**before, "day": TODAY_DAYS + rng.choice([0, 1, 8, 40]), "country": country}
    platform._row("public.weddings", before=before, after=after)


def _new_guest(platform: Platform) -> None:
    platform._insert("public.guests", {"wedding_id": platform._rng.choice(WEDDINGS), "name": platform.words()})


def _change_guest(platform: Platform) -> None:
    if (before := platform._pick("public.guests")) is not None:
        platform._row("public.guests", before=before, after={**before, "name": platform.words()})


def _move_guest(platform: Platform) -> None:
    """Move a guest; the meals go along, though nobody tells the log."""
    if (before := platform._pick("public.guests")) is not None:
        after = {**before, "wedding_id": platform._rng.choice(WEDDINGS)}
        platform._row("public.guests", before=before, after=after)


def _rekey_guest(platform: Platform) -> None:
    """Change a primary key: Debezium sends a delete and a create, then what cascades."""
    before = platform._pick("public.guests")
    if before is None:
        return
    meals = platform._children("public.guests", before)
    platform._next_id += 1
    after = {**before, "id": platform._next_id}
    platform._row("public.guests", before=before)
    platform._row("public.guests", after=after)
    for meal in meals:
        platform._row("public.meals", before=meal, after={**meal, "guest_id": after["id"]})


def _delete_guest(platform: Platform) -> None:
    if (guest := platform._pick("public.guests")) is not None:
        for meal in platform._children("public.guests", guest):
            for note in platform._children("public.meals", meal):
                platform._row("public.notes", before=note)
            platform._row("public.meals", before=meal)
        platform._row("public.guests", before=guest)


def _new_meal(platform: Platform) -> None:
    if (guest := platform._pick("public.guests")) is not None:
        platform._insert("public.meals", {"guest_id": guest["id"], "dish": platform.words()})


def _change_meal(platform: Platform) -> None:
    if (before := platform._pick("public.meals")) is not None:
        platform._row("public.meals", before=before, after={**before, "dish": platform.words()})


def _move_meal(platform: Platform) -> None:
    before, guest = platform._pick("public.meals"), platform._pick("public.guests")
    if before is not None and guest is not None:
        platform._row("public.meals", before=before, after={**before, "guest_id": guest["id"]})


def _new_note(platform: Platform) -> None:
    if (meal := platform._pick("public.meals")) is not None:
        platform._insert("public.notes", {"meal_id": meal["id"], "words": platform.words()})


def _toasted_note(platform: Platform) -> None:
    """Change a row whose long text did not change: Debezium does not send it again."""
    if (before := platform._pick("public.notes")) is not None:
        after = {**before, "is_read": True}
        platform._row("public.notes", before=before, after=after, sent={**after, "words": UNAVAILABLE})


def _task(platform: Platform) -> None:
    """Promise something to a couple, or move the day of a promise."""
    rng = platform._rng
    due = TODAY_DAYS + rng.choice([0, 1, 2, 30])
    before = platform._pick("public.tasks")
    if before is None or rng.random() < 0.5:
        platform._insert("public.tasks", {"wedding_id": rng.choice(WEDDINGS), "due": due})
    else:
        platform._row("public.tasks", before=before, after={**before, "due": due})


def _vendor(platform: Platform) -> None:
    platform._insert(platform._rng.choice(["public.vendors", "public.audit"]), {"name": platform.words()})


def _schema(platform: Platform) -> None:
    """Write what the DDL trigger writes: a logical message inside the transaction."""
    platform._next_order("io.debezium.Message@1f")
    platform._emit(builders.a_message("wedsync.schema", **platform._place()), "message", [PLATFORM])


_ACTIONS: Final = (
    *(_new_wedding, _new_wedding, _change_wedding, _new_guest, _new_guest, _change_guest, _move_guest, _rekey_guest),
    *(_delete_guest, _new_meal, _new_meal, _change_meal, _move_meal, _new_note, _new_note, _toasted_note),
    *(_task, _task, _vendor, _schema),
)
