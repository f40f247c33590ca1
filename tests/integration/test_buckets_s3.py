"""A real S3 (versitygw) whose notifications come over our Kafka: protected, overwritten, deleted, lost, restored."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import shutil
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio

from ops import bootstrap, canary, restoring
from streams.produce import KafkaProducer
from streams.records import Outgoing
from tests.integration import emulators
from tests.integration.platforms import WITHIN_SECONDS, Platform, a_platform, dead_letters, with_buckets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.emulators import S3Server

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TOPIC = "bucket-notices"
ODD = ("first dance.jpg", "100% + Zoë & co.jpg", "a+b=c%20.jpg", "deep/er/and deeper.jpg", "é" * 100)


@dataclasses.dataclass(slots=True, kw_only=True)
class Rig:
    """A platform, its bucket, and a way to write into the bucket that makes no sound."""

    platform: Platform
    s3: S3Server
    silent: S3Server

    async def put(self, key: str, content: bytes) -> str:
        """Write an object and return its ETag."""
        return str(
            (await asyncio.to_thread(self.s3.client().put_object, Bucket="photos", Key=key, Body=content))["ETag"]
        )

    async def announced(self, count: int) -> None:
        """Wait until so many versions of objects have been announced, and all are protected."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while await protected(self) < count:
                pass

    async def restored(self, wedding: str) -> dict[str, bytes]:
        """Return a wedding's objects as they are now, out of the archive: name → content."""
        settings, folder = self.platform.settings, self.platform.settings.state_dir / "restored" / wedding
        shutil.rmtree(folder, ignore_errors=True)
        at = bootstrap.now()
        await canary.fly(settings, self.platform.running.dsn, self.platform.running.epochs["platform"])
        with restoring.opened(settings) as archive:
            result = await restoring.restorer_of(archive).restore(
                wedding, at, restore_id="test", rows=None, folder=folder
            )
        assert not result.missing
        return _files(folder / "weddings" / wedding)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """One platform and one bucket for all tests of this module; each works on a wedding of its own."""
    async with contextlib.AsyncExitStack() as stack:
        platform = await stack.enter_async_context(a_platform())
        servers = await stack.enter_async_context(emulators.two_versitygw())
        bucket = f"""name = "album"
bucket = "photos"
endpoint = "{servers.loud_endpoint}"
credentials_file = "{servers.credentials_file}"
keys = "plain"
channel = "kafka"
channel_name = "{TOPIC}"
sweep_seconds = 1
grace_seconds = 2
wedding_metadata = "wedding"
"""
        platform = await with_buckets(platform, bucket)
        loud, silent = await stack.enter_async_context(servers.run(platform.running.brokers, TOPIC))
        await asyncio.to_thread(loud.client().create_bucket, Bucket="photos")
        yield Rig(platform=platform, s3=loud, silent=silent)


async def protected(rig: Rig) -> int:
    """Return how many versions are protected by now."""
    return (await rig.platform.everything_protected())["objects_protected"]


async def test_what_is_put_comes_back_byte_for_byte(rig: Rig) -> None:
    """Under odd names too, and larger than a pack; by its notice, before any sweep looks."""
    rng, before = random.Random(1), await protected(rig)
    contents = {name: rng.randbytes(rng.randrange(1, 70_000)) for name in ODD} | {"film.mov": rng.randbytes(20 << 20)}
    for name, content in contents.items():
        await rig.put(f"weddings/odd/{name}", content)
    await rig.announced(before + len(contents))

    assert await rig.restored("odd") == contents


async def test_the_newest_version_counts_and_a_deleted_object_is_gone(rig: Rig) -> None:
    """Overwritten within the same second, which is all that this store's notices tell."""
    before = await protected(rig)
    for content in (b"one", b"two", b"three"):
        await rig.put("weddings/over/a.jpg", content)
        await rig.announced(before := before + 1)
    await rig.put("weddings/over/b.jpg", b"soon gone")
    await rig.announced(before + 1)
    await asyncio.to_thread(rig.s3.client().delete_object, Bucket="photos", Key="weddings/over/b.jpg")
    async with asyncio.timeout(WITHIN_SECONDS):
        while (found := await rig.restored("over")) != {"a.jpg": b"three"}:
            assert found.keys() <= {"a.jpg", "b.jpg"}


async def test_what_no_notice_told_is_found_by_the_sweep(rig: Rig) -> None:
    """Written, overwritten and deleted through a gateway that sends no notices."""
    before, client = await protected(rig), rig.silent.client()
    await rig.put("weddings/lost/loud.jpg", b"told")
    await rig.put("weddings/lost/gone.jpg", b"told, then deleted in silence")
    await rig.announced(before + 2)
    await asyncio.to_thread(client.put_object, Bucket="photos", Key="weddings/lost/loud.jpg", Body=b"not told")
    await asyncio.to_thread(client.put_object, Bucket="photos", Key="weddings/lost/quiet.jpg", Body=b"quiet")
    await asyncio.to_thread(client.delete_object, Bucket="photos", Key="weddings/lost/gone.jpg")
    await rig.announced(before + 4)
    async with asyncio.timeout(WITHIN_SECONDS):
        while await rig.restored("lost") != {"loud.jpg": b"not told", "quiet.jpg": b"quiet"}:
            pass


async def test_an_object_names_its_wedding_by_its_metadata(rig: Rig) -> None:
    """Where its key lies below no wedding's prefix."""
    before = await protected(rig)
    await asyncio.to_thread(
        rig.s3.client().put_object, Bucket="photos", Key="uploads/1.jpg", Body=b"mine", Metadata={"wedding": "tagged"}
    )
    await rig.announced(before + 1)
    await rig.restored("tagged")

    found = _files(rig.platform.settings.state_dir / "restored" / "tagged")
    assert found == {"uploads/1.jpg": b"mine"}


async def test_garbage_in_the_channel_is_kept_and_the_rest_flows(rig: Rig) -> None:
    """Byte for byte among the dead letters, with a reason."""
    before = await protected(rig)
    garbage = [b"not json", b"[" * 5000, b"{}", b'{"Records": [{"eventName": "s3:ObjectCreated:Put"}]}', b"\xff"]
    producer = KafkaProducer({"bootstrap.servers": rig.platform.running.brokers})
    await producer.deliver([Outgoing(TOPIC, 0, None, each) for each in garbage])
    await rig.put("weddings/after/a.jpg", b"after the garbage")
    await rig.announced(before + 1)
    letters = await asyncio.to_thread(dead_letters, rig.platform.running.brokers, len(garbage))

    assert [value for value, _ in letters] == garbage
    assert all(reason for _, reason in letters)


async def test_notices_in_any_order_and_any_number_end_in_the_same_state(rig: Rig) -> None:
    """The store's own order counts: the last event of a key is delivered first, and all of them twice."""
    before = await protected(rig)
    etag = await rig.put("weddings/mixed/a.jpg", b"the last")
    await rig.announced(before + 1)
    at = bootstrap.now().replace(microsecond=0)
    events = [_event("ObjectCreated:Put", f"{number:0>16X}", at, etag=old) for number, old in enumerate(("x", "y"), 1)]
    events += [
        _event("ObjectRemoved:Delete", f"{3:0>16X}", at),
        _event("ObjectCreated:Put", f"{4:0>16X}", at, etag=etag),
    ]
    producer = KafkaProducer({"bootstrap.servers": rig.platform.running.brokers})
    await producer.deliver([Outgoing(TOPIC, 0, None, each) for each in (*reversed(events), *events)])
    await rig.put("weddings/mixed/z.jpg", b"behind them")
    await rig.announced(before + 2)

    assert await rig.restored("mixed") == {"a.jpg": b"the last", "z.jpg": b"behind them"}


def _event(name: str, sequencer: str, at: Any, *, etag: str = "") -> bytes:
    about = {"key": "weddings/mixed/a.jpg", "size": 8, "eTag": etag, "sequencer": sequencer}
    s3 = {"bucket": {"name": "photos"}, "object": about}
    return orjson.dumps({"Records": [{"eventName": name, "eventTime": at.isoformat(), "s3": s3}]})


async def test_kill_9_of_the_worker_loses_no_object(rig: Rig) -> None:
    """Three times in the middle of sixty puts."""
    before, seed = await protected(rig), random.randrange(1 << 32)
    print(f"seed {seed}")
    deaths = set(random.Random(seed).sample(range(60), 3))
    for number in range(60):
        await rig.put(f"weddings/kill/{number}.jpg", b"%d" % number)
        if number in deaths:
            with contextlib.suppress(AssertionError):  # It may lie dead from the last time.
                await rig.platform.kill("storage")
    await rig.announced(before + 60)

    assert await rig.restored("kill") == {f"{number}.jpg": b"%d" % number for number in range(60)}
