"""Lanes: shares, lending, order and limits, on a clock that a test moves."""

from __future__ import annotations

import heapq
import random
from typing import Final

import pytest

from schemas.backup import SERVICE_LEVELS, Priority
from schemas.work import STREAMS, UNSTOPPABLE, Limit, Mode, Stream, Work
from streams.lanes import PATIENCE_SECONDS, RESERVED, UNIT_BYTES_MAX, Lanes, Transfer, unit_bytes

MIB: Final = 1 << 20
CRITICAL, HIGH, STANDARD = (Stream(lane, Work.LOG) for lane in Priority)
ALBUM, OWED, SCRUB = (Stream(Priority.STANDARD, work) for work in (Work.BLOB, Work.OWED, Work.SCRUB))
SEEDS: Final = range(3)


def a_transfer(stream: Stream = CRITICAL, size_bytes: int = 1000, rank: int = 0) -> Transfer:
    """Return a transfer that nobody knows yet."""
    return Transfer(stream=stream, size_bytes=size_bytes, rank=rank)


class Link:
    """Lanes over a link that sends each granted unit at its own speed; whoever is fed always has something waiting."""

    def __init__(self, lanes: Lanes, *, rng: random.Random, seconds_a_mib: float = 0.1) -> None:
        self.lanes, self._rng, self._pace = lanes, rng, seconds_a_mib
        self.now = 0.0
        self.fed: dict[Stream, int] = {}
        self.began: dict[Transfer, float] = {}
        self._ends: list[tuple[float, int, Transfer]] = []

    def feed(self, stream: Stream, size_bytes_max: int) -> None:
        """Keep many transfers of a stream waiting from now on."""
        self.fed[stream] = size_bytes_max

    def ask(self, transfer: Transfer) -> Transfer:
        """Let one transfer wait now."""
        self.lanes.ask(transfer, now=self.now)
        return transfer

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self._refill()
            for begun in self.lanes.grant(now=self.now):
                self.began[begun] = self.now
                took = begun.size_bytes / MIB * self._pace * self._rng.uniform(0.5, 1.5) + 0.02
                heapq.heappush(self._ends, (self.now + took, begun.number, begun))
            self._pass_time(end)

    @property
    def bytes_by_lane(self) -> dict[Priority, int]:
        """Return what each lane was granted so far."""
        granted = self.lanes.granted_bytes
        return {lane: sum(granted[stream] for stream in STREAMS if stream.lane is lane) for lane in Priority}

    def shares(self, seconds: float) -> dict[Priority, float]:
        """Return each lane's percent of the bytes granted in the next seconds."""
        before = self.bytes_by_lane
        self.run(seconds)
        sent = {lane: count - before[lane] for lane, count in self.bytes_by_lane.items()}
        return {lane: 100 * count / sum(sent.values()) for lane, count in sent.items()}

    def _refill(self) -> None:
        for stream, size_bytes_max in self.fed.items():
            while self.lanes.waiting(stream.lane) < 16:
                self.ask(a_transfer(stream, self._rng.randint(1000, size_bytes_max)))

    def _pass_time(self, end: float) -> None:
        ready_at = self.lanes.ready_at(now=self.now)
        nearest = [end, *([] if ready_at is None else [ready_at]), *(each[0] for each in self._ends[:1])]
        self.now = max(min(nearest), self.now + 1e-6)
        while self._ends and self._ends[0][0] <= self.now:
            self.lanes.finished(heapq.heappop(self._ends)[2])


def a_busy_link(seed: int, *, bytes_per_second: float | None) -> Link:
    """Return a link on which every lane has more to send than there is room for."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    link = Link(Lanes(bytes_per_second=bytes_per_second), rng=rng)
    for stream in (CRITICAL, HIGH, STANDARD):
        link.feed(stream, rng.choice([400_000, MIB, 8 * MIB]))
    return link


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bytes_per_second", [None, 2 * MIB, 50 * MIB])
def test_busy_lanes_get_50_30_20_in_any_ten_seconds(seed: int, bytes_per_second: float | None) -> None:
    """Whether places or a budget are what is short, and however unlike their transfers are."""
    link = a_busy_link(seed, bytes_per_second=bytes_per_second)
    link.run(3)
    for _ in range(2):
        shares = link.shares(10)

        assert {lane: abs(share - SERVICE_LEVELS[lane].bandwidth_percent) <= 5 for lane, share in shares.items()} == (
            dict.fromkeys(Priority, True)
        ), shares


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_lane_does_not_use_the_others_have(seed: int) -> None:
    """Standard alone has everything; as soon as critical comes back, it has its half, and owes nothing."""
    link = Link(Lanes(bytes_per_second=20 * MIB), rng=random.Random(seed))
    link.feed(ALBUM, 8 * MIB)
    alone = link.shares(10)
    sent = link.bytes_by_lane[Priority.STANDARD]
    link.feed(CRITICAL, MIB)
    both = link.shares(10)

    assert (alone[Priority.STANDARD], sent >= 0.9 * 200 * MIB) == (100, True)
    assert both[Priority.CRITICAL] == pytest.approx(100 * 50 / 70, abs=5)


@pytest.mark.parametrize("bytes_per_second", [MIB, 20 * MIB, None])
def test_a_huge_album_delays_a_critical_window_by_one_unit_at_most(bytes_per_second: float | None) -> None:
    """However much of it waits: what critical changes wait for is the unit that is being paid, never the queue."""
    link = Link(Lanes(bytes_per_second=bytes_per_second), rng=random.Random(1))
    for stream in (ALBUM, Stream(Priority.HIGH, Work.BLOB)):
        for _ in range(500):
            link.ask(a_transfer(stream, 16 * MIB))
    link.run(1)
    worst = 0.0
    for _ in range(20):
        window = link.ask(a_transfer(CRITICAL, 10_000))
        link.run(0.5)
        worst = max(worst, link.began[window] - window.since)

    one_unit = 0 if bytes_per_second is None else unit_bytes(bytes_per_second) / bytes_per_second
    assert worst <= one_unit + 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_standard_is_never_starved(seed: int) -> None:
    """At any load of the others a window of it begins within seconds, two minutes being its promise."""
    link = a_busy_link(seed, bytes_per_second=4 * MIB)
    link.fed.pop(STANDARD)
    link.feed(CRITICAL, 8 * MIB)
    link.run(20)
    window = link.ask(a_transfer(STANDARD, MIB))
    link.run(30)

    assert link.began[window] - window.since < 5


def test_no_work_of_a_lane_is_starved_by_more_urgent_work_in_it() -> None:
    """Owed copies stand behind changes and objects, but whoever has waited for long goes first."""
    link = Link(Lanes(bytes_per_second=MIB), rng=random.Random(2))
    link.feed(STANDARD, 100_000)
    copy = link.ask(a_transfer(OWED, 300_000))
    link.run(2 * PATIENCE_SECONDS)

    assert PATIENCE_SECONDS <= link.began[copy] < PATIENCE_SECONDS + 5


def test_inside_a_lane_rank_decides_and_then_who_came_first() -> None:
    """Changes before objects, urgent before same day before the rest."""
    lanes = Lanes(places=RESERVED + 1)
    lanes.obey([Limit(name="one", streams=frozenset(STREAMS), at_once=1)], now=0)
    under_way = a_transfer(ALBUM)
    lanes.ask(under_way, now=0)
    assert lanes.grant(now=0) == [under_way]
    late, first, second, urgent = (a_transfer(ALBUM, rank=rank) for rank in (9, 5, 5, 0))
    window = a_transfer(STANDARD, rank=9)
    for each in (late, first, second, urgent, window):
        lanes.ask(each, now=0)
    order = []
    for _ in range(5):
        lanes.finished(under_way)
        (under_way,) = lanes.grant(now=1)
        order.append(under_way)

    assert order == [window, urgent, first, second, late]


def test_a_few_places_are_kept_for_changes() -> None:
    """A store that hangs may hold all the others."""
    lanes = Lanes(places=12)
    for _ in range(100):
        lanes.ask(a_transfer(ALBUM), now=0)
    assert len(lanes.grant(now=0)) == 12 - RESERVED
    window = a_transfer(CRITICAL)
    lanes.ask(window, now=0)

    assert lanes.grant(now=0) == [window]


def test_large_transfers_are_paid_unit_by_unit() -> None:
    """Between two units of a large one others have their turn."""
    lanes = Lanes(bytes_per_second=100 * MIB)
    huge, small = a_transfer(ALBUM, 24 * MIB), a_transfer(HIGH, MIB)
    lanes.ask(huge, now=0)
    assert lanes.grant(now=0) == []
    lanes.ask(small, now=0.01)

    assert lanes.grant(now=0.06) == [small]
    assert UNIT_BYTES_MAX >= unit_bytes(100 * MIB) > 0


def test_who_is_called_off_while_it_waits_is_passed_over() -> None:
    """It holds no place and no queue."""
    lanes = Lanes()
    gone, here = a_transfer(), a_transfer()
    for each in (gone, here):
        lanes.ask(each, now=0)
    lanes.withdraw(gone)

    assert (lanes.grant(now=0), lanes.waiting(Priority.CRITICAL)) == ([here], 0)


def test_a_paused_stream_waits_and_a_drained_one_finishes_what_it_has() -> None:
    """The others go on; afterwards everything does, and catches up with nothing."""
    lanes = Lanes()
    paused, before, after = a_transfer(ALBUM), a_transfer(OWED), a_transfer(OWED)
    lanes.obey([Limit(name="a", streams=frozenset({ALBUM}), mode=Mode.PAUSE)], now=0)
    lanes.ask(before, now=0)
    lanes.obey(
        [
            Limit(name="a", streams=frozenset({ALBUM}), mode=Mode.PAUSE),
            Limit(name="b", streams=frozenset({OWED}), mode=Mode.DRAIN),
        ],
        now=0,
    )
    for each in (paused, after):
        lanes.ask(each, now=0)
    assert lanes.grant(now=1) == [before]
    lanes.obey([], now=2)

    assert lanes.grant(now=2) == [paused, after]


def test_an_hour_of_pause_is_not_caught_up_with() -> None:
    """What was paused gets its share again, not the others' shares until it is even."""
    link = a_busy_link(3, bytes_per_second=10 * MIB)
    link.lanes.obey([Limit(name="a", streams=frozenset({STANDARD}), mode=Mode.PAUSE)], now=0)
    link.run(60)
    link.lanes.obey([], now=link.now)

    assert link.shares(10)[Priority.CRITICAL] == pytest.approx(50, abs=5)


def test_a_limit_of_rate_and_of_number_holds_for_its_streams_together() -> None:
    """What it covers shares it; what it does not cover is not slowed."""
    both = frozenset({ALBUM, SCRUB})
    link = Link(Lanes(), rng=random.Random(4))
    link.lanes.obey([Limit(name="a", streams=both, bytes_per_second=MIB, at_once=1)], now=0)
    link.feed(CRITICAL, MIB)
    for _ in range(600):
        link.ask(a_transfer(ALBUM, 50_000))
        link.ask(a_transfer(SCRUB, 50_000))
    link.run(30)

    assert link.bytes_by_lane[Priority.STANDARD] == pytest.approx(30 * MIB, rel=0.1)
    assert link.bytes_by_lane[Priority.CRITICAL] > 300 * MIB
    assert min(link.lanes.granted_bytes[stream] for stream in both) > 0


def test_an_emergency_stop_holds_everything() -> None:
    """Critical changes too."""
    lanes = Lanes()
    lanes.obey([Limit(name="stop", streams=frozenset(STREAMS), mode=Mode.PAUSE)], now=0)
    for stream in STREAMS:
        lanes.ask(a_transfer(stream), now=0)

    assert lanes.grant(now=9) == []
    assert {stream.lane for stream in UNSTOPPABLE} == {Priority.CRITICAL}
