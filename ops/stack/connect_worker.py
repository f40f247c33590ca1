"""One Kafka Connect worker with the Debezium plugin: its settings and its command. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ops.stack.java import java_command
from ops.stack.settings import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack.settings import StackPorts, StackSettings

GROUP_ID: Final = "wedsync-connect"
_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"


def connect_dir(settings: StackSettings) -> Path:
    """Return the folder of the worker's settings; its state lies in Kafka."""
    return settings.stack_dir / "connect"


def worker_properties(settings: StackSettings, ports: StackPorts) -> dict[str, str]:
    """Return the worker's settings: JSON without schemas, offsets flushed each second, loopback only."""
    return {
        "bootstrap.servers": ports.bootstrap_servers,
        "group.id": GROUP_ID,
        "listeners": ports.connect_url,
        "rest.advertised.host.name": LOOPBACK,
        "rest.advertised.port": str(ports.connect),
        "plugin.path": str(settings.jars_dir / "plugins"),
        # Scanning every class instead takes five times as long to start.
        "plugin.discovery": "service_load",
        "key.converter": _JSON,
        "key.converter.schemas.enable": "false",
        "value.converter": _JSON,
        "value.converter.schemas.enable": "false",
        # What is not flushed is emitted again after a crash: a second of it, not a minute.
        "offset.flush.interval.ms": "1000",
        **_internal_topics(),
        **_quick_to_return(),
    }


def serve_command(settings: StackSettings) -> tuple[str, ...]:
    """Return the command that runs the worker."""
    return java_command(
        "org.apache.kafka.connect.cli.ConnectDistributed",
        (str(connect_dir(settings) / "worker.properties"),),
        classpath=settings.jars_dir / "kafka",
        heap_mib=settings.connect_heap_mib,
    )


def _internal_topics() -> dict[str, str]:
    topics = {kind: f"wedsync.connect.{kind}" for kind in ("config", "offset", "status")}
    return {
        **{f"{kind}.storage.topic": name for kind, name in topics.items()},
        **{f"{kind}.storage.replication.factor": "1" for kind in topics},
        "offset.storage.partitions": "1",
        "status.storage.partitions": "1",
    }


def _quick_to_return() -> dict[str, str]:
    return {
        # A worker that was killed comes back as a stranger: by default its tasks would wait
        # ten seconds for the dead member and five minutes for its return.
        "session.timeout.ms": "5000",
        "heartbeat.interval.ms": "1000",
        "scheduled.rebalance.max.delay.ms": "0",
        # It starts beside the broker and has to see it the moment it answers.
        "reconnect.backoff.max.ms": "200",
    }
