"""Dead letters: kept as they came, no hole behind them, retried at their old place, never twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.debezium import UNAVAILABLE
from schemas import codec
from schemas.backup import QUARANTINE, UNREAD
from schemas.errors import TransientError
from schemas.topics import DEAD_LETTERS, SOURCE_BYTES_MAX
from streams.dead_letters import PART_BYTES, Letters, letter_id, outcome_change
from streams.objects import UNREADABLE
from tests.builders import CAPTURE, EPOCH, a_batch, a_message, a_record, a_row, an_end
from tests.fakes import RecordingProducer
from tests.unit.streams.test_router import Rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.records import Outgoing

GUEST = {"id": 1, "wedding_id": "w1"}


@pytest.fixture
def rig() -> Rig:
    """Return a new rig."""
    return Rig()


def letters_in(changes: Sequence[dict[str, Any]]) -> Letters:
    """Return the letters of routed changes."""
    letters = Letters(keep=lambda _: True)
    for change in changes:
        if change["wedding"] == UNREAD:
            letters.take(change)
    return letters


def of_weddings(changes: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Return (wedding, position) of what is no letter."""
    return [(each["wedding"], each["position"]) for each in changes if each["wedding"] != UNREAD]


def again(changes: Sequence[dict[str, Any]]) -> bytes:
    """Return what asks for a retry of the first letter among routed changes."""
    return bytes(next(each["payload"] for each in changes if each["wedding"] == UNREAD))


def a_log(transactions: Sequence[int]) -> list[bytes]:
    """Return whole transactions of so many changes each, each END with its count."""
    log: list[bytes] = []
    for number, changes in enumerate(transactions):
        place: dict[str, Any] = {
            "transaction": 700 + number,
            "after_lsn": 1000 * number + 1000,
            "lsn": 1000 * number + 1500,
        }
        log += [a_row("public.vendors", after={"id": n}, order=n, **place) for n in range(1, changes + 1)]
        log.append(an_end({"public.vendors": changes}, transaction=700 + number, lsn=1000 * number + 2000))
    return log


@given(
    transactions=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    poisoned=st.sets(st.integers(0, 40)),
    foreign=st.sets(st.integers(0, 40)),
    batch=st.integers(1, 7),
)
async def test_poison_anywhere_neither_stops_the_router_nor_costs_what_lies_around_it(
    transactions: list[int], poisoned: set[int], foreign: set[int], batch: int
) -> None:
    """Whatever a record was, a change or an END: the rest is routed once, and the record is kept."""
    rig, values = Rig(), []
    for at, value in enumerate(a_log(transactions)):
        values += [b"foreign"] if at in foreign else []
        values.append(value[:-9] if at in poisoned else value)
    found = [each for at in range(0, len(values), batch) for each in await rig.route(*values[at : at + batch])]
    letters = letters_in(found).all()

    broken = [at for at, value in enumerate(values) if not value.endswith(b"}") or value[-9:] == b""]
    assert [each.about["offset"] for each in letters] == broken
    assert not rig.state.witness.has_hole("platform", EPOCH)
    assert sorted(place for _, place in of_weddings(found)) == [at for at in range(len(values)) if at not in broken]


@pytest.mark.parametrize("poisoned", [0, 1, 2])
async def test_a_poisoned_heartbeat_is_no_hole(rig: Rig, poisoned: int) -> None:
    """The next beat names one that nobody read; it was kept, so nothing is missing."""
    for beat in range(4):
        place: dict[str, Any] = {"transaction": beat, "after_lsn": 1000 * beat + 1000, "lsn": 1000 * beat + 1500}
        images: dict[str, Any] = {
            "before": {"id": 1, "beat_at": f"{beat - 1}"},
            "after": {"id": 1, "beat_at": f"{beat}"},
        }
        row = a_row("wedsync.heartbeat", **images, **place)
        end = an_end({"wedsync.heartbeat": 1}, transaction=beat, lsn=1000 * beat + 2000)
        await rig.route(row if beat != poisoned else b"{", end)

    assert not rig.state.witness.has_hole("platform", EPOCH)


async def test_what_connect_sends_again_after_poison_is_still_told(rig: Rig) -> None:
    """The second time around the poison comes again, and nothing else is routed twice."""
    log = a_log([2, 3])
    log[1], log[2] = b"{", b"["
    first, second = await rig.route(*log), await rig.route(*log)

    assert of_weddings(second) == []
    assert [each.outcome for each in letters_in([*first, *second]).all()] == ["", "", "repeated", "repeated"]


async def test_a_hole_larger_than_what_was_passed_over_is_still_loud(rig: Rig) -> None:
    """One poisoned record does not explain two missing changes."""
    log = a_log([4])
    await rig.route(log[0], b"{", log[3])

    assert rig.state.witness.has_hole("platform", EPOCH)


async def test_passed_over_records_are_remembered_over_a_restart(rig: Rig) -> None:
    """The next router knows that one change may be missing."""
    log = a_log([3])
    await rig.route(log[0], b"{")
    rig.state._forget_cached()

    assert of_weddings(await rig.route(log[2], log[3])) == [("@platform", 2), ("@platform", 3)]


@pytest.mark.parametrize(
    "value",
    [
        an_end({}, lsn=1 << 60),
        a_message("x", lsn=1 << 62),
        orjson.dumps({**orjson.loads(a_row("public.vendors", after={"id": 1})), "transaction": None}),
        a_row("public.vendors", after={"id": 1}).replace(b'[\\"1000\\",\\"2000\\"]', b"garbage"),
        orjson.dumps({"type": "TABLE_SCAN_COMPLETED", "aggregate_type": "x", "additional_data": [1]}),
    ],
    ids=["END far ahead", "message far ahead", "no place", "no sequence", "odd notice"],
)
async def test_a_record_that_would_lead_the_router_astray_is_a_letter(rig: Rig, value: bytes) -> None:
    """Believing it would drop what follows, stop the worker, or seal under a key that is not its own."""
    log = a_log([1, 2])
    await rig.route(*log[:2])
    found = await rig.route(value, *log[2:])

    assert [place for _, place in of_weddings(found)] == [3, 4, 5]
    assert len(letters_in(found).unresolved()) == 1


@pytest.mark.parametrize("name", ["@index-eu", UNREAD, "", "w" * 2000])
async def test_a_name_no_wedding_may_bear_seals_nothing_under_it(rig: Rig, name: str) -> None:
    """Such a row is the platform's: kept, and under no key that is not its own."""
    (change,) = await rig.route(a_row("public.guests", after={"id": 1, "wedding_id": name}))

    assert change["wedding"] == "@platform"


async def test_a_letter_s_record_is_routed_again_at_its_old_place(rig: Rig) -> None:
    """With its own instants, as something sealed again on purpose; and the letter is resolved."""
    broken = a_row("public.guests", before={"id": 1}, after={**GUEST, "note": UNAVAILABLE})
    found = await rig.route(broken, an_end({"public.guests": 1}))
    letter = codec.decode("DeadLetter", again(found))
    mended = codec.encode("DeadLetter", {**letter, "value": a_row("public.guests", after=GUEST)})
    (change, outcome) = await rig.route(mended)

    assert (change["wedding"], change["position"], change["again"]) == ("w1", 0, True)
    assert change["captured_at"] == letter["captured_at"]
    assert letters_in([*found, outcome]).unresolved() == []


async def test_a_retry_that_fails_leaves_the_letter_unresolved(rig: Rig) -> None:
    """And says why; it makes no second letter."""
    found = await rig.route(b"{")
    found += await rig.route(again(found))
    (letter,) = letters_in(found).all()

    assert (letter.is_resolved, len(letter.reasons), rig.router.dead_letters) == (False, 2, 1)


async def test_a_retry_may_be_asked_for_any_number_of_times(rig: Rig) -> None:
    """Asking twice, or dying in between, comes to the same change at the same place."""
    found = await rig.route(a_row("public.guests", before={"id": 1}, after={**GUEST, "note": UNAVAILABLE}))
    mended = {**codec.decode("DeadLetter", again(found)), "value": a_row("public.guests", after=GUEST)}
    asked = codec.encode("DeadLetter", mended)

    once, twice = await rig.route(asked), await rig.route(asked, asked)
    assert set(of_weddings([*once, *twice])) == {("w1", 0)}


class LostReplies(RecordingProducer):
    """Delivers, and then does not hear that it did: the router dies between delivery and memory."""

    async def deliver(self, records: Sequence[Outgoing]) -> None:
        """See `BatchProducer.deliver`."""
        self.delivered.extend(records)
        if self.failures:
            self.failures -= 1
            raise TransientError("the reply is lost", hint="a test said so")


async def test_a_router_that_dies_over_a_retry_comes_to_the_same_end(rig: Rig) -> None:
    """What was delivered twice is the same change at the same place, and the same outcome of the same letter."""
    found = await rig.route(b"{")
    mended = {**codec.decode("DeadLetter", again(found)), "value": a_row("public.guests", after=GUEST)}
    rig.router._producer = rig.producer = LostReplies()
    rig.producer.failures = 1
    with pytest.raises(TransientError):
        await rig.route(codec.encode("DeadLetter", mended))
    await rig.route(codec.encode("DeadLetter", mended))
    twice = [codec.decode("BackupChange", each.value or b"") for each in rig.producer.delivered]

    assert of_weddings(twice) == [("w1", 0), ("w1", 0)]
    assert letters_in([*found, *twice]).unresolved() == []


async def test_a_retried_calendar_row_moves_no_wedding_back(rig: Rig) -> None:
    """The wedding has been moved since; how near it is, its newer row says."""
    old = {"id": "w1", "day": 20616, "venue_zone": "Europe/London", "country": "FR"}
    found = await rig.route(b"{", a_row("public.weddings", after={**old, "day": 30000}))
    mended = {**codec.decode("DeadLetter", again(found)), "value": a_row("public.weddings", after=old)}
    await rig.route(codec.encode("DeadLetter", mended))

    assert (await rig.route(a_row("public.guests", after=GUEST, order=2)))[0]["topic"] == "backup.standard"


async def test_a_retried_row_waits_for_its_parent_as_any_other(rig: Rig) -> None:
    """Under quarantine, at its old place, until the parent is known."""
    found = await rig.route(b"{")
    mended = {
        **codec.decode("DeadLetter", again(found)),
        "value": a_row("public.meals", after={"id": 5, "guest_id": 1}),
    }
    waiting = await rig.route(codec.encode("DeadLetter", mended))
    released = await rig.route(a_row("public.guests", after=GUEST))

    assert of_weddings(waiting) == [(QUARANTINE, 0)]
    assert of_weddings(released) == [("w1", 2), ("w1", 0)]


async def test_a_discarded_letter_is_resolved_with_its_reason(rig: Rig) -> None:
    """Who discards says why, and that is kept as long as the letter."""
    letters = letters_in(await rig.route(b"{"))
    about = {"letter": letter_id(CAPTURE, 0, 0), "outcome": "discarded", "reason": "a test of ours", "decided_at": 7}
    letters.take(codec.decode("BackupChange", outcome_change(about, "platform", EPOCH, a_record(0, b"{"))))

    assert [(each.outcome, each.reasons[-1]) for each in letters.all()] == [("discarded", "a test of ours")]


async def test_a_record_too_large_is_kept_in_parts(rig: Rig) -> None:
    """No record of ours could carry it whole; the topic gets its place."""
    found = await rig.route(b"x" * (SOURCE_BYTES_MAX + 1))
    (letter,) = letters_in(found).all()

    assert (len(found), letter.is_complete, letter.size_bytes) == (
        SOURCE_BYTES_MAX // PART_BYTES + 1,
        True,
        SOURCE_BYTES_MAX + 1,
    )
    assert [each.value for each in rig.producer.delivered if each.topic == DEAD_LETTERS] == [None]
    assert all(len(each.value or b"") < SOURCE_BYTES_MAX for each in rig.producer.delivered)


async def test_a_letter_of_another_source_is_not_routed_here(rig: Rig) -> None:
    """Its positions would mean something else."""
    found = await rig.route(b"{")
    foreign = {**codec.decode("DeadLetter", again(found)), "source": "objects"}

    assert len(letters_in(await rig.route(codec.encode("DeadLetter", foreign))).unresolved()) == 1


def test_a_letter_is_named_by_its_place_alone() -> None:
    """Routed again after a crash, it is the same letter."""
    assert letter_id(CAPTURE, 0, 7) == letter_id(f"capture.platform.e{EPOCH}", 0, 7)
    assert len({letter_id(CAPTURE, 0, at) for at in range(1000)}) == 1000


async def test_poison_of_an_hour_ago_explains_no_hole_of_now(rig: Rig) -> None:
    """Once a place is certain, what was passed over before it is accounted for."""
    log = a_log([4])
    await rig.route(log[0], b"{", log[1])
    await rig.route(log[3])

    assert rig.state.witness.has_hole("platform", EPOCH)


async def test_what_a_connector_could_not_read_becomes_a_letter_whatever_it_looks_like(rig: Rig) -> None:
    """Bytes that came from outside are nobody's change, even when they read like one; a retry changes nothing."""
    value = a_row("public.vendors", after={"id": 1})
    batch = a_batch(CAPTURE, [value])
    await rig.router.route(batch._replace(records=[batch.records[0]._replace(headers=((UNREADABLE, b"no Records"),))]))
    found = [
        codec.decode("BackupChange", each.value or b"") for each in rig.producer.delivered if each.topic != DEAD_LETTERS
    ]
    (letter,) = letters_in(found).all()

    assert of_weddings(found) == []
    assert (letter.about["value"], letter.reasons[0]) == (value, "no Records")
