"""The listing of a Cloud Storage bucket, by its JSON interface: generations, which order themselves."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import httpx

from connectors.notices.gcs import sequencer
from connectors.notices.reading import instant_us
from connectors.sweep import Listed
from schemas.errors import ConfigError, FormatError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

_TIMEOUT: Final = httpx.Timeout(20.0, connect=5.0)
_PAGE: Final = 1000
_ATTEMPTS: Final = 3
_FIELDS: Final = "nextPageToken,items(name,generation,size,updated,timeCreated,timeDeleted,metadata)"


class GcsListing:
    """See `connectors.sweep.Listing`; `token` gives the present access token, nothing for an emulator."""

    def __init__(
        self,
        *,
        endpoint: str,
        bucket: str,
        prefix: str,
        is_versioned: bool,
        wedding_metadata: str,
        token: Callable[[], str],
    ) -> None:
        self._base = f"{endpoint}/storage/v1/b/{urllib.parse.quote(bucket)}/o"
        self._bucket, self._prefix, self._is_versioned = bucket, prefix, is_versioned
        self._metadata, self._token = wedding_metadata, token

    async def pages(self) -> AsyncIterator[Sequence[Listed]]:
        """See `Listing.pages`."""
        asked = {"prefix": self._prefix, "maxResults": str(_PAGE), "fields": _FIELDS}
        if self._is_versioned:
            asked["versions"] = "true"
        async with self._client() as client:
            while True:
                page = await self._get(client, self._base, asked) or {}
                yield [_listed(each) for each in page.get("items") or ()]
                if not page.get("nextPageToken"):
                    return
                asked["pageToken"] = page["nextPageToken"]

    async def current(self, key: str) -> Listed | None:
        """See `Listing.current`."""
        found = await self._object(key, "")
        return None if found is None else _listed(found)

    async def wedding(self, key: str, version: str) -> str:
        """See `Listing.wedding`."""
        found = await self._object(key, version)
        return str(((found or {}).get("metadata") or {}).get(self._metadata, ""))

    async def _object(self, key: str, generation: str) -> Mapping[str, Any] | None:
        async with self._client() as client:
            asked = {"generation": generation} if generation else {}
            return await self._get(client, f"{self._base}/{urllib.parse.quote(key, safe='')}", asked)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=_TIMEOUT, transport=httpx.AsyncHTTPTransport(retries=_ATTEMPTS))

    async def _get(self, client: httpx.AsyncClient, url: str, asked: Mapping[str, str]) -> dict[str, Any] | None:
        token = self._token()
        try:
            reply = await client.get(url, params=asked, headers={"Authorization": f"Bearer {token}"} if token else {})
        except httpx.HTTPError as error:
            raise TransientError(
                f"bucket {self._bucket} does not answer: {error!r}", hint="is it reachable?"
            ) from error
        if reply.status_code == httpx.codes.NOT_FOUND and url != self._base:
            return None
        if reply.status_code in {401, 403, 404}:
            raise ConfigError(
                f"bucket {self._bucket} refuses us: {reply.status_code}",
                hint="see [[buckets]]: bucket, credentials_file",
            )
        if reply.status_code != httpx.codes.OK:
            raise TransientError(f"bucket {self._bucket} answered {reply.status_code}", hint="is the store healthy?")
        try:
            found: dict[str, Any] = reply.json()
        except ValueError as error:
            raise TransientError(f"bucket {self._bucket} answered no JSON", hint="is the endpoint right?") from error
        return found


def _listed(found: Mapping[str, Any]) -> Listed:
    try:
        generation = int(found["generation"])
        return Listed(
            key=found["name"],
            version=str(generation),
            size=int(found.get("size", 0)),
            modified_us=instant_us(found.get("timeCreated") or found["updated"]),
            is_current="timeDeleted" not in found,
            sequencer=sequencer(generation, is_gone=False),
        )
    except (KeyError, ValueError, TypeError, FormatError) as error:
        raise TransientError(f"an object in the listing is odd: {error!r}", hint="is the endpoint right?") from error
