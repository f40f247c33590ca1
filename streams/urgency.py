"""Urgency on demand: requests on the compacted topic of controls, followed by the router.

A request's key is `urgent/<wedding>`, so the newest of each wedding is what is kept. Whoever begins reads all
of them from the beginning; nothing is committed and no group is joined. Other keys of the topic are not ours.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
import structlog

from schemas import codec
from schemas.errors import FormatError
from schemas.topics import CONTROLS
from streams.intake import consumer_settings, group
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from streams.records import Record

log = structlog.get_logger(__name__)

KEY_PREFIX: Final = b"urgent/"
_POLL_SECONDS: Final = 0.2
_RECORDS_MAX: Final = 500
_BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def request(wedding: str, *, until: dt.datetime, by: str, now: dt.datetime) -> Outgoing:
    """Return the record that asks for urgency until an instant, or (one that is past) takes it back."""
    value = codec.encode(
        "Urgency",
        {
            "wedding": wedding,
            "until": (until - _BEGINNING) // _MICROSECOND,
            "by": by,
            "made_at": (now - _BEGINNING) // _MICROSECOND,
        },
    )
    return Outgoing(CONTROLS, 0, KEY_PREFIX + wedding.encode(), value)


def asked(key: bytes | None, value: bytes | None) -> tuple[str, dt.datetime] | None:
    """Return the wedding of a request and until when it asks; None for a record that is no request.

    Raises:
        FormatError: its key says that it is one, and it is not.
    """
    if key is None or not key.startswith(KEY_PREFIX):
        return None
    if value is None:  # Removed: as good as an instant long past.
        return key.removeprefix(KEY_PREFIX).decode(errors="replace"), _BEGINNING
    fields = codec.decode("Urgency", value)
    try:
        return fields["wedding"], _BEGINNING + fields["until"] * _MICROSECOND
    except OverflowError as error:
        raise FormatError("urgent beyond the end of time", hint="ask again, with --for") from error


class UrgencyFollower:
    """Reads requests and hands each on, in order; calls come in the loop's thread."""

    def __init__(self, settings: Mapping[str, Any], obey: Callable[[str, dt.datetime], Awaitable[None]]) -> None:
        self._settings, self._obey = settings, obey
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="urgency")

    async def run(self) -> None:
        """Follow for ever.

        Raises:
            TransientError: the topic cannot be read.
        """
        loop = asyncio.get_running_loop()
        consumer = confluent_kafka.Consumer(
            consumer_settings({"group.id": "wedsync-urgency", "auto.offset.reset": "earliest", **self._settings})
        )
        consumer.assign([confluent_kafka.TopicPartition(CONTROLS, 0, confluent_kafka.OFFSET_BEGINNING)])
        try:
            while True:
                messages = await loop.run_in_executor(self._thread, consumer.consume, _RECORDS_MAX, _POLL_SECONDS)
                for batch in group(messages, generation=0):
                    for record in batch.records:
                        await self._take(record)
        finally:
            self._thread.submit(consumer.close)
            self._thread.shutdown(wait=False)

    async def _take(self, record: Record) -> None:
        try:
            found = asked(record.key, record.value)
        except FormatError as refused:
            log.warning("a request is refused", action="urgency.refused", reason=str(refused), hint=refused.hint)
            return
        if found is not None:
            await self._obey(*found)
