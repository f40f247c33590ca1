"""A restore at any commit equals a second Postgres that recovered itself to the same place in its log."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
from typing import TYPE_CHECKING

import psycopg
import pytest
import pytest_asyncio

from tests.oracle.faults import harm_for
from tests.oracle.play import Played, play
from tests.oracle.rounds import Proof, a_proof
from tests.oracle.second import lsn_text
from tests.oracle.workload import WEDDINGS, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROUNDS = int(os.environ.get("ROUNDS", "0"))
"""How many rounds the soak plays; none asked for: one small share."""
IS_SOAK = ROUNDS > 0
IS_SHIFTING = "SHIFTING" in os.environ
"""Whether shapes change too: on request only, until every round of it passes."""
HUGE_ROWS = 1_000_000 if IS_SOAK else 20_000
TRANSACTIONS = 2_000 if IS_SOAK else 500
PLACES = 8 if IS_SOAK else 2
HARM_SECONDS = 60.0 if IS_SOAK else 15.0
FROZEN_SECONDS = 20.0 if IS_SOAK else 4.0

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1800 if IS_SOAK else 400),
]


OPEN = pytest.mark.xfail(
    not IS_SOAK,
    reason="about one round in five ends with a row in the restore that Postgres no longer has: cause unknown",
    strict=False,
)
"""An open defect, which every round of the soak is held against; the checks only tell of it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proof() -> AsyncIterator[Proof]:
    """One platform for all rounds, brought up while others already write to its database."""
    seed = seed_of_this_run()
    async with a_proof() as made:
        first = asyncio.create_task(play(made.dsn, seed=seed, today=today(), transactions=300))
        if not IS_SOAK:
            await first
        await made.bring_up()
        await first
        await made.copied()
        yield made


@OPEN
@pytest.mark.parametrize("number", range(max(1, ROUNDS)))
async def test_a_restore_at_a_random_commit_is_what_postgres_itself_recovers(proof: Proof, number: int) -> None:
    """Shapes, rows and some weddings, beside changes of shape, TRUNCATEs, long transactions and huge ones."""
    seed = seed_of_this_run()
    rows = HUGE_ROWS if number % 10 == 0 else 5_000
    played = await play(
        proof.dsn, seed=seed, today=today(), transactions=TRANSACTIONS, huge_rows=rows, is_shifting=IS_SHIFTING
    )

    assert played.committed > TRANSACTIONS // 4
    assert played.shifted > 0 or not IS_SHIFTING
    assert await _differences(proof, random.Random(seed), played) == {}


async def test_a_place_inside_a_transaction_that_shut_a_table_is_one_like_others(proof: Proof) -> None:
    """There the table still is as it was before, for a restore and for Postgres' own recovery."""
    async with await psycopg.AsyncConnection.connect(proof.dsn) as shut:
        await shut.execute("TRUNCATE public.ledger")
        async with await psycopg.AsyncConnection.connect(proof.dsn) as other:
            await other.execute("INSERT INTO public.nodes (id, label) SELECT max(id) + 1, 'beside' FROM public.nodes")
        place = await proof.place_now()
    await proof.protected_up_to(await proof.place_now())

    assert await proof.differences(place) == []


@OPEN
@pytest.mark.parametrize("number", range(max(1, ROUNDS // 2)))
async def test_whatever_dies_or_stands_still_meanwhile_changes_nothing(proof: Proof, number: int) -> None:
    """Each process may be killed, restarted or frozen: afterwards all is equal, and ENDs count what was found."""
    seed = seed_of_this_run() + number
    rng, ended = random.Random(seed), asyncio.Event()
    playing = asyncio.create_task(
        play(
            proof.dsn,
            seed=seed,
            today=today(),
            transactions=10_000_000,
            huge_rows=5_000,
            is_shifting=IS_SHIFTING,
            stop=ended,
        )
    )
    done = await harm_for(proof.settings, rng, seconds=HARM_SECONDS, frozen_seconds=FROZEN_SECONDS)
    print(f"harm {done}")
    ended.set()
    played = await playing

    assert played.committed > 0
    assert await _differences(proof, rng, played) == {}


async def _differences(proof: Proof, rng: random.Random, played: Played) -> dict[str, list[str]]:
    """Compare at the end, at some places between commits, and at some beside the marked transactions."""
    end = await proof.place_now()
    await proof.protected_up_to(end)
    marked = rng.sample(played.marked, min(PLACES, len(played.marked)))
    places = {place: name for name, place in marked}
    places |= dict.fromkeys(rng.sample(played.places, min(PLACES, len(played.places))), "a commit")
    found = {}
    for place, name in [*sorted(places.items()), (end, "the end")]:
        weddings = [str(key("wedding", number)) for number in rng.sample(range(WEDDINGS), 2)]
        if differences := await proof.differences(place, weddings=weddings):
            found[f"{lsn_text(place)} {name}"] = differences
    return found


def seed_of_this_run() -> int:
    """Return the seed asked for by SEED=, else a new one; either is printed."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 31)))
    print(f"seed {seed}")
    return seed


def today() -> dt.date:
    """Return the day from which weddings count."""
    return dt.datetime.now(dt.UTC).date()
