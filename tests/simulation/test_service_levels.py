"""Ten times more than the way to the stores can carry: every lane keeps its promise, and none starves.

`LOAD_SECONDS` makes it longer than it is in CI.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random
from typing import TYPE_CHECKING, Final

import pytest

from connectors.storage import encode_notice
from schemas.backup import SERVICE_LEVELS, Priority
from schemas.topics import backup_topic
from sinks.blobs import SHIFTS
from sinks.lanes import Grants
from streams.lanes import Lanes
from streams.records import RecordBatch, rank_headers
from tests import builders
from tests.builders import a_record, change_value
from tests.fakes import BrokenStore
from tests.simulation.virtual import VirtualLoop, run_virtual
from tests.unit.sinks.rigs import Rig

if TYPE_CHECKING:
    from sinks.protect import Protected
    from sinks.stores.port import Proof

pytestmark = pytest.mark.simulation

SECONDS: Final = float(os.environ.get("LOAD_SECONDS", "20"))
LINK_BYTES_PER_SECOND: Final = 6_000_000
SLICE_BYTES: Final = 32 << 10
OFFERED: Final = 10
ALBUM_BYTES: Final = 5_000_000
CRITICAL_BYTES: Final = 12_000_000
BIG_WITHIN_SECONDS: Final = 300
ROW_BYTES: Final = 1_000
PACK_BYTES: Final = 256 << 10
"""As much smaller than a real pack as the link is thinner than a real one: a copy has five seconds."""
COPIES: Final = 3


class ThinStore(BrokenStore):
    """A store behind a link that all stores share: transfers under way take turns, slice by slice."""

    link: asyncio.Lock

    async def create(self, name: str, content: bytes | memoryview, *, digest: bytes) -> Proof:
        """See `ObjectStore.create`."""
        for at in range(0, len(content), SLICE_BYTES):
            async with self.link:
                await asyncio.sleep(min(SLICE_BYTES, len(content) - at) / LINK_BYTES_PER_SECOND)
        return await super().create(name, content, digest=digest)


class BusyRig(Rig):
    """A sink under load; remembers how long each record took from its coming to its protection."""

    def __init__(self, seed: int, grants: Grants) -> None:
        link = asyncio.Lock()
        stores: dict[str, BrokenStore] = {}
        for site in builders.some_sites():
            stores[site.name] = store = ThinStore(is_down=False)
            store.link = link
        super().__init__(stores=stores)
        self.replicator.grants = grants
        self.blobs._pack_bytes = PACK_BYTES
        self.rng = random.Random(seed)
        self.came: dict[Priority, list[float]] = collections.defaultdict(list)
        self.took: dict[Priority, list[float]] = collections.defaultdict(list)
        self.album = self.rng.randbytes(ALBUM_BYTES)

    def _protected(self, lane: Priority, window: Protected) -> None:
        now = asyncio.get_running_loop().time()
        first = len(self.took[lane])
        self.took[lane] += [now - at for at in self.came[lane][first : window.mark.next_offset]]
        if window.window.objects:
            self.blobs.wake()

    async def come(self, lane: Priority, **fields: object) -> None:
        """Let one change arrive."""
        offset = len(self.came[lane])
        value = change_value(position=offset, source=lane.value, **fields)
        self.came[lane].append(asyncio.get_running_loop().time())
        record = a_record(offset, value, headers=rank_headers(self.rng.randrange(200)))
        await self.sink.accept(RecordBatch(backup_topic(lane), 0, [record]))

    async def announce(self, lane: Priority, content: bytes) -> None:
        """Let an object arrive, in a wedding of its own."""
        key = f"{lane.value}/{len(self.photos.versions)}.jpg"
        self.photos.versions[key, "1"] = content
        notice = builders.a_notice(key=key, version="1", size=len(content))
        await self.come(lane, kind="object_put", wedding=key, payload=encode_notice(notice))

    async def rows(self, lane: Priority, until: float) -> None:  # type: ignore[override]
        """Let rows arrive ten times a second."""
        while asyncio.get_running_loop().time() < until:
            await self.come(lane, payload=self.rng.randbytes(ROW_BYTES))
            await asyncio.sleep(0.1)

    def left(self, lane: Priority) -> int:
        """Return how many objects of a lane are still claimed."""
        query = "SELECT count(*) FROM objects WHERE state = 'claimed' AND lane = '%s'"
        return int(super().rows(query % lane.value)[0][0])


def a_budget() -> Grants:
    """Return lanes that know what the link carries."""
    return Grants(Lanes(bytes_per_second=LINK_BYTES_PER_SECOND), bytes_per_second=LINK_BYTES_PER_SECOND)


@pytest.mark.parametrize("grants", [Grants, a_budget], ids=["places", "budget"])
def test_every_lane_keeps_its_promise_at_ten_times_the_load(grants: type[Grants]) -> None:
    """Rows within 5 s, 30 s and 2 minutes; a critical video within 5 minutes; standard albums go on all the while."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    run_virtual(VirtualLoop(random.Random(seed)), _overload(seed, grants()))


async def _overload(seed: int, grants: Grants) -> None:
    rig = BusyRig(seed, grants)
    loop = asyncio.get_running_loop()
    await rig.sink.assigned([(backup_topic(lane), 0) for lane in Priority])
    runners = [asyncio.ensure_future(rig.blobs._run_one(shift)) for shift in SHIFTS]
    albums = int(OFFERED * SECONDS * LINK_BYTES_PER_SECOND / COPIES / ALBUM_BYTES)
    for number in range(albums):
        await rig.announce(Priority.HIGH if number % 3 == 0 else Priority.STANDARD, rig.album)
    began = loop.time()
    video = rig.rng.randbytes(CRITICAL_BYTES)
    await rig.announce(Priority.CRITICAL, video)
    await asyncio.gather(*(rig.rows(lane, began + SECONDS) for lane in Priority), _watch_video(rig, began))
    shares = {lane: sum(grants.granted_bytes[s] for s in grants.granted_bytes if s.lane is lane) for lane in Priority}
    print({lane.value: (round(max(rig.took[lane]), 2), shares[lane]) for lane in Priority}, rig.left(Priority.STANDARD))
    await rig.sink.drain()
    for runner in runners:
        runner.cancel()

    for lane, level in SERVICE_LEVELS.items():
        assert len(rig.took[lane]) == len(rig.came[lane])
        assert max(rig.took[lane]) <= level.durable_within.total_seconds(), lane
    assert shares[Priority.STANDARD] >= 0.15 * sum(shares.values())
    assert rig.left(Priority.STANDARD) > 0


async def _watch_video(rig: BusyRig, began: float) -> None:
    while rig.left(Priority.CRITICAL):
        assert asyncio.get_running_loop().time() - began < BIG_WITHIN_SECONDS
        await asyncio.sleep(1)
