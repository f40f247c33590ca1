"""Many histories on all processors, and how to replay one."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import functools
import gc
import logging
import multiprocessing
import os
from typing import TYPE_CHECKING, Final

import structlog

from tests.simulation.bugs import BUGS
from tests.simulation.histories import run_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.simulation.histories import Outcome

HISTORIES: Final = int(os.environ.get("HISTORIES", "300"))
_SEEDS_A_DAY: Final = 1_000_000


def first_seed() -> int:
    """Return the first seed: `SEED`, or one for today, so that every day tries others."""
    given = os.environ.get("SEED")
    return int(given) if given else dt.datetime.now(dt.UTC).date().toordinal() * _SEEDS_A_DAY


def run_many(seeds: Iterable[int], bug: str = "") -> Iterator[Outcome]:
    """Yield the outcome of each seed, in order; one process for each processor.

    Processes are spawned, not forked: the tests' own process has threads of libraries.
    """
    run = functools.partial(_run, bug)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_be_quiet) as pool:
        yield from pool.map(run, seeds, chunksize=4)


def _run(bug: str, seed: int) -> Outcome:
    return run_history(seed, BUGS[bug] if bug else None)


def _be_quiet() -> None:
    """Leave the product's warnings out: a history has thousands, each wanted."""
    gc.set_threshold(100_000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def told(outcome: Outcome) -> str:
    """Return what a person needs to know of a failed history, with the command that replays it."""
    return "\n".join(
        [
            f"seed {outcome.seed}: {outcome.violation}",
            *outcome.events,
            f"replay: SEED={outcome.seed} HISTORIES=1 pytest -s tests/simulation/test_histories.py",
        ]
    )
