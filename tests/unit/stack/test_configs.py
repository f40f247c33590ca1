"""What the engines are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.connector_config import PostgresSource, connector_config
from ops.stack import connect_worker, kafka, postgres
from ops.stack.properties import encode_properties
from ops.stack.settings import StackPorts, StackSettings

SETTINGS = StackSettings(state_dir=Path("/state"))
PORTS = StackPorts(kafka=1, kafka_controller=2, connect=3, postgres=4)
SOURCE = PostgresSource(host="db", port=5432, user="u", password="secret", database="weddings", epoch=1_700_000_000)


def test_every_engine_listens_on_loopback_only() -> None:
    """Nobody outside this machine can reach an engine that has no login."""
    broker = kafka.server_properties(SETTINGS, PORTS)

    assert broker["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert connect_worker.worker_properties(SETTINGS, PORTS)["listeners"] == "http://127.0.0.1:3"
    assert postgres.server_options(PORTS)["listen_addresses"] == "127.0.0.1"


def test_postgres_keeps_its_promise_to_the_disk() -> None:
    """A commit that Postgres confirmed survives a power cut: speed is never bought there."""
    options = postgres.server_options(PORTS)

    assert options["fsync"] == "on"
    assert options.get("synchronous_commit", "on") == "on"


def test_topics_exist_only_because_we_made_them() -> None:
    """A misspelt topic is an error, not a new topic with settings nobody chose."""
    assert kafka.server_properties(SETTINGS, PORTS)["auto.create.topics.enable"] == "false"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("skipped.operations", "none"),
        ("offset.mismatch.strategy", "trust_offset"),
        ("publication.autocreate.mode", "disabled"),
        ("slot.drop.on.stop", "false"),
        ("snapshot.mode", "no_data"),
        ("event.converting.failure.handling.mode", "fail"),
        ("provide.transaction.metadata", "true"),
        ("value.converter.replace.null.with.default", "false"),
        ("driver.binaryTransfer", "false"),
    ],
)
def test_no_default_that_loses_data_is_left(setting: str, value: str) -> None:
    """Each of these defaults drops or garbles something in silence."""
    assert connector_config(SOURCE)[setting] == value


def test_everything_a_source_emits_goes_to_one_topic() -> None:
    """Order across tables, transactions and messages survives only in one topic."""
    config = connector_config(SOURCE)

    assert config["transforms.capture.replacement"] == "capture.platform.e1700000000"
    assert config["topic.heartbeat.prefix"].startswith("platform.")
    assert config["notification.sink.topic.name"].startswith("platform.")


def test_the_password_is_not_shown() -> None:
    """A source that ends up in a log says nothing secret."""
    assert "secret" not in repr(SOURCE)


def test_properties_escape_what_java_would_eat() -> None:
    """A backslash reaches Java as one backslash, and a leading space stays."""
    assert encode_properties({"regex": r"a\.b", "pad": " x"}) == "regex=a\\\\.b\npad=\\ x\n"
