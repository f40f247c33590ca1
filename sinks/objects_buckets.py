"""Claimed objects fetched from buckets, in a stream and by exactly the announced version.

Where the bucket keeps versions the version is asked for; where it keeps none the ETag is a condition of the
request, and what comes is compared once more. The bytes that come are counted against the announced
size: a reply cut short must not pass for the object. S3 and Cloud Storage are spoken to by their own
interfaces, since a general library refuses keys that both allow (`a//b`, `..`, a line feed).
"""

from __future__ import annotations

import contextlib
import io
import urllib.parse
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

from schemas.errors import ConfigError, CorruptionError, FormatError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from connectors.storage import ObjectNotice
    from sinks.objects import ObjectSource

ETAG: Final = "etag:"
_READ_BYTES: Final = 1 << 20
_OTHER: Final = "the store has another version than the announced one"
_GONE: Final = "the announced version is gone"
_HINT: Final = "it was replaced or deleted before it was read; a newer version is announced too"


class ManyObjects:
    """Objects of several folders and buckets; the bucket's name in the notice says which."""

    def __init__(self, sources: Mapping[str, ObjectSource]) -> None:
        self._sources = sources

    def open(self, notice: ObjectNotice) -> contextlib.AbstractContextManager[BinaryIO]:
        """See `ObjectSource.open`."""
        source = self._sources.get(notice.bucket)
        if source is None:
            raise ConfigError(
                f"no folder or bucket is configured under the name {notice.bucket!r}",
                hint="its objects wait until [objects] or [[buckets]] names it again",
            )
        return source.open(notice)


class Fetched(Protocol):
    """A reply under way: what the store says it is, and its bytes."""

    version: str
    size: int | None

    def read(self, count: int) -> bytes:
        """Return up to so many bytes, none at the end.

        Raises:
            TransientError: the store stopped answering.
        """
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class BucketObjects:
    """See `sinks.objects.ObjectSource`; `fetch` asks one provider, `version` is named as in notices.

    `fetch(key, version)` raises `CorruptionError` where the store has another version or none.
    """

    def __init__(self, fetch: Callable[[str, str], Fetched]) -> None:
        self._fetch = fetch

    @contextlib.contextmanager
    def open(self, notice: ObjectNotice) -> Iterator[BinaryIO]:
        """See `ObjectSource.open`."""
        fetched = self._fetch(notice.key, notice.version)
        with contextlib.closing(fetched):
            if fetched.version != notice.version:
                raise CorruptionError(_OTHER, hint=_HINT)
            stream = _Counted(fetched)
            yield cast("BinaryIO", io.BufferedReader(stream, _READ_BYTES))
            # The reader's own name for an end is an empty read; a cut connection may look the same.
            if fetched.size is not None and stream.count != fetched.size:
                raise TransientError(
                    f"{stream.count} bytes came instead of {fetched.size}",
                    hint="the connection was cut: it is read again",
                )


class _Counted(io.RawIOBase):
    def __init__(self, fetched: Fetched) -> None:
        super().__init__()
        self._fetched = fetched
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        content = self._fetched.read(len(view))
        view[: len(content)] = content
        self.count += len(content)
        return len(content)


class S3Fetch:
    """Fetches by botocore; `client` is a plain S3 client with time-outs and bounded retries."""

    def __init__(self, client: Any, *, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def __call__(self, key: str, version: str) -> Fetched:
        """See `BucketObjects`."""
        import botocore.exceptions  # noqa: PLC0415 - only where there is such a bucket

        is_etag = version.startswith(ETAG)
        wanted = {"IfMatch": f'"{version.removeprefix(ETAG)}"'} if is_etag else {"VersionId": version}
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=key, **wanted)
        except botocore.exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise _of_status(status, str(error.response.get("Error", {}).get("Code", ""))) from error
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            raise TransientError(f"the bucket does not answer: {error}", hint="is the store reachable?") from error
        version_found = ETAG + found["ETag"].strip('"') if is_etag else found.get("VersionId", "")
        return _Body(found["Body"], version=version_found, size=found.get("ContentLength"))


class _Body:
    """A reply of botocore's."""

    def __init__(self, body: Any, *, version: str, size: int | None) -> None:
        self._body, self.version, self.size = body, version, size

    def read(self, count: int) -> bytes:
        import botocore.exceptions  # noqa: PLC0415
        import urllib3.exceptions  # noqa: PLC0415

        try:
            return bytes(self._body.read(count))
        except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
            raise TransientError(f"the bucket stopped answering: {error}", hint="it is read again") from error

    def close(self) -> None:
        self._body.close()


class HttpFetch:
    """Fetches by one HTTP request; `request` says of key and version where, and by which headers.

    `named` names the version that the reply's headers tell. Used for Cloud Storage's JSON interface.
    """

    def __init__(
        self,
        client: Any,
        *,
        request: Callable[[str, str], tuple[str, Mapping[str, str]]],
        named: Callable[[Mapping[str, str]], str],
    ) -> None:
        self._client, self._request, self._named = client, request, named

    def __call__(self, key: str, version: str) -> Fetched:
        """See `BucketObjects`."""
        import httpx  # noqa: PLC0415 - only where there is such a bucket

        url, headers = self._request(key, version)
        try:
            reply = self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        except httpx.HTTPError as error:
            raise TransientError(f"the bucket does not answer: {error!r}", hint="is the store reachable?") from error
        if reply.status_code != httpx.codes.OK:
            reply.close()
            raise _of_status(reply.status_code, str(reply.status_code))
        size = reply.headers.get("content-length") if "content-encoding" not in reply.headers else None
        return _Reply(reply, version=self._named(reply.headers), size=int(size) if size else None)


class _Reply:
    """A reply of httpx'; its bytes come as the store holds them, never unpacked."""

    def __init__(self, reply: Any, *, version: str, size: int | None) -> None:
        self._reply, self.version, self.size = reply, version, size
        self._chunks = reply.iter_raw(_READ_BYTES)
        self._left = b""

    def read(self, count: int) -> bytes:
        import httpx  # noqa: PLC0415

        if not self._left:
            try:
                self._left = next(self._chunks, b"")
            except httpx.HTTPError as error:
                raise TransientError(f"the bucket stopped answering: {error!r}", hint="it is read again") from error
        found, self._left = self._left[:count], self._left[count:]
        return found

    def close(self) -> None:
        self._reply.close()


def gcs_request(
    endpoint: str, bucket: str, token: Callable[[], str]
) -> Callable[[str, str], tuple[str, Mapping[str, str]]]:
    """Return how Cloud Storage is asked for one generation."""

    def request(key: str, version: str) -> tuple[str, Mapping[str, str]]:
        if not version.isdecimal():
            raise FormatError("a version that is no generation", hint="was this bucket's provider changed?")
        name = urllib.parse.quote(key, safe="")
        url = f"{endpoint}/storage/v1/b/{urllib.parse.quote(bucket)}/o/{name}?alt=media&generation={version}"
        given = token()
        return url, {"Authorization": f"Bearer {given}"} if given else {}

    return request


class ObstoreFetch:
    """Fetches by obstore, used for Azure; the ETag is a condition and is compared again."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __call__(self, key: str, version: str) -> Fetched:
        """See `BucketObjects`."""
        import obstore  # noqa: PLC0415 - only where there is such a bucket
        from obstore import exceptions  # noqa: PLC0415

        etag = version.removeprefix(ETAG)
        try:
            found = obstore.get(self._store, key, options={"if_match": f'"{etag}"'})
        except (FileNotFoundError, exceptions.NotFoundError) as error:
            raise CorruptionError(_GONE, hint=_HINT) from error
        except exceptions.PreconditionError as error:
            raise CorruptionError(_OTHER, hint=_HINT) from error
        except exceptions.InvalidPathError as error:
            raise CorruptionError("the key is none that can be fetched", hint="rename the object") from error
        except (exceptions.BaseError, OSError) as error:
            raise TransientError(
                f"the container does not answer: {type(error).__name__}", hint="is it reachable?"
            ) from error
        return _Stream(found, version=ETAG + (found.meta["e_tag"] or "").strip('"'))


class _Stream:
    """A reply of obstore's."""

    def __init__(self, found: Any, *, version: str) -> None:
        self.version = version
        self.size: int | None = int(found.meta["size"])
        self._chunks = iter(found.stream(min_chunk_size=_READ_BYTES))
        self._left = b""

    def read(self, count: int) -> bytes:
        from obstore import exceptions  # noqa: PLC0415

        if not self._left:
            try:
                self._left = bytes(next(self._chunks, b""))
            except (exceptions.BaseError, OSError) as error:
                raise TransientError(f"the container stopped answering: {error}", hint="it is read again") from error
        found, self._left = self._left[:count], self._left[count:]
        return found

    def close(self) -> None:
        self._chunks = iter(())


_FORBIDDEN: Final = frozenset({401, 403})
_MISSING: Final = frozenset({404, 405, 410})
_PRECONDITION: Final = frozenset({412, 304})
_UNKNOWN_VERSION: Final = 400


def _of_status(status: int, code: str) -> ConfigError | CorruptionError | TransientError:
    """Return what an HTTP status means for one version."""
    if status in _FORBIDDEN:
        return ConfigError(f"the bucket refuses us: {code}", hint="see [[buckets]]: credentials, and what they allow")
    if code == "NoSuchBucket":
        return ConfigError("there is no such bucket", hint="see [[buckets]]: bucket, endpoint")
    if status in _MISSING or (status == _UNKNOWN_VERSION and code in {"NoSuchVersion", "InvalidArgument"}):
        return CorruptionError(_GONE, hint=_HINT)
    if status in _PRECONDITION:
        return CorruptionError(_OTHER, hint=_HINT)
    return TransientError(f"the bucket answered {code}", hint="is the store healthy?")
