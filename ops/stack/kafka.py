"""One Kafka broker in KRaft mode: its settings and its commands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops.stack.java import java_command
from ops.stack.settings import LOOPBACK
from schemas.topics import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack.settings import StackPorts, StackSettings

NODE_ID: Final = 1
# Topics outlive a sink that was down for a long weekend, and no longer: erasure ends with them.
RETENTION_HOURS: Final = 72
# The cleaner's default buffer of 128 MiB would take a third of this heap; our compacted topics are tiny.
CLEANER_BUFFER_BYTES: Final = 8 << 20
_FORMAT_HEAP_MIB: Final = 128


def kafka_dir(settings: StackSettings) -> Path:
    """Return the folder of the broker's settings and logs."""
    return settings.stack_dir / "kafka"


def is_formatted(settings: StackSettings) -> bool:
    """Tell whether the broker's log folder has been prepared."""
    return (kafka_dir(settings) / "data" / "meta.properties").exists()


def server_properties(settings: StackSettings, ports: StackPorts) -> dict[str, str]:
    """Return the broker's settings: one node that is broker and controller, loopback only."""
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{ports.kafka_controller}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},CONTROLLER://{LOOPBACK}:{ports.kafka_controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(kafka_dir(settings) / "data"),
        "log.retention.hours": str(RETENTION_HOURS),
        # A topic exists because we made it, with the settings we chose, or not at all.
        "auto.create.topics.enable": "false",
        "log.cleaner.dedupe.buffer.size": str(CLEANER_BUFFER_BYTES),
        "message.max.bytes": str(RECORD_BYTES_MAX),
        "replica.fetch.max.bytes": str(RECORD_BYTES_MAX),
        **_one_broker_is_all(),
    }


def format_command(settings: StackSettings, *, cluster_id: str) -> tuple[str, ...]:
    """Return the command that prepares an empty log folder, once."""
    arguments = ("format", "--cluster-id", cluster_id, "--config", str(kafka_dir(settings) / "server.properties"))
    return java_command(
        "kafka.tools.StorageTool",
        (*arguments, "--ignore-formatted"),
        classpath=settings.jars_dir / "kafka",
        heap_mib=_FORMAT_HEAP_MIB,
    )


def serve_command(settings: StackSettings) -> tuple[str, ...]:
    """Return the command that runs the broker."""
    return java_command(
        "kafka.Kafka",
        (str(kafka_dir(settings) / "server.properties"),),
        classpath=settings.jars_dir / "kafka",
        heap_mib=settings.kafka_heap_mib,
    )


def _one_broker_is_all() -> dict[str, str]:
    replicated = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        **{f"{topic}.replication.factor": "1" for topic in replicated},
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "default.replication.factor": "1",
        # For a few clients on two cores: eight handlers would only wake each other up.
        "num.network.threads": "2",
        "num.io.threads": "2",
        # Fifty partitions each by default: fifty open files and a slower start for a handful of groups.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # No crowd to wait for before the first assignment.
        "group.initial.rebalance.delay.ms": "0",
        # A killed broker is a stranger to itself until its old session ends: nine seconds by default.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        # A killed member must not hold its partitions for the default minimum of six seconds.
        "group.min.session.timeout.ms": "1000",
    }
