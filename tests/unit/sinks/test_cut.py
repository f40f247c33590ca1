"""From an instant to a position: the cut is Postgres' own, and never beyond what is protected."""

from __future__ import annotations

import random

import pytest

from schemas.backup import PLATFORM
from schemas.errors import RefusedError
from schemas.partitioning import partition_of
from schemas.topics import BACKUP_TOPICS
from sinks.cut import (
    Commit,
    Cut,
    FrontierRow,
    Known,
    LogPlace,
    Order,
    decide_cut,
    instant,
    least_frontiers,
    microseconds,
    relevant_partitions,
)

E1, E2 = 100, 200
"""Two epochs, which begin at 100 and 200 seconds."""
SECOND = 1_000_000


def a_commit(position: int, seconds: float, epoch: int = E1) -> Commit:
    """Return a commit."""
    return Commit(Order(epoch, position), round(seconds * SECOND), position * 10, position)


def cut_at(seconds: float | None, *commits: Commit, known: dict[int, Known] | None = None) -> Cut:
    """Return the cut at an instant; known up to position 1000 and 190 s unless said otherwise."""
    at_us = None if seconds is None else round(seconds * SECOND)
    return decide_cut(commits, known or {E1: Known(1000, 190 * SECOND)}, source="platform", at_us=at_us)


def frontiers(epoch: int, position: int = 50, *, partitions: int = 2, **behind: int) -> list[FrontierRow]:
    """Return frontiers of all partitions, with those of `critical_1=…` elsewhere."""
    rows = []
    for topic in BACKUP_TOPICS:
        for partition in range(partitions):
            at = behind.get(f"{topic.removeprefix('backup.')}_{partition}", position)
            rows.append(FrontierRow(topic, f"id-{topic}-{epoch}", partition, "platform", epoch, at, at * SECOND))
    return rows


@pytest.mark.parametrize(
    ("seconds", "position"), [(110, 10), (119.999999, 10), (120, 20), (125, 20), (130, 30), (189, 30), (None, 30)]
)
def test_the_cut_is_the_last_commit_not_later_than_t(seconds: float | None, position: int) -> None:
    """T itself counts; without a T the last commit does."""
    cut = cut_at(seconds, a_commit(10, 110), a_commit(20, 120), a_commit(30, 130))

    assert cut.order == Order(E1, position)
    assert cut.lsn == position * 10


def test_commit_times_need_not_rise_with_the_log() -> None:
    """The first commit later than T ends the restore, although an earlier one stands behind it."""
    assert cut_at(115, a_commit(10, 110), a_commit(20, 120), a_commit(30, 114)).order == Order(E1, 10)


def test_changes_outside_of_transactions_count_up_to_the_next_commit() -> None:
    """Rows of a first copy lie between the last transaction that counts and the first that does not."""
    cut = cut_at(115, a_commit(10, 110), a_commit(20, 120))

    assert cut.has(Order(E1, 15), 0)
    assert not cut.has(Order(E1, 15), 7)
    assert not cut.has(Order(E1, 20), 0)


def test_what_is_beyond_the_frontier_does_not_count() -> None:
    """A commit that some partition may not know yet is as good as not there."""
    known = {E1: Known(15, 115 * SECOND)}

    assert cut_at(None, a_commit(10, 110), a_commit(20, 120), known=known).order == Order(E1, 10)
    with pytest.raises(RefusedError, match=r"restorable up to 1970-01-01T00:01:54\.999999"):
        cut_at(118, a_commit(10, 110), a_commit(20, 120), known=known)


def test_the_frontiers_own_instant_counts_only_where_a_transaction_has_ended() -> None:
    """The frontier may lie inside a transaction of that very microsecond."""
    known = {E1: Known(15, 115 * SECOND)}

    assert cut_at(115, a_commit(10, 110), a_commit(15, 115), known=known).order == Order(E1, 15)
    with pytest.raises(RefusedError, match="restorable up to"):
        cut_at(115, a_commit(10, 110), known=known)


def test_before_the_first_commit_the_epochs_begin_counts() -> None:
    """An archive that has only seen copies is restorable since its epoch began, and not before."""
    cut = cut_at(105, a_commit(10, 110))

    assert (cut.order, cut.until) == (Order(E1, -1), Order(E1, 10))
    with pytest.raises(RefusedError, match="the archive begins at"):
        cut_at(99, a_commit(10, 110))


def test_nothing_known_is_refused() -> None:
    """A source that no partition has protected yet."""
    with pytest.raises(RefusedError, match="nothing of source"):
        decide_cut([], {}, source="platform", at_us=None)


def test_an_older_epoch_is_restorable_up_to_its_end() -> None:
    """Between its last frontier and the next epoch nobody has recorded anything."""
    known = {E1: Known(20, 125 * SECOND), E2: Known(9, 290 * SECOND)}
    commits = [a_commit(10, 110), a_commit(20, 120), a_commit(5, 210, E2)]

    assert cut_at(124, *commits, known=known).order == Order(E1, 20)
    assert cut_at(215, *commits, known=known).order == Order(E2, 5)
    with pytest.raises(RefusedError, match="the log was lost there"):
        cut_at(150, *commits, known=known)


def test_a_new_epoch_without_a_commit_is_the_latest() -> None:
    """Its copies are newer than all of the old epoch."""
    known = {E1: Known(20, 125 * SECOND), E2: Known(9, 290 * SECOND)}
    cut = cut_at(None, a_commit(10, 110), known=known)

    assert (cut.order, cut.until) == (Order(E2, -1), Order(E2, 10))


def test_the_least_frontier_is_that_of_the_slowest_partition() -> None:
    """All three lanes count, since a wedding's changes may lie in each."""
    least = least_frontiers(frontiers(E1, standard_1=7), source="platform", weddings=None)

    assert least == {E1: Known(7, 7 * SECOND)}


def test_only_the_weddings_own_partitions_and_the_platforms_hold_it_back() -> None:
    """A restore does not wait for weddings it is not about."""
    wedding = next(name for name in map(str, range(99)) if partition_of(name, 8) != partition_of(PLATFORM, 8))
    needed = relevant_partitions([wedding], 8)
    other = min(set(range(8)) - needed)
    rows = frontiers(E1, partitions=8, **{f"high_{other}": 1, f"high_{partition_of(wedding, 8)}": 30})

    assert least_frontiers(rows, source="platform", weddings=[wedding])[E1].position == 30


def test_a_partition_that_was_never_heard_of_makes_an_epoch_unknown() -> None:
    """Nobody knows what it holds."""
    rows = [row for row in frontiers(E1) if (row.topic, row.partition) != ("backup.high", 1)]

    assert least_frontiers(rows, source="platform", weddings=None) == {}
    assert least_frontiers(frontiers(E1), source="platform", weddings=None, partitions=3) == {}


def test_each_epoch_has_the_partitions_of_its_time() -> None:
    """A Kafka that was lost may have had fewer."""
    rows = [*frontiers(E1, 40, partitions=1), *frontiers(E2, 10, partitions=2)]

    known = least_frontiers(rows, source="platform", weddings=None, partitions=2)

    assert {epoch: each.position for epoch, each in known.items()} == {E1: 40, E2: 10}


def test_instants_are_exact_to_the_microsecond() -> None:
    """A float would lose some of them."""
    for _ in range(1000):
        us = random.Random(_).randrange(10**16)
        assert microseconds(instant(us)) == us


def naive_cut(commits: list[Commit], at_us: int) -> Order | None:
    """Return the cut as one would read it off the whole log."""
    last = None
    for each in sorted(commits):
        if each.committed_us > at_us:
            break
        last = each.order
    return last


@pytest.mark.parametrize("seed", range(50))
def test_any_log_is_cut_where_reading_it_from_the_beginning_would(seed: int) -> None:
    """Whatever the order of commit times, and wherever T lies below the frontier."""
    rng = random.Random(seed)
    commits = [a_commit(position, rng.uniform(101, 180)) for position in range(10, 10 + rng.randrange(1, 30))]
    at_us = round(rng.uniform(101, 189) * SECOND)

    expected = naive_cut(commits, at_us) or Order(E1, -1)

    assert cut_at(at_us / SECOND, *rng.sample(commits, len(commits))).order == expected, f"seed {seed}"


PLACES_KNOWN = {E1: Known(35, 135 * SECOND, 350)}


@pytest.mark.parametrize(("lsn", "position"), [(100, 10), (199, 10), (200, 20), (299, 20), (300, 30), (350, 30)])
def test_a_place_in_the_log_cuts_behind_the_last_commit_that_ends_there_or_before(lsn: int, position: int) -> None:
    """As Postgres' own recovery stops; what the clocks said plays no part."""
    commits = [a_commit(10, 110), a_commit(20, 105), a_commit(30, 100)]
    cut = decide_cut(commits, PLACES_KNOWN, source="platform", place=LogPlace(lsn))

    assert cut.order == Order(E1, position)
    assert cut.at_us == cut.committed_us


@pytest.mark.parametrize(("lsn", "why"), [(351, "not protected yet"), (99, "nothing was captured")])
def test_a_place_nobody_knows_is_refused(lsn: int, why: str) -> None:
    """Beyond the least frontier something may be missing; before the first commit nothing was seen."""
    with pytest.raises(RefusedError, match=why):
        decide_cut([a_commit(10, 110)], PLACES_KNOWN, source="platform", place=LogPlace(lsn))


def test_a_place_between_two_epochs_is_refused() -> None:
    """The log was lost there, whatever the place's number."""
    known = {E1: Known(15, 115 * SECOND, 150), E2: Known(9, 290 * SECOND, 990)}
    commits = [a_commit(10, 110), Commit(Order(E2, 5), 280 * SECOND, 900, 5)]

    assert decide_cut(commits, known, source="platform", place=LogPlace(150)).order == Order(E1, 10)
    with pytest.raises(RefusedError, match="the log was lost"):
        decide_cut(commits, known, source="platform", place=LogPlace(500))
