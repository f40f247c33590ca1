"""The listing of an Azure container, by obstore: ETags, since no event names a version."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore import exceptions

from connectors.notices.s3 import ETAG
from connectors.sweep import MICRO, Listed
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

_PAGE: Final = 1000
_START: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_CALL_SECONDS: Final = 60.0


class AzureListing:
    """See `connectors.sweep.Listing`; `store` is an obstore AzureStore with bounded time-outs and retries."""

    def __init__(self, store: Any, *, prefix: str, wedding_metadata: str) -> None:
        self._store, self._prefix, self._metadata = store, prefix, wedding_metadata

    async def pages(self) -> AsyncIterator[Sequence[Listed]]:
        """See `Listing.pages`."""
        # A prefix here ends at a slash; what is wanted of its last part is picked below.
        folder = self._prefix.rpartition("/")[0]
        pages: Iterator[Any] = iter(obstore.list(self._store, prefix=folder or None, chunk_size=_PAGE))
        while page := await self._page(pages):
            yield [_listed(each) for each in page if each["path"].startswith(self._prefix)]

    async def current(self, key: str) -> Listed | None:
        """See `Listing.current`."""
        try:
            return _listed(await self._asked(obstore.head, self._store, key))
        except FileNotFoundError:
            return None

    async def wedding(self, key: str, version: str) -> str:
        """See `Listing.wedding`; metadata of a version that was replaced cannot be asked for."""
        try:
            found = await self._asked(obstore.get, self._store, key)
        except FileNotFoundError:
            return ""
        is_that = ETAG + (found.meta["e_tag"] or "").strip('"') == version
        return str(found.attributes.get(self._metadata, "")) if is_that else ""

    async def _page(self, pages: Iterator[Any]) -> Sequence[Any]:
        try:
            found: Sequence[Any] = await self._asked(next, pages, ())
        except FileNotFoundError as error:
            raise ConfigError("there is no such container", hint="see [[buckets]]: bucket, endpoint") from error
        return found

    async def _asked(self, call: Any, *args: Any) -> Any:
        try:
            return await asyncio.wait_for(asyncio.to_thread(call, *args), _CALL_SECONDS)
        except (FileNotFoundError, exceptions.NotFoundError) as error:
            raise FileNotFoundError from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise ConfigError("the container refuses us", hint="see [[buckets]]: bucket, credentials_file") from error
        except (exceptions.BaseError, OSError, TimeoutError) as error:
            raise TransientError(
                f"the container does not answer: {type(error).__name__}", hint="is it reachable?"
            ) from error


def _listed(found: Mapping[str, Any]) -> Listed:
    return Listed(
        key=found["path"],
        version=ETAG + (found["e_tag"] or "").strip('"'),
        size=found["size"],
        modified_us=(found["last_modified"] - _START) // MICRO,
    )
