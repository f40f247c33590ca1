"""Reading a lane that a schema registry frames: what comes out is in our own encoding."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from streams.schema_registry import unframed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.promotion import LaneReader
    from streams.records import Record
    from streams.schema_registry import Registry


@dataclasses.dataclass(slots=True, kw_only=True)
class UnframingReader:
    """A reader of one lane that sees our own encoding only."""

    inner: LaneReader
    registry: Registry

    async def end(self, topic: str, partition: int) -> int:
        """See `LaneReader.end`."""
        return await self.inner.end(topic, partition)

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """See `LaneReader.read`.

        Raises:
            TransientError: Kafka or the registry does not answer.
        """
        return await unframed(await self.inner.read(topic, partition, offset, limit), self.registry)
