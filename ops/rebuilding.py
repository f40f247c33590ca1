"""The catalog made again from the stores: what the command line and the demo share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ops import bootstrap
from schemas.errors import ConfigError
from sinks.rebuild import RebuildReport, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.config import Settings


async def rebuild_catalog(
    settings: Settings, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> RebuildReport:
    """Rebuild the catalog file, which must not be there; it appears under its name only when it is complete.

    Raises:
        ConfigError: there is a catalog.
        CorruptionError: the master key opens nothing here.
    """
    final = settings.catalog_file
    if final.exists():
        raise ConfigError(f"there is a catalog at {final}", hint="move it away first, if you really mean it")
    unfinished = final.with_suffix(".rebuilding")
    for leftover in final.parent.glob(unfinished.name + "*"):
        leftover.unlink()
    archive = bootstrap.Archive(settings, catalog_file=unfinished)
    try:
        report = await rebuild(
            catalog=archive.catalog,
            stores=archive.stores,
            wrapper=archive.wrapper,
            cpu=archive.cpu,
            now=bootstrap.now,
            randomness=os.urandom,
            progress=progress,
        )
    finally:
        archive.close()  # The last connection folds the write-ahead log into the file.
    unfinished.rename(final)
    return report
