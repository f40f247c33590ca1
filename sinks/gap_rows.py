"""The catalog's lines of the gap ledger: what a source's log does not have. For use inside a transaction."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from connectors.ledger import Gap
from sinks.catalog_tables import CAPTURE_GAPS

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEW: Final = insert(CAPTURE_GAPS).on_conflict_do_nothing()


def add(connection: sa.Connection, gaps: Sequence[Gap]) -> None:
    """Write gaps of a source into the ledger; one that is known stays as it is."""
    if gaps:
        connection.execute(_NEW, [dataclasses.asdict(each) for each in gaps])


def known(connection: sa.Connection) -> list[Gap]:
    """Return the gaps of all sources, in the order in which they were found."""
    rows = connection.execute(sa.select(CAPTURE_GAPS).order_by(CAPTURE_GAPS.c.found_us, CAPTURE_GAPS.c.gap))
    return [Gap(**row) for row in rows.mappings()]


def newest_us(connection: sa.Connection, source: str) -> int:
    """Return when the last gap of a source was found, in microseconds; 0 for none."""
    found = sa.select(sa.func.max(CAPTURE_GAPS.c.found_us)).where(CAPTURE_GAPS.c.source == source)
    return connection.execute(found).scalar_one() or 0
