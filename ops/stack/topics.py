"""Making topics: each exists because we made it, with the settings we chose, or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.errors import ConfigError, TransientError
from schemas.topics import RECORD_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ADMIN_TIMEOUT_SECONDS: Final = 15.0
# A capture event may hold a document: Kafka's default of 1 MiB would stop the whole stream at the first large one.
# The broker's clock, not the producer's: retention and "how old is this" then mean one thing.
_CLOCK: Final = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(RECORD_BYTES_MAX)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """One topic as it has to be; a compacted one keeps the last record of each key for ever."""

    name: str
    partitions: int = 1
    is_compacted: bool = False
    replication: int = 1

    def settings(self) -> Mapping[str, str]:
        """Return the topic's settings as Kafka takes them."""
        return {**_CLOCK, "cleanup.policy": "compact" if self.is_compacted else "delete"}


async def ensure_topics(bootstrap_servers: str, plans: Sequence[TopicPlan]) -> None:
    """Create the topics that do not exist yet.

    Raises:
        ConfigError: one exists with another number of partitions.
        TransientError: Kafka did not answer in time.
    """
    await asyncio.to_thread(_ensure, bootstrap_servers, plans)


async def topic_id(bootstrap_servers: str, name: str) -> str:
    """Return the id Kafka gave a topic: one recreated under its old name has another, and is another log.

    Raises:
        ConfigError: there is no such topic.
        TransientError: Kafka did not answer in time.
    """
    return await asyncio.to_thread(_topic_id, bootstrap_servers, name)


def _ensure(bootstrap_servers: str, plans: Sequence[TopicPlan]) -> None:
    admin = _admin(bootstrap_servers)
    topics = [NewTopic(plan.name, plan.partitions, plan.replication, config=dict(plan.settings())) for plan in plans]
    try:
        # The futures alone know what went wrong: nothing is raised before `result`.
        futures = admin.create_topics(topics, operation_timeout=ADMIN_TIMEOUT_SECONDS)
        existing = [name for name, future in futures.items() if not _is_created(future.result)]
        _raise_limits(admin, existing)
        there = admin.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics if existing else {}
    except KafkaException as error:
        raise TransientError(f"Kafka refused to create topics: {error}", hint="is the stack up?") from error
    for plan in plans:
        if plan.name in existing and len(there[plan.name].partitions) != plan.partitions:
            found = len(there[plan.name].partitions)
            raise ConfigError(
                f"topic {plan.name} has {found} partitions, not {plan.partitions}",
                hint="keep the number it was made with: keys would move to other partitions",
            )


def _raise_limits(admin: AdminClient, existing: Sequence[str]) -> None:
    """Let topics that were made by an earlier version take as large a record as those made now."""
    limit = ConfigEntry("max.message.bytes", _CLOCK["max.message.bytes"], incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[limit]) for name in existing]
    if resources:
        for future in admin.incremental_alter_configs(resources, request_timeout=ADMIN_TIMEOUT_SECONDS).values():
            future.result(ADMIN_TIMEOUT_SECONDS)


def _is_created(result: object) -> bool:
    assert callable(result)
    try:
        result(ADMIN_TIMEOUT_SECONDS)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True


def _topic_id(bootstrap_servers: str, name: str) -> str:
    # Kept in a name: the answer never comes when the client is collected first.
    admin = _admin(bootstrap_servers)
    futures = admin.describe_topics(TopicCollection([name]), request_timeout=ADMIN_TIMEOUT_SECONDS)
    try:
        return str(futures[name].result(ADMIN_TIMEOUT_SECONDS).topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConfigError(f"there is no topic {name}", hint="register the source first") from error
        raise TransientError(f"Kafka did not describe {name}: {error}", hint="is the stack up?") from error


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap_servers, "socket.timeout.ms": 10_000})
