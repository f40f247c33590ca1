"""A second Postgres that recovers itself to a place in the first one's log: what a restore must equal.

One base backup, taken when a platform is new; a physical slot keeps the log from then on, and recovery fetches
it from the first server's own folder. Recovery pauses at its target, so the next target, if later, goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import conninfo

from ops.stack import parts, ports, postgres
from ops.stack.process import end, log_tail, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ops.stack.settings import StackSettings

WITHIN_SECONDS = 120
_SLOT = "wedsync_oracle"
_SHUT_TABLES = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation'"
_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "max_wal_senders": "10",
    "wal_level": "logical",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "jit": "off",
    "autovacuum": "off",
    "timezone": "UTC",
}


@dataclasses.dataclass(slots=True, kw_only=True)
class Server:
    """One server of ours beside the stack's; it dies with this process."""

    settings: StackSettings
    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def log_file(self) -> Path:
        """Return where it writes what it has to say."""
        return self.settings.logs_dir / f"{self.folder.name}.log"

    def dsn(self, database: str = "postgres") -> str:
        """Return the superuser's connection string; the password is the first server's."""
        login = f"user={postgres.SUPERUSER} password={postgres.password(self.settings)}"
        return f"host=127.0.0.1 port={self.port} {login} dbname={database} connect_timeout=10"

    async def start(self, **options: str) -> None:
        """Start it and wait until it takes connections."""
        given = {**_FAST, "port": str(self.port), **options}
        flags = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        argv = (str(postgres.server_bin_dir() / "postgres"), "-D", str(self.folder), *flags)
        self.process = await spawn(parts._as_postgres(self.settings, argv), log_file=self.log_file)
        deadline = time.monotonic() + WITHIN_SECONDS
        while time.monotonic() < deadline and self.process.returncode is None:
            with contextlib.suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(self.dsn(), connect_timeout=2):
                    return
            await asyncio.sleep(0.02)
        raise AssertionError(f"no answer: {log_tail(self.log_file)}")

    async def stop(self) -> None:
        """Stop it; nothing of it needs to be kept."""
        if self.process is not None:
            await end(self.process, first=signal.SIGINT)
            self.process = None


class SecondPostgres:
    """The oracle: `at` recovers it to a place in the log, and stops just before what comes after."""

    def __init__(self, settings: StackSettings, first_dsn: str, base: Path) -> None:
        self._settings, self._first_dsn, self._base = settings, first_dsn, base
        self._at = 0
        self._server: Server | None = None

    @contextlib.asynccontextmanager
    async def at(self, lsn: int) -> AsyncIterator[str]:
        """Yield the connection string (database `postgres`) of a read-only server where exactly all before `lsn` is.

        Ascending places are quick; an earlier one than the last begins from the base backup again.
        """
        if self._server is None or lsn < self._at:
            await self.close()
            folder = self._base.with_name(f"oracle-{secrets.token_hex(4)}")
            await asyncio.to_thread(_copy_cluster, self._base, folder)
            self._server = Server(settings=self._settings, folder=folder, port=ports._own_port(None, set()))
        self._at = lsn
        log_folder = postgres.postgres_dir(self._settings) / "data" / "pg_wal"
        await self._server.start(
            restore_command=f'cp "{log_folder}/%f" "%p"',
            recovery_target_lsn=lsn_text(lsn),
            # Before whatever begins there: a transaction that commits at that very place is another one.
            recovery_target_inclusive="off",
            recovery_target_action="pause",
            hot_standby="on",
        )
        is_promoted = True  # Until it is known to stand still: then it can go on from there.
        try:
            is_promoted = await _arrived(self._server)
            yield self._server.dsn()
        finally:
            await self._server.stop()
            if is_promoted:
                await self.close()

    async def close(self) -> None:
        """End the server and forget its files."""
        if self._server is not None:
            await self._server.stop()
            await asyncio.to_thread(shutil.rmtree, self._server.folder)
            self._server = None


@contextlib.asynccontextmanager
async def a_second_postgres(settings: StackSettings, first_dsn: str) -> AsyncIterator[SecondPostgres]:
    """Take a base backup of the stack's Postgres now, and yield what recovers it to any later place."""
    async with await psycopg.AsyncConnection.connect(first_dsn, autocommit=True) as connection:
        await connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (_SLOT,))
    base = postgres.postgres_dir(settings) / "oracle-base"
    await _base_backup(settings, first_dsn, base)
    second = SecondPostgres(settings, first_dsn, base)
    try:
        yield second
    finally:
        await second.close()


@contextlib.asynccontextmanager
async def a_target_server(settings: StackSettings) -> AsyncIterator[Server]:
    """Yield an empty server for restores, apart from the one that is being protected."""
    folder = postgres.postgres_dir(settings) / "targets"
    argv = (*postgres.initdb_command(settings, bin_dir=postgres.server_bin_dir(), target=folder), "--no-sync")
    process = await spawn(parts._as_postgres(settings, argv), log_file=settings.logs_dir / "targets.log")
    assert await process.wait() == 0, log_tail(settings.logs_dir / "targets.log")
    server = Server(settings=settings, folder=folder, port=ports._own_port(None, set()))
    await server.start(full_page_writes="off", synchronous_commit="off")
    try:
        yield server
    finally:
        await server.stop()


def lsn_text(lsn: int) -> str:
    """Return a place in the log as Postgres writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


async def _base_backup(settings: StackSettings, dsn: str, base: Path) -> None:
    parts = conninfo.conninfo_to_dict(dsn)
    program = postgres.server_bin_dir() / "pg_basebackup"
    argv = [str(program), "-D", str(base), "-X", "none", "-c", "fast", "-N"]
    argv += ["-h", str(parts["host"]), "-p", str(parts["port"]), "-U", str(parts["user"])]
    log_file = settings.logs_dir / "basebackup.log"
    process = await asyncio.create_subprocess_exec(
        *argv, env=os.environ | {"PGPASSWORD": str(parts["password"])}, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await process.communicate()
    assert process.returncode == 0, f"{complaints.decode()} {log_tail(log_file)}"
    (base / "recovery.signal").touch()


def _copy_cluster(base: Path, folder: Path) -> None:
    shutil.copytree(base, folder, symlinks=True)
    account = postgres.server_account()
    if account is None:
        return
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, account)


async def _arrived(server: Server) -> bool:
    """Wait until recovery has come to its target; tell whether the server had to be promoted there.

    A transaction that is open at the target and has locked a table against all (TRUNCATE, ALTER) keeps every reader
    out for as long as recovery is paused. Promoted, the server rolls it back, and can recover no further.
    """
    async with (
        asyncio.timeout(WITHIN_SECONDS),
        await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as connection,
    ):
        await _until(connection, "SELECT pg_get_wal_replay_pause_state() = 'paused'")
        row = await (await connection.execute(_SHUT_TABLES)).fetchone()
        if row == (0,):
            return False
        await connection.execute("SELECT pg_promote(wait => false)")
        await _until(connection, "SELECT NOT pg_is_in_recovery()")
        return True


async def _until(connection: psycopg.AsyncConnection[Any], question: LiteralString) -> None:
    while True:
        if await (await connection.execute(question)).fetchone() == (True,):
            return
        await asyncio.sleep(0.01)
