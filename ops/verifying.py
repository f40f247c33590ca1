"""Verification of the archive, from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import bootstrap, restoring
from sinks.verify import verify

if TYPE_CHECKING:
    from ops.config import Settings
    from sinks.verify import VerifyReport


async def verify_archive(settings: Settings, *, read_data: bool, repair: bool) -> VerifyReport:
    """Check every copy of every pack and key."""
    with restoring.opened(settings) as archive:
        return await verify(
            catalog=archive.catalog,
            stores=archive.stores,
            sites=archive.sites,
            cpu=archive.cpu,
            now=bootstrap.now,
            read_data=read_data,
            repair=repair,
        )
