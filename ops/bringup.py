"""From nothing to protected: stack, database, publication, topics, connector, workers, in this order.

Every step finds out first whether it has been done, so bringing up twice, or after a crash at any
line, ends in the same place. The connector is registered before a row is copied: streaming protects
from the first second, and the copy of what was there already follows by signal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import os
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog
from confluent_kafka.admin import AdminClient
from psycopg import conninfo, sql

from connectors.application import APPLICATION_SOURCE
from connectors.connect import ConnectClient
from connectors.connector_config import PLATFORM_SOURCE, SLOT, PostgresSource, connector_config, connector_name
from connectors.ledger import GAP_PREFIX, SEQUENCES_PREFIX, encode_gap, encode_sequences
from connectors.table_copies import execute_data
from ops import bootstrap, canary, hidden_columns, onboarding, source_facts
from ops.api import reachable
from ops.api.clients import ensure_first_client
from ops.stack import control
from ops.stack.postgres import dsn as stack_dsn
from ops.stack.topics import TopicPlan, ensure_topics
from schemas.errors import ConfigError, FormatError, TransientError
from schemas.topics import BACKUP_TOPICS, CONTROLS, DEAD_LETTERS, capture_topic, parse_capture_topic
from sinks.key_wrapping import KEY_BYTES, create_master_key, load_master_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.ledger import Gap
    from ops.config import Settings
    from ops.stack.state import StackState
    from schemas.mapping import TableMapping

log = structlog.get_logger(__name__)

WORKERS: Final = ("router", "sink", "folder", "storage", "api", "guard")
CONNECTOR_WITHIN: Final = dt.timedelta(seconds=60)
_POLL_SECONDS: Final = 0.05
_ADMIN_SECONDS: Final = 15.0
_TELL_WHOLE: Final = "SELECT wedsync.note_whole_schema('a new epoch')"
_TELL_DUMP: Final = "SELECT pg_logical_emit_message(true, 'wedsync.schema', %s::text)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A platform that is up: where its parts listen, and the epochs of its sources."""

    state: StackState
    dsn: str
    epochs: dict[str, int]

    @property
    def brokers(self) -> str:
        """Return Kafka's bootstrap servers."""
        return self.state.ports.bootstrap_servers


def database_dsn(settings: Settings, state: StackState) -> str:
    """Return how the protected database is reached."""
    return settings.source.url or stack_dsn(
        bootstrap.stack_settings(settings), state.ports, database=settings.source.database
    )


async def stack_database(settings: Settings) -> str:
    """Return how the local stack's own database is reached.

    Raises:
        ConfigError: the stack is down.
    """
    state = await control.status(bootstrap.stack_settings(settings))
    if state is None:
        raise ConfigError("the stack is down", hint="wedsync-backup up")
    return database_dsn(settings, state)


async def bring_up(
    settings: Settings,
    *,
    config: pathlib.Path | None = None,
    is_tied: bool = False,
    progress: Callable[[str], None] = lambda _step: None,
) -> Running:
    """Start everything and return once changes are being protected.

    Raises:
        ConfigError: something is missing or wrong; the message says what.
        TransientError: a part did not become ready in time.
    """
    if settings.source.url and not settings.mapping:
        raise ConfigError(
            "setting mapping: nothing says how the rows of source.url find their wedding",
            hint="wedsync-backup init --database URL writes a proposal",
        )
    found_archive(settings)
    progress("starting Kafka, Connect and Postgres")
    stack = bootstrap.stack_settings(settings)
    state = await control.up(stack, is_tied=is_tied)
    dsn = database_dsn(settings, state)
    progress("preparing the database for capture")
    if not settings.source.url:
        await _ensure_database(settings, state)
    await onboarding.prepare(dsn)
    epochs = await ensure_platform_topics(settings, state.ports.bootstrap_servers)
    progress("registering the connector")
    from ops import doctor  # noqa: PLC0415 - both are built on this module
    from ops import epochs as beginning  # noqa: PLC0415

    await doctor.refuse_unfit(settings, dsn)
    where = beginning.Where(dsn=dsn, brokers=state.ports.bootstrap_servers, connect_url=state.ports.connect_url)
    epochs[PLATFORM_SOURCE] = await beginning.establish(settings, where, epochs[PLATFORM_SOURCE])
    progress("starting the workers")
    settings.objects_folder.mkdir(parents=True, exist_ok=True)
    ensure_first_client(settings.api_clients_file, settings.api_token_file, randomness=os.urandom)
    state = await control.start_workers(stack, worker_commands(settings, state, config))
    progress("sending a canary the whole way")
    await canary.fly(settings, dsn, epochs[PLATFORM_SOURCE])
    if settings.api.enabled:
        await reachable.wait_ready(settings)
    return Running(state=state, dsn=dsn, epochs=epochs)


async def running(settings: Settings) -> Running:
    """Return the platform that is up.

    Raises:
        ConfigError: it is down.
    """
    state = await control.status(bootstrap.stack_settings(settings))
    if state is None:
        raise ConfigError("the stack is down", hint="wedsync-backup up")
    epochs = await asyncio.to_thread(newest_epochs, state.ports.bootstrap_servers)
    return Running(state=state, dsn=database_dsn(settings, state), epochs=epochs)


def worker_commands(
    settings: Settings, state: StackState, config: pathlib.Path | None
) -> list[tuple[str, tuple[str, ...]]]:
    """Return what the supervisor shall run."""
    given = ("--config", str(config.resolve())) if config else ()
    where = ("--brokers", state.ports.bootstrap_servers, "--state-dir", str(settings.state_dir.resolve()), *given)
    connect = ("--connect", state.ports.connect_url)
    return [
        (name, (sys.executable, "-m", "ops.workers", name, *where, *connect))
        for name in WORKERS
        if _is_wanted(name, settings)
    ]


def _is_wanted(worker: str, settings: Settings) -> bool:
    """Return whether a worker has anything to do."""
    return settings.api.enabled if worker == "api" else worker != "storage" or bool(settings.buckets)


def found_archive(settings: Settings) -> None:
    """Make the master key and the store folders of a new archive; never for one that has data already."""
    key_file = settings.master_key_file
    if not key_file.exists():
        if any(pathlib.Path(store.folder, "keyring").exists() for store in settings.stores):
            raise ConfigError(
                f"the stores hold an archive, but there is no master key at {key_file}",
                hint="wedsync-backup keys import --from ESCROW",
            )
        bootstrap.make_store_folders(settings)
        create_master_key(key_file, os.urandom(KEY_BYTES))
    if not settings.catalog_file.exists():
        settings.catalog_file.parent.mkdir(parents=True, exist_ok=True)
        if any(pathlib.Path(store.folder, "log").exists() for store in settings.stores):
            raise ConfigError(
                "the stores hold an archive, but its catalog is gone", hint="wedsync-backup catalog rebuild"
            )


async def _ensure_database(settings: Settings, state: StackState) -> None:
    """Create the local stack's database, with the sample platform where no mapping says otherwise."""
    stack = bootstrap.stack_settings(settings)
    name = settings.source.database
    async with await psycopg.AsyncConnection.connect(stack_dsn(stack, state.ports), autocommit=True) as connection:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    if settings.mapping:
        return
    from ops.sample import platform  # noqa: PLC0415 - only where nothing is configured

    async with await psycopg.AsyncConnection.connect(database_dsn(settings, state)) as connection:
        found = await connection.execute("SELECT to_regclass('public.weddings')")
        row = await found.fetchone()
    if row is not None and row[0] is None:
        await platform.create(database_dsn(settings, state))


async def ensure_platform_topics(settings: Settings, brokers: str) -> dict[str, int]:
    """Create all topics that are missing, and return the epoch of each source."""
    found = await asyncio.to_thread(newest_epochs, brokers)
    epochs = {source: found.get(source, int(time.time())) for source in _sources(settings)}
    plans = [TopicPlan(name=capture_topic(source, epoch)) for source, epoch in epochs.items()]
    plans += [TopicPlan(name=name, partitions=settings.archive.partitions) for name in BACKUP_TOPICS]
    plans += [TopicPlan(name=DEAD_LETTERS), TopicPlan(name=CONTROLS, is_compacted=True)]
    await ensure_topics(brokers, [*plans, *_notice_topics(settings)])
    return epochs


async def renew_other_logs(settings: Settings, brokers: str) -> list[str]:
    """Begin a new epoch of every source but the platform; workers take them up when they start. Return the sources."""
    found = await asyncio.to_thread(newest_epochs, brokers)
    others = [source for source in _sources(settings) if source != PLATFORM_SOURCE]
    now = int(bootstrap.now().timestamp())
    names = [capture_topic(source, max(now, found.get(source, 0) + 1)) for source in others]
    await ensure_topics(brokers, [TopicPlan(name=name) for name in names])
    return others


def _sources(settings: Settings) -> list[str]:
    return [PLATFORM_SOURCE, settings.objects.bucket, APPLICATION_SOURCE, *(bucket.name for bucket in settings.buckets)]


def _notice_topics(settings: Settings) -> list[TopicPlan]:
    """Return the topics of this Kafka into which stores send their notices."""
    named = {each.channel_name for each in settings.buckets if each.channel == "kafka" and not each.channel_endpoint}
    return [TopicPlan(name=name) for name in sorted(named)]


def newest_epochs(brokers: str) -> dict[str, int]:
    """Return the newest epoch of each source that has a capture topic. Blocks."""
    newest: dict[str, int] = {}
    for topic in AdminClient({"bootstrap.servers": brokers}).list_topics(timeout=_ADMIN_SECONDS).topics:
        try:
            source, epoch = parse_capture_topic(topic)
        except FormatError:
            continue
        newest[source] = max(epoch, newest.get(source, 0))
    return newest


async def register(settings: Settings, connect_url: str, dsn: str, epoch: int) -> None:
    """Register the connector of an epoch and have what was there before it copied; again changes nothing."""
    source = postgres_source(settings, dsn, epoch)
    await hidden_columns.check(dsn, source.hidden)
    async with ConnectClient(connect_url) as connect:
        await connect.put(connector_name(source), connector_config(source))
        await connect.wait_running(connector_name(source), within=CONNECTOR_WITHIN)
    await wait_for_slot(dsn)
    await begin_epoch(dsn, bootstrap.mapping(settings), epoch)


def postgres_source(settings: Settings, dsn: str, epoch: int) -> PostgresSource:
    """Return what the connector is told of the database.

    Raises:
        ConfigError: the URL leaves something out.
    """
    parts = conninfo.conninfo_to_dict(dsn)
    try:
        return PostgresSource(
            host=str(parts["host"]),
            port=int(parts.get("port") or 5432),
            user=str(parts["user"]),
            password=str(parts.get("password") or ""),
            database=str(parts["dbname"]),
            epoch=epoch,
            heartbeat_interval_ms=settings.source.heartbeat_ms,
            record_bytes_max=settings.source.record_mib << 20,
            hidden=bootstrap.mapping(settings).hidden,
            hash_salt=hidden_columns.salt_of(load_master_key(settings.master_key_file)),
        )
    except KeyError as error:
        raise ConfigError(
            f"setting source.url: it names no {error.args[0]}", hint="postgresql://user@host:port/database"
        ) from error


async def wait_for_slot(dsn: str, *, slot: str = SLOT) -> None:
    """Wait until the connector streams.

    Raises:
        TransientError: it does not.
    """
    deadline = time.monotonic() + CONNECTOR_WITHIN.total_seconds()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while time.monotonic() < deadline:
            found = await connection.execute(
                "SELECT active FROM pg_replication_slots WHERE slot_name = %s AND active", (slot,)
            )
            if await found.fetchone():
                return
            await asyncio.sleep(_POLL_SECONDS)
    raise TransientError("the connector runs but does not stream", hint="see the connect log below the state folder")


async def tell_log(connection: psycopg.AsyncConnection[Any], gap: Gap | None) -> None:
    """Write a gap and the values of all sequences into the log, in the transaction under way."""
    messages = [(SEQUENCES_PREFIX, encode_sequences(await source_facts.sequences(connection)))]
    messages += [(GAP_PREFIX, encode_gap(gap))] if gap is not None else []
    for prefix, content in messages:
        await connection.execute("SELECT pg_logical_emit_message(true, %s, %s::text)", (prefix, content))


async def _told(dsn: str) -> Any:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        return await _all_told(connection)


async def _all_told(connection: psycopg.AsyncConnection[Any]) -> Any:
    """Return what stands for all that was told of the schema: it changes with every change of it."""
    return await (await connection.execute("SELECT wedsync.all_told()")).fetchone()


async def begin_epoch(dsn: str, mapping: TableMapping, epoch: int, *, gap: Gap | None = None) -> None:
    """Write the schema into the log, and have every table copied that has a key: once an epoch, both or neither."""
    name = f"copy-e{epoch}"
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await connection.execute("SELECT 1 FROM wedsync.debezium_signal WHERE id = %s", (name,))
        if await found.fetchone():
            return
    told = await _told(dsn)
    ddl = await onboarding.schema_ddl(dsn)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("LOCK TABLE wedsync.shape_told IN SHARE ROW EXCLUSIVE MODE")
        steps = [(_TELL_WHOLE, ()), (_TELL_DUMP, (ddl,))]
        # Of the two the later one counts. A dump has more in it, unless the schema changed while it was made.
        for query, values in steps if await _all_told(connection) == told else reversed(steps):
            await connection.execute(query, values)
        await tell_log(connection, gap)
        keyed = await source_facts.keyed_tables(connection)
        outbox = () if mapping.outbox is None else (mapping.outbox.table,)
        signal = execute_data({*mapping.tables, *keyed, *outbox})
        await connection.execute(
            "INSERT INTO wedsync.debezium_signal (id, type, data) VALUES (%s, 'execute-snapshot', %s)"
            " ON CONFLICT (id) DO NOTHING",
            (name, signal),
        )
