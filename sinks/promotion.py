"""Promotion: what waits of a wedding in slower lanes is protected in its new lane at once.

The router writes a `Promotion` into the wedding's new lane after everything it had routed before. The
window that holds it leaves a line in the catalog; from there this scans the wedding's one partition of
each slower lane, from its watermark to the end it had then, and produces the wedding's changes once
more into the new lane, marked as sealed again. There they are protected like any other. The slower
lane meets them later all the same: a restore tells by position that they are the same changes.

Nothing of the slower lane moves: neither its offset nor its frontier nor what it remembers. A crash
begins again at the last line written, and at worst produces some changes twice.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from schemas import codec
from schemas.errors import FormatError, TransientError
from sinks import promotion_rows
from streams.records import Outgoing, rank_headers

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from sinks.catalog import Catalog
    from sinks.promotion_rows import Promotion
    from sinks.sink import Sink
    from streams.produce import BatchProducer
    from streams.records import Record

log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 0.5
"""A lane that keeps up protects what waits sooner than a scan would."""
_EVERY_SECONDS: Final = 0.2
_BACKOFF_SECONDS: Final = 2.0
_LINES_MAX: Final = 2_000
_RECORDS_AT_ONCE: Final = 5_000
_MICRO: Final = 1_000_000


class LaneReader(Protocol):
    """Reads any partition of a backup topic, beside its consumer and without moving anything."""

    async def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record."""
        ...

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> Sequence[Record]:
        """Return at least one and about `limit` records from `offset` on, or from the first that is still there.

        Raises:
            TransientError: none came in time.
        """
        ...


class Promotions:
    """Carries out the promotions of the partitions a sink owns."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        sink: Sink,
        reader: LaneReader,
        producer: BatchProducer,
        topic_ids: Mapping[str, str],
        now: Callable[[], dt.datetime],
        grace_seconds: float = GRACE_SECONDS,
        promoted: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalog, self._sink, self._reader, self._producer = catalog, sink, reader, producer
        self._topic_ids, self._now, self._promoted = topic_ids, now, promoted
        self._grace_us = int(grace_seconds * _MICRO)

    async def run(self) -> None:
        """Carry out promotions for ever."""
        while True:
            try:
                has_more = await self.step()
            except TransientError as error:
                log.warning("promotions wait", action="promotion.wait", reason=str(error))
                await asyncio.sleep(_BACKOFF_SECONDS)
                continue
            await asyncio.sleep(0 if has_more else _EVERY_SECONDS)

    async def step(self) -> bool:
        """Carry each promotion on by one piece; return whether any is left that could go on now.

        Raises:
            TransientError: Kafka does not answer; what was done is remembered.
        """
        owned = await self._sink.next_offsets()
        ripe_us = self._now_us() - self._grace_us
        together: dict[tuple[str, str, int], list[Promotion]] = collections.defaultdict(list)
        for line in await self._catalog.run(lambda connection: promotion_rows.pending(connection, _LINES_MAX)):
            is_ours = self._topic_ids.get(line.topic) == line.topic_id and (line.topic, line.partition) in owned
            if is_ours and line.decided_us <= ripe_us:
                together[line.topic, line.slow_topic, line.partition].append(line)
        left = [await self._carry_on(slow, partition, lines) for (_, slow, partition), lines in together.items()]
        return any(left)

    async def _carry_on(self, slow_topic: str, partition: int, lines: Sequence[Promotion]) -> bool:
        """Look at the next piece of one slow partition for all its weddings at once."""
        mark = await self._catalog.mark(slow_topic, self._topic_ids[slow_topic], partition)
        end = await self._reader.end(slow_topic, partition)
        begun = [_begun(line, watermark=mark.next_offset, end=end) for line in lines]
        waiting = [line for line in begun if not _is_over(line)]
        if waiting:
            begin = min(_next(line) for line in waiting)
            records = await self._reader.read(slow_topic, partition, begin, _RECORDS_AT_ONCE)
            begun = await self._fetch(begun, records)
        now_us = self._now_us()
        written = [dataclasses.replace(line, done_us=now_us if _is_over(line) else None) for line in begun]
        await self._catalog.run(lambda connection: promotion_rows.write(connection, written, now_us))
        if any(line.done_us is not None for line in written):
            self._promoted()
        return any(line.done_us is None for line in written)

    async def _fetch(self, lines: Sequence[Promotion], records: Sequence[Record]) -> list[Promotion]:
        """Produce what these records hold of the lines' weddings, and return the lines as they are then."""
        by_key: dict[bytes, list[Promotion]] = collections.defaultdict(list)
        for line in lines:
            by_key[line.wedding.encode()].append(line)
        outgoing: list[Outgoing] = []
        found: collections.Counter[Promotion] = collections.Counter()
        for record in records:
            wanted = [line for line in by_key.get(record.key or b"", ()) if _wants(line, record.offset)]
            value = _again(record) if wanted else None
            if value is not None:
                line = wanted[0]
                outgoing.append(Outgoing(line.topic, line.partition, record.key, value, rank_headers(line.rank)))
                found.update(wanted)
        await self._producer.deliver(outgoing)
        after = records[-1].offset + 1
        return [
            dataclasses.replace(line, next_offset=max(after, _next(line)), found=line.found + found[line])
            for line in lines
        ]

    def _now_us(self) -> int:
        return int(self._now().timestamp() * _MICRO)


def _begun(line: Promotion, *, watermark: int, end: int) -> Promotion:
    """Return the line with a beginning and an end: the watermark may have overtaken it, the end stays."""
    return dataclasses.replace(
        line,
        next_offset=max(line.next_offset or 0, watermark),
        end_offset=end if line.end_offset is None else line.end_offset,
    )


def _next(line: Promotion) -> int:
    assert line.next_offset is not None
    return line.next_offset


def _is_over(line: Promotion) -> bool:
    assert line.end_offset is not None
    return _next(line) >= line.end_offset


def _wants(line: Promotion, offset: int) -> bool:
    assert line.end_offset is not None
    return _next(line) <= offset < line.end_offset


def _again(record: Record) -> bytes | None:
    """Return a change as it is sealed again; None for what is no change."""
    try:
        change: dict[str, Any] = codec.decode("BackupChange", record.value or b"")
    except FormatError:
        return None
    return codec.encode("BackupChange", {**change, "again": True})
