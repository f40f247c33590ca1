"""docker-compose.yml against the local stack: the same parts, the same settings, nothing reachable from outside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
import yaml

from ops import compose as entry
from ops.bringup import WORKERS
from ops.config import Settings
from ops.stack import connect_worker, kafka, postgres
from ops.stack.artifacts import JAVA_SOURCES, POM
from ops.stack.parts import ENGINES
from ops.stack.settings import StackPorts, StackSettings

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
STACK: Final = StackSettings(state_dir=Path("/state"))
PORTS: Final = StackPorts(kafka=9092, kafka_controller=9093, connect=8083, postgres=5432)

# Where a part listens and keeps its files is another matter inside a container.
PLACES: Final = {
    "kafka": {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs"},
    "connect": {"bootstrap.servers", "listeners", "rest.advertised.host.name", "rest.advertised.port", "plugin.path"},
    "postgres": {"listen_addresses", "port", "unix_socket_directories"},
}
# Debezium's image takes these under a name of its own, and overrules the general one.
DEBEZIUM_NAMES: Final = {
    "group.id": "GROUP_ID",
    "config.storage.topic": "CONFIG_STORAGE_TOPIC",
    "offset.storage.topic": "OFFSET_STORAGE_TOPIC",
    "status.storage.topic": "STATUS_STORAGE_TOPIC",
    "offset.flush.interval.ms": "OFFSET_FLUSH_INTERVAL_MS",
    "key.converter": "KEY_CONVERTER",
    "value.converter": "VALUE_CONVERTER",
}
HELPERS: Final = {"setup", "cli", "prometheus", "grafana", "schema-registry"}


def variable(prefix: str, name: str) -> str:
    """Return the environment variable by which an image takes a property."""
    return prefix + name.upper().replace(".", "_")


def expected(part: str, properties: dict[str, str]) -> dict[str, str]:
    """Return the local stack's properties without those that name a place."""
    return {name: value for name, value in properties.items() if name not in PLACES[part]}


def pom_version(name: str) -> str:
    """Return a version the local stack's jars have."""
    found = ET.parse(POM).find(f".//{{*}}{name}")  # noqa: S314 - a file of ours
    assert found is not None
    return str(found.text)


def connect_image() -> str:
    """Return how Kafka Connect's image is built."""
    dockerfile = str(SERVICES["connect"]["build"]["dockerfile"])
    return (ROOT / dockerfile).read_text(encoding="utf-8")


def test_compose_has_the_stack_s_parts_and_nothing_unknown() -> None:
    """What runs here without Docker runs there with it."""
    assert SERVICES.keys() == {*ENGINES, *WORKERS} | HELPERS


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_says_how_it_is_built_checked_and_restarted(name: str) -> None:
    """No service runs unwatched; those that end by themselves say so."""
    service = SERVICES[name]

    assert "image" in service or "build" in service
    assert not str(service.get("image", ":1")).endswith(":latest")
    assert service["restart"] in {"unless-stopped", "on-failure", "no"}
    check = service["healthcheck"]
    assert check.get("disable") is (True if name in {"setup", "cli"} else None) or check["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_wait_for_health(name: str) -> None:
    """Started is not ready: each dependency waits for a health check or for a finished setup."""
    for dependency, how in dict(SERVICES[name].get("depends_on") or {}).items():
        ends_by_itself = dependency == "setup"
        assert how["condition"] == ("service_completed_successfully" if ends_by_itself else "service_healthy")


@pytest.mark.parametrize("name", SERVICES)
def test_every_volume_is_declared(name: str) -> None:
    """A misspelt volume would be a new, empty one."""
    sources = [volume.rpartition(":ro")[0] or volume for volume in SERVICES[name].get("volumes", ())]
    named = {source.split(":")[0] for source in sources if not source.startswith((".", "$"))}

    assert named <= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_published_beyond_loopback(name: str) -> None:
    """Kafka and Connect have no login and stay inside; so do workers, but the one that asks for a token."""
    ports = SERVICES[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert name not in {"kafka", "connect", *WORKERS} - {"api"} or not ports


def test_kafka_is_told_the_same() -> None:
    """Broker: every property of the local stack stands in the environment, with the same value."""
    told = SERVICES["kafka"]["environment"]

    for name, value in expected("kafka", kafka.server_properties(STACK, PORTS)).items():
        assert told[variable("KAFKA_", name)] == value, name


def test_connect_is_told_the_same() -> None:
    """Connect worker: every property, the image's own names respected."""
    told = SERVICES["connect"]["environment"]

    for name, value in expected("connect", connect_worker.worker_properties(STACK, PORTS)).items():
        assert told[DEBEZIUM_NAMES.get(name, variable("CONNECT_", name))] == value, name


def test_postgres_is_told_the_same() -> None:
    """Server: wal_level and all the others, and nothing more."""
    command = SERVICES["postgres"]["command"]
    told = dict(option.split("=", 1) for option in command if "=" in option)

    assert told == expected("postgres", postgres.server_options(PORTS))
    assert told["wal_level"] == "logical"


@pytest.mark.parametrize(
    ("name", "heap", "serve"),
    [
        ("kafka", "KAFKA_HEAP_OPTS", kafka.serve_command(STACK)),
        ("connect", "HEAP_OPTS", connect_worker.serve_command(STACK)),
    ],
)
def test_heaps_and_collectors_are_the_same(name: str, heap: str, serve: tuple[str, ...]) -> None:
    """A container gets the heap that was measured here, and dies of its exhaustion instead of limping."""
    told = SERVICES[name]["environment"]
    flags = [flag for flag in serve if flag.startswith(("-X", "-Djava", "-Duser"))]

    assert flags == [told[heap], *told["KAFKA_JVM_PERFORMANCE_OPTS"].split()]


def test_clients_reach_the_listeners_by_their_service_s_name() -> None:
    """The broker advertises the very address that everybody is given."""
    told = SERVICES["kafka"]["environment"]

    assert told["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    assert "PLAINTEXT://:9092" in told["KAFKA_LISTENERS"]
    assert SERVICES["connect"]["environment"]["BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert all("kafka:9092" in SERVICES[name]["command"] for name in ("setup", *WORKERS))


def test_images_have_the_local_stack_s_versions() -> None:
    """Kafka and Debezium are those whose behaviour was measured; Postgres is the one that was tried."""
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{pom_version('kafka.version')}"
    assert f"\nFROM quay.io/debezium/connect:{pom_version('debezium.version')}\n" in connect_image()
    assert SERVICES["postgres"]["image"] == "postgres:15"


def test_connect_has_the_converter_built_from_the_same_list() -> None:
    """Without it the connector's configuration is refused; with another one values might differ."""
    jar = f"plugins/debezium-connector-postgres/{pom_version('finalName')}.jar"

    assert "COPY ops/stack/pom.xml " in connect_image()
    assert f"COPY {JAVA_SOURCES.relative_to(ROOT)} sources\n" in connect_image()
    assert f"/{jar} /kafka/connect/debezium-connector-postgres/\n" in connect_image()


def test_our_jar_comes_before_debeziums() -> None:
    """Of two classes of one name the first is loaded, and ours reads rows by the log's types."""
    assert pom_version("finalName") < "debezium-connector-postgres"


@pytest.mark.parametrize("name", WORKERS)
def test_workers_run_the_same_program(name: str) -> None:
    """One image; its entry point knows each worker, and is asked for health where it serves metrics."""
    service = SERVICES[name]

    assert service["command"][0] in entry.WORKERS
    assert service["build"]["dockerfile"] == "ops/docker/Dockerfile"
    assert f":{entry.METRICS_PORT}/metrics" in service["healthcheck"]["test"][-1]


def test_worker_settings_exist_and_agree_with_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each WEDSYNC_ variable is a setting; partitions are the local default's, or keys would move."""
    environment = SERVICES["sink"]["environment"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()

    assert settings.archive.partitions == Settings.model_fields["archive"].default.partitions
    assert str(settings.objects_folder) == "/objects"
    assert settings.source.url


def test_prometheus_scrapes_every_worker() -> None:
    """A worker that nobody scrapes looks healthy for ever."""
    scraped = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    targets = scraped["scrape_configs"][0]["static_configs"][0]["targets"]

    assert sorted(targets) == sorted(f"{name}:{entry.METRICS_PORT}" for name in WORKERS)


def test_every_variable_of_compose_is_explained() -> None:
    """Whoever copies .env.example has read of each variable there is."""
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    explained = set(
        re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )

    assert used == explained
