"""The harness itself: a bug that is planted must be found, or a green run means nothing."""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.simulation.bugs import BUGS
from tests.simulation.histories import run_history

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.simulation

_SEEDS_MAX = 150


def _find(bug: str) -> tuple[int, str]:
    """Return the first seed that finds a bug, and what it says; -1 if none does."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for seed in itertools.islice(itertools.count(), _SEEDS_MAX):
        outcome = run_history(seed, BUGS[bug])
        if outcome.violation is not None:
            return seed, str(outcome.violation)
    return -1, ""


@pytest.fixture(scope="module")
def finds() -> Iterator[dict[str, concurrent.futures.Future[tuple[int, str]]]]:
    """Look for all bugs at once, on all processors."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        yield {bug: pool.submit(_find, bug) for bug in BUGS}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str, finds: dict[str, concurrent.futures.Future[tuple[int, str]]]) -> None:
    """Some history breaks an invariant, and says which."""
    seed, said = finds[bug].result()
    print(f"\n{bug}: seed {seed}: {said[:100]}")
    assert seed >= 0, f"{_SEEDS_MAX} histories did not notice: {bug}"
