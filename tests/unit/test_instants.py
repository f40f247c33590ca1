"""What counts as archived twice, and what was sealed twice on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.instants import Instants, read_instants
from sinks.history import History
from tests import builders
from tests.unit.sinks.archive import Archive, added, guest
from tests.unit.sinks.archive import wedding as a_wedding

if TYPE_CHECKING:
    from sinks.receipts import FrameAt


def counted(*again: bool) -> Instants:
    """Return the counts after one change was archived so many times."""
    found = Instants()
    change: dict[str, Any] = builders.a_change(position=7, payload=builders.a_row("public.guests", after={"id": 1}))
    for is_again in again:
        found.take({**change, "kind": "row", "routed_at": 0, "again": is_again}, "critical", 1, 2)
    return found


def test_a_promoted_change_is_not_repeated() -> None:
    """It lies in the lane it waited in and in the one it was moved to, in whichever order they are read."""
    assert (counted(False, True).repeated, counted(True, False).repeated) == (0, 0)


def test_a_change_archived_twice_is_told() -> None:
    """Promoted or not."""
    assert (counted(False, False).repeated, counted(True, False, False).repeated) == (1, 1)
    assert counted(True, False, False).changes == 1


class BusyHistory(History):
    """A history whose sink goes on while somebody reads it."""

    archive: Archive

    async def frames(self, wedding: str, **bounds: Any) -> list[FrameAt]:
        """Seal one more change before telling of the frames."""
        self.archive.commit(added("guests", guest(len(self.archive.topics.records), "came late")))
        await self.archive.settle()
        return await super().frames(wedding, **bounds)


async def test_a_pack_that_comes_while_others_are_read_is_counted_too() -> None:
    """The packs and their frames are two questions to a catalog that is never at rest."""
    archive = Archive()
    archive.commit(added("weddings", a_wedding("w1")))
    await archive.settle()
    history = BusyHistory(
        reader=archive.history().reader, catalog=archive.catalog, keyring=archive.keyring, cpu=archive.cpu
    )
    history.archive = archive

    assert (await read_instants(history, archive.catalog)).changes >= 2
