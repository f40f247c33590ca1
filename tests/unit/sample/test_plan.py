"""The script of a load is exact, repeatable, and lets weddings alone that are to be let alone."""

from __future__ import annotations

import collections
import itertools
import math

import pytest

from ops.sample import statements as say
from ops.sample.plan import TRANSACTION_CHANGES_MAX, Planner, Upload
from ops.sample.shapes import Shape
from ops.sample.statements import Transaction
from schemas.errors import ConfigError
from tests.unit.sample.scripts import a_script, operations


def test_a_script_commits_exactly_the_changes_asked_for() -> None:
    """Photo rows count, rolled-back transactions do not."""
    planned = operations(a_script())

    changes = sum(1 if isinstance(each, Upload) else each.changes for each in planned)
    assert changes == 2_000
    assert any(isinstance(each, Transaction) and each.rolls_back for each in planned)


def test_the_same_seed_gives_the_same_script() -> None:
    """A failure seen once can be seen again."""
    assert operations(a_script()) == operations(a_script())


def test_another_seed_gives_another_script() -> None:
    """A database takes several loads, each with its own rows."""
    assert operations(a_script(seed=1))[-1] != operations(a_script(seed=2))[-1]


def test_transactions_hold_one_to_twenty_changes() -> None:
    """Among them some with many and some with one."""
    sizes = {len(each.statements) for each in operations(a_script()) if isinstance(each, Transaction)}

    assert min(sizes) == 1
    assert 15 < max(sizes) <= TRANSACTION_CHANGES_MAX


def test_every_kind_of_statement_comes_up() -> None:
    """Inserts, updates, deletes, a changed primary key, a row that changes its wedding, a vendor's rating."""
    planned = operations(a_script(changes=20_000))
    spoken = {row.sql for each in planned if isinstance(each, Transaction) for row in each.statements}

    known = {text for name, text in vars(say).items() if name.isupper()}
    assert known - spoken == {say.PHOTO_ADDED}


def test_all_photos_come_and_their_bytes_add_up() -> None:
    """The sizes are drawn, their sum is not."""
    uploads = [each for each in operations(a_script(photos=24)) if isinstance(each, Upload)]

    assert len(uploads) == 24
    assert sum(upload.content.size_bytes for upload in uploads) == 16_000


def test_a_wedding_in_left_alone_gets_nothing_more() -> None:
    """From the moment it is excluded, in the middle of the script."""
    planner, left_alone = Planner(a_script()), set[str]()
    plan = itertools.chain(planner.openings(left_alone), planner.plan(left_alone))
    list(itertools.islice(plan, 100))
    left_alone.add(alone := planner.cast.weddings[0].id)

    rest = list(plan)
    assert rest
    assert all(alone not in (each.wedding if isinstance(each, Upload) else each.weddings) for each in rest)


def test_a_script_whose_weddings_are_all_left_alone_ends() -> None:
    """It ends instead of looking for work for ever."""
    planner = Planner(a_script())
    everybody = {wedding.id for wedding in planner.cast.weddings}

    assert [*planner.openings(everybody), *planner.plan(everybody)] == []


def test_saturday_gives_the_coming_saturdays_weddings_ten_times_their_share() -> None:
    """Within a tenth of chance."""
    planner = Planner(a_script(changes=30_000, photos=0, shape=Shape.SATURDAY))
    list(planner.openings(()))
    counted = collections.Counter(each.weddings[0] for each in planner.plan(()) if each.weddings)  # type: ignore[union-attr]
    saturdays = [counted[each.id] for each in planner.cast.weddings if each.is_coming_saturday]
    others = [counted[each.id] for each in planner.cast.weddings if not each.is_coming_saturday]

    factor = (sum(saturdays) / len(saturdays)) / (sum(others) / len(others))
    assert math.isclose(factor, 10, rel_tol=0.1)


def test_a_row_moves_only_within_a_lane() -> None:
    """Lanes run side by side: a row in two of them could be deleted before it arrives."""
    planner = Planner(a_script(changes=20_000))
    lane_of = {wedding.id: index % 4 for index, wedding in enumerate(planner.cast.weddings)}
    list(planner.openings(()))
    moved = [each for each in planner.plan(()) if isinstance(each, Transaction) and len(each.weddings) == 2]

    assert moved
    assert all(len({lane_of[wedding] for wedding in each.weddings}) == 1 for each in moved)


def test_too_few_changes_for_the_weddings_are_refused() -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match="changes = 100"):
        Planner(a_script(changes=100))
