"""Restores and looks into the past, from the settings: what the command line and the demo share."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import time
from typing import TYPE_CHECKING, Final

from ops import bootstrap
from schemas.errors import FormatError
from sinks.cut import LogPlace, TransactionId
from sinks.history import History
from sinks.pack_reader import PackReader
from sinks.restore import Restorer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.config import Settings
    from sinks.cut import Moment
    from sinks.restore_report import Progress

_AGO: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)(?:\s+ago)?$")
_HINT: Final = "2026-06-20T14:32:00+02:00, '2h ago', latest, a place in Postgres' log as 0/1A2B3C4, or 'txid 7411'"
_PLACE: Final = re.compile(r"^([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})$")
_TRANSACTION: Final = re.compile(r"^txid\s*(\d{1,10})$")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_instant(text: str, *, now: dt.datetime) -> Moment:
    """Return an instant: RFC 3339 with a zone, "2h ago", or None for "latest"; or a place in the database's log.

    `0/1A2B3C4` is such a place as Postgres writes it, `txid 7411` the transaction of that number.

    Raises:
        FormatError: anything else; an instant without a zone means a different thing in every venue.
    """
    if text == "latest":
        return None
    if match := _PLACE.match(text):
        return LogPlace(int(match[1], 16) << 32 | int(match[2], 16))
    if match := _TRANSACTION.match(text):
        return TransactionId(int(match[1]))
    if match := _AGO.match(text):
        return now - dt.timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise FormatError(f"{text!r} is no instant", hint=_HINT) from error
    if instant.tzinfo is None:
        raise FormatError(f"{text!r} has no time zone", hint="add Z, or an offset as in +02:00")
    return instant.astimezone(dt.UTC)


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[bootstrap.Archive]:
    """Open the archive for one command.

    Raises:
        ConfigError: there is no catalog, or no master key.
    """
    archive = bootstrap.Archive(settings, must_exist=True)
    try:
        yield archive
    finally:
        archive.close()


def history_of(archive: bootstrap.Archive) -> History:
    """Return what was archived."""
    reader = PackReader(stores=archive.stores, cpu=archive.cpu)
    return History(catalog=archive.catalog, keyring=archive.keyring, reader=reader, cpu=archive.cpu)


def restorer_of(
    archive: bootstrap.Archive, *, progress: Callable[[Progress], None] = lambda _progress: None
) -> Restorer:
    """Return a restorer for one restore."""
    return Restorer(
        history=history_of(archive),
        mapping=bootstrap.mapping(archive.settings),
        files=archive.store_threads,
        seconds=time.monotonic,
        partitions=archive.settings.archive.partitions,
        progress=progress,
    )
