"""The router: batches in, backup topics out; nothing remembered that was not delivered."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.debezium import UNAVAILABLE
from connectors.ledger import gap_of
from connectors.storage import encode_notice
from schemas import codec
from schemas.backup import PLATFORM, QUARANTINE, UNREAD
from schemas.errors import TransientError
from schemas.partitioning import partition_of
from schemas.topics import BACKUP_TOPICS, DEAD_LETTERS
from streams.observed import ended_logs, observe_moves
from streams.records import RecordBatch, rank_of
from streams.router import Router
from streams.state import RouterState, parent_name
from tests import builders
from tests.builders import CAPTURE, OBJECTS, a_batch, a_record, a_row
from tests.fakes import HandClock, RecordingProducer

if TYPE_CHECKING:
    import pathlib

WEDDING = {"id": "w1", "day": 20616, "venue_zone": "Europe/London", "country": "FR"}
GUEST = {"id": 1, "wedding_id": "w1"}
PARTITIONS = 2


class Rig:
    """A router with a memory, a producer and a clock of its own."""

    def __init__(self, **more: Any) -> None:
        self.producer, self.state = RecordingProducer(), RouterState(":memory:")
        self.clock = HandClock()
        self.router = Router(
            mapping=builders.a_mapping(),
            state=self.state,
            producer=self.producer,
            partitions=PARTITIONS,
            now=self.clock,
            **more,
        )
        self._next = {CAPTURE: 0, OBJECTS: 0}

    async def route(self, *values: bytes | None, topic: str = CAPTURE) -> list[dict[str, Any]]:
        """Route these records and return the changes produced for them."""
        before = len(self.producer.delivered)
        await self.router.route(a_batch(topic, values, first=self._next[topic]))
        self._next[topic] += len(values)
        return [
            {**codec.decode("BackupChange", each.value), "topic": each.topic}
            for each in self.producer.delivered[before:]
            if each.value and each.topic != DEAD_LETTERS and codec.name_of(each.value) == "BackupChange"
        ]

    def promoted(self) -> list[tuple[str, int | None, str]]:
        """Return topic, partition and wedding of the promotions told to the sinks."""
        return [
            (each.topic, each.partition, codec.decode("Promotion", each.value)["wedding"])
            for each in self.producer.delivered
            if each.value and each.topic in BACKUP_TOPICS and codec.name_of(each.value) == "Promotion"
        ]

    def dead_letters(self) -> list[bytes | None]:
        """Return the dead letters' values."""
        return [each.value for each in self.producer.delivered if each.topic == DEAD_LETTERS]


@pytest.fixture
def rig() -> Rig:
    """Return a new rig."""
    return Rig()


async def test_a_row_goes_to_its_wedding_s_lane_and_partition(rig: Rig) -> None:
    """With its bytes as they came."""
    value = a_row("public.weddings", after=WEDDING)
    (change,) = await rig.route(value)

    assert (change["wedding"], change["topic"], change["payload"]) == ("w1", "backup.critical", value)
    assert rig.producer.delivered[0].partition == partition_of("w1", PARTITIONS)


async def test_a_row_of_an_unknown_wedding_is_standard_and_kept_in_the_eu(rig: Rig) -> None:
    """Its calendar row may come later, and may say anything."""
    (change,) = await rig.route(a_row("public.guests", after=GUEST))

    assert (change["topic"], change["residency"]) == ("backup.standard", "unknown")


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
async def test_a_batch_decided_in_parts_is_as_one_decided_at_once(at_once: int) -> None:
    """The same records in the same order, and a state that stands behind all of them."""
    log = [builders.a_begin(), a_row("public.weddings", after=WEDDING)]
    log += [a_row("public.guests", after={**GUEST, "id": number}, order=number) for number in range(2, 6)]
    whole, parts = Rig(), Rig(records_at_once=at_once)

    assert await parts.route(*log) == await whole.route(*log)
    assert parts.producer.delivered == whole.producer.delivered
    assert parts.state.progress("platform", builders.EPOCH) == whole.state.progress("platform", builders.EPOCH)


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_of_a_batch_in_parts_all_is_routed_again_when_one_fails(failing: int) -> None:
    """Nothing is remembered, and no later part was sent before an earlier one was there."""
    log = [a_row("public.guests", after={**GUEST, "id": number}, order=number) for number in range(1, 4)]
    rig = Rig(records_at_once=1)
    rig.producer.failures_after = failing
    with pytest.raises(TransientError):
        await rig.router.route(a_batch(CAPTURE, log))
    assert len(rig.producer.delivered) == failing
    assert rig.state.progress("platform", builders.EPOCH) is None

    assert [change["order"] for change in await rig.route(*log)] == [1, 2, 3]


async def test_a_moved_date_changes_the_lane_at_once(rig: Rig) -> None:
    """The very next change travels in the new lane."""
    later = {**WEDDING, "day": 20900}
    await rig.route(a_row("public.weddings", after=WEDDING, order=1))
    moved, guest = await rig.route(
        a_row("public.weddings", before=WEDDING, after=later, order=2), a_row("public.guests", after=GUEST, order=3)
    )

    assert (moved["topic"], guest["topic"]) == ("backup.standard", "backup.standard")


async def test_a_wedding_that_comes_nearer_is_promoted_after_all_that_was_routed_before(rig: Rig) -> None:
    """Its record lies in the new lane, behind the whole batch; one that goes farther away needs nothing."""
    far, near = {**WEDDING, "day": 20900}, WEDDING
    await rig.route(a_row("public.weddings", after=far, order=1))
    await rig.route(
        a_row("public.weddings", before=far, after=near, order=2), a_row("public.vendors", after={"id": 1}, order=3)
    )
    await rig.route(a_row("public.weddings", before=near, after=far, order=4))

    assert rig.promoted() == [("backup.critical", partition_of("w1", PARTITIONS), "w1")]
    assert [codec.name_of(each.value or b"") for each in rig.producer.delivered[:4]][-1] == "Promotion"


async def test_a_new_venue_zone_promotes_too(rig: Rig) -> None:
    """Eight days ahead in London at noon it is seven in Kiritimati."""
    rig.clock.at = dt.datetime(2026, 6, 3, 12, tzinfo=dt.UTC)
    there = {**WEDDING, "day": 20615}
    await rig.route(a_row("public.weddings", after=there, order=1))
    moved = {**there, "venue_zone": "Pacific/Kiritimati"}
    await rig.route(a_row("public.weddings", before=there, after=moved, order=2))

    assert [wedding for _, _, wedding in rig.promoted()] == ["w1"]


async def test_a_delivery_promotes_from_standard_to_high(rig: Rig) -> None:
    """The task is due tomorrow."""
    await rig.route(
        a_row("public.weddings", after={**WEDDING, "day": 20900}, order=1),
        a_row("public.tasks", after={"id": 1, "wedding_id": "w1", "due": 20615}, order=2),
    )

    assert [topic for topic, _, _ in rig.promoted()] == ["backup.high"]


async def test_time_alone_promotes_also_what_came_nearer_while_no_router_ran(rig: Rig) -> None:
    """Nobody touches the wedding; the next router looks from where the last one ended."""
    await rig.route(a_row("public.weddings", after={**WEDDING, "day": 20630}, order=1))
    await rig.router.renew_lanes()
    rig.clock.move(days=10)
    next_router = Router(
        mapping=builders.a_mapping(), state=rig.state, producer=rig.producer, partitions=PARTITIONS, now=rig.clock
    )
    await next_router.renew_lanes()
    await next_router.renew_lanes()

    assert [wedding for _, _, wedding in rig.promoted()] == ["w1"]


async def test_a_promotion_that_was_not_delivered_is_told_again(rig: Rig) -> None:
    """The batch is routed once more, for nothing of it was remembered."""
    await rig.route(a_row("public.weddings", after={**WEDDING, "day": 20900}, order=1))
    rig.producer.failures_after = 1
    value = a_row("public.weddings", before={**WEDDING, "day": 20900}, after=WEDDING, order=2)
    with pytest.raises(TransientError):
        await rig.router.route(a_batch(CAPTURE, [value], first=1))
    await rig.route(value)

    assert [wedding for _, _, wedding in rig.promoted()] == ["w1"]


async def test_a_record_carries_its_rank(rig: Rig) -> None:
    """What a sink has read ahead it may take in this order."""
    far = {**WEDDING, "id": "w2", "day": 20630}
    await rig.route(*(a_row("public.weddings", after=each, order=at) for at, each in enumerate((WEDDING, far), 1)))
    near, later = (rank_of(a_record(0, each.value, headers=each.headers)) for each in rig.producer.delivered[:2])

    assert near < later < rank_of(a_record(0, b""))


async def test_a_wedding_whose_photos_come_in_is_critical(rig: Rig) -> None:
    """Its rows too, until half an hour after the last photo; a store's clock that is ahead gains nothing."""
    put = encode_notice(builders.a_notice(modified_us=1 << 60))
    rig.clock.at = dt.datetime.fromtimestamp(1_781_000_000, dt.UTC)
    await rig.route(put, topic=OBJECTS)
    (guest,) = await rig.route(a_row("public.guests", after=GUEST, order=1))
    rig.clock.move(minutes=31)
    (later,) = await rig.route(a_row("public.guests", after=GUEST, order=2))

    assert (guest["topic"], later["topic"]) == ("backup.critical", "backup.standard")


async def test_time_alone_changes_the_lane(rig: Rig) -> None:
    """A wedding comes nearer although nobody touches it."""
    await rig.route(a_row("public.weddings", after={**WEDDING, "day": 20630}, order=1))
    rig.clock.move(days=10)
    (guest,) = await rig.route(a_row("public.guests", after=GUEST, order=2))

    assert guest["topic"] == "backup.critical"


async def test_a_row_that_moves_goes_into_both_weddings(rig: Rig) -> None:
    """The old one must learn that it is gone."""
    found = await rig.route(a_row("public.guests", before=GUEST, after={**GUEST, "wedding_id": "w2"}))

    assert [each["wedding"] for each in found] == ["w1", "w2"]


async def test_a_child_follows_its_parent_at_any_depth(rig: Rig) -> None:
    """Meals follow guests, notes follow meals."""
    found = await rig.route(
        a_row("public.guests", after=GUEST, order=1),
        a_row("public.meals", after={"id": 7, "guest_id": 1}, order=2),
        a_row("public.notes", after={"id": 9, "meal_id": 7}, order=3),
    )

    assert [each["wedding"] for each in found] == ["w1"] * 3


async def test_a_child_without_a_known_parent_is_quarantined_and_sealed_again(rig: Rig) -> None:
    """Its own children with it, once the parent is known."""
    waiting = await rig.route(
        a_row("public.meals", after={"id": 7, "guest_id": 1}, order=1),
        a_row("public.notes", after={"id": 9, "meal_id": 7}, order=2),
    )
    _, *again = await rig.route(a_row("public.guests", after=GUEST, order=3))

    assert [each["wedding"] for each in waiting] == [QUARANTINE] * 2
    assert [(each["wedding"], each["position"], each["again"]) for each in again] == [("w1", 0, True), ("w1", 1, True)]


async def test_a_row_that_left_an_unknown_parent_is_told_to_its_wedding_too(rig: Rig) -> None:
    """Or that wedding would keep a row that is gone."""
    meal = {"id": 7, "guest_id": 1}
    await rig.route(
        a_row("public.guests", after={"id": 2, "wedding_id": "w2"}, order=1),
        a_row("public.meals", before=meal, after={**meal, "guest_id": 2}, order=2),
    )
    _, *again = await rig.route(a_row("public.guests", after=GUEST, order=3))

    assert [(each["wedding"], each["position"]) for each in again] == [("w1", 1)]


async def test_a_late_release_does_not_move_a_row_back(rig: Rig) -> None:
    """What follows the row belongs to where it is now."""
    meal = {"id": 7, "guest_id": 1}
    await rig.route(
        a_row("public.meals", after=meal, order=1),
        a_row("public.guests", after={"id": 2, "wedding_id": "w2"}, order=2),
        a_row("public.meals", before=meal, after={**meal, "guest_id": 2}, order=3),
        a_row("public.guests", after=GUEST, order=4),
    )
    (note,) = await rig.route(a_row("public.notes", after={"id": 9, "meal_id": 7}, order=5))

    assert note["wedding"] == "w2"


async def test_a_parent_that_moves_owes_its_descendants_to_its_new_wedding(tmp_path: pathlib.Path) -> None:
    """Remembered in the transaction that moves it, for the epoch; a row read by a copy moves nobody."""
    rig, path, moved = Rig(), tmp_path / "state.db", {**GUEST, "wedding_id": "w2"}
    rig.router = Router(
        mapping=builders.a_mapping(), state=RouterState(path), producer=rig.producer, partitions=1, now=rig.clock
    )
    await rig.route(
        a_row("public.guests", after=GUEST, order=1),
        a_row("public.guests", after={"id": 2, "wedding_id": "w1"}, order=2),
        a_row("public.guests", before=GUEST, after=moved, order=3),
        a_row("public.guests", before=moved, after={**moved, "name": "Ana"}, order=4),
        a_row("public.guests", after={"id": 2, "wedding_id": "w3"}, operation="r"),
    )

    owed = observe_moves(path, builders.EPOCH, -1, limit=9)
    assert owed == (1, 2, ((2, parent_name("public.guests", [1])),))
    assert observe_moves(path, builders.EPOCH, 2, limit=9).owed == 0


@pytest.mark.parametrize(
    "value",
    [
        builders.a_begin(),
        b'{"ts_ms":1}',
        a_row("wedsync.heartbeat", after={"id": 1}),
        builders.an_end({"wedsync.heartbeat": 1}),
    ],
)
async def test_what_is_worth_no_copy_is_not_passed_on(rig: Rig, value: bytes) -> None:
    """Heartbeats only move the frontier."""
    assert await rig.route(value) == []
    assert await rig.router.announce_frontiers() == 1


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (builders.an_end({"public.guests": 0}), "commit"),
        (a_row("public.notes", operation="t"), "truncate"),
        (builders.a_message("wedsync.schema", order=1), "schema"),
        (builders.a_message("some.prefix"), "message"),
        (a_row("public.vendors", after={"id": 1}), "row"),
        (a_row("public.undeclared", after={"id": 1}), "row"),
    ],
)
async def test_what_every_restore_needs_is_the_platform_s(rig: Rig, value: bytes, kind: str) -> None:
    """In the most urgent lane."""
    (change,) = await rig.route(value)

    assert (change["wedding"], change["kind"], change["topic"]) == (PLATFORM, kind, "backup.critical")


async def test_an_object_goes_to_the_wedding_of_its_path(rig: Rig) -> None:
    """The notice travels; the bytes are fetched by the sink."""
    (change,) = await rig.route(encode_notice(builders.a_notice()), topic=OBJECTS)

    assert (change["wedding"], change["kind"], change["source"]) == ("w1", "object_put", "objects")


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'"op"',
        b'{"op":"x"}',
        b"\xc3\x01garbage",
        a_row("public.notes", after={"id": 1, "words": UNAVAILABLE}),
    ],
)
async def test_what_cannot_be_read_becomes_a_dead_letter_and_the_rest_flows(rig: Rig, value: bytes | None) -> None:
    """With its bytes, its place and the reason."""
    found = await rig.route(value, a_row("public.vendors", after={"id": 1}, operation="r"))
    letter = next(each for each in rig.producer.delivered if each.topic == DEAD_LETTERS)

    assert (letter.value, [each["wedding"] for each in found], rig.router.dead_letters) == (
        value,
        [UNREAD, PLATFORM],
        1,
    )
    assert codec.decode("DeadLetter", found[0]["payload"])["value"] == value
    assert dict(letter.headers)["wedsync.offset"] == b"0"
    assert dict(letter.headers)["wedsync.reason"]


ODD = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    table=st.sampled_from(["public.weddings", "public.guests", "public.meals", "public.tasks"]),
    image=st.dictionaries(
        st.sampled_from(["id", "day", "venue_zone", "country", "wedding_id", "guest_id", "due"]), ODD
    ),
    committed_us=st.integers(-(2**62), 2**64 - 1),
    lsn=st.integers(0, 2**64 - 1),
)
async def test_odd_values_cost_a_dead_letter_at_most(
    table: str, image: dict[str, object], committed_us: int, lsn: int
) -> None:
    """No value of a row may stop the router: it would stop again and again."""
    rig = Rig()
    value = a_row(table, after=image) if image else a_row(table, before={"id": 1})
    odd = orjson.loads(value)
    odd["source"]["ts_us"], odd["source"]["lsn"] = committed_us, lsn

    await rig.route(orjson.dumps(odd), a_row("public.vendors", after={"id": 1}, operation="r"))
    await rig.router.announce_frontiers()
    assert rig.state.progress("platform", builders.EPOCH) is not None


async def test_nothing_is_remembered_that_was_not_delivered(rig: Rig) -> None:
    """The batch is routed again, to the same end."""
    rig.producer.failures = 1
    with pytest.raises(TransientError):
        await rig.route(a_row("public.guests", after=GUEST))
    (again,) = await rig.route(a_row("public.guests", after=GUEST))

    assert (again["position"], rig.router.routed) == (0, 1)


async def test_a_hole_in_the_log_ends_its_frontier_and_nothing_else(rig: Rig) -> None:
    """What comes behind it is protected too, but nobody is told that everything is; and it is remembered."""
    found = await rig.route(a_row("public.guests", after=GUEST, order=1), a_row("public.guests", after=GUEST, order=3))

    assert [each["position"] for each in found] == [0, 1]
    assert await rig.router.announce_frontiers() == 0
    assert rig.router.holes == 1


async def test_a_heartbeat_that_never_came_is_a_hole(rig: Rig) -> None:
    """Each beat names the one it replaced: a slot that was moved on skips one, and nothing else would tell."""
    beats = [
        a_row("wedsync.heartbeat", before={"beat_at": before}, after={"beat_at": after}, order=order)
        for before, after, order in ((None, "1", 1), ("1", "2", 2), ("3", "4", 3))
    ]
    await rig.route(*beats[:2])
    assert rig.router.holes == 0
    await rig.route(beats[2])
    assert rig.router.holes == 1


async def test_the_frontier_goes_to_every_partition_of_every_lane(rig: Rig) -> None:
    """And says nothing twice."""
    await rig.route(a_row("public.guests", after=GUEST), builders.an_end({"public.guests": 1}, lsn=2100))
    rig.producer.delivered.clear()

    assert [await rig.router.announce_frontiers(), await rig.router.announce_frontiers()] == [1, 0]
    assert {(each.topic, each.partition) for each in rig.producer.delivered} == {
        (topic, number) for topic in BACKUP_TOPICS for number in range(PARTITIONS)
    }
    frontier = codec.decode("Frontier", rig.producer.delivered[0].value or b"")
    assert (frontier["position"], frontier["lsn"]) == (1, 2100)


async def test_a_router_begins_where_its_memory_stands(rig: Rig) -> None:
    """What was routed before is passed over."""
    assert await rig.router.assigned([(CAPTURE, 0)]) == {}
    await rig.route(a_row("public.guests", after=GUEST))

    assert await rig.router.assigned([(CAPTURE, 0)]) == {(CAPTURE, 0): 1}
    assert await rig.router.route(a_batch(CAPTURE, [a_row("public.guests", after=GUEST)])) == 0


async def test_a_log_that_retention_has_outrun_goes_on_behind_the_hole(rig: Rig) -> None:
    """What is gone is filed, what is there is protected, and the frontier stands still."""
    await rig.router.assigned([(CAPTURE, 0)])
    await rig.route(a_row("public.guests", after=GUEST, order=1))

    assert await rig.router.outrun((CAPTURE, 0), 1, 5, 9) == 5
    assert await rig.router.next_offsets() == {(CAPTURE, 0): 5}
    assert (rig.router.holes, await rig.router.announce_frontiers()) == (1, 0)


@pytest.mark.parametrize("begin", [0, 1])
async def test_a_log_of_objects_goes_on_and_files_what_it_lost(rig: Rig, begin: int) -> None:
    """Also when nobody had read it yet: its records stand for themselves, and its frontier goes on."""
    await rig.router.assigned([(OBJECTS, 0)])
    if begin:
        await rig.route(encode_notice(builders.a_notice()), topic=OBJECTS)
    assert await rig.router.outrun((OBJECTS, 0), begin, 5, 9) == 5

    filed = codec.decode("BackupChange", rig.producer.delivered[-1].value or b"")
    gap = gap_of(filed["payload"])
    assert (filed["position"], filed["wedding"], gap and (gap.source, gap.from_lsn)) == (
        4,
        PLATFORM,
        ("objects", begin),
    )
    rig.producer.delivered.clear()
    assert (rig.router.holes, await rig.router.announce_frontiers()) == (1, 1)


async def test_numbers_that_never_came_are_a_hole(rig: Rig) -> None:
    """Between two batches or within one: a broker numbers a log without gaps."""
    for topic in (CAPTURE, OBJECTS):
        await rig.router.route(a_batch(topic, [builders.a_begin()]))
    odd = [a_record(offset, encode_notice(builders.a_notice(key=str(offset)))) for offset in (1, 2, 5)]
    await rig.router.route(RecordBatch(OBJECTS, 0, odd))
    await rig.router.route(a_batch(CAPTURE, [builders.a_begin()], first=4))

    gaps = [codec.decode("BackupChange", each.value or b"") for each in rig.producer.delivered]
    found = [gap_of(each["payload"]) for each in gaps if each["kind"] == "message"]
    assert [gap and (gap.source, gap.from_lsn, gap.to_lsn) for gap in found] == [("objects", 3, 4)]
    assert rig.state.witness.has_hole("platform", builders.EPOCH)


async def test_a_log_whose_end_was_lost_is_not_read_on(rig: Rig) -> None:
    """Its offsets would be given out again, for other records."""
    await rig.router.assigned([(CAPTURE, 0)])
    await rig.route(a_row("public.guests", after=GUEST, order=1))

    assert await rig.router.outrun((CAPTURE, 0), 1, 0, 0) is None
    assert rig.router.holes == 1


async def test_a_log_of_objects_that_is_over_is_told_of(tmp_path: pathlib.Path) -> None:
    """Nothing of it is protected any more, until there is a later one; of the platform's the guard knows."""
    rig, path = Rig(), tmp_path / "state.db"
    rig.router = Router(
        mapping=builders.a_mapping(), state=RouterState(path), producer=rig.producer, partitions=1, now=rig.clock
    )
    for topic in (CAPTURE, OBJECTS):
        await rig.router.route(a_batch(topic, [builders.a_begin()]))
        assert await rig.router.outrun((topic, 0), 1, 0, 0) is None

    assert [(each.source, each.position) for each in ended_logs(path)] == [("objects", 1)]
    await rig.router.route(a_batch(f"capture.objects.e{builders.EPOCH + 1}", [builders.a_begin()]))
    assert ended_logs(path) == []


async def test_a_partition_that_comes_back_is_routed_by_what_another_router_learned(tmp_path: pathlib.Path) -> None:
    """Between two assignments a parent may have moved: its old wedding, still cached here, must not be believed."""
    producer, place = RecordingProducer(), [(CAPTURE, 0)]
    first, second = (
        Router(
            mapping=builders.a_mapping(),
            state=RouterState(tmp_path / "state.db"),
            producer=producer,
            partitions=PARTITIONS,
            now=HandClock(),
        )
        for _ in range(2)
    )
    values = [
        a_row("public.guests", after=GUEST, operation="r"),
        a_row("public.guests", after={**GUEST, "wedding_id": "w2"}, operation="r"),
        a_row("public.meals", after={"id": 1, "guest_id": 1}, operation="r"),
    ]
    for offset, (router, value) in enumerate(zip((first, second, first), values, strict=True)):
        await router.assigned(place)
        await router.route(a_batch(CAPTURE, [value], first=offset))
        await router.revoked(place)

    assert codec.decode("BackupChange", producer.delivered[-1].value or b"")["wedding"] == "w2"
