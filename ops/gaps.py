"""The gap ledger as operators read it: stretches of a source's log, and single objects and packs that are lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sinks import gap_rows
from sinks.catalog import open_engine
from sinks.catalog_tables import GAPS
from sinks.cut import instant

if TYPE_CHECKING:
    from connectors.ledger import Gap
    from ops.config import Settings


async def known_gaps(settings: Settings) -> list[dict[str, Any]]:
    """Return every gap of the catalog as plain values, capture's first.

    Raises:
        ConfigError: there is no catalog.
    """
    return await asyncio.to_thread(_read, settings)


def _read(settings: Settings) -> list[dict[str, Any]]:
    engine = open_engine(settings.catalog_file, must_exist=True)
    try:
        with engine.connect() as connection:
            captured = [_captured(gap) for gap in gap_rows.known(connection)]
            return captured + [_lost(row) for row in connection.execute(sa.select(GAPS).order_by(GAPS.c.gap))]
    finally:
        engine.dispose()


def _captured(gap: Gap) -> dict[str, Any]:
    return {
        "kind": "capture",
        "gap": gap.gap,
        "source": gap.source,
        "epochs": [gap.from_epoch, gap.to_epoch],
        "from": _text(gap.from_us),
        "to": _text(gap.to_us),
        "lsns": [gap.from_lsn, gap.to_lsn],
        "reason": gap.reason,
        "found": _text(gap.found_us),
    }


def _lost(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "kind": "lost",
        "gap": str(row.gap),
        "source": row.source,
        "epochs": [row.epoch, row.epoch],
        "wedding": row.wedding,
        "position": row.position,
        "from": None,
        "to": None,
        "reason": row.reason,
        "found": _text(row.found_us),
    }


def _text(us: int) -> str | None:
    return instant(us).isoformat(timespec="milliseconds") if us else None
