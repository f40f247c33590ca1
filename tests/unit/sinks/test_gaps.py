"""The gap ledger: filed in the log, found again in the stores, and told by every restore it touches."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from connectors import ledger
from schemas.errors import RefusedError
from sinks import gap_rows
from sinks.cut import instant
from tests import builders
from tests.unit.sinks.archive import EPOCH, NOON_US, Archive, added, guest, wedding

if TYPE_CHECKING:
    from connectors.ledger import Gap

SECOND_US = 1_000_000
NEW_EPOCH = NOON_US // SECOND_US + 1000
AGAIN_US = NEW_EPOCH * SECOND_US + SECOND_US
TABLES = ("weddings", "guests", "tasks", "meals", "notes", "vendors")


@pytest_asyncio.fixture
async def archive() -> Archive:
    """Two epochs: in the first Ana and Bo are guests, in the gap Bo goes and Cy comes, then all is copied."""
    made = Archive()
    made.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Ana")), added("guests", guest(2, "Bo")))
    copied(made, EPOCH)
    await made.settle()
    filed = builders.a_message(ledger.GAP_PREFIX, ledger.encode_gap(a_gap()), lsn=1_100)
    made.capture(f"capture.platform.e{NEW_EPOCH}", filed)
    for row in ({"table": "public.weddings", **wedding("w1")}, guest(1, "Ana"), guest(3, "Cy")):
        made.read(row.pop("table", "public.guests"), row, epoch=NEW_EPOCH)
    copied(made, NEW_EPOCH)
    made.commit(("wedsync.heartbeat", None, {"id": 1}), at_us=AGAIN_US, epoch=NEW_EPOCH)
    made.commit(("wedsync.heartbeat", None, {"id": 1}), at_us=AGAIN_US + SECOND_US, epoch=NEW_EPOCH)
    await made.settle()
    return made


def a_gap() -> Gap:
    """Return the gap between the two epochs of these tests."""
    return builders.a_gap(to_epoch=NEW_EPOCH, from_us=NOON_US + SECOND_US, to_us=NEW_EPOCH * SECOND_US + 500_000)


def copied(archive: Archive, epoch: int, **about: Any) -> None:
    """Let every table's copy be complete."""
    for table in TABLES:
        archive.copied(f"public.{table}", epoch=epoch, **about)


async def ledger_of(archive: Archive) -> list[Gap]:
    """Return the gaps the catalog knows."""
    return await archive.catalog.run(gap_rows.known)


async def guests(archive: Archive, at_us: int) -> tuple[list[str], tuple[str, ...], bool]:
    """Return the guests of w1 at an instant, and what the restore says of itself."""
    state = await archive.restorer().state_at("w1", instant(at_us))
    return [row["name"] for row in state.tables().get("public.guests", [])], state.warnings, state.is_whole


async def test_a_gap_is_in_the_ledger_and_again_after_a_rebuild(archive: Archive) -> None:
    """The stores alone know it."""
    assert await ledger_of(archive) == [a_gap()]
    await archive.rebuild()
    assert await ledger_of(archive) == [a_gap()]


async def test_what_was_deleted_in_a_gap_is_gone_after_it(archive: Archive) -> None:
    """A full copy says what there is; the report names the gap, and the state is whole."""
    names, warnings, is_whole = await guests(archive, AGAIN_US)

    assert (names, is_whole) == (["Ana", "Cy"], True)
    assert any("the slot was dropped" in each for each in warnings)


async def test_an_instant_inside_a_gap_is_refused_with_its_reason(archive: Archive) -> None:
    """Nobody recorded what there was."""
    with pytest.raises(RefusedError, match="the slot was dropped"):
        await guests(archive, NOON_US + 100 * SECOND_US)


async def test_an_instant_before_a_gap_is_whole(archive: Archive) -> None:
    """What was captured stays what it was."""
    names, warnings, is_whole = await guests(archive, NOON_US + SECOND_US)

    assert (names, warnings, is_whole) == (["Ana", "Bo"], (), True)


async def test_a_copy_of_some_rows_says_nothing_of_the_others() -> None:
    """Its end is not the end of a table's copy: nothing is closed, and nothing is called complete."""
    made = Archive()
    made.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Ana")))
    copied(made, EPOCH, copy="part-1")
    made.beat()
    made.beat()
    await made.settle()
    state = await made.restorer().state_at("w1", builders.NOON + dt.timedelta(seconds=2))

    assert [row["name"] for row in state.tables()["public.guests"]] == ["Ana"]
    assert any("never copied" in each for each in state.warnings)


async def test_sequences_are_those_told_before_the_cut() -> None:
    """The newest telling at or before it counts; a later one does not."""
    made = Archive()
    topic = f"capture.platform.e{EPOCH}"
    made.commit(added("weddings", wedding("w1")))
    for value, lsn in ((7, 1_110), (9, 1_120)):
        made.capture(topic, builders.a_message(ledger.SEQUENCES_PREFIX, f'{{"public.s": {value}}}', lsn=lsn))
    await made.settle()
    state = await made.restorer().state_at("w1", None)

    assert state.sequences == {"public.s": 9}
