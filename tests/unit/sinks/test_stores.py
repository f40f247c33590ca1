"""What a folder as a store does beyond the contract; and the breaker."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import blake3
import pytest

from schemas.errors import CorruptionError, TransientError
from sinks.stores import filesystem
from sinks.stores.filesystem import FilesystemStore
from sinks.stores.health import FAILURES_TO_OPEN, StoreHealth
from tests.builders import NOON
from tests.fakes import InlineExecutor

if TYPE_CHECKING:
    import pathlib

CONTENT = b"sealed"
DIGEST = blake3.blake3(CONTENT).digest()
OPEN_FOR = dt.timedelta(seconds=5)


def a_store(folder: pathlib.Path) -> FilesystemStore:
    """Return a store below a folder."""
    return FilesystemStore(folder, executor=InlineExecutor())


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a/.tmp", "a/b/", "a\\b", "ä"]
)
async def test_no_name_leads_out_of_the_folder(name: str, tmp_path: pathlib.Path) -> None:
    """Nor to a temporary file."""
    with pytest.raises(CorruptionError, match="not an object name"):
        await a_store(tmp_path).create(name, CONTENT, digest=DIGEST)


async def test_a_missing_folder_means_that_the_disk_is_not_mounted(tmp_path: pathlib.Path) -> None:
    """It is an outage, never an empty store: a sweep would think that everything was lost."""
    store = a_store(tmp_path / "unmounted")

    for call in (store.read("a"), store.size_bytes("a"), store.create("a", CONTENT, digest=DIGEST)):
        with pytest.raises(TransientError):
            await call
    with pytest.raises(TransientError):
        [name async for name in store.names("")]


async def test_an_attempt_that_died_is_not_listed(tmp_path: pathlib.Path) -> None:
    """A temporary file has no name of ours."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / ".0123.tmp").write_bytes(b"half")

    assert [name async for name in a_store(tmp_path).names("")] == []


async def test_a_full_disk_leaves_nothing_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an outage of this store."""

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filesystem, "_write_durably", full)
    with pytest.raises(TransientError, match="No space left"):
        await a_store(tmp_path).create("log/a", CONTENT, digest=DIGEST)
    assert not any((tmp_path / "log").iterdir())


async def test_objects_are_nobody_else_s_business(tmp_path: pathlib.Path) -> None:
    """Files are readable by their owner only."""
    await a_store(tmp_path).create("log/a", CONTENT, digest=DIGEST)

    assert (tmp_path / "log" / "a").stat().st_mode & 0o777 == 0o600


def test_three_failures_in_a_row_open_the_breaker_for_a_while() -> None:
    """Then the store may be tried again."""
    health = StoreHealth(retry_after=OPEN_FOR)
    for _ in range(FAILURES_TO_OPEN):
        assert health.down(now=NOON) == frozenset()
        health.failed("a", now=NOON)

    assert health.down(now=NOON) == frozenset({"a"})
    assert health.down(now=NOON + OPEN_FOR) == frozenset()


def test_one_failure_while_half_open_opens_it_again() -> None:
    """One call may try, not three."""
    health = StoreHealth(retry_after=OPEN_FOR)
    for _ in range(FAILURES_TO_OPEN):
        health.failed("a", now=NOON)
    health.failed("a", now=NOON + OPEN_FOR)

    assert health.down(now=NOON + OPEN_FOR) == frozenset({"a"})


def test_a_success_closes_it() -> None:
    """What failed before counts no more."""
    health = StoreHealth(retry_after=OPEN_FOR)
    for _ in range(FAILURES_TO_OPEN):
        health.failed("a", now=NOON)
    health.succeeded("a")

    assert (health.down(now=NOON), health.suspects()) == (frozenset(), frozenset())
