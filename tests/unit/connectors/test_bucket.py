"""The bucket connector: nothing acknowledged before it is in the log, and what notices miss the sweep finds."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import random
from typing import TYPE_CHECKING

import pytest

from connectors.announced import Announced
from connectors.bucket import BucketConnector, BucketSettings
from connectors.channels.port import Message
from connectors.notices.reading import Reading
from connectors.storage import ObjectAction, ObjectNotice
from connectors.sweep import Listed
from ops.sweep_turns import RuledTurns
from schemas.backup import Priority
from schemas.errors import FormatError, TransientError
from schemas.work import Limit, Mode, Stream, Work
from tests import builders
from tests.fakes import HandClock
from tests.simulation.virtual import VirtualLoop, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from connectors.bucket import SweepTurns

GRACE = dt.timedelta(seconds=10)


class FakeChannel:
    """Hands out what lies in it until that is acknowledged."""

    def __init__(self) -> None:
        self.waiting: list[Message] = []

    async def receive(self) -> Sequence[Message]:
        """See `Channel.receive`."""
        return list(self.waiting)

    async def extend(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `Channel.extend`."""
        return messages

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Channel.acknowledge`."""
        self.waiting = [each for each in self.waiting if each not in messages]

    async def close(self) -> None:
        """See `Channel.close`."""


class FakeListing:
    """A bucket: key → its versions, the current one first."""

    def __init__(self) -> None:
        self.held: dict[str, list[Listed]] = {}
        self.weddings: dict[str, str] = {}
        self.fails_after: int | None = None

    async def pages(self) -> AsyncIterator[Sequence[Listed]]:
        """See `Listing.pages`; one key a page."""
        for number, key in enumerate(sorted(self.held)):
            if number == self.fails_after:
                raise TransientError("the store went away", hint="a test said so")
            yield self.held[key]

    async def current(self, key: str) -> Listed | None:
        """See `Listing.current`."""
        return next(iter(self.held.get(key, [])), None)

    async def wedding(self, key: str, version: str) -> str:
        """See `Listing.wedding`."""
        del version
        return self.weddings.get(key, "")


class Rig:
    """A connector over fakes; messages' payloads are keys of `readings`."""

    def __init__(self, *, is_versioned: bool = False, turns: SweepTurns | None = None) -> None:
        self.hole = -1
        self.clock, self.channel, self.listing = HandClock(), FakeChannel(), FakeListing()
        self.log: list[ObjectNotice] = []
        self.buried: list[tuple[bytes, str]] = []
        self.failures = 0
        self.readings: dict[bytes, Reading] = {}
        self.known = Announced(":memory:", is_versioned=is_versioned)
        self.connector = BucketConnector(
            BucketSettings(
                name="photos",
                sweep_every=dt.timedelta(seconds=1),
                grace=GRACE,
                is_versioned=is_versioned,
                asks_metadata=lambda key: key.startswith("uploads/"),
            ),
            read=lambda message, _now: self.read(message),
            channel=self.channel,
            listing=self.listing,
            announced=self.known,
            notices=self,
            dead_letters=self,
            now=self.clock,
            turns=turns,
            newest_hole=lambda: self.hole,
        )

    def read(self, message: Message) -> Reading:
        """Read a message as its provider's module would."""
        if message.payload not in self.readings:
            raise FormatError("no such message", hint="a test said so")
        return self.readings[message.payload]

    async def append(self, notices: Sequence[ObjectNotice]) -> None:
        """See `NoticeLog.append`."""
        if self.failures:
            self.failures -= 1
            raise TransientError("Kafka is away", hint="a test said so")
        self.log += notices

    async def bury(self, message: Message, reason: str) -> None:
        """See `DeadLetters.bury`."""
        self.buried.append((message.payload, reason))

    def send(self, **readings: Reading) -> None:
        """Put messages into the channel."""
        self.readings |= {name.encode(): reading for name, reading in readings.items()}
        self.channel.waiting += [Message(name.encode(), {}, name) for name in readings]

    def hold(self, *versions: str, key: str = "a", ago: float = 60, **fields: object) -> None:
        """Let the bucket hold versions of a key, the current one first, each a second older than the one before."""
        now_us = self.now_us()
        listed = [
            Listed(key=key, version=version, size=5, modified_us=now_us - int((ago + n) * 1e6), is_current=n == 0)
            for n, version in enumerate(versions)
        ]
        self.listing.held[key] = [dataclasses.replace(each, **fields) for each in listed]  # type: ignore[arg-type]

    def now_us(self) -> int:
        """Return the present."""
        return int(self.clock().timestamp() * 1_000_000)

    def said(self) -> list[str]:
        """Return what the log says: version, or '-' for a deletion."""
        return [each.version or "-" for each in self.log]


def put(version: str, *, sequencer: str = "", **fields: object) -> ObjectNotice:
    """Return the notice of a put."""
    given = {"key": "a", "modified_us": 5, "noticed_us": 5, **fields}
    return builders.a_notice(version=version, sequencer=sequencer, **given)


def gone(*, sequencer: str = "", **fields: object) -> ObjectNotice:
    """Return the notice of a deletion."""
    return put("", sequencer=sequencer, action=ObjectAction.DELETE, size=0, **fields)


async def test_a_message_is_acknowledged_behind_its_notices() -> None:
    """While the log is away it stays in the channel, and comes again."""
    rig = Rig()
    rig.send(m=Reading(notices=(put("1"),)))
    rig.failures = 1
    with pytest.raises(TransientError):
        await rig.connector.receive()
    assert (len(rig.channel.waiting), rig.log) == (1, [])

    assert await rig.connector.receive() == 1
    assert (rig.channel.waiting, rig.said()) == ([], ["1"])


async def test_the_very_same_notice_again_is_passed_over() -> None:
    """After a crash between log and channel everything comes again."""
    rig = Rig()
    for _ in range(2):
        rig.send(m=Reading(notices=(put("1", sequencer="07"), gone(sequencer="08"))))
        await rig.connector.receive()

    assert rig.said()[:2] == ["1", "-"]
    assert rig.said()[2:] in ([], ["1"])  # An older one again says nothing new, and harms nothing.


async def test_what_nobody_can_read_is_buried_whole_and_its_neighbours_flow() -> None:
    """A message of which only a part is odd counts for both."""
    rig = Rig()
    rig.send(m=Reading(notices=(put("1"),), refused=("odd",)))
    rig.channel.waiting.append(Message(b"garbage", {}, "x"))
    await rig.connector.receive()

    assert [payload for payload, _ in rig.buried] == [b"m", b"garbage"]
    assert all(reason for _, reason in rig.buried)
    assert (rig.said(), rig.channel.waiting) == (["1"], [])


async def test_a_sweep_finds_what_no_notice_told() -> None:
    """A put, an overwriting and a deletion; a second sweep finds nothing more."""
    rig = Rig()
    rig.send(m=Reading(notices=(put("1", key="b", sequencer="01"), put("1", key="c"))))
    await rig.connector.receive()
    rig.clock.move(hours=1)
    rig.hold("1", key="a")
    rig.hold("2", key="b")

    assert await rig.connector.sweep() == 3
    assert [(each.key, each.version) for each in rig.log[2:]] == [("a", "1"), ("b", "2"), ("c", "")]
    assert await rig.connector.sweep() == 0


async def test_what_is_young_is_left_to_its_notice() -> None:
    """It is on its way, and knows more than a listing does."""
    rig = Rig()
    rig.hold("1", ago=1)
    assert await rig.connector.sweep() == 0
    rig.clock.move(seconds=60)
    assert await rig.connector.sweep() == 1


async def test_a_swept_version_counts_as_newer_than_the_announced() -> None:
    """Also where the listing's instant is coarse, or that of a multipart upload's beginning."""
    rig = Rig()
    rig.send(m=Reading(notices=(put("1", modified_us=rig.now_us(), noticed_us=rig.now_us()),)))
    await rig.connector.receive()
    rig.clock.move(seconds=30)
    rig.hold("2", ago=3600)
    await rig.connector.sweep()

    first, swept = rig.log
    assert swept.version == "2"
    assert swept.modified_us > first.modified_us


async def test_a_listing_that_breaks_off_deletes_nothing() -> None:
    """Half a listing says what is there, and nothing of what is not."""
    rig = Rig()
    for key in "abc":
        rig.hold("1", key=key)
    await rig.connector.sweep()
    rig.clock.move(hours=1)
    rig.listing.fails_after = 1
    with pytest.raises(TransientError):
        await rig.connector.sweep()

    assert rig.said() == ["1"] * 3


async def test_every_version_that_nobody_announced_is_found() -> None:
    """In a versioned bucket also those that were replaced since."""
    rig = Rig(is_versioned=True)
    rig.send(m=Reading(notices=(put("3", modified_us=7), put("1"))))
    await rig.connector.receive()
    rig.clock.move(hours=1)
    rig.hold("3", "2", "1")

    assert await rig.connector.sweep() == 1
    assert rig.said()[-1] == "2"
    assert await rig.connector.sweep() == 0


@pytest.mark.parametrize(("held", "said"), [((), ["2", "-"]), (("1",), ["2", "1"]), (("2",), ["2"])])
async def test_a_version_removed_for_good_leaves_what_the_store_says_is_left(
    held: tuple[str, ...], said: list[str]
) -> None:
    """Nothing, the version before it, or the same as ever when it was an old one that went."""
    rig = Rig(is_versioned=True)
    rig.send(m=Reading(notices=(put("2", sequencer="02"),)), n=Reading(purged=(gone(sequencer="03"),)))
    if held:
        rig.hold(*held)
    await rig.connector.receive()

    assert rig.said() == said


async def test_metadata_names_a_wedding_where_the_key_does_not() -> None:
    """It is asked for only there."""
    rig = Rig()
    rig.listing.weddings = {"uploads/1": "w7", "weddings/w1/a": "w8"}
    rig.send(m=Reading(notices=(put("1", key="uploads/1"), put("1", key="weddings/w1/a"))))
    await rig.connector.receive()

    assert [each.wedding for each in rig.log] == ["w7", ""]


@pytest.fixture
def virtual() -> VirtualLoop:
    """Return a loop whose time passes only when nothing else can happen."""
    return VirtualLoop(random.Random(1))


@pytest.mark.parametrize("is_versioned", [False, True])
async def test_what_was_announced_into_a_hole_of_the_log_is_announced_again(*, is_versioned: bool) -> None:
    """Every version that there is, once for each hole."""
    rig = Rig(is_versioned=is_versioned)
    rig.hold("2", "1")
    assert [await rig.connector.sweep() for _ in range(2)] == [1 + is_versioned, 0]
    rig.hole = 4
    rig.clock.move(seconds=60)

    assert [await rig.connector.sweep() for _ in range(2)] == [1 + is_versioned, 0]
    assert {each.version for each in rig.log[1 + is_versioned :]} == ({"1", "2"} if is_versioned else {"2"})


SWEEPS = frozenset({Stream(Priority.STANDARD, Work.SWEEP)})


@pytest.mark.parametrize(("mode", "goes_on"), [(Mode.PAUSE, False), (Mode.DRAIN, True)])
def test_a_sweep_under_way_waits_for_a_pause_and_ends_in_a_drain(
    virtual: VirtualLoop, mode: Mode, *, goes_on: bool
) -> None:
    """Before its next page; neither lets a new one begin, and notices never stop."""

    async def history() -> None:
        turns = RuledTurns()
        rig = Rig(turns=turns)
        rig.hold("1")
        turns.obey([Limit(name="r", streams=SWEEPS, mode=mode)])
        assert not turns.may_begin()
        sweep = asyncio.create_task(rig.connector.sweep())
        await asyncio.sleep(60)
        assert (sweep.done(), bool(rig.log)) == (goes_on, goes_on)
        turns.obey([])
        await asyncio.wait_for(sweep, 1)
        assert (len(rig.log), turns.may_begin()) == (1, True)

    run_virtual(virtual, history())


def test_a_sweep_keeps_to_a_rate(virtual: VirtualLoop) -> None:
    """Pages are paid for by what they list."""

    async def history() -> None:
        turns = RuledTurns()
        turns.obey([Limit(name="r", streams=SWEEPS, bytes_per_second=100)])
        began = asyncio.get_running_loop().time()
        for _ in range(3):
            async with turns.page(400):
                pass
        assert asyncio.get_running_loop().time() - began >= 400 / 100

    run_virtual(virtual, history())
