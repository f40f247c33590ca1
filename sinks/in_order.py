"""Many calls at once, their results in the order of their causes; never more under way than asked for."""

from __future__ import annotations

import asyncio
import collections
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")


async def in_order(work: Callable[[T], Awaitable[R]], items: Iterable[T], *, at_once: int) -> AsyncGenerator[R, None]:
    """Yield `work(item)` for each item, in order; results that wait for an earlier one count as under way.

    The first error is raised where its result would have come, and calls off the rest. Whoever stops
    before the end closes the iterator (`contextlib.aclosing`).
    """
    under_way: collections.deque[asyncio.Future[R]] = collections.deque()
    try:
        for item in items:
            under_way.append(asyncio.ensure_future(work(item)))
            if len(under_way) >= at_once:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
