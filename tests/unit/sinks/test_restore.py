"""Restores from real archives: rows and objects as they were, and never called whole when they are not."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING, Any

import pytest

from schemas.backup import PLATFORM
from schemas.errors import CorruptionError, RefusedError, TransientError
from sinks.cut import instant
from sinks.keyring import keyring_prefix
from sinks.restore_report import Status
from sinks.stores.memory import MemoryStore
from sinks.targets import WriteReport
from tests import builders
from tests.fakes import BrokenStore
from tests.unit.sinks.archive import (
    EPOCH,
    NOON_US,
    Archive,
    added,
    changed,
    guest,
    removed,
    truncated,
    wedding,
)

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping, Sequence

    from sinks.restore_plan import State
    from sinks.restore_report import Progress, RestoreResult

SECOND = dt.timedelta(seconds=1)


class RecordingTarget:
    """A row target that remembers what it was given."""

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}

    async def write(self, tables: Mapping[str, Sequence[Mapping[str, Any]]], *, restore_id: str) -> WriteReport:
        """See `RowTarget`."""
        self.tables = dict(tables)
        return WriteReport(restore_id=restore_id, rows={name: len(rows) for name, rows in tables.items()})


async def restore(archive: Archive, at: dt.datetime | None, folder: pathlib.Path | None, **more: Any) -> RestoreResult:
    """Restore the wedding w1."""
    given: dict[str, Any] = {"rows": lambda _state: RecordingTarget(), "restore_id": "r1"}
    return await archive.restorer().restore("w1", at, folder=folder, **{**given, **more})


def files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return every file below a folder."""
    return [each for each in folder.rglob("*") if each.is_file()]


def names(state: State) -> list[str]:
    """Return the names of the guests."""
    return [row["name"] for row in state.tables().get("public.guests", [])]


@pytest.fixture
async def archive() -> Archive:
    """Return an archive of two weddings, one guest each."""
    archive = Archive()
    archive.commit(added("weddings", wedding("w1")), added("weddings", wedding("w2", "US")))
    archive.commit(added("guests", guest(1, "Ann")), added("guests", guest(2, "Bob", "w2")))
    archive.beat()
    await archive.settle()
    return archive


async def test_a_restore_brings_back_what_was_before_the_harm(archive: Archive) -> None:
    """A guest deleted after T is there again as of T."""
    harm_us = archive.commit(removed("guests", guest(1, "Ann")))
    archive.beat()
    await archive.settle()

    before = await archive.restorer().state_at("w1", instant(harm_us - 1))
    after = await archive.restorer().state_at("w1", instant(harm_us))

    assert (names(before), names(after)) == (["Ann"], [])


async def test_another_weddings_rows_stay_out(archive: Archive) -> None:
    """A restore of one wedding does not hold the other's guest."""
    assert names(await archive.restorer().state_at("w2", None)) == ["Bob"]


async def test_everything_is_everything(archive: Archive) -> None:
    """Without a wedding all of them are restored, and the ENDs are audited exactly."""
    archive.commit(added("vendors", {"id": 5, "name": "Band"}))
    await archive.settle()

    state = await archive.restorer().state_at(None, None)

    assert names(state) == ["Ann", "Bob"]
    assert sorted(state.rows) == ["public.guests", "public.vendors", "public.weddings"]
    assert state.audit.is_exact
    assert state.audit.is_passed


async def test_a_truncate_kills_what_lies_before_it(archive: Archive) -> None:
    """TRUNCATE lies in the platform's frames, and every restore reads them."""
    archive.commit(truncated("guests"))
    archive.commit(added("guests", guest(3, "Cleo")))
    await archive.settle()

    assert names(await archive.restorer().state_at("w1", None)) == ["Cleo"]


async def test_a_row_that_moved_away_is_gone_here_and_present_there(archive: Archive) -> None:
    """It lies in both weddings' frames, and only its last image says whose it is."""
    archive.commit(changed("guests", guest(1, "Ann"), guest(1, "Ann", "w2")))
    await archive.settle()

    assert names(await archive.restorer().state_at("w1", None)) == []
    assert names(await archive.restorer().state_at("w2", None)) == ["Ann", "Bob"]


async def test_a_family_that_moved_brings_its_children(archive: Archive) -> None:
    """The meals of a guest who moved lie in the history of the wedding he came from."""
    archive.commit(added("meals", {"id": 9, "guest_id": 1, "dish": "soup"}))
    archive.commit(changed("guests", guest(1, "Ann"), guest(1, "Ann", "w2")))
    archive.commit(added("meals", {"id": 10, "guest_id": 1, "dish": "cake"}))
    await archive.settle()

    there = await archive.restorer().state_at("w2", None)

    assert [row["dish"] for row in there.tables()["public.meals"]] == ["cake", "soup"]
    assert "public.meals" not in (await archive.restorer().state_at("w1", None)).rows


async def test_a_row_that_left_and_died_elsewhere_does_not_come_back_with_its_parent(archive: Archive) -> None:
    """Its death is written only in the other wedding's history, which is read as well."""
    soup = {"id": 9, "guest_id": 1, "dish": "soup"}
    archive.commit(added("meals", soup))
    archive.commit(changed("meals", soup, {**soup, "guest_id": 2}))
    archive.commit(removed("meals", {**soup, "guest_id": 2}))
    archive.commit(changed("guests", guest(2, "Bob", "w2"), guest(2, "Bob", "w1")))
    await archive.settle()

    state = await archive.restorer().state_at("w1", None)

    assert names(state) == ["Ann", "Bob"]
    assert "public.meals" not in state.rows


async def test_a_child_that_came_before_its_parent_is_restored(archive: Archive) -> None:
    """It went under quarantine first and was sealed again; that is the same change, at the same position."""
    archive.commit(added("meals", {"id": 9, "guest_id": 4, "dish": "soup"}))
    archive.commit(added("guests", guest(4, "Dan")))
    await archive.settle()

    state = await archive.restorer().state_at("w1", None)

    assert [row["dish"] for row in state.tables()["public.meals"]] == ["soup"]


async def test_a_child_dies_with_its_parent(archive: Archive) -> None:
    """A meal whose guest is deleted without it (a lost cascade) belongs to nobody."""
    archive.commit(added("meals", {"id": 9, "guest_id": 1, "dish": "soup"}))
    archive.commit(removed("guests", guest(1, "Ann")))
    await archive.settle()

    assert "public.meals" not in (await archive.restorer().state_at("w1", None)).rows


async def test_beyond_the_frontier_is_refused_with_the_instant(archive: Archive) -> None:
    """What nobody has protected yet cannot be promised; the instant in the message can."""
    until = instant(NOON_US + 3_000_000) - dt.timedelta(microseconds=1)

    with pytest.raises(RefusedError, match=f"restorable up to {until.isoformat()}".replace("+", r"\+")):
        await archive.restorer().cut("w1", instant(NOON_US + 60_000_000))
    assert (await archive.restorer().cut("w1", until)).committed_us == NOON_US + 2_000_000


async def test_before_the_archive_is_refused(archive: Archive) -> None:
    """An instant from before the capture began is not restorable."""
    with pytest.raises(RefusedError, match="the archive begins"):
        await archive.restorer().cut("w1", instant(EPOCH * 1_000_000 - 1))


async def test_a_partition_that_lags_holds_back_the_cut(archive: Archive) -> None:
    """What one of the wedding's partitions has not protected yet must not be missing from a restore."""
    archive.commit(changed("guests", guest(1, "Ann"), guest(1, "Ann B.")))
    await archive.route()
    full, archive.topics.records = archive.topics.records, {}
    archive.topics.records = {place: log for place, log in full.items() if place[0] != "backup.standard"}
    await archive.protect()

    assert names(await archive.restorer().state_at("w1", None)) == ["Ann"]


async def test_an_unknown_wedding_is_refused(archive: Archive) -> None:
    """An empty restore of a misspelt name would look like a success."""
    with pytest.raises(RefusedError, match="no backup of wedding"):
        await archive.restorer().state_at("w7", None)


async def test_rows_of_a_first_copy_count_up_to_the_next_commit(archive: Archive) -> None:
    """They lie outside transactions, behind the last commit that counts."""
    archive.read("public.guests", guest(8, "Old"))
    archive.copied("public.guests")
    archive.beat()
    await archive.settle()

    assert names(await archive.restorer().state_at("w1", None)) == ["Ann", "Old"]


async def test_a_cut_before_a_tables_first_copy_is_refused(archive: Archive) -> None:
    """Its older rows were not there yet, so the restore would lack them; from that instant on it has them."""
    before_us = archive.beat()
    archive.read("public.guests", guest(8, "Old"))
    complete_us = archive.commit(added("tasks", {"id": 1, "wedding_id": "w1", "due": None}))
    archive.copied("public.guests")
    archive.beat()
    await archive.settle()

    with pytest.raises(RefusedError, match=r"public\.guests is restorable from"):
        await archive.restorer().state_at("w1", instant(before_us))
    assert names(await archive.restorer().state_at("w1", instant(complete_us))) == ["Ann", "Old"]


async def test_a_first_copy_is_found_however_long_after_the_cuts_commit_it_was_read(archive: Archive) -> None:
    """Only heartbeats lie between: it counts, although its frames are much later than T."""
    quiet_us = archive.beat()
    for _ in range(30):
        archive.beat()
    archive.read("public.guests", guest(8, "Old"))
    archive.copied("public.guests")
    archive.commit(added("guests", guest(9, "New")))
    archive.beat()
    await archive.settle()

    assert names(await archive.restorer().state_at("w1", instant(quiet_us))) == ["Ann", "Old"]


async def test_a_failed_copy_does_not_count(archive: Archive) -> None:
    """Debezium says `completed` of a misspelt table too; the tables without a copy are named."""
    archive.copied("public.guests", status="UNKNOWN_SCHEMA")
    await archive.settle()

    warnings = (await archive.restorer().state_at("w1", None)).warnings

    assert any("never copied in this epoch: public.guests" in each for each in warnings)


async def test_the_schema_of_that_time_comes_along(archive: Archive) -> None:
    """The last DDL message at or below the cut creates an empty target's schema."""
    archive.capture(f"capture.platform.e{EPOCH}", *_schema_message())
    await archive.settle()

    assert (await archive.restorer().state_at("w1", None)).ddl == "hello"


def _schema_message() -> list[bytes]:
    about: dict[str, Any] = {"transaction": 900, "committed_us": NOON_US + 9_000_000}
    message = builders.a_message("wedsync.schema", order=1, lsn=9050, after_lsn=1300, **about)
    end = builders.an_end({"garbage": 1}, lsn=9100, **about)
    return [message, end]


async def test_photos_are_restored_byte_for_byte(archive: Archive, tmp_path: pathlib.Path) -> None:
    """Content of several chunks, and the store's own instant as the file's."""
    archive.all_copied()
    content = random.Random(1).randbytes(3 << 20)
    archive.photo("weddings/w1/a/cake.jpg", content, at_us=NOON_US)
    await archive.settle()

    result = await restore(archive, None, tmp_path / "photos")

    path = tmp_path / "photos/weddings/w1/a/cake.jpg"
    assert path.read_bytes() == content
    assert path.stat().st_mtime_ns == NOON_US * 1000
    assert (result.status, result.objects, result.bytes) == (Status.WHOLE, 1, len(content))
    assert not list((tmp_path / "photos").rglob("*.wedsync-part"))


async def test_an_empty_photo_is_an_empty_file(archive: Archive, tmp_path: pathlib.Path) -> None:
    """No chunk at all is a content too."""
    archive.all_copied()
    archive.photo("weddings/w1/empty.jpg", b"")
    await archive.settle()

    result = await restore(archive, None, tmp_path / "photos")

    assert (result.status, result.objects) == (Status.WHOLE, 1)
    assert (tmp_path / "photos/weddings/w1/empty.jpg").read_bytes() == b""


async def test_an_overwritten_photo_comes_back_as_of_its_time(archive: Archive, tmp_path: pathlib.Path) -> None:
    """The newest version at or before T counts, and a deleted one is not there."""
    archive.photo("weddings/w1/cake.jpg", b"good", version="1", at_us=NOON_US)
    archive.photo("weddings/w1/hat.jpg", b"hat", version="1", at_us=NOON_US)
    archive.photo("weddings/w1/cake.jpg", b"harm", version="2", at_us=NOON_US + 5_000_000)
    archive.photo("weddings/w1/hat.jpg", b"", version="", at_us=NOON_US + 5_000_000)
    archive.beat()
    await archive.settle()

    await restore(archive, instant(NOON_US + 2_500_000), tmp_path / "then")
    await restore(archive, None, tmp_path / "now")

    found = [sorted(each.read_bytes() for each in (tmp_path / name).rglob("*.jpg")) for name in ("then", "now")]
    assert found == [[b"good", b"hat"], [b"harm"]]


@pytest.mark.parametrize("content", [None, b"owed"])
async def test_a_photo_without_bytes_makes_a_restore_partial(
    archive: Archive, tmp_path: pathlib.Path, content: bytes | None
) -> None:
    """Lost or still owed: it is listed, and nobody calls the restore whole."""
    archive.photo("weddings/w1/cake.jpg", content)
    await archive.settle(with_blobs=content is None)

    result = await restore(archive, None, tmp_path / "photos")

    assert result.status is Status.PARTIAL
    assert [each.key for each in result.missing] == ["weddings/w1/cake.jpg"]


@pytest.mark.parametrize("key", ["weddings/w1/../../evil", "weddings/w1//x", "weddings/w1/a\\b", "weddings/w1/a\x00"])
async def test_a_key_that_leads_out_is_refused(archive: Archive, tmp_path: pathlib.Path, key: str) -> None:
    """It is listed as missing; nothing is written anywhere else."""
    archive.photo(key, b"evil")
    await archive.settle()

    result = await restore(archive, None, tmp_path / "deep/photos")

    assert [each.key for each in result.missing] == [key]
    assert files_below(tmp_path) == []


async def test_a_link_that_leads_out_is_not_followed(archive: Archive, tmp_path: pathlib.Path) -> None:
    """A folder below the target may be a link somebody has put there."""
    archive.photo("weddings/w1/cake.jpg", b"cake")
    await archive.settle()
    (tmp_path / "out").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/weddings").symlink_to(tmp_path / "out")

    result = await restore(archive, None, tmp_path / "photos", overwrite=True)

    assert len(result.missing) == 1
    assert files_below(tmp_path / "out") == []


async def test_a_folder_that_holds_something_is_refused(archive: Archive, tmp_path: pathlib.Path) -> None:
    """Nothing that exists is overwritten unless asked."""
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(RefusedError, match="holds something"):
        await restore(archive, None, tmp_path)


async def test_damaged_copies_are_passed_over(archive: Archive) -> None:
    """As long as one copy of each pack is good, the restore is the same, and the damage is told."""
    archive.all_copied()
    await archive.settle()
    for name in archive.names("log/"):
        for store in archive.holders(name)[1:]:
            archive.damage(store, name, at=60)

    result = await restore(archive, None, None)

    assert (result.status, result.rows["public.guests"]) == (Status.WHOLE, 1)
    assert result.damages
    assert any("verify --repair" in each for each in result.warnings)


async def test_a_change_damaged_everywhere_is_an_error(archive: Archive) -> None:
    """A history with a hole must not be called a restore."""
    for name in archive.names("log/"):
        for store in archive.holders(name):
            archive.damage(store, name, at=60)

    with pytest.raises(CorruptionError, match="no good copy"):
        await archive.restorer().state_at("w1", None)


async def test_stores_that_are_down_are_passed_over(archive: Archive) -> None:
    """Any store that has a good copy is enough; with none left it is a matter of waiting, not of corruption."""
    away = {name: BrokenStore(store) for name, store in archive.stores.items()}
    archive.stores.update(away)  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        await archive.restorer().state_at("w1", None)
    for name in ("eu-a", "eu-b", "eu-c"):
        away[name].is_down = False

    assert names(await archive.restorer().state_at("w1", None)) == ["Ann"]


async def test_the_platforms_history_must_be_readable(archive: Archive) -> None:
    """Without the ENDs and TRUNCATEs no cut is known."""
    archive.stores.update({name: MemoryStore() for name in archive.stores})
    archive.use(archive.catalog)

    with pytest.raises(CorruptionError):
        await archive.restorer().state_at(PLATFORM, None)


async def test_a_plan_writes_nothing_and_knows_it_all(archive: Archive, tmp_path: pathlib.Path) -> None:
    """It counts the same rows and bytes as the restore brings."""
    archive.photo("weddings/w1/cake.jpg", b"cake")
    await archive.settle()

    plan = await archive.restorer().plan("w1", None)
    result = await restore(archive, None, tmp_path / "photos")

    assert (dict(plan.rows), plan.objects, plan.bytes) == (dict(result.rows), result.objects, result.bytes)


async def test_progress_runs_forward_to_the_very_end(archive: Archive, tmp_path: pathlib.Path) -> None:
    """It never goes back, and says 100 only when all is done."""
    archive.photo("weddings/w1/cake.jpg", b"cake")
    await archive.settle()
    heard: list[Progress] = []

    restorer = archive.restorer(progress=heard.append)
    await restorer.restore("w1", None, restore_id="r", rows=None, folder=tmp_path / "photos")

    percents = [each.percent for each in heard]
    assert percents == sorted(percents)
    assert (percents[-1], percents[-2] < 100) == (100.0, True)


async def test_an_instant_needs_a_zone(archive: Archive) -> None:
    """Nobody knows which instant is meant by a naive time."""
    with pytest.raises(RefusedError, match="no time zone"):
        await archive.restorer().cut("w1", dt.datetime(2026, 6, 10, 12))  # noqa: DTZ001 - the point


async def test_an_erased_wedding_does_not_stop_the_rest(archive: Archive) -> None:
    """Its changes cannot be opened any more; everything else is restored, and it is said."""
    for store in archive.stores.values():
        for name in [each for each in store.objects if each.startswith("keyring/")]:
            if _is_key_of("w2", name):
                del store.objects[name]
    archive.use(archive.catalog)

    state = await archive.restorer().state_at(None, None)

    assert names(state) == ["Ann"]
    assert any("no key any more" in each for each in state.warnings)
    assert not state.is_whole


def _is_key_of(name: str, object_name: str) -> bool:
    return object_name.startswith(keyring_prefix(name))
