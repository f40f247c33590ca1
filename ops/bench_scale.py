"""B9: what a million changes cost the router, in CPU-seconds, as the weddings and the partitions grow.

The very worker of production on a real broker. The calendar of the larger businesses is routed first and not
timed; guests become members as they come. Flat means: the dearest costs at most 1.1 times what the cheapest does.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any, Final

from ops import bootstrap
from ops.bench_route import Arena, spread, topics, write_report
from ops.config import load_settings
from ops.demo.story import fresh_state
from ops.stack import control
from ops.stack.topics import ensure_topics

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

WEDDINGS: Final = (100, 1_000, 10_000, 100_000)
PARTITIONS: Final = (1, 2, 4, 8)
_CHANGES: Final = 60_000
_MILLION: Final = 1_000_000
_MOST_WEDDINGS_PARTITIONS: Final = 8
_USUAL_WEDDINGS: Final = 1_000


async def bench_scale(folder: pathlib.Path, *, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure each size in turn, as often as there are rounds, write `scale.json`, and return it."""
    settings = load_settings(None, state_dir=fresh_state(folder / "state"))
    stack = bootstrap.stack_settings(settings)
    by_weddings: dict[int, list[float]] = collections.defaultdict(list)
    by_partitions: dict[int, list[float]] = collections.defaultdict(list)
    try:
        state = await control.up(stack, is_tied=True)
        arena = Arena(state.ports.bootstrap_servers, folder / "state" / "arena")
        await ensure_topics(arena.brokers, topics(_MOST_WEDDINGS_PARTITIONS))
        say("writing a captured log of each size")
        logs = {
            weddings: await arena.write(epoch=number, weddings=weddings, changes=_CHANGES)
            for number, weddings in enumerate(WEDDINGS, 1)
        }
        for number in range(rounds):
            for weddings in WEDDINGS:
                run = await arena.run("router", logs[weddings])
                by_weddings[weddings].append(_MILLION / run["changes_per_cpu_s"])
            for partitions in PARTITIONS:
                run = await arena.run("router", logs[_USUAL_WEDDINGS], partitions=partitions)
                by_partitions[partitions].append(_MILLION / run["changes_per_cpu_s"])
            say(f"round {number + 1}: {_told(by_weddings)} weddings; {_told(by_partitions)} partitions")
    finally:
        await control.down(stack)
    return write_report(folder / "scale.json", _report(by_weddings, by_partitions))


def _report(by_weddings: dict[int, list[float]], by_partitions: dict[int, list[float]]) -> dict[str, Any]:
    weddings = {size: spread(values) for size, values in by_weddings.items()}
    partitions = {size: spread(values) for size, values in by_partitions.items()}
    return {
        "breaking_condition": "one broker on loopback, no TLS; CPU-seconds of the router's process alone; the caches "
        "hold 50,000 members and 131,072 weddings, beyond them each lookup goes to SQLite",
        "cpu_s_per_million_changes": {"weddings": weddings, "partitions": partitions},
        "dearest_over_cheapest": {"weddings": _flatness(weddings), "partitions": _flatness(partitions)},
    }


def _flatness(sizes: dict[int, dict[str, Any]]) -> float:
    medians = [each["median"] for each in sizes.values()]
    return round(float(max(medians) / min(medians)), 2)


def _told(sizes: dict[int, list[float]]) -> str:
    return ", ".join(f"{size:,}: {values[-1]:.1f}" for size, values in sizes.items())
