"""Records of a backup topic that are gone before they were protected: filed, told, and not passed over in silence."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.ledger import Gap, gap_of
from schemas import codec
from schemas.errors import CorruptionError, RefusedError
from schemas.partitioning import partition_of
from schemas.topics import BACKUP_TOPICS
from sinks import gap_rows
from sinks.cut import instant
from sinks.partition_holes import newest_hole
from sinks.window import SortedWindow, sort_window
from streams.records import RecordBatch
from tests.builders import EPOCH, TOPIC_IDS, a_mark, a_record, change_value, frontier_value
from tests.unit.sinks.archive import PARTITIONS, Archive, added, guest, wedding
from tests.unit.sinks.rigs import Rig

PARTITION = ("backup.critical", 0)
SECOND_US = 1_000_000


async def gaps(rig: Rig) -> list[Gap]:
    """Return what the ledger knows."""
    return await rig.catalog.run(gap_rows.known)


async def outrun(rig: Rig) -> None:
    """Protect offsets 0 to 2, lose 3 to 6, and protect 7 and a frontier behind it."""
    before = [a_record(at, change_value(position=at)) for at in range(2)]
    await rig.protect([*before, a_record(2, frontier_value(position=9))])
    await rig.sink.assigned([PARTITION])
    assert await rig.sink.outrun(PARTITION, 3, 7, 9) == 7
    behind = [a_record(7, change_value(position=20)), a_record(8, frontier_value(position=25))]
    await rig.sink.accept(RecordBatch(*PARTITION, behind))
    await rig.sink.drain()
    await rig.sink.stop()


async def test_the_sink_goes_on_behind_a_hole_and_files_it() -> None:
    """Offset, change and gap move in one transaction."""
    rig = Rig()
    await outrun(rig)

    (gap,) = await gaps(rig)
    assert (gap.source, gap.from_lsn, gap.to_lsn, gap.from_epoch) == ("backup.critical/0", 3, 6, EPOCH)
    assert rig.rows("SELECT first, last FROM packs ORDER BY first") == [(0, 2), (7, 8)]
    assert await rig.again().sink.assigned([PARTITION]) == {PARTITION: 9}


async def test_the_platform_s_frontier_stands_still_behind_a_hole() -> None:
    """Also in the sink's next life: its rows mean nothing without the ones before them. A later epoch goes on."""
    rig = Rig()
    await outrun(rig)
    later = 1_781_000_001
    await rig.again().protect([a_record(9, frontier_value(position=30)), a_record(10, frontier_value(epoch=later))])

    found = rig.rows("SELECT epoch, position FROM frontiers WHERE source = 'platform' ORDER BY epoch")
    assert (found[0], [epoch for epoch, _ in found]) == ((EPOCH, 9), [EPOCH, later])


async def test_a_log_of_objects_goes_on_behind_a_hole() -> None:
    """Each of its records stands for itself."""
    window = sort_window([a_record(7, frontier_value(source="objects", position=3))], a_mark(next_offset=3))

    assert [each.position for each in window.frontiers] == [3]


async def test_a_sink_killed_before_its_first_window_behind_a_hole_files_it_later() -> None:
    """Nothing has moved: the next one is told of the same hole."""
    rig = Rig()
    await rig.sink.assigned([PARTITION])
    await rig.sink.outrun(PARTITION, 0, 5, 9)
    await rig.sink.stop()

    assert (await gaps(rig), await rig.again().sink.assigned([PARTITION])) == ([], {PARTITION: 0})


async def test_a_partition_whose_end_was_lost_is_not_read_on() -> None:
    """Its numbers come again for other records: two packs would bear one name."""
    rig = Rig()
    await rig.sink.assigned([PARTITION])

    with pytest.raises(CorruptionError, match="lost records 4 to 8"):
        await rig.sink.outrun(PARTITION, 9, 0, 4)
    await rig.sink.stop()


def test_an_epoch_that_began_after_a_hole_is_whole() -> None:
    """And the hole is what the guard is told of for the one before."""
    window = sort_window([a_record(7, change_value())], a_mark(next_offset=3))

    assert newest_hole(window.gaps, EPOCH) == window.gaps[0]
    assert newest_hole(window.gaps, window.gaps[0].found_us // SECOND_US + 1) is None
    (filed,) = {gap_of(change["payload"]) for change in window_changes(window)}
    assert filed == window.gaps[0]


def window_changes(window: SortedWindow) -> list[dict[str, Any]]:
    """Return the messages a window seals."""
    entries = [each for part in window.parts for events in part.weddings.values() for each in events.entries]
    changes = [codec.decode("BackupChange", each.value) for each in entries]
    return [each for each in changes if each["kind"] == "message"]


async def a_holed_archive() -> tuple[Archive, int]:
    """Lose what w1's guest Bo was routed as; return the archive and when everything before that was committed."""
    archive = Archive()
    archive.commit(added("weddings", wedding("w1")), added("guests", guest(1, "Ana")))
    archive.all_copied()
    whole_us = archive.beat()
    await archive.settle()
    archive.commit(added("guests", guest(2, "Bo")))
    archive.beat()
    await archive.route()
    await lose(archive, partition_of("w1", PARTITIONS))
    archive.beat()
    archive.beat()
    await archive.settle()
    return archive, whole_us


async def lose(archive: Archive, partition: int) -> None:
    """Let retention take what waits in one partition of every lane, but for the last record."""
    for topic in BACKUP_TOPICS:
        mark = await archive.catalog.mark(topic, TOPIC_IDS[topic], partition)
        left = archive.topics.records[topic, partition][-1:]
        assert left[0].offset >= mark.next_offset
        await archive.protector.protect(await archive.protector.prepare(left, mark))


@pytest.mark.parametrize("is_rebuilt", [False, True])
async def test_a_restore_beyond_a_hole_is_refused_with_its_reason(*, is_rebuilt: bool) -> None:
    """Of that epoch nothing beyond is known, whoever reads the stores; before it all is whole."""
    archive, whole_us = await a_holed_archive()
    if is_rebuilt:
        await archive.checkpoints.write()
        await archive.rebuild()
    before = await archive.restorer().state_at("w1", instant(whole_us - SECOND_US))

    assert (before.is_whole, before.warnings) == (True, ())
    with pytest.raises(RefusedError, match="gone from Kafka before they were protected"):
        await archive.restorer().state_at("w1", instant(whole_us + 2 * SECOND_US))
