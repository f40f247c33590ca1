"""SQS, Pub/Sub and an Azure queue on servers that speak them: told, swept, fetched by exactly the announced version."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import obstore
import orjson
import pytest
from azure.storage.queue import AccountSasPermissions, ResourceTypes, Services, generate_account_sas

from connectors.announced import Announced
from connectors.bucket import BucketConnector, BucketSettings
from connectors.channels.azure_queue import queue_client
from connectors.listings.s3 import client_config
from ops import bootstrap, bootstrap_buckets
from ops.bucket_settings import BucketSection
from schemas.errors import CorruptionError
from tests.integration import emulators

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from connectors.channels.port import Message
    from connectors.storage import ObjectNotice

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

KEY = "weddings/w1/100% + Zoë's.jpg"


class Rig:
    """A bucket's connector as the settings build it, over a log in memory."""

    def __init__(self, section: BucketSection) -> None:
        self.log: list[ObjectNotice] = []
        self.buried: list[bytes] = []
        self.source = bootstrap_buckets.source(section)
        self.channel = bootstrap_buckets.channel(section, brokers="")
        self.connector = BucketConnector(
            BucketSettings(name=section.name, sweep_every=dt.timedelta(hours=1), grace=dt.timedelta()),
            read=bootstrap_buckets.reader(section),
            channel=self.channel,
            listing=bootstrap_buckets.listing(section),
            announced=Announced(":memory:", is_versioned=False),
            notices=self,
            dead_letters=self,
            now=bootstrap.now,
        )

    async def append(self, notices: Sequence[ObjectNotice]) -> None:
        """See `NoticeLog.append`."""
        self.log += notices

    async def bury(self, message: Message, reason: str) -> None:
        """See `DeadLetters.bury`."""
        assert reason
        self.buried.append(message.payload)

    async def told(self, count: int) -> list[ObjectNotice]:
        """Receive until the log holds so many notices, and return them."""
        async with asyncio.timeout(30):
            while len(self.log) < count:
                await self.connector.receive()
        return self.log

    async def fetched(self, notice: ObjectNotice) -> bytes:
        """Return the bytes that a sink would protect."""

        def fetch() -> bytes:
            with self.source.open(notice) as stream:
                return stream.read()

        return await asyncio.to_thread(fetch)


@contextlib.asynccontextmanager
async def a_rig(section: BucketSection) -> AsyncIterator[Rig]:
    """Return a rig whose channel is closed afterwards."""
    rig = Rig(section)
    try:
        yield rig
    finally:
        assert rig.channel is not None
        await rig.channel.close()


async def check_versions(rig: Rig) -> None:
    """Show that of two puts and a deletion the replaced version is refused, and that nothing more is to be swept."""
    first, second, gone = await rig.told(3)
    assert [first.key, second.key, gone.key] == [KEY] * 3
    assert first.version != second.version
    assert gone.version == ""
    with pytest.raises(CorruptionError):
        await rig.fetched(first)
    assert await rig.connector.sweep() == 0


async def test_s3_tells_by_sqs() -> None:
    """Put, overwritten, deleted; and garbage among it all. Nothing is left in the queue."""
    async with emulators.moto() as server:
        s3, sqs = server.client(), _sqs(server)
        queue = await asyncio.to_thread(_bucket_with_queue, s3, sqs)
        section = BucketSection(
            name="album",
            bucket="photos",
            endpoint=server.endpoint,
            credentials_file=str(server.credentials_file),
            channel="sqs",
            channel_name=queue,
        )
        async with a_rig(section) as rig:
            await asyncio.to_thread(sqs.send_message, QueueUrl=queue, MessageBody="garbage")
            await asyncio.to_thread(s3.put_object, Bucket="photos", Key=KEY, Body=b"one")
            (first,) = await rig.told(1)
            assert await rig.fetched(first) == b"one"
            await asyncio.to_thread(s3.put_object, Bucket="photos", Key=KEY, Body=b"another")
            await rig.told(2)
            await asyncio.to_thread(s3.delete_object, Bucket="photos", Key=KEY)
            await check_versions(rig)
            left = await asyncio.to_thread(sqs.get_queue_attributes, QueueUrl=queue, AttributeNames=["All"])
            assert rig.buried == [b"garbage"]
            assert left["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


def _bucket_with_queue(s3: Any, sqs: Any) -> str:
    s3.create_bucket(Bucket="photos")
    queue = sqs.create_queue(QueueName="told")["QueueUrl"]
    told = {
        "QueueArn": "arn:aws:sqs:us-east-1:123456789012:told",
        "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
    }
    s3.put_bucket_notification_configuration(Bucket="photos", NotificationConfiguration={"QueueConfigurations": [told]})
    return str(queue)


def _sqs(server: emulators.S3Server) -> Any:
    return boto3.session.Session().client(
        "sqs",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=emulators.ACCESS,
        aws_secret_access_key=emulators.SECRET,
        config=client_config(),
    )


async def test_cloud_storage_tells_by_pubsub() -> None:
    """Generations: put, overwritten, deleted; and one that nobody told is swept."""
    async with emulators.fake_gcs() as server, httpx.AsyncClient(base_url=server.endpoint) as http:
        await http.post("/storage/v1/b?project=p", json={"name": "photos"})
        section = BucketSection(
            name="album",
            provider="gcs",
            bucket="photos",
            endpoint=server.endpoint,
            channel="pubsub",
            channel_name=server.subscription,
            channel_endpoint=server.pubsub,
        )
        upload = "/upload/storage/v1/b/photos/o"
        async with a_rig(section) as rig:
            await http.post(upload, params={"uploadType": "media", "name": KEY}, content=b"one")
            (first,) = await rig.told(1)
            assert await rig.fetched(first) == b"one"
            await http.post(upload, params={"uploadType": "media", "name": KEY}, content=b"another")
            await rig.told(2)
            await http.delete(f"/storage/v1/b/photos/o/{_quoted(KEY)}")
            await check_versions(rig)


def _quoted(key: str) -> str:
    return httpx.URL("http://x/", params={"k": key}).query.decode()[2:].replace("+", "%20")


async def test_azure_tells_by_a_queue() -> None:
    """Events as Event Grid documents them, put into the queue in base64; the blobs and the queue are Azurite's."""
    async with emulators.azurite() as server:
        await _make_container(server)
        section = BucketSection(
            name="album",
            provider="azure",
            bucket="photos",
            credentials_file=str(server.credentials_file),
            channel="azure-queue",
            channel_name="told",
        )
        store = bootstrap_buckets._azure_store(section)
        async with queue_client(server.connection_string, "told") as queue, a_rig(section) as rig:
            await queue.create_queue()
            await queue.send_message("garbage!")
            await queue.send_message(_event("BlobCreated", 1, (await obstore.put_async(store, KEY, b"one"))["e_tag"]))
            (first,) = await rig.told(1)
            assert await rig.fetched(first) == b"one"
            etag = (await obstore.put_async(store, KEY, b"another"))["e_tag"]
            await queue.send_message(_event("BlobCreated", 2, etag))
            await rig.told(2)
            await obstore.delete_async(store, KEY)
            await queue.send_message(_event("BlobDeleted", 3, etag))
            await check_versions(rig)
            await check_sweep(rig, store)
            assert rig.buried == [b"garbage!"]


async def check_sweep(rig: Rig, store: Any) -> None:
    """Show that what was written in silence is found, and can be fetched."""
    await obstore.put_async(store, "weddings/w1/quiet.jpg", b"quiet")
    async with asyncio.timeout(10):
        while not await rig.connector.sweep():  # The listing has whole seconds, and what is young is left alone.
            pass
    assert await rig.fetched(rig.log[-1]) == b"quiet"


def _event(kind: str, sequencer: int, etag: str | None) -> str:
    event = {
        "subject": f"/blobServices/default/containers/photos/blobs/{KEY}",
        "eventType": f"Microsoft.Storage.{kind}",
        "eventTime": bootstrap.now().isoformat(),
        "data": {
            "api": "PutBlob",
            "eTag": (etag or "").strip('"'),
            "contentLength": 3,
            "sequencer": f"{sequencer:0>32}",
        },
    }
    return base64.b64encode(orjson.dumps(event)).decode()


async def _make_container(server: emulators.AzureServer) -> None:
    sas = generate_account_sas(
        emulators.AZURE_ACCOUNT,
        emulators.AZURE_KEY,
        ResourceTypes(container=True),
        AccountSasPermissions(write=True, create=True),
        bootstrap.now() + dt.timedelta(hours=1),
        services=Services(blob=True),
    )
    async with httpx.AsyncClient() as http:
        made = await http.put(f"{server.blobs}/photos?restype=container&{sas}")
    assert made.status_code == httpx.codes.CREATED, made.text
