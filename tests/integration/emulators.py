"""Storage servers of a test module, each a process on a free port, ended with it. `ops/emulators.sh` builds them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final

import boto3

from connectors.listings.s3 import client_config
from ops.stack.process import end, log_tail, spawn, tied_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

BIN: Final = pathlib.Path(__file__).parents[2] / ".cache" / "emulators"
ACCESS, SECRET = "tester", "not-a-secret"
READY_SECONDS: Final = 20


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def serving(argv: Sequence[str], port: int, folder: pathlib.Path) -> AsyncIterator[None]:
    """Run a server until the block ends; it is ready once its port takes connections."""
    if shutil.which(argv[0]) is None:
        message = f"{argv[0]} is not built: run ops/emulators.sh (make integration does)"
        raise FileNotFoundError(message)
    log = folder / "server.log"
    process = await spawn(tied_command(tuple(argv), parent_pid=os.getpid()), log_file=log)
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await _answers(port):
                assert process.returncode is None, log_tail(log)
                await asyncio.sleep(0.05)
        yield
    finally:
        await end(process, grace_seconds=5)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running S3 and its folder's credentials file."""

    endpoint: str
    credentials_file: pathlib.Path

    def client(self) -> Any:
        """Return a client for the test's own writes."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=client_config(),
        )


@contextlib.contextmanager
def a_folder() -> Any:
    """Return a new folder that is gone afterwards."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wedsync-emulator-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write_credentials(folder: pathlib.Path) -> pathlib.Path:
    """Return a credentials file as a user would write it."""
    path = folder / "credentials.toml"
    path.write_text(f'access_key_id = "{ACCESS}"\nsecret_access_key = "{SECRET}"\n', encoding="utf-8")
    return path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """Two versitygw on one folder, known by their addresses before they run."""

    folder: pathlib.Path
    loud_port: int
    silent_port: int
    credentials_file: pathlib.Path

    @property
    def loud_endpoint(self) -> str:
        """Return the address of the one that sends notices."""
        return f"http://127.0.0.1:{self.loud_port}"

    @contextlib.asynccontextmanager
    async def run(self, brokers: str, topic: str) -> AsyncIterator[tuple[S3Server, S3Server]]:
        """Run both until the block ends; the first sends its bucket notifications to Kafka, the second none."""
        events = ("--event-kafka-url", brokers, "--event-kafka-topic", topic)
        async with contextlib.AsyncExitStack() as stack:
            for port, more in ((self.loud_port, events), (self.silent_port, ())):
                await stack.enter_async_context(serving(self._command(port, more), port, self.folder))
            loud, silent = (
                S3Server(endpoint=f"http://127.0.0.1:{port}", credentials_file=self.credentials_file)
                for port in (self.loud_port, self.silent_port)
            )
            yield loud, silent

    def _command(self, port: int, more: tuple[str, ...]) -> tuple[str, ...]:
        given = ("--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, *more)
        return (str(BIN / "versitygw"), *given, "posix", str(self.folder / "buckets"))


@contextlib.asynccontextmanager
async def two_versitygw() -> AsyncIterator[Gateways]:
    """Return two gateways to be run on one folder."""
    with a_folder() as folder:
        (folder / "buckets").mkdir()
        yield Gateways(
            folder=folder,
            loud_port=free_port(),
            silent_port=free_port(),
            credentials_file=write_credentials(folder),
        )


@contextlib.asynccontextmanager
async def moto() -> AsyncIterator[S3Server]:
    """Run moto's server: S3 that sends its notifications to SQS."""
    with a_folder() as folder:
        port = free_port()
        server = str(pathlib.Path(sys.executable).with_name("moto_server"))
        async with serving((server, "-H", "127.0.0.1", "-p", str(port)), port, folder):
            yield S3Server(endpoint=f"http://127.0.0.1:{port}", credentials_file=write_credentials(folder))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GcsServer:
    """A running Cloud Storage that tells a Pub/Sub server what happens."""

    endpoint: str
    pubsub: str
    subscription: str


@contextlib.asynccontextmanager
async def fake_gcs() -> AsyncIterator[GcsServer]:
    """Run fake-gcs-server with its events going to Google's own fake of Pub/Sub."""
    with a_folder() as folder:
        port, told = free_port(), free_port()
        topic, subscription = "projects/p/topics/photos", "projects/p/subscriptions/backup"
        pubsub = (str(BIN / "pubsub"), f"127.0.0.1:{told}", f"{topic}={subscription}")
        events = ("-event.pubsub-project-id", "p", "-event.pubsub-topic", "photos", "-event.bucket", "photos")
        listed = ("-event.list", "finalize,delete,metadataUpdate,archive")
        server = (str(BIN / "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port))
        there = (f"PUBSUB_EMULATOR_HOST=127.0.0.1:{told}", *server, "-backend", "memory", *events, *listed)
        async with serving(pubsub, told, folder), serving(("/usr/bin/env", *there), port, folder):
            yield GcsServer(endpoint=f"http://127.0.0.1:{port}", pubsub=f"127.0.0.1:{told}", subscription=subscription)


AZURE_ACCOUNT, AZURE_KEY = "tester", base64.b64encode(b"not-a-secret" * 3).decode()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AzureServer:
    """A running Azurite: blobs and queues of one account."""

    connection_string: str
    blobs: str
    credentials_file: pathlib.Path


@contextlib.asynccontextmanager
async def azurite() -> AsyncIterator[AzureServer]:
    """Run Azurite in memory."""
    with a_folder() as folder:
        blob, queue = free_port(), free_port()
        program = str(BIN / "azurite" / "node_modules" / ".bin" / "azurite")
        ports = ("--blobPort", str(blob), "--queuePort", str(queue), "--tablePort", str(free_port()))
        given = ("--silent", "--skipApiVersionCheck", "--inMemoryPersistence")
        accounts = ("/usr/bin/env", f"AZURITE_ACCOUNTS={AZURE_ACCOUNT}:{AZURE_KEY}")
        blobs, queues = (f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}" for port in (blob, queue))
        account = f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};"
        account += f"BlobEndpoint={blobs};QueueEndpoint={queues};"
        path = folder / "credentials.toml"
        path.write_text(f'connection_string = "{account}"\n', encoding="utf-8")
        async with serving((*accounts, program, *ports, *given), queue, folder):
            yield AzureServer(connection_string=account, blobs=blobs, credentials_file=path)
