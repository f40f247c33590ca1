"""Where events are received, and whether they would be now: what other processes ask."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import httpx

from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    import pathlib

    from ops.config import Settings

READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_ASK_SECONDS: Final = 3.0


def url_file(settings: Settings) -> pathlib.Path:
    """Return the file that says where events are received."""
    return settings.state_dir / "run" / "api.url"


def url(settings: Settings) -> str:
    """Return where events are received.

    Raises:
        ConfigError: it was never started.
    """
    try:
        return url_file(settings).read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise ConfigError("nobody receives events here", hint="wedsync-backup up, with api.enabled") from error


async def wait_ready(settings: Settings) -> str:
    """Wait until events would be accepted, and return where.

    Raises:
        TransientError: they would not be in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    async with httpx.AsyncClient(timeout=_ASK_SECONDS, trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                where = url(settings)
                if (await client.get(f"{where}/readyz")).status_code == httpx.codes.OK:
                    return where
            except (httpx.TransportError, ConfigError):
                pass
            await asyncio.sleep(_POLL_SECONDS)
    raise TransientError("the entry for events is not ready", hint="see api.log below the state folder")
