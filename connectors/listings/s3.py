"""The listing of an S3 bucket, by versions where it keeps them."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import aioboto3
import botocore.config
import botocore.exceptions

from connectors.notices.s3 import version_name
from connectors.sweep import MICRO, Listed
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 20
_ATTEMPTS: Final = 3
_START: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_REFUSED: Final = frozenset(
    {
        "AccessDenied",
        "403",
        "NoSuchBucket",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AWS.SimpleQueueService.NonExistentQueue",
    }
)
_GONE: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchVersion", "405", "MethodNotAllowed"})


def client_config(*, read_seconds: int = _READ_SECONDS) -> botocore.config.Config:
    """Return how long and how often AWS' library may try, and what every S3 understands."""
    return botocore.config.Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        max_pool_connections=16,
        s3={"addressing_style": "path"},
        # Not every S3 knows the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


@contextlib.contextmanager
def told_apart(what: str) -> Iterator[None]:
    """Turn AWS' library's errors into ours.

    Raises:
        ConfigError: refused, or not there.
        TransientError: anything else.
    """
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _REFUSED:
            raise ConfigError(
                f"{what} refuses us: {code}", hint="see [[buckets]]: name, endpoint, credentials"
            ) from error
        raise TransientError(f"{what} answered {code}", hint="is the store healthy?") from error
    except botocore.exceptions.NoCredentialsError as error:
        raise ConfigError(f"no credentials for {what}", hint="set credentials_file, or AWS_ACCESS_KEY_ID") from error
    except (botocore.exceptions.BotoCoreError, OSError, TimeoutError) as error:
        raise TransientError(f"{what} does not answer: {error}", hint="is the store reachable?") from error


class S3Listing:
    """See `connectors.sweep.Listing`."""

    def __init__(
        self, connection: Mapping[str, Any], *, bucket: str, prefix: str, is_versioned: bool, wedding_metadata: str
    ) -> None:
        self._session, self._connection = aioboto3.Session(), dict(connection)
        self._bucket, self._prefix, self._is_versioned = bucket, prefix, is_versioned
        self._metadata = wedding_metadata.lower()

    async def pages(self) -> AsyncIterator[Sequence[Listed]]:
        """See `Listing.pages`."""
        # The library asks for escaped keys and undoes it: XML could not carry every key.
        call = "list_object_versions" if self._is_versioned else "list_objects_v2"
        with told_apart(f"bucket {self._bucket}"):
            async with self._client() as client:
                pages = client.get_paginator(call).paginate(
                    Bucket=self._bucket, Prefix=self._prefix, PaginationConfig={"PageSize": 1000}
                )
                async for page in pages:
                    yield _in_page(page)

    async def current(self, key: str) -> Listed | None:
        """See `Listing.current`."""
        found = await self._head(key, "")
        if found is None:
            return None
        return Listed(
            key=key,
            version=version_name(found.get("VersionId", "") if self._is_versioned else "", found.get("ETag", "")),
            size=found.get("ContentLength", 0),
            modified_us=_us(found["LastModified"]),
        )

    async def wedding(self, key: str, version: str) -> str:
        """See `Listing.wedding`."""
        found = await self._head(key, "" if version.startswith("etag:") else version)
        return str((found or {}).get("Metadata", {}).get(self._metadata, ""))

    async def _head(self, key: str, version: str) -> dict[str, Any] | None:
        with told_apart(f"bucket {self._bucket}"):
            async with self._client() as client:
                try:
                    wanted = {"VersionId": version} if version else {}
                    found: dict[str, Any] = await client.head_object(Bucket=self._bucket, Key=key, **wanted)
                except botocore.exceptions.ClientError as error:
                    if str(error.response.get("Error", {}).get("Code", "")) in _GONE:
                        return None
                    raise
                return found

    def _client(self) -> Any:
        return self._session.client("s3", config=client_config(), **self._connection)


def _in_page(page: Mapping[str, Any]) -> list[Listed]:
    """Return what a page lists."""
    listed = [
        Listed(
            key=each["Key"],
            version=version_name(each.get("VersionId", ""), each.get("ETag", "")),
            size=each.get("Size", 0),
            modified_us=_us(each["LastModified"]),
            is_current=each.get("IsLatest", True),
        )
        for each in (*page.get("Contents", ()), *page.get("Versions", ()))
    ]
    markers = [
        Listed(key=each["Key"], version="", size=0, modified_us=_us(each["LastModified"]), is_current=each["IsLatest"])
        for each in page.get("DeleteMarkers", ())
    ]
    return [*listed, *markers]


def _us(instant: dt.datetime) -> int:
    return (instant - _START) // MICRO
