"""Reading: few packs around an instant, good copies before damaged ones, and never a wrong byte."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from schemas.backup import PLATFORM
from schemas.errors import CorruptionError, RefusedError, TransientError
from sinks.commits import commits_near, place_of
from sinks.cut import Known, LogPlace, Order, TransactionId
from sinks.in_order import in_order
from sinks.stores.memory import MemoryStore
from tests.fakes import BrokenStore
from tests.unit.sinks.archive import EPOCH, Archive, added, guest, wedding

if TYPE_CHECKING:
    from sinks.history import History
    from sinks.receipts import FrameAt

KNOWN = {EPOCH: Known(10_000, 10**18)}


class HangingStore(MemoryStore):
    """A store that never answers."""

    async def read(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Never return."""
        await asyncio.Event().wait()
        return await super().read(name, offset=offset, length=length)


@pytest.fixture
async def archive() -> Archive:
    """Return an archive of forty transactions in many small windows."""
    archive = Archive()
    archive.commit(added("weddings", wedding("w1")))
    for number in range(40):
        archive.commit(added("guests", guest(number, f"guest {number}")))
    await archive.settle()
    return archive


async def first_frame(history: History) -> tuple[FrameAt, bytes]:
    """Return a frame of the wedding and its key."""
    return (await history.frames("w1"))[0], await history.key("w1")


async def test_a_weddings_changes_come_in_log_order(archive: Archive) -> None:
    """Frame by frame, each once."""
    history = archive.history()
    positions = []
    async for _, changes in history.changes("w1", await history.frames("w1")):
        positions += [each["position"] for each in changes]

    assert len(positions) == 41
    assert positions == sorted(positions)


async def test_the_commits_around_an_instant_cost_few_reads(archive: Archive) -> None:
    """Most packs stay unread, and the two commits that matter are found."""
    history = archive.history()
    frames = await history.frames(PLATFORM)
    middle = frames[len(frames) // 2]

    commits = await commits_near(history, source="platform", known=KNOWN, at_us=middle.latest_us)

    times = sorted(each.committed_us for each in commits)
    assert times[0] <= middle.latest_us < times[-1]
    assert sum(history.reader.frames_of.values()) <= 17
    assert len(frames) > 8


async def test_the_latest_commit_is_found_from_the_end(archive: Archive) -> None:
    """Without a T only the last frames are read; commits beyond what is known are passed over."""
    every = [each.order.position for each in await _commits(archive, 10_000)]
    some = [each.order.position for each in await _commits(archive, every[-1] - 1)]

    assert max(some) == sorted(every)[-2]


async def test_every_place_in_the_log_finds_the_commits_on_either_side(archive: Archive) -> None:
    """Halving meets frames without commits too, and reads few of them."""
    history = archive.history()
    every = await _commits(archive, 10_000)
    for before, after in itertools.pairwise(every):
        for place in (LogPlace(before.lsn), LogPlace(after.lsn - 1)):
            found = await commits_near(history, source="platform", known=KNOWN, place=place)
            assert max(each for each in found if each.lsn <= place.lsn) == before
            assert min(each for each in found if each.lsn > place.lsn) == after

    beyond = await commits_near(history, source="platform", known=KNOWN, place=LogPlace(every[-1].lsn))
    assert max(beyond) == every[-1]


async def test_a_transaction_is_found_by_its_number(archive: Archive) -> None:
    """Its number does not say where it was committed; one that is not there is refused."""
    history, last = archive.history(), (await _commits(archive, 10_000))[-1]
    wanted = TransactionId(last.transaction)

    assert await place_of(history, wanted, source="platform", known=KNOWN) == LogPlace(last.lsn)
    with pytest.raises(RefusedError, match="not in the archive"):
        await place_of(history, TransactionId(999_999), source="platform", known=KNOWN)


async def _commits(archive: Archive, position: int) -> list[Any]:
    known = {EPOCH: Known(position, 10**18)}
    found = await commits_near(archive.history(), source="platform", known=known, at_us=None)
    assert all(each.order <= Order(EPOCH, position) for each in found)
    return sorted(found)


async def test_a_store_that_hangs_is_passed_over(archive: Archive) -> None:
    """After its time is up, and from then on it is asked last."""
    for name in list(archive.stores)[:2]:
        hanging = HangingStore()
        hanging.objects = archive.stores[name].objects
        archive.stores[name] = hanging
    history = archive.history(read_seconds=0.01)

    at, key = await first_frame(history)

    assert await history.reader.frame([at], key)


async def test_a_store_that_is_down_is_a_matter_of_waiting(archive: Archive) -> None:
    """When the one good copy is out of reach, that is no corruption."""
    history = archive.history()
    at, key = await first_frame(history)
    for number, store in enumerate(at.stores):
        if number:
            archive.damage(store, at.pack_name, at=60)
        else:
            archive.stores[store] = BrokenStore(archive.stores[store])  # type: ignore[assignment]

    with pytest.raises(TransientError, match="no store that has a frame answers"):
        await history.reader.frame([at], key)


async def test_a_frame_under_another_key_never_opens(archive: Archive) -> None:
    """Not with another wedding's, whatever store it is read from."""
    history = archive.history()
    at, _ = await first_frame(history)

    with pytest.raises(CorruptionError):
        await history.reader.frame([at], bytes(32))
    assert {each.store for each in history.reader.damages} == set(at.stores)


async def test_a_wedding_without_a_key_has_no_history(archive: Archive) -> None:
    """It is refused, not answered with nothing."""
    with pytest.raises(RefusedError, match="no backup of wedding"):
        await archive.history().key("w99")


async def test_results_come_in_the_order_of_their_causes() -> None:
    """However long each takes, and never more at once than asked for."""
    under_way, most = 0, 0

    async def work(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range((number * 7) % 5):
            await asyncio.sleep(0)
        under_way -= 1
        return number

    assert [each async for each in in_order(work, range(20), at_once=3)] == list(range(20))
    assert most <= 3


async def test_an_error_calls_off_the_rest() -> None:
    """Nothing goes on in the background once the caller knows."""
    begun: list[int] = []

    async def work(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0)
        if number == 1:
            raise CorruptionError("a test said so", hint="")
        await asyncio.sleep(0 if number < 1 else 3600)
        return number

    with pytest.raises(CorruptionError):
        [each async for each in in_order(work, range(9), at_once=3)]
    assert len(begun) <= 4
