"""What the stack is made of: for each part how it is prepared, started, asked and stopped."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import uuid
from typing import TYPE_CHECKING, Final

from ops.stack import connect_worker, kafka, postgres, probes
from ops.stack.process import end, log_tail, spawn, tied_command
from ops.stack.properties import encode_properties
from ops.stack.state import process_identity, replace_file
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from ops.stack.settings import StackPorts, StackSettings

ENGINES: Final = ("postgres", "kafka", "connect")
_PREPARE_TIMEOUT_SECONDS: Final = 60.0
_WORLD_MAY_SEARCH: Final = 0o001


async def _nothing() -> None:
    return None


async def _at_once() -> bool:
    return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process to keep alive. `prepare` may run many times; `answers` says once whether it is ready."""

    name: str
    argv: tuple[str, ...]
    prepare: Callable[[], Awaitable[None]] = _nothing
    answers: Callable[[], Awaitable[bool]] = _at_once
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 15.0


def worker_part(name: str, argv: Sequence[str]) -> Part:
    """Return one of our own programs as a part: it counts as ready when it runs."""
    return Part(name=name, argv=tied_command(argv, parent_pid=os.getpid()))


def engine_parts(settings: StackSettings, ports: StackPorts) -> tuple[Part, ...]:
    """Return the three engines in the order of `ENGINES`; they are stopped in the opposite one.

    Raises:
        ConfigError: Java or Postgres is not installed.
    """
    if shutil.which("java") is None:
        raise ConfigError("no Java is installed", hint="on Debian: apt-get install openjdk-17-jre-headless")
    return (_postgres_part(settings, ports), _kafka_part(settings, ports), _connect_part(settings, ports))


def _postgres_part(settings: StackSettings, ports: StackPorts) -> Part:
    bin_dir = postgres.server_bin_dir()

    async def prepare() -> None:
        await _prepare_postgres(settings, bin_dir)

    async def answers() -> bool:
        return await probes.postgres_answers(postgres.dsn(settings, ports))

    return Part(
        name="postgres",
        argv=_as_postgres(settings, postgres.serve_command(settings, ports, bin_dir=bin_dir)),
        prepare=prepare,
        answers=answers,
        # "Fast": ends open sessions and checkpoints. The gentler SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
    )


def _kafka_part(settings: StackSettings, ports: StackPorts) -> Part:
    async def prepare() -> None:
        properties = encode_properties(kafka.server_properties(settings, ports))
        replace_file(kafka.kafka_dir(settings) / "server.properties", properties)
        if not kafka.is_formatted(settings):
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            await _run_once("kafka-format", kafka.format_command(settings, cluster_id=cluster_id), settings)

    async def answers() -> bool:
        return await probes.kafka_answers(ports.bootstrap_servers)

    argv = tied_command(kafka.serve_command(settings), parent_pid=os.getpid())
    return Part(name="kafka", argv=argv, prepare=prepare, answers=answers)


def _connect_part(settings: StackSettings, ports: StackPorts) -> Part:
    async def prepare() -> None:
        properties = encode_properties(connect_worker.worker_properties(settings, ports))
        replace_file(connect_worker.connect_dir(settings) / "worker.properties", properties)

    async def answers() -> bool:
        return await probes.connect_answers(ports.connect_url)

    argv = tied_command(connect_worker.serve_command(settings), parent_pid=os.getpid())
    return Part(name="connect", argv=argv, prepare=prepare, answers=answers)


async def _prepare_postgres(settings: StackSettings, bin_dir: Path) -> None:
    if postgres.is_initialised(settings):
        _forget_dead_server(settings)
        return
    folder = postgres.postgres_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    secret = postgres.password_file(settings)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
    account = postgres.server_account()
    for path in (folder, secret):
        if account is not None:
            shutil.chown(path, account)
    # Made beside its place and moved there whole: a cluster that was half made is never taken for one.
    draft = folder / "draft"
    await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
    argv = postgres.initdb_command(settings, bin_dir=bin_dir, target=draft)
    await _run_once("postgres-initdb", _as_postgres(settings, argv), settings)
    draft.rename(folder / "data")


def _forget_dead_server(settings: StackSettings) -> None:
    # A killed server that nobody buried yet (its new parent may be slow, or never do it) looks alive to the next one.
    # Sessions it may have left are still noticed: the next server finds their shared memory in use and waits.
    lock_file = postgres.postgres_dir(settings) / "data" / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        pid = int(lock_file.read_text(encoding="utf-8").splitlines()[0])
        if process_identity(pid) is None:
            lock_file.unlink()


def _as_postgres(settings: StackSettings, argv: Sequence[str]) -> tuple[str, ...]:
    account = postgres.server_account()
    folders = postgres.postgres_dir(settings).absolute().parents
    is_closed = any(not folder.stat().st_mode & _WORLD_MAY_SEARCH for folder in folders if folder.exists())
    return tied_command(argv, parent_pid=os.getpid(), user=account, may_search=account is not None and is_closed)


async def _run_once(name: str, argv: Sequence[str], settings: StackSettings) -> None:
    log_file = settings.logs_dir / f"{name}.log"
    tied = argv if argv[0] == "setpriv" else tied_command(argv, parent_pid=os.getpid())
    process = await spawn(tied, log_file=log_file)
    try:
        code = await asyncio.wait_for(process.wait(), _PREPARE_TIMEOUT_SECONDS)
    finally:
        await end(process)
    if code != 0:
        raise ConfigError(f"{name} ended with code {code}", hint=f"{log_file} ends:\n{log_tail(log_file)}")
