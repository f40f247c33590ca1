"""What a restore says of gaps elsewhere than in its own source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from connectors.storage import encode_notice
from sinks.cut import instant
from streams.records import RecordBatch
from tests import builders
from tests.builders import a_record
from tests.unit.sinks.archive import EPOCH, Archive, added, guest, wedding

if TYPE_CHECKING:
    from sinks.restore_plan import State

SECOND_US = 1_000_000


@pytest.mark.parametrize("source", ["objects", "application"])
async def test_what_a_log_of_objects_or_events_lost_is_told_by_every_later_restore(source: str) -> None:
    """An earlier one has all there was."""
    before, after = await restored(source)

    assert (before.is_whole, before.warnings) == (True, ())
    assert (after.is_whole, [source in each for each in after.warnings]) == (False, [True])


async def restored(source: str) -> list[State]:
    """Lose three records of a log that is not the platform's; return w1 as it was before, and afterwards."""
    archive, at = Archive(), (f"capture.{source}.e{EPOCH}", 0)
    archive.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Ana")))
    archive.all_copied()
    whole_us = archive.beat()
    await archive.settle()
    first = encode_notice(builders.a_notice(modified_us=whole_us))
    await archive.router.route(RecordBatch(*at, [a_record(0, first)]))
    await archive.router.outrun(at, 1, 4, 9)
    archive.beat()
    archive.beat()
    await archive.settle(with_blobs=False)
    restorer = archive.restorer()
    return [await restorer.state_at("w1", moment) for moment in (instant(whole_us - SECOND_US), None)]
