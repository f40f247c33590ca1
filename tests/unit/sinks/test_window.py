"""Sorting a window: what is new, whose it is, where it may lie."""

from __future__ import annotations

from connectors.storage import encode_notice
from schemas import codec
from schemas.backup import UNREAD, PlacementClass
from sinks.receipts import FrontierMark
from sinks.window import SortedWindow, sort_window
from tests import builders
from tests.builders import EPOCH, a_mark, a_record, change_value, frontier_value


def sorted_window(*values: bytes | None, **mark: object) -> SortedWindow:
    """Sort records at offsets from 0 on."""
    return sort_window([a_record(at, value) for at, value in enumerate(values)], a_mark(**mark))  # type: ignore[arg-type]


def kept(window: SortedWindow) -> list[int]:
    """Return the offsets that will be archived."""
    return sorted(
        entry.offset for part in window.parts for events in part.weddings.values() for entry in events.entries
    )


def test_a_change_that_comes_again_is_dropped() -> None:
    """Beyond the frontier it is known by position and wedding."""
    window = sorted_window(change_value(position=7), change_value(position=7), change_value(position=7, wedding="w2"))

    assert (kept(window), window.repeated) == ([0, 2], 1)
    assert window.recent == (("platform", EPOCH, ((7, "w1"), (7, "w2"))),)


def test_what_lies_before_the_frontier_came_before_it() -> None:
    """And need not be remembered one by one any more."""
    window = sorted_window(change_value(position=7), frontier_value(position=9), change_value(position=9))

    assert (kept(window), window.repeated, window.recent) == ([0], 1, ())


def test_a_mark_remembers_over_windows() -> None:
    """What came beyond the frontier in an earlier one is known in the next."""
    earlier = sorted_window(change_value(position=7))
    window = sorted_window(change_value(position=7), change_value(position=6), recent=earlier.recent)

    assert kept(window) == [1]


def test_another_epoch_counts_for_itself() -> None:
    """Its positions are others."""
    frontier = FrontierMark(source="platform", epoch=EPOCH, position=99, lsn=1, committed_us=1)

    assert kept(sorted_window(change_value(epoch=EPOCH + 1), frontiers=(frontier,))) == [0]


def test_a_frontier_never_goes_back() -> None:
    """A late one of a dead router says nothing new."""
    window = sorted_window(frontier_value(position=9), frontier_value(position=4))

    assert [each.position for each in window.frontiers] == [9]


def test_what_is_sealed_again_is_no_repetition() -> None:
    """Its position is old on purpose."""
    assert kept(sorted_window(frontier_value(position=9), change_value(position=7, again=True))) == [1]


def test_residency_parts_a_window() -> None:
    """What is not known is kept in the EU."""
    window = sorted_window(
        change_value(position=1, wedding="fr", residency="eu"),
        change_value(position=2, wedding="us", residency="anywhere"),
        change_value(position=3, wedding="new", residency="unknown"),
    )

    assert {part.placement: sorted(part.weddings) for part in window.parts} == {
        PlacementClass.EU: ["fr", "new"],
        PlacementClass.ANYWHERE: ["us"],
    }


def test_what_cannot_be_read_is_kept_as_a_dead_letter() -> None:
    """As it came; the window goes on. A put whose notice says nothing would stop it as well."""
    window = sorted_window(b"garbage", None, change_value(), change_value(position=8, kind="object_put"))
    letters = [
        codec.decode("DeadLetter", codec.decode("BackupChange", entry.value)["payload"])
        for entry in window.parts[0].weddings[UNREAD].entries
    ]

    assert (window.undecodable, kept(window), len(window.objects)) == (3, [0, 1, 2, 3], 0)
    assert [each["value"] for each in letters][:2] == [b"garbage", None]
    assert {(each["origin"], each["partition"]) for each in letters} == {("backup.critical@id-critical", 0)}


def test_an_object_that_was_put_is_claimed() -> None:
    """One that was deleted is only told."""
    notice = encode_notice(builders.a_notice())
    window = sorted_window(
        change_value(position=1, kind="object_put", payload=notice), change_value(position=2, kind="object_delete")
    )

    assert [each.change["position"] for each in window.objects] == [1]


def test_a_window_knows_its_range_though_nothing_is_kept() -> None:
    """The offset moves over frontiers and repetitions too."""
    window = sorted_window(frontier_value(), builders.frontier_value(position=3))

    assert (window.first, window.last, window.parts) == (0, 1, ())
