"""Restored states against the model: the real restore code, at random commits, over damaged and absent copies."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors.storage import ObjectAction
from schemas.errors import RefusedError
from sinks.catalog import Catalog
from sinks.history import History
from sinks.key_wrapping import MasterKeyWrapper
from sinks.keyring import Keyring
from sinks.pack_reader import PackReader
from sinks.rebuild import rebuild
from sinks.replicate import Replicator
from sinks.stores.health import StoreHealth
from tests.builders import a_mapping
from tests.fakes import InlineExecutor
from tests.simulation.archive import Archive, ViolationError
from tests.simulation.platform import OWN_COLUMN, PARENT, WEDDINGS
from tests.simulation.worlds import MASTER_KEY, SITES, build_sink, memory_engine

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sinks.restore_plan import State
    from tests.simulation.platform import Commit, Row
    from tests.simulation.worlds import World

Rows = dict[str, dict[bytes, Any]]

_INSTANTS: Final = 2
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_RULED: Final = (*OWN_COLUMN, *PARENT, "public.vendors")


class Restores:
    """Restores from one catalog of a world."""

    def __init__(self, world: World, engine: sa.Engine) -> None:
        self._world = world
        self._commits = [each for each in world.platform.commits if not each.is_ours]
        cpu = InlineExecutor()
        catalog = Catalog(engine, executor=cpu)
        replicator = Replicator(
            stores=world.held, sites=SITES, health=StoreHealth(retry_after=dt.timedelta(seconds=2)), now=world.now
        )
        wrapper = MasterKeyWrapper(MASTER_KEY)
        keyring = Keyring(catalog=catalog, replicator=replicator, wrapper=wrapper, randomness=world.rng.randbytes)
        reader = PackReader(stores=world.held, cpu=cpu)
        self._history = History(catalog=catalog, keyring=keyring, reader=reader, cpu=cpu)
        self.restorer = world.parts.restorer(
            history=self._history,
            mapping=a_mapping(),
            files=cpu,
            seconds=world.loop.time,
            partitions=world.partitions,
        )

    async def check_some(self) -> None:
        """Check restores of weddings, and of everything, as of random commits and of the latest."""
        rng = self._world.rng
        for _ in range(_INSTANTS):
            at_us = rng.choice(self._commits).committed_us - rng.choice([0, 0, 1])
            await self.check(at_us, rng.choice([*WEDDINGS, None]))
        await self.check(None, None)

    async def check(self, at_us: int | None, wedding: str | None) -> None:
        """Check one restore; an instant of None is the latest."""
        at = None if at_us is None else _EPOCH + dt.timedelta(microseconds=at_us)
        expected, is_early = self._cut(at_us)
        try:
            state = await self.restorer.state_at(wedding, at)
        except RefusedError as error:
            if not is_early:
                self._check_refusal(wedding, error)
            return
        if is_early:
            raise ViolationError(f"I5: {wedding} as of {at} was not refused, though the first copy was not complete")
        if state.cut.lsn != expected.lsn:
            raise ViolationError(f"I5: restore as of {at} cuts at LSN {state.cut.lsn}, not {expected.lsn}")
        _compare(state, _everything(expected) if wedding is None else _of_wedding(expected, wedding), wedding)

    def _cut(self, at_us: int | None) -> tuple[Commit, bool]:
        """Return the commit before the first, in the order of the log, that is later than the instant.

        Rows that a table's copy read between the two have been seen as well. Say whether the first
        copy became complete only later: then nobody can know what was there.
        """
        commits = [self._world.platform.beginning, *self._commits]
        later = next((each for each in self._commits if at_us is not None and each.committed_us > at_us), None)
        last = commits[commits.index(later) - 1] if later is not None else commits[-1]
        until = later.last if later is not None else len(self._world.platform.log)
        read = {row for index, row in self._world.platform.reads if index < until}
        completions = self._world.platform.completions
        is_early = bool(completions) and completions[0] >= until
        return dataclasses.replace(last, unseen=last.unseen - read), is_early

    def _check_refusal(self, wedding: str | None, error: RefusedError) -> None:
        """A wedding may be unknown, when nothing of it was ever captured; anything else must be restorable."""
        sealed = {name for entry in self._world.platform.log for name, _ in entry.seals}
        sealed |= {name for _, name in self._world.folder.announced.values()}
        if wedding is None or wedding in sealed:
            raise ViolationError(f"I5: a restore of {wedding} was refused: {error}") from error

    async def check_objects(self) -> None:
        """Restore the latest photos of everything into a folder, and compare the bytes."""
        with tempfile.TemporaryDirectory(prefix="wedsync-photos-") as name:
            result = await self.restorer.restore(
                None, None, restore_id="r", rows=None, folder=pathlib.Path(name), overwrite=True
            )
            found = _files(pathlib.Path(name))
        lost = {each.key for each in result.missing}
        wanted = self._photos()
        if found.keys() | lost != wanted.keys() or any(found[key] != wanted[key] for key in found):
            raise ViolationError(f"I5: photos {sorted(found)} and lost {sorted(lost)}, not {sorted(wanted)}")

    def _photos(self) -> dict[str, bytes]:
        """Return what lies in the folder as far as it was announced: the newest notice of each key counts."""
        newest: dict[str, tuple[int, int]] = {}
        for offset, (notice, _) in self._world.folder.announced.items():
            newest[notice.key] = max(newest.get(notice.key, (0, 0)), (notice.modified_us, offset))
        notices = [self._world.folder.announced[offset][0] for _, offset in newest.values()]
        versions = self._world.folder.versions
        return {
            each.key: versions[each.key, each.version].content for each in notices if each.action is ObjectAction.PUT
        }


async def check_restores(world: World) -> None:
    """Check restores from the catalog, from damaged stores, and from a catalog that was rebuilt."""
    if all(each.is_ours for each in world.platform.commits):
        return
    await _write_checkpoint(world)
    _rot(world)
    restores = Restores(world, world.engine)
    await restores.check_some()
    if world.rng.random() < 0.2 and world.folder.announced:
        await restores.check_objects()
    if world.rng.random() < 0.3:
        await _check_rebuilt(world)


async def _write_checkpoint(world: World) -> None:
    life = world.new_life("checkpoint", {"": 1})
    life.dies_at = None
    await build_sink(world, life).checkpoints.write()


async def _check_rebuilt(world: World) -> None:
    engine = memory_engine()
    try:
        await rebuild(
            catalog=Catalog(engine, executor=InlineExecutor()),
            stores=world.held,
            wrapper=MasterKeyWrapper(MASTER_KEY),
            cpu=InlineExecutor(),
            now=world.now,
            randomness=world.rng.randbytes,
        )
        await Restores(world, engine).check(None, None)
    finally:
        engine.dispose()


def _rot(world: World) -> None:
    """Damage, cut off or remove copies of any object; one that the catalog knows of is left, and must be found."""
    archive = Archive(world)
    copies = archive.holders()
    known = {row.name: copies[row.pack_hash] for row in archive.packs()}
    names = sorted({name for held in world.held.values() for name in held.objects})
    for name in names:
        holders = [store for store, held in sorted(world.held.items()) if name in held.objects]
        spared = world.rng.choice(sorted(known.get(name, holders)))
        for store in holders:
            if store != spared and world.rng.random() < 0.2:
                _damage(world, store, name)


def _damage(world: World, store: str, name: str) -> None:
    objects = world.held[store].objects
    content, at = objects[name], world.rng.randrange(len(objects[name]))
    how = world.rng.randrange(3)
    if how == 0:
        del objects[name]
    elif how == 1:
        objects[name] = content[:at]
    else:
        objects[name] = content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :]


def _files(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _everything(commit: Commit) -> Rows:
    return {table: _captured(commit, table) for table in _RULED}


def _captured(commit: Commit, table: str) -> dict[bytes, Row]:
    """Return the rows of a table that the log has shown by then."""
    rows = commit.tables[table].items()
    return {orjson.dumps([key]): row for key, row in rows if (table, key) not in commit.unseen}


def _of_wedding(commit: Commit, wedding: str) -> Rows:
    rows: Rows = {
        table: {key: row for key, row in _captured(commit, table).items() if row[column] == wedding}
        for table, column in OWN_COLUMN.items()
    }
    for table, (parent, column) in PARENT.items():
        parents = {row["id"] for row in rows[parent].values()}
        rows[table] = {key: row for key, row in _captured(commit, table).items() if row[column] in parents}
    return rows


def _compare(state: State, expected: Rows, wedding: str | None) -> None:
    wanted = {table: rows for table, rows in expected.items() if rows}
    found = {table: dict(rows) for table, rows in state.rows.items()}
    if not state.audit.is_passed:
        raise ViolationError(f"I6: the audit of {wedding} fails: {state.audit}")
    for table in wanted.keys() | found.keys():
        if (was := found.get(table, {})) != (should := wanted.get(table, {})):
            differ = [key for key in was.keys() | should.keys() if was.get(key) != should.get(key)]
            raise ViolationError(
                f"I5: {table} of {wedding} at LSN {state.cut.lsn} differs in {sorted(differ)}: "
                f"{[was.get(key) for key in differ][:3]}, not {[should.get(key) for key in differ][:3]}"
            )
