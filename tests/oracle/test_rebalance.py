"""Routers and sinks that join and leave all the time: safe on one state and one catalog, never long at a halt."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

import pytest

from ops import bootstrap, bringup
from ops.stack import control
from tests.oracle.faults import all_ready
from tests.oracle.play import play
from tests.oracle.rounds import Proof, a_proof
from tests.oracle.test_equals_postgres import seed_of_this_run, today

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

STORM_SECONDS = 300.0 if "ROUNDS" in os.environ else 30.0
WINDOW_SECONDS = 30.0
WORKERS = 4


async def test_workers_that_come_and_go_lose_nothing_and_never_stand_still() -> None:
    """Up to four of each kind; in each half minute something more is protected, and in the end all is equal."""
    seed = seed_of_this_run()
    rng, ended = random.Random(seed), asyncio.Event()
    async with a_proof() as proof:
        await proof.bring_up()
        playing = asyncio.create_task(
            play(proof.dsn, seed=seed, today=today(), transactions=10_000_000, writers=2, stop=ended)
        )
        progress = await _storm(proof, rng)
        ended.set()
        await playing
        await _workers(proof, 1, 1)
        await proof.copied()
        end = await proof.place_now()
        await proof.protected_up_to(end)

        assert min(progress) > 0, progress
        assert await proof.differences(end) == []


async def _storm(proof: Proof, rng: random.Random) -> Sequence[int]:
    """Change who works every few seconds; return how many bytes of the log each window protected."""
    deadline = time.monotonic() + STORM_SECONDS
    progress, window, before = [], time.monotonic() + WINDOW_SECONDS, await proof.known_lsn()
    while time.monotonic() < deadline:
        await _workers(proof, rng.randint(1, WORKERS), rng.randint(1, WORKERS))
        await asyncio.sleep(rng.uniform(1, 5))  # Not waiting for anything: the instant is what is drawn.
        if time.monotonic() > window or time.monotonic() > deadline:
            now = await proof.known_lsn()
            progress.append(now - before)
            before, window = now, time.monotonic() + WINDOW_SECONDS
    return progress


async def _workers(proof: Proof, routers: int, sinks: int) -> None:
    """Let so many of each kind work; those beyond are told to leave."""
    assert proof.running is not None
    commands = dict(bringup.worker_commands(proof.settings, proof.running.state, proof.config))
    wanted = [(f"router-{number}", commands["router"]) for number in range(routers)]
    wanted += [(f"sink-{number}", commands["sink"]) for number in range(sinks)]
    await control.start_workers(bootstrap.stack_settings(proof.settings), wanted)
    await all_ready(proof.settings)
