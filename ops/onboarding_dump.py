"""The schema of a protected database as DDL text, so that a restore can begin from nothing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import conninfo

from ops.onboarding_catalog import CONNECT_TIMEOUT_S
from ops.onboarding_sql import EVENT_TRIGGERS
from schemas.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterable

DUMP_TIMEOUT_S: Final = 120
MAJOR_DIVISOR: Final = 10_000  # 150018 is 15.18
# Where distributions put each major version's programs.
PROGRAM_FOLDERS: Final = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")
DUMP_OPTIONS: Final = (
    *("--schema-only", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions"),
    *("--exclude-schema=wedsync", "--encoding=UTF8"),
)
# psql's own commands, which are not SQL and hold a new random word each time.
PSQL_COMMAND: Final = re.compile(r"^\\(un)?restrict .*\n", re.MULTILINE)
# They call functions of the schema that is left out.
OUR_TRIGGERS: Final = re.compile(
    rf"^--\n-- Name: (?:{'|'.join(EVENT_TRIGGERS)}); Type: EVENT TRIGGER;.*?(?=^--\n-- (?:Name|PostgreSQL)|\Z)",
    re.MULTILINE | re.DOTALL,
)


async def schema_ddl(dsn: str) -> str:
    """Return the database's schema as SQL that an empty database takes: everything but schema wedsync.

    Raises:
        ConfigError: no pg_dump of the server's major version, or the dump was refused.
        TransientError: the database is not reachable, or the dump took too long.
    """
    try:
        async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            major = connection.info.server_version // MAJOR_DIVISOR
    except psycopg.OperationalError as error:
        raise TransientError(f"the database is not reachable: {error}", hint="check --database") from error
    text = await _dumped(await find_pg_dump(major), dsn)
    return OUR_TRIGGERS.sub("", PSQL_COMMAND.sub("", text))


async def find_pg_dump(major: int, *, folders: Iterable[str] = PROGRAM_FOLDERS) -> Path:
    """Return the pg_dump of a server's major version, from where distributions put it or from PATH.

    Raises:
        ConfigError: there is none; the hint says what to install.
    """
    for folder in folders:
        program = Path(folder.format(major)) / "pg_dump"
        if os.access(program, os.X_OK):
            return program
    on_path = shutil.which("pg_dump")
    if on_path is not None and await _major(on_path) == major:
        return Path(on_path)
    raise ConfigError(
        f"no pg_dump {major} is here, and the server is a Postgres {major}",
        hint=f"install postgresql-client-{major}, or put its pg_dump on PATH",
    )


async def _major(program: str) -> int | None:
    process = await asyncio.create_subprocess_exec(program, "--version", stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), CONNECT_TIMEOUT_S)
    match = re.search(rb"(\d+)(\.\d+)?", output)
    return int(match[1]) if match else None


async def _dumped(program: Path, dsn: str) -> str:
    """Run pg_dump; the password goes by the environment, where `ps` does not show it."""
    parameters = {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    password = parameters.pop("password", None)
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    process = await asyncio.create_subprocess_exec(
        program,
        *DUMP_OPTIONS,
        f"--dbname={conninfo.make_conninfo(**parameters)}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        output, complaints = await asyncio.wait_for(process.communicate(), DUMP_TIMEOUT_S)
    except TimeoutError as error:
        raise TransientError(f"pg_dump took over {DUMP_TIMEOUT_S} s", hint="is a table locked? try again") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ConfigError(f"pg_dump failed: {complaints.decode().strip()}", hint="may this user read the schema?")
    return output.decode()
