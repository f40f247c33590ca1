"""What can be restored, and how much there is: read from the catalog."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from ops import restoring
from ops.instants import percentiles, read_instants
from ops.status import archive_counts
from schemas.errors import RefusedError
from sinks.catalog_tables import COPIES, FRAMES, OBJECTS, PACKS

if TYPE_CHECKING:
    from ops.config import Settings

_MICRO: Final = 1_000_000


async def restore_points(settings: Settings, wedding: str | None) -> list[dict[str, Any]]:
    """Return each wedding's first change and the instant up to which it can be restored.

    Raises:
        RefusedError: the wedding asked for was never archived.
    """
    with restoring.opened(settings) as archive:
        lines = await archive.catalog.run(lambda connection: _weddings(connection, wedding))
        if wedding is not None and not lines:
            raise RefusedError(
                f"there is no backup of wedding {wedding!r}", hint="`snapshots` without --wedding lists all"
            )
        restorer = restoring.restorer_of(archive)
        for line in lines:
            try:
                until = (await restorer.cut(line["wedding"], None)).committed_at
            except RefusedError:
                line["restorable_until"] = None
            else:
                line["restorable_until"] = until.isoformat(timespec="milliseconds")
    return lines


def _weddings(connection: sa.Connection, wedding: str | None) -> list[dict[str, Any]]:
    objects: dict[str, int] = dict(
        connection.execute(
            sa.select(OBJECTS.c.wedding, sa.func.count())
            .where(OBJECTS.c.state == "protected")
            .group_by(OBJECTS.c.wedding)
        )
        .tuples()
        .all()
    )
    wanted = (
        sa.select(FRAMES.c.wedding, sa.func.sum(FRAMES.c.events), sa.func.min(FRAMES.c.earliest_us))
        .where(FRAMES.c.kind == "log", FRAMES.c.wedding.not_like("@%"))
        .group_by(FRAMES.c.wedding)
        .order_by(FRAMES.c.wedding)
    )
    if wedding is not None:
        wanted = wanted.where(FRAMES.c.wedding == wedding)
    return [
        {
            "wedding": name,
            "changes": int(events),
            "objects": objects.get(name, 0),
            "first_change": dt.datetime.fromtimestamp(earliest_us / _MICRO, dt.UTC).isoformat(timespec="milliseconds"),
        }
        for name, events, earliest_us in connection.execute(wanted).tuples()
    ]


async def statistics(settings: Settings, *, latency: bool) -> dict[str, Any]:
    """Return counts, sizes, copies per store, and with `latency` how long each change took."""
    with restoring.opened(settings) as archive:
        found: dict[str, Any] = await archive.catalog.run(archive_counts)
        found["stored_bytes"] = await archive.catalog.run(_stored_bytes)
        found |= {f"copies on {store}": count for store, count in (await archive.catalog.run(_copies)).items()}
        if latency:
            instants = await read_instants(restoring.history_of(archive), archive.catalog)
            found["initiation_ms"] = percentiles(instants.initiation_ms)
            found["rpo_ms"] = percentiles(instants.rpo_ms)
            found["object_rpo_ms"] = percentiles(instants.object_rpo_ms)
    return found


def _stored_bytes(connection: sa.Connection) -> int:
    joined = COPIES.join(PACKS, PACKS.c.pack_hash == COPIES.c.pack_hash)
    return int(
        connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(PACKS.c.size_bytes), 0)).select_from(joined)
        ).scalar_one()
    )


def _copies(connection: sa.Connection) -> dict[str, int]:
    rows = connection.execute(
        sa.select(COPIES.c.store, sa.func.count()).group_by(COPIES.c.store).order_by(COPIES.c.store)
    )
    return dict(rows.tuples().all())
