"""Copies that arrive after a pack was protected, perhaps before the catalog knows the pack."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sinks.catalog import Catalog
    from sinks.replicate import Copy, ToReplicate

_WAITING_MAX: Final = 4096
"""Copies of packs that never came to be; whatever falls out is found as owed work."""


class LateCopies:
    """Records late copies at once, or as soon as their pack is committed."""

    def __init__(self, *, catalog: Catalog, now_us: Callable[[], int]) -> None:
        self._catalog, self._now_us = catalog, now_us
        self._waiting: collections.OrderedDict[bytes, list[Copy]] = collections.OrderedDict()

    async def arrived(self, item: ToReplicate, copy: Copy) -> None:
        """Record a copy; for `Replicator`."""
        if not await self._catalog.add_copy(item.digest, copy, now_us=self._now_us()):
            self._waiting.setdefault(item.digest, []).append(copy)
            if len(self._waiting) > _WAITING_MAX:
                self._waiting.popitem(last=False)

    async def committed(self, pack_hashes: Iterable[bytes]) -> None:
        """Record what arrived while these packs were unknown."""
        for pack_hash in pack_hashes:
            for copy in self._waiting.pop(pack_hash, ()):
                await self._catalog.add_copy(pack_hash, copy, now_us=self._now_us())
