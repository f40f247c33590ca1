"""Promotion: what waits of a wedding in a slower lane is produced once more into its new one."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from schemas import codec
from schemas.errors import TransientError
from sinks import promotion_rows
from sinks.promotion import GRACE_SECONDS, Promotions
from streams.records import RecordBatch, rank_of
from tests.builders import TOPIC_IDS, a_notice, a_record, change_value, frontier_value, promotion_value
from tests.fakes import RecordingProducer
from tests.unit.sinks.rigs import Rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.records import Record

SLOW, FAST = "backup.standard", "backup.critical"


class Lanes:
    """What lies in each lane's only partition; readings may fail."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {topic: [] for topic in TOPIC_IDS}
        self.failures = 0

    def append(self, topic: str, *values: bytes) -> None:
        """Append records as the router does."""
        for value in values:
            name = codec.name_of(value)
            key = codec.decode(name, value)["wedding"].encode() if name != "Frontier" else None
            self.records[topic].append(a_record(len(self.records[topic]), value, key=key))

    async def end(self, topic: str, _partition: int) -> int:
        """See `LaneReader.end`."""
        return len(self.records[topic])

    async def read(self, topic: str, _partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See `LaneReader.read`."""
        if self.failures:
            self.failures -= 1
            raise TransientError("nothing came", hint="a test said so")
        return self.records[topic][offset : offset + min(limit, 2)]


class PromotionRig:
    """A sink, its promotions, and the lanes between them."""

    def __init__(self, rig: Rig | None = None, lanes: Lanes | None = None) -> None:
        self.rig, self.lanes, self.producer = rig or Rig(), lanes or Lanes(), RecordingProducer()
        self.rig.clock.at = dt.datetime.fromtimestamp(1_781_000_000 + GRACE_SECONDS, dt.UTC)
        self.promotions = Promotions(
            catalog=self.rig.catalog,
            sink=self.rig.sink,
            reader=self.lanes,
            producer=self.producer,
            topic_ids=TOPIC_IDS,
            now=self.rig.clock,
        )

    async def begin(self) -> None:
        """Own all lanes."""
        await self.rig.sink.assigned([(topic, 0) for topic in TOPIC_IDS])

    async def protect_lane(self, topic: str) -> None:
        """Protect what a lane holds."""
        await self.rig.sink.accept(RecordBatch(topic, 0, self.lanes.records[topic]))
        await self.rig.sink.drain()

    async def finish(self) -> None:
        """Carry promotions on to their end."""
        while await self.promotions.step():
            pass

    def promoted(self) -> list[tuple[str, str, int]]:
        """Return topic, wedding and position of what was produced, all of it marked as sealed again."""
        changes = [(each.topic, codec.decode("BackupChange", each.value or b"")) for each in self.producer.delivered]
        assert all(change["again"] for _, change in changes)
        return [(topic, change["wedding"], change["position"]) for topic, change in changes]


@pytest.fixture
async def rig() -> PromotionRig:
    """Return a rig whose standard lane holds seven records, three of them of w1, none protected."""
    made = PromotionRig()
    waiting = (change_value(position=at, wedding="w1" if at % 2 else "w2") for at in range(1, 6))
    made.lanes.append(SLOW, frontier_value(position=0), *waiting, frontier_value(position=5))
    await made.begin()
    return made


async def test_what_waits_of_a_promoted_wedding_goes_into_its_new_lane(rig: PromotionRig) -> None:
    """In order, and nothing of anybody else's."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    await rig.finish()

    assert rig.promoted() == [(FAST, "w1", 1), (FAST, "w1", 3), (FAST, "w1", 5)]
    assert {rank_of(a_record(0, None, headers=each.headers)) for each in rig.producer.delivered} == {1}
    assert (await rig.rig.catalog.mark(SLOW, TOPIC_IDS[SLOW], 0)).next_offset == 0


async def test_promoted_changes_are_protected_though_the_frontier_is_past_them(rig: PromotionRig) -> None:
    """And once more when their own lane comes to them: a restore tells by position."""
    rig.lanes.append(FAST, frontier_value(position=99), promotion_value())
    await rig.protect_lane(FAST)
    await rig.finish()
    rig.lanes.append(FAST, *(each.value or b"" for each in rig.producer.delivered))
    await rig.protect_lane(FAST)
    await rig.protect_lane(SLOW)

    frames = rig.rig.rows("SELECT p.topic_id, sum(f.events) FROM frames f JOIN packs p USING (pack_hash)"
                          " WHERE f.wedding = 'w1' GROUP BY 1 ORDER BY 1")  # fmt: skip
    assert frames == [("id-critical", 3), ("id-standard", 3)]


async def test_a_lane_that_keeps_up_needs_no_promotion(rig: PromotionRig) -> None:
    """What its own lane has protected within the grace is not produced again."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    await rig.protect_lane(SLOW)
    await rig.finish()

    assert rig.promoted() == []
    assert rig.rig.rows("SELECT count(*) FROM promotions WHERE done_us IS NULL") == [(0,)]


async def test_a_young_promotion_waits_for_its_grace(rig: PromotionRig) -> None:
    """Its lane may be about to protect what waits."""
    rig.lanes.append(FAST, promotion_value(decided_at=1_781_000_000_000_001))
    await rig.protect_lane(FAST)
    await rig.finish()

    assert rig.promoted() == []


async def test_what_is_routed_after_the_scan_began_is_none_of_its_business(rig: PromotionRig) -> None:
    """The router has gone over to the new lane before."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    await rig.promotions.step()
    rig.lanes.append(SLOW, change_value(position=7))
    await rig.finish()

    assert [position for _, _, position in rig.promoted()] == [1, 3, 5]


async def test_a_promotion_survives_its_sink(rig: PromotionRig) -> None:
    """It stands in the catalog from the window on that held it, and goes on where it was."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    await rig.promotions.step()
    again = PromotionRig(rig.rig.again(), rig.lanes)
    await again.begin()
    await again.finish()

    assert [position for _, _, position in (*rig.promoted(), *again.promoted())] == [1, 3, 5]


async def test_a_failure_loses_nothing_of_a_promotion(rig: PromotionRig) -> None:
    """Neither one of the reader nor one of the producer."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    for part in (rig.lanes, rig.producer):
        part.failures = 1
        with pytest.raises(TransientError):
            await rig.promotions.step()
    await rig.finish()

    assert [position for _, _, position in rig.promoted()] == [1, 3, 5]


async def test_objects_owed_their_bytes_change_lanes_with_their_wedding(rig: PromotionRig) -> None:
    """They go to the front, and owe as many copies as their new lane does."""
    notice = codec.encode("ObjectNotice", _notice_fields())
    rig.lanes.append(SLOW, change_value(position=7, source="objects", kind="object_put", payload=notice))
    await rig.protect_lane(SLOW)
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)

    assert rig.rig.rows("SELECT lane, copies FROM objects") == [("critical", 5)]


def _notice_fields() -> dict[str, object]:
    fields = dataclasses.asdict(a_notice())
    return {
        **{name: value for name, value in fields.items() if not name.endswith("_us")},
        "modified_at": fields["modified_us"],
        "noticed_at": fields["noticed_us"],
    }


async def test_only_the_sink_that_owns_the_partition_carries_it_out(rig: PromotionRig) -> None:
    """Another one reads the line as well."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    other = PromotionRig(rig.rig.again(), rig.lanes)
    await other.finish()

    assert other.promoted() == []


async def test_the_progress_of_promotions_is_told(rig: PromotionRig) -> None:
    """What is under way, what is left to look at, what was fetched."""
    rig.lanes.append(FAST, promotion_value())
    await rig.protect_lane(FAST)
    await rig.promotions.step()
    under_way = await rig.rig.catalog.run(promotion_rows.summary)
    await rig.finish()
    done = await rig.rig.catalog.run(promotion_rows.summary)

    assert under_way == {"weddings_under_way": 1, "records_to_look_at": 5, "weddings_done": 1, "changes_promoted": 1}
    assert done == {"weddings_under_way": 0, "records_to_look_at": 0, "weddings_done": 1, "changes_promoted": 3}
