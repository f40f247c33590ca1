"""What a listing says that no notice has said: decisions, and the port `connectors.bucket` asks the store by.

A listing knows versions and coarse instants, but not the store's own order. What it shows and nobody
announced must count as newer than what was announced of the key, or restore would place it before: its
instant is raised past that, never beyond the present. What is younger than `grace` is left alone: its
notice is probably on the way.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Final, Protocol

from connectors.storage import ObjectAction, ObjectNotice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from connectors.announced import Known

MICRO: Final = dt.timedelta(microseconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One version in a listing; one that is not current was replaced by a later one.

    An empty version is a delete marker. `sequencer` where the listing knows the store's own order.
    """

    key: str
    version: str
    size: int
    modified_us: int
    is_current: bool = True
    sequencer: str = ""


class Listing(Protocol):
    """What a bucket holds now. Every call ends within a bounded time.

    Raises:
        TransientError: the store does not answer.
        ConfigError: it refuses us, or there is no such bucket.
    """

    def pages(self) -> AsyncIterator[Sequence[Listed]]:
        """Yield all that lies below the prefix, in pages of bounded size; of a key's versions the newest first."""
        ...

    async def current(self, key: str) -> Listed | None:
        """Return the version that is current now, or None when the key has none."""
        ...

    async def wedding(self, key: str, version: str) -> str:
        """Return the wedding that the object's own metadata names, or nothing."""
        ...


def unannounced(listed: Listed, known: Known | None, *, name: str, now_us: int, grace_us: int) -> ObjectNotice | None:
    """Return the notice of a current version that nobody announced, or None when there is nothing to say yet."""
    if known is None:
        if not listed.version or listed.modified_us > now_us - grace_us:
            return None
        return _notice(listed, listed.modified_us, name=name, now_us=now_us)
    if known.version == listed.version:
        return None
    if max(listed.modified_us, known.noticed_us) > now_us - grace_us:
        return None
    return _notice(listed, max(listed.modified_us, known.modified_us + 1), name=name, now_us=now_us)


def earlier_version(listed: Listed, *, name: str, now_us: int) -> ObjectNotice:
    """Return the notice of a version that is not current any more: it has its own instant, and no say in what is."""
    return _notice(listed, listed.modified_us, name=name, now_us=now_us)


def vanished(key: str, known: Known, *, name: str, now_us: int) -> ObjectNotice:
    """Return the notice of a key that is listed no more; when it went nobody knows, so it went now."""
    gone = Listed(key=key, version="", size=0, modified_us=now_us)
    return _notice(gone, max(now_us, known.modified_us + 1), name=name, now_us=now_us)


def _notice(listed: Listed, modified_us: int, *, name: str, now_us: int) -> ObjectNotice:
    return ObjectNotice(
        action=ObjectAction.PUT if listed.version else ObjectAction.DELETE,
        bucket=name,
        key=listed.key,
        version=listed.version,
        size=listed.size,
        modified_us=modified_us,
        noticed_us=now_us,
        sequencer=listed.sequencer,
    )
