"""Building what speaks to buckets and their channels: the part of `bootstrap` that is loaded where one is set."""

from __future__ import annotations

import datetime as dt
import operator
import os
import pathlib
import threading
import tomllib
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from connectors.channels.port import Channel, Message
    from connectors.notices.reading import Reading, Where
    from connectors.sweep import Listing
    from ops.bucket_settings import BucketSection
    from sinks.objects import ObjectSource

GCS: Final = "https://storage.googleapis.com"
_GCS_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_only"


def credentials(section: BucketSection) -> dict[str, str]:
    """Return what the credentials file of a bucket says; nothing without one.

    Raises:
        ConfigError: it cannot be read.
    """
    if not section.credentials_file or section.provider == "gcs":
        return {}
    path = pathlib.Path(section.credentials_file)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"bucket {section.name}: the credentials file {path} cannot be read",
            hint='a TOML file: access_key_id = "…", secret_access_key = "…" (or connection_string = "…")',
        ) from error
    return {name: str(value) for name, value in found.items()}


def where(section: BucketSection) -> Where:
    """Return whose events are wanted."""
    from connectors.notices.reading import Where  # noqa: PLC0415 - each worker imports only what it needs

    return Where(
        name=section.name,
        bucket=section.bucket,
        prefix=section.prefix,
        wedding_metadata=section.wedding_metadata,
    )


def reader(section: BucketSection) -> Callable[[Message, int], Reading]:
    """Return how a message of the bucket's channel is read."""
    from connectors.notices import azure, gcs, s3  # noqa: PLC0415

    wanted = where(section)

    def read(message: Message, noticed_us: int) -> Reading:
        if section.provider == "gcs":
            return gcs.read(message.payload, message.attributes, wanted, noticed_us=noticed_us)
        if section.provider == "azure":
            return azure.read(message.payload, wanted, noticed_us=noticed_us)
        return s3.read(message.payload, wanted, noticed_us=noticed_us, are_keys_encoded=section.keys == "escaped")

    return read


def channel(section: BucketSection, *, brokers: str) -> Channel | None:
    """Return where the bucket's notices arrive, or None when it is only swept."""
    match section.channel:
        case "kafka":
            from connectors.channels.kafka import KafkaChannel  # noqa: PLC0415

            servers = section.channel_endpoint or brokers
            return KafkaChannel(
                {"bootstrap.servers": servers}, topic=section.channel_name, group=f"wedsync-storage-{section.name}"
            )
        case "sqs":
            from connectors.channels.sqs import SqsChannel  # noqa: PLC0415

            connection = s3_connection(section)
            if section.channel_endpoint or section.endpoint:
                connection["endpoint_url"] = section.channel_endpoint or section.endpoint
            return SqsChannel(connection, queue_url=section.channel_name)
        case "pubsub":
            from connectors.channels.pubsub import PubSubChannel, subscriber  # noqa: PLC0415

            endpoint, key_file = section.channel_endpoint, section.credentials_file
            return PubSubChannel(lambda: subscriber(endpoint, key_file), subscription=section.channel_name)
        case "azure-queue":
            from connectors.channels.azure_queue import AzureQueueChannel, queue_client  # noqa: PLC0415

            account = _azure_account(section)
            return AzureQueueChannel(lambda: queue_client(account, section.channel_name))
        case _:
            return None


def listing(section: BucketSection) -> Listing:
    """Return what the bucket holds, as its sweep asks."""
    wanted: dict[str, Any] = {"prefix": section.prefix, "wedding_metadata": section.wedding_metadata}
    match section.provider:
        case "s3":
            from connectors.listings.s3 import S3Listing  # noqa: PLC0415

            wanted |= {"bucket": section.bucket, "is_versioned": section.has_versions}
            return S3Listing(s3_connection(section), **wanted)
        case "gcs":
            from connectors.listings.gcs import GcsListing  # noqa: PLC0415

            wanted |= {"bucket": section.bucket, "is_versioned": section.has_versions}
            return GcsListing(endpoint=section.endpoint or GCS, token=gcs_token(section), **wanted)
        case "azure":
            from connectors.listings.azure import AzureListing  # noqa: PLC0415

            return AzureListing(_azure_store(section), **wanted)


def source(section: BucketSection) -> ObjectSource:
    """Return where the bucket's claimed objects are fetched."""
    from sinks import objects_buckets as fetched  # noqa: PLC0415

    match section.provider:
        case "s3":
            return fetched.BucketObjects(fetched.S3Fetch(_s3_client(section), bucket=section.bucket))
        case "gcs":
            import httpx  # noqa: PLC0415

            request = fetched.gcs_request(section.endpoint or GCS, section.bucket, gcs_token(section))
            client = httpx.Client(timeout=httpx.Timeout(20.0, connect=5.0))
            named = operator.methodcaller("get", "x-goog-generation", "")
            return fetched.BucketObjects(fetched.HttpFetch(client, request=request, named=named))
        case "azure":
            return fetched.BucketObjects(fetched.ObstoreFetch(_azure_store(section)))


def gcs_token(section: BucketSection) -> Callable[[], str]:
    """Return what gives the present access token; nothing for a server of one's own without credentials."""
    if section.endpoint and not section.credentials_file:
        return lambda: ""
    import google.auth  # noqa: PLC0415
    import google.auth.exceptions  # noqa: PLC0415
    from google.auth.transport.requests import Request  # noqa: PLC0415

    lock, held = threading.Lock(), list[Any]()

    def token() -> str:
        try:
            with lock:
                if not held:
                    path, scopes = section.credentials_file, [_GCS_SCOPE]
                    library: Any = google.auth
                    found = library.load_credentials_from_file(path, scopes) if path else library.default(scopes)
                    held.append(found[0])
                if not held[0].valid:
                    held[0].refresh(Request())
                return str(held[0].token)
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise ConfigError(
                f"bucket {section.name}: no credentials", hint="set credentials_file, or GOOGLE_APPLICATION_CREDENTIALS"
            ) from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise TransientError(f"bucket {section.name}: no access token", hint="is Google reachable?") from error

    return token


def _azure_account(section: BucketSection) -> str:
    """Return the storage account's connection string."""
    found = credentials(section).get("connection_string") or os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    if not found:
        raise ConfigError(
            f"bucket {section.name}: no connection string",
            hint="set credentials_file (connection_string = ...), or AZURE_STORAGE_CONNECTION_STRING",
        )
    return found


def _azure_store(section: BucketSection) -> Any:
    from obstore.store import AzureStore  # noqa: PLC0415

    parts = dict(each.split("=", 1) for each in _azure_account(section).split(";") if "=" in each)
    endpoint = section.endpoint or parts.get("BlobEndpoint", "")
    told: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    second = dt.timedelta(seconds=1)
    # Its own default is to try for three minutes.
    retries: Any = {"max_retries": 2, "retry_timeout": 20 * second}
    return AzureStore(
        container_name=section.bucket,
        account_name=parts.get("AccountName", ""),
        account_key=parts.get("AccountKey", ""),
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": 5 * second,
            "read_timeout": 20 * second,
            "timeout": dt.timedelta(hours=6),
        },
        retry_config=retries,
        **told,
    )


def s3_connection(section: BucketSection) -> dict[str, Any]:
    """Return what AWS' library is told of a server and of us."""
    given = credentials(section)
    told = {
        "endpoint_url": section.endpoint,
        "region_name": section.region or os.environ.get("AWS_REGION", "us-east-1"),
        "aws_access_key_id": given.get("access_key_id", ""),
        "aws_secret_access_key": given.get("secret_access_key", ""),
        "aws_session_token": given.get("session_token", ""),
    }
    return {name: value for name, value in told.items() if value}


def _s3_client(section: BucketSection) -> Any:
    import boto3  # noqa: PLC0415

    from connectors.listings.s3 import client_config  # noqa: PLC0415

    connection: Mapping[str, Any] = s3_connection(section)
    return boto3.session.Session().client("s3", config=client_config(), **connection)
