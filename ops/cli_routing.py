"""Verbs about routing: its benches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from ops.cli import EXIT_FAILED, run, say

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

_ROUTE_ROUNDS: Final = 5
_SCALE_ROUNDS: Final = 3


def _bench_route(folder: pathlib.Path, rounds: int) -> None:
    from ops.bench_route import bench_route
    from ops.tables import print_table

    report = run(bench_route(folder, rounds=rounds or _ROUTE_ROUNDS, say=say))
    rows = [
        (name, *(f"{of[key][part]:,.0f}" for key in of for part in ("median", "least", "most")))
        for name, of in report["contenders"].items()
    ]
    columns = ("contender", "changes/s", "least", "most", "per CPU-s", "least", "most")
    print_table(f"routing, medians of {rounds or _ROUTE_ROUNDS} rounds", columns, rows)
    for name, ratio in report["ratios"].items():
        say(f"{name}: {ratio['changes_per_s']} x by the clock, {ratio['changes_per_cpu_s']} x by CPU-seconds")
    say(f"breaking condition: {report['breaking_condition']}")
    _require(report["check"]["passed"], f"what the router wrote is not what it read: {report['check']}")


def _bench_scale(folder: pathlib.Path, rounds: int) -> None:
    from ops.bench_scale import bench_scale
    from ops.tables import print_table

    report = run(bench_scale(folder, rounds=rounds or _SCALE_ROUNDS, say=say))
    for what, sizes in report["cpu_s_per_million_changes"].items():
        rows = [(f"{size:,}", of["median"], of["least"], of["most"]) for size, of in sizes.items()]
        flat = report["dearest_over_cheapest"][what]
        title = f"CPU-seconds per million changes; the dearest is {flat} x the cheapest"
        print_table(title, (what, "median", "least", "most"), rows)
    say(f"breaking condition: {report['breaking_condition']}")


def _require(has_passed: Any, otherwise: str) -> None:
    if not has_passed:
        say(otherwise)
        raise typer.Exit(EXIT_FAILED)


BENCHES: Final[dict[str, Callable[[pathlib.Path, int], None]]] = {"route": _bench_route, "scale": _bench_scale}
