"""How Debezium is told to watch one Postgres database. Pure: a value in, Kafka Connect's settings out.

Everything one source emits (rows, BEGIN and END, logical messages, heartbeats, snapshot progress) goes to
ONE topic with ONE partition, so that the order of the log is the order of the commits. The reasons stand
beside the settings: several defaults lose data in silence.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

from schemas.hidden_columns import MASK, ColumnAction
from schemas.topics import SOURCE_BYTES_DEFAULT, SOURCE_BYTES_MAX, capture_topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.hidden_columns import HiddenColumn

# One word names the database's source everywhere: topic prefix, connector, offsets in Kafka Connect.
PLATFORM_SOURCE: Final = "platform"
PUBLICATION: Final = "wedsync_backup"
SLOT: Final = "wedsync_backup"
SIGNAL_TABLE: Final = "wedsync.debezium_signal"
HEARTBEAT_TABLE: Final = "wedsync.heartbeat"
# The one class that is not Python (`connectors/java`): it hands over Postgres' own text.
CONVERTER_CLASS: Final = "wedsync.backup.PostgresText"
# How the server writes what is read: every digit, and one style; the driver itself sets DateStyle and the encoding.
SESSION_SETTINGS: Final = {
    "bytea_output": "hex",
    "IntervalStyle": "postgres",
    "lc_monetary": "C",
    "extra_float_digits": "3",
}

_BEAT_SQL: Final = (
    f"INSERT INTO {HEARTBEAT_TABLE} (id, beat_at) VALUES (1, clock_timestamp()) "
    "ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSource:
    """One database to watch; a new `epoch` (unix seconds of the registration) begins a new topic and history."""

    host: str
    port: int
    user: str
    password: str = dataclasses.field(repr=False)
    database: str
    epoch: int
    name: str = PLATFORM_SOURCE
    slot: str = SLOT
    publication: str = PUBLICATION
    # An idle database would hold its log for ever, and a dead stream would look like a quiet one.
    heartbeat_interval_ms: int = 1000
    # Rows per step of a table copy: a step holds up the stream for about this many ÷ 8,000 seconds.
    copy_chunk_rows: int = 1024
    # A row whose change is larger stops the connector, and everything waits behind it.
    record_bytes_max: int = SOURCE_BYTES_DEFAULT
    hidden: tuple[HiddenColumn, ...] = ()
    hash_salt: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        assert re.fullmatch(r"[a-z0-9-]+", self.name), "a source's name is one lower-case word"
        assert self.epoch > 0, "epoch 0 would mean: nobody set it"
        assert 0 < self.record_bytes_max <= SOURCE_BYTES_MAX, "no topic would take it"


def connector_name(source: PostgresSource) -> str:
    """Return the connector's name; a new epoch is a new connector, whose offsets begin from nothing."""
    return f"{source.name}-e{source.epoch}"


def connector_config(source: PostgresSource) -> Mapping[str, str]:
    """Return the complete settings of the source's connector, as `PUT /connectors/<name>/config` takes them."""
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "topic.prefix": source.name,
        **_database(source),
        **_completeness(),
        **_values(),
        **_hidden(source),
        **_table_copies(source),
        **_heartbeat(source),
        **_one_topic(source),
        **_latency(source),
    }


def _database(source: PostgresSource) -> dict[str, str]:
    return {
        "database.hostname": source.host,
        "database.port": str(source.port),
        "database.user": source.user,
        "database.password": source.password,
        "database.dbname": source.database,
        # Values are read as the texts these make: a database or role may have other defaults.
        "driver.options": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items()),
        # In binary form an array's bounds and a float's last digits would be the driver's affair.
        "driver.binaryTransfer": "false",
        # A copy goes on behind a chunk's last key: sent as varchar, a timestamp's text cannot be compared to one.
        "driver.stringtype": "unspecified",
        "plugin.name": "pgoutput",
        "slot.name": source.slot,
        # The slot is the only memory of what we have not seen: never drop it in passing.
        "slot.drop.on.stop": "false",
        "slot.retry.delay.ms": "1000",
        "publication.name": source.publication,
        # `filtered` never captures a recreated or new table, and says nothing.
        "publication.autocreate.mode": "disabled",
    }


def _completeness() -> dict[str, str]:
    return {
        # The default drops TRUNCATE.
        "skipped.operations": "none",
        # The default starts in silence where the slot stands when that differs from our offset.
        "offset.mismatch.strategy": "trust_offset",
        "event.processing.failure.handling.mode": "fail",
        "event.converting.failure.handling.mode": "fail",
        "include.unknown.datatypes": "true",
        "provide.transaction.metadata": "true",
        # The DELETE itself carries the before-image; a second, empty record would only be noise.
        "tombstones.on.delete": "false",
    }


def _values() -> dict[str, str]:
    converter = "org.apache.kafka.connect.json.JsonConverter"
    return {
        # By default a NULL in a column that has a DEFAULT is written as that default.
        "value.converter.replace.null.with.default": "false",
        "key.converter.replace.null.with.default": "false",
        # Every type whose JSON form is not exact comes as Postgres' own text; `column_types` is the table.
        "converters": "text",
        "text.type": CONVERTER_CLASS,
        "key.converter": converter,
        "key.converter.schemas.enable": "false",
        "value.converter": converter,
        "value.converter.schemas.enable": "false",
        "decimal.handling.mode": "string",
        "binary.handling.mode": "base64",
    }


def _hidden(source: PostgresSource) -> dict[str, str]:
    """Return what is left out, masked or hashed, in images before and after alike."""
    settings = {
        ColumnAction.DROP: "column.exclude.list",
        ColumnAction.MASK: f"column.mask.with.{len(MASK)}.chars",
        ColumnAction.HASH: f"column.mask.hash.v2.SHA-256.with.salt.{source.hash_salt}",
    }
    assert source.hash_salt or all(each.action is not ColumnAction.HASH for each in source.hidden), "no salt"
    # The names are expressions that must match from end to end.
    named = {action: [re.escape(each.name) for each in source.hidden if each.action is action] for action in settings}
    # No such column. With a filter Debezium copies tables by the columns it knows; without, by `SELECT *`,
    # which has generated columns that the stream never has: then it skips that table, stops copying all
    # tables after it, and goes on streaming as if nothing were amiss.
    named[ColumnAction.DROP].insert(0, r"wedsync\.heartbeat\.no_such_column")
    return {settings[action]: ",".join(names) for action, names in named.items() if names}


def _table_copies(source: PostgresSource) -> dict[str, str]:
    return {
        # Streaming protects from the first second; what was there before follows by signal, table by table.
        "snapshot.mode": "no_data",
        "signal.data.collection": SIGNAL_TABLE,
        "signal.enabled.channels": "source",
        "incremental.snapshot.chunk.size": str(source.copy_chunk_rows),
        # Snapshot progress in the same topic says from which position on a table is complete.
        "notification.enabled.channels": "sink",
        "notification.sink.topic.name": f"{source.name}.notification",
    }


def _heartbeat(source: PostgresSource) -> dict[str, str]:
    return {
        "heartbeat.interval.ms": str(source.heartbeat_interval_ms),
        "heartbeat.action.query": _BEAT_SQL,
        "topic.heartbeat.prefix": f"{source.name}.heartbeat",
    }


def _one_topic(source: PostgresSource) -> dict[str, str]:
    return {
        "transforms": "capture",
        "transforms.capture.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.capture.regex": rf"{source.name}(\..*)?",
        "transforms.capture.replacement": capture_topic(source.name, source.epoch),
    }


def _latency(source: PostgresSource) -> dict[str, str]:
    return {
        # The default of 500 ms would be half of the promise gone before anything was read.
        "poll.interval.ms": "5",
        "max.batch.size": "2048",
        "max.queue.size": "8192",
        # A few huge rows must not take the worker's whole heap.
        "max.queue.size.in.bytes": str(64 << 20),
        "producer.override.acks": "all",
        "producer.override.linger.ms": "5",
        "producer.override.compression.type": "none",
        "producer.override.enable.idempotence": "true",
        "producer.override.max.in.flight.requests.per.connection": "5",
        "producer.override.max.request.size": str(source.record_bytes_max),
        # Kafka's default, or room for two of the largest: a record that does not fit waits for ever.
        "producer.override.buffer.memory": str(max(32 << 20, 2 * source.record_bytes_max)),
    }
