"""Waiting for something, with an end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(is_so: Callable[[], bool], *, within_seconds: float = 20.0) -> None:
    """Return once `is_so`, and fail when that takes too long."""
    async with asyncio.timeout(within_seconds):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)
