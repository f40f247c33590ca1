"""A folder whose log lost notices: they are said again, once."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from connectors.folder import FolderConnector, FolderSettings
from connectors.known_objects import SqliteKnownObjects
from connectors.storage import ObjectAction

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from connectors.storage import ObjectNotice


class Log:
    """Takes notices; `hole` is where it lost some."""

    def __init__(self) -> None:
        self.notices: list[ObjectNotice] = []
        self.hole = -1

    async def append(self, notices: Sequence[ObjectNotice]) -> None:
        """See `NoticeLog.append`."""
        self.notices += notices


def a_connector(root: pathlib.Path, log: Log, known: SqliteKnownObjects) -> FolderConnector:
    """Return a connector that calls every file quiet."""
    settings = FolderSettings(bucket="objects", root=root, settle=dt.timedelta())
    return FolderConnector(
        settings, known=known, notices=log, now=lambda: dt.datetime.now(dt.UTC), newest_hole=lambda: log.hole
    )


async def test_what_was_announced_into_a_hole_is_announced_again(tmp_path: pathlib.Path) -> None:
    """Once for each hole, also in the connector's next life; what is gone since is announced as deleted."""
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(b"b")
    log, known = Log(), SqliteKnownObjects(":memory:")
    assert [await a_connector(tmp_path, log, known).sweep() for _ in range(2)] == [2, 0]

    log.hole = 1
    (tmp_path / "b.jpg").unlink()
    assert [await a_connector(tmp_path, log, known).sweep() for _ in range(2)] == [2, 0]
    assert [(each.key, each.action) for each in log.notices[2:]] == [
        ("a.jpg", ObjectAction.PUT),
        ("b.jpg", ObjectAction.DELETE),
    ]
    log.hole = 7
    assert await a_connector(tmp_path, log, known).sweep() == 1
