"""One platform with its oracle: play, wait until all is protected, restore at a place in the log, compare."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import conninfo

from ops import bootstrap, bringup, restoring
from ops.config import load_settings
from ops.demo.story import new_database
from ops.onboarding_mapping import mapping_to_toml
from ops.stack import control, postgres
from ops.stack.process import log_tail
from sinks.cut import LogPlace, least_frontiers
from sinks.restore_report import Status
from sinks.row_digest import canonical_digest, rows_digest
from sinks.targets import PostgresTarget
from tests.integration.conftest import a_stack_folder, processes_of
from tests.oracle import compare, tables
from tests.oracle.second import SecondPostgres, Server, a_second_postgres, a_target_server, lsn_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from ops.config import Settings
    from schemas.mapping import TableMapping
    from sinks.restore_plan import State

WITHIN_SECONDS = 120
_ERRORS, _TRACE = 4, 40
_FLUSHED = "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn >= %s"


@dataclasses.dataclass(slots=True, kw_only=True)
class Proof:
    """A platform under test, the Postgres that knows better, and a server for what is restored."""

    settings: Settings
    config: Path
    dsn: str
    mapping: TableMapping
    second: SecondPostgres
    targets: Server
    running: bringup.Running | None = None

    async def bring_up(self) -> None:
        """Bring capture, router and sink up; what was there before is copied while others write."""
        self.running = await bringup.bring_up(self.settings, config=self.config, is_tied=True)

    async def protected_up_to(self, place: int) -> None:
        """Wait until every partition knows all that was committed before a place in the log."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while (known := await self.known_lsn()) < place:
            assert time.monotonic() < deadline, f"protected up to {lsn_text(known)} only, not {lsn_text(place)}"
            await asyncio.sleep(0.1)

    async def copied(self) -> None:
        """Wait until all that was there before the capture has been copied: no place before that can be restored."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            await self.protected_up_to(await self.place_now())
            with restoring.opened(self.settings) as archive:
                state = await restoring.restorer_of(archive).state_at(None, None)
            if state.is_whole:
                return
            assert time.monotonic() < deadline, state.warnings
            await asyncio.sleep(0.1)

    async def known_lsn(self) -> int:
        """Return the place in the log up to which every partition knows all."""
        with restoring.opened(self.settings) as archive:
            rows = await restoring.history_of(archive).frontiers()
        partitions = self.settings.archive.partitions
        known = least_frontiers(rows, source="platform", weddings=None, partitions=partitions)
        return known[max(known)].lsn if known else 0

    async def differences(self, place: int, *, weddings: Collection[str] = ()) -> list[str]:
        """Restore everything, and some weddings, at a place; return how that differs from Postgres' own recovery."""
        await self._flushed(place)
        async with self.second.at(place) as dsn:
            oracle = conninfo.make_conninfo(dsn, dbname=self.settings.source.database)
            found = await self._everything(oracle, place)
            for wedding in weddings:
                found += await self._wedding(oracle, place, wedding)
        return found

    async def _everything(self, oracle: str, place: int) -> list[str]:
        restored = await new_database(self.targets.dsn(), "restored")

        def target(state: State) -> PostgresTarget:
            return PostgresTarget(restored, state.mapping or self.mapping, ddl=state.ddl)

        with restoring.opened(self.settings) as archive:
            result = await restoring.restorer_of(archive).restore(
                None, LogPlace(place), restore_id="proof", rows=target, folder=None
            )
        found = [f"{result.status}: {each}" for each in result.warnings]
        if result.status is not Status.WHOLE or not result.audit.is_passed:
            found.append(f"restore is {result.status}: {result.audit}")
        return found + await compare.differences(oracle, restored, self.mapping)

    async def _wedding(self, oracle: str, place: int, wedding: str) -> list[str]:
        with restoring.opened(self.settings) as archive:
            state = await restoring.restorer_of(archive).state_at(wedding, LogPlace(place))
        assert state.mapping is not None
        wanted = await canonical_digest(oracle, state.mapping, wedding)
        rows = {name: state.tables().get(name, []) for name in wanted}
        got = await rows_digest(conninfo.make_conninfo(self.targets.dsn(), dbname="restored"), rows)
        return [
            f"wedding {wedding}, {name}: {wanted[name]} became {got[name]}"
            for name in wanted
            if wanted[name] != got[name]
        ]

    async def place_now(self) -> int:
        """Return where the log ends."""
        rows = await compare.rows(self.dsn, "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
        return int(rows[0][0])

    async def _flushed(self, place: int) -> None:
        """See to it that there is a flushed record behind a place: recovery stops at nothing less."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute("SELECT pg_logical_emit_message(true, 'wedsync.oracle', '')")
            row = await (await connection.execute(_FLUSHED, (place,))).fetchone()
        assert row == (True,), "a commit behind it is flushed, so it is"


@contextlib.asynccontextmanager
async def a_proof(*, partitions: int = 4) -> AsyncIterator[Proof]:
    """Start the engines, make the database, and take the oracle's base backup; `bring_up` is the caller's."""
    folder = a_stack_folder()
    rules = tables.mapping()
    config = folder / "wedsync.toml"
    config.write_text(f"[archive]\npartitions = {partitions}\n{mapping_to_toml(rules)}", encoding="utf-8")
    settings = load_settings(config, state_dir=folder)
    stack = bootstrap.stack_settings(settings)
    try:
        state = await control.up(stack, is_tied=True)
        dsn = postgres.dsn(stack, state.ports, database=settings.source.database)
        await compare.rows(postgres.dsn(stack, state.ports), f"CREATE DATABASE {settings.source.database}")
        await compare.rows(dsn, tables.schema_sql())
        async with a_second_postgres(stack, dsn) as second, a_target_server(stack) as targets:
            yield Proof(settings=settings, config=config, dsn=dsn, mapping=rules, second=second, targets=targets)
    except BaseException:
        print(f"--- errors of connect\n{_errors(stack.logs_dir / 'connect.log')}")
        for name in ("router", "sink", "connect", "supervisor"):
            print(f"--- {name}\n{log_tail(stack.logs_dir / f'{name}.log', lines=30)}")
        raise
    finally:
        await control.down(stack)
        assert processes_of(folder) == []
        shutil.rmtree(folder)


def _errors(log_file: Path) -> str:
    """Return what an engine of Java called an error, each with the first lines of its trace."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [number for number, line in enumerate(lines) if " ERROR " in line][-_ERRORS:]
    return "\n".join(line[:400] for number in found for line in lines[number : number + _TRACE])
