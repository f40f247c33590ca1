"""B1 and B2: from commit to backup topic, from commit to verified copies, at rates held open loop.

Beside it, in the same run and on the same database, Debezium as it comes: its default poll interval,
to Kafka alone, one copy, nothing encrypted or verified. The run counts only if a wedding restored at
the end equals the database.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import platform
import time
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
import psycopg

from connectors.connect import ConnectClient
from connectors.connector_config import PostgresSource, connector_config, connector_name
from connectors.debezium import Change, parse
from ops import bootstrap, bringup, canary, restoring
from ops.config import load_settings
from ops.demo import wedding
from ops.demo.story import fresh_state, new_database
from ops.instants import percentiles, read_instants
from ops.sample.load import Load, LoadSettings
from ops.stack import control
from ops.stack.topics import TopicPlan, ensure_topics
from sinks.targets import PostgresTarget

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from ops.config import Settings
    from sinks.restore_plan import State

RATES: Final = (100, 500, 1000)
_WEDDINGS: Final = 40
_PEER_TOPIC: Final = "peer-default"
_PEER_SLOT: Final = "wedsync_peer"
_PEER_RATE: Final = 100
_PEER_DEFAULTS: Final = ("poll.interval.ms", "max.batch.size", "max.queue.size", "max.queue.size.in.bytes")
_CHANGES_MIN: Final = 2000
_SETTLE_SECONDS: Final = 60.0
_QUIET_POLLS: Final = 20
_MICRO: Final = 1_000_000


async def bench_rpo(folder: pathlib.Path, *, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Hold each rate for so many seconds, write `rpo.json`, and return it."""
    settings = load_settings(None, state_dir=fresh_state(folder / "state"))
    try:
        running = await bringup.bring_up(settings, is_tied=True, progress=say)
        runs = []
        for seed, rate in enumerate(RATES, start=1):
            say(f"{rate} changes/s for {seconds:.0f} s")
            runs.append(await _hold(settings, running, rate=rate, seconds=seconds, seed=seed))
        say("restoring a wedding and comparing it with the database")
        restored = await _restore(settings, running)
        say(f"the same with Debezium's defaults to Kafka alone, {_PEER_RATE}/s")
        peer = await _peer(settings, running, seconds)
    finally:
        await control.down(bootstrap.stack_settings(settings))
    report = {
        "machine": {"processors": _processors(), "python": platform.python_version(), "system": platform.system()},
        "breaking_condition": "loopback, no TLS, stores are folders on one disk, one machine for all parts",
        "runs": runs,
        "restore": restored,
        "peers": {"debezium_defaults_to_kafka": peer},
    }
    path = folder / "rpo.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    return report


async def _hold(
    settings: Settings, running: bringup.Running, *, rate: int, seconds: float, seed: int
) -> dict[str, Any]:
    changes = max(_CHANGES_MIN, int(rate * seconds))
    began_us = _now_us()
    counts = await _load(running, settings, seed=seed, changes=changes, rate=rate)
    await canary.fly(settings, running.dsn, running.epochs["platform"])
    with restoring.opened(settings) as archive:
        instants = await read_instants(restoring.history_of(archive), archive.catalog, since_us=began_us)
    return {
        "rate": rate,
        "changes": counts,
        "archived": instants.changes,
        "repeated": instants.repeated,
        "initiation_ms": percentiles(instants.initiation_ms),
        "rpo_ms": percentiles(instants.rpo_ms),
        "rpo_ms_by_lane": {lane: percentiles(values) for lane, values in sorted(instants.rpo_by_lane.items())},
    }


async def _load(running: bringup.Running, settings: Settings, *, seed: int, changes: int, rate: int) -> int:
    load = Load(LoadSettings(seed=seed, now=bootstrap.now()))
    counts = await load.run(
        running.dsn,
        settings.objects_folder,
        changes=changes,
        weddings=_WEDDINGS,
        photos=0,
        photo_bytes_total=0,
        rate=rate,
        shape="steady",
    )
    return counts.changes


async def _restore(settings: Settings, running: bringup.Running) -> dict[str, Any]:
    mapping = bootstrap.mapping(settings)
    async with await psycopg.AsyncConnection.connect(running.dsn) as connection:
        found = await (
            await connection.execute("SELECT wedding_id::text FROM guests GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
        ).fetchone()
    assert found is not None
    witness = await wedding.record(running.dsn, mapping, found[0], settings.objects_folder)
    await canary.fly(settings, running.dsn, running.epochs["platform"])
    dsn = await new_database(running.dsn, "restored")
    began = time.monotonic()

    def target(state: State) -> PostgresTarget:
        return PostgresTarget(dsn, mapping, ddl=state.ddl, sequences=state.sequences, used_numbers=state.used_numbers)

    with restoring.opened(settings) as archive:
        result = await restoring.restorer_of(archive).restore(
            witness.wedding, witness.at, restore_id="bench", rows=target, folder=None
        )
    wrong = [name for name in await wedding.differences(witness, dsn, mapping, settings.objects_folder) if name]
    return {
        "seconds": round(time.monotonic() - began, 2),
        "rows": sum(result.rows.values()),
        "identical": not wrong,
    }


async def _peer(settings: Settings, running: bringup.Running, seconds: float) -> dict[str, Any]:
    """Watch the same database with a second connector, as it comes out of the box."""
    source = dataclasses.replace(
        bringup.postgres_source(settings, running.dsn, running.epochs["platform"]), name="peer", slot=_PEER_SLOT
    )
    await ensure_topics(running.brokers, [TopicPlan(name=_PEER_TOPIC)])
    async with ConnectClient(running.state.ports.connect_url) as connect:
        await connect.put(connector_name(source), _as_it_comes(source))
        await connect.wait_running(connector_name(source), within=bringup.CONNECTOR_WITHIN)
        await bringup.wait_for_slot(running.dsn, slot=_PEER_SLOT)
        began_us = _now_us()
        changes = max(_CHANGES_MIN, int(_PEER_RATE * seconds))
        await _load(running, settings, seed=len(RATES) + 1, changes=changes, rate=_PEER_RATE)
        published = await asyncio.to_thread(_published_ms, running.brokers, began_us)
        await connect.delete(connector_name(source))
    return {"rate": _PEER_RATE, "changes": len(published), "initiation_ms": percentiles(published)}


def _as_it_comes(source: PostgresSource) -> dict[str, str]:
    """Return our connector's settings without what makes it fast, on a topic of its own."""
    config = {name: value for name, value in connector_config(source).items() if name not in _PEER_DEFAULTS}
    config = {name: value for name, value in config.items() if not name.startswith("producer.override.")}
    return {name: _PEER_TOPIC if name.endswith(".replacement") else value for name, value in config.items()}


def _published_ms(brokers: str, began_us: int) -> list[float]:
    """Return, for each row change committed since, how long it took to its topic."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": brokers, "group.id": "wedsync-bench", "auto.offset.reset": "earliest", "log_level": 3}
    )
    consumer.assign([confluent_kafka.TopicPartition(_PEER_TOPIC, 0, confluent_kafka.OFFSET_BEGINNING)])
    found: list[float] = []
    quiet, deadline = 0, time.monotonic() + _SETTLE_SECONDS
    while quiet < _QUIET_POLLS and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        quiet = quiet + 1 if message is None else 0
        if message is None or message.error() is not None:
            continue
        captured = parse(message.value())
        if not isinstance(captured, Change) or captured.committed_us < began_us:
            continue
        if captured.order and captured.table.startswith("public."):
            found.append(message.timestamp()[1] - captured.committed_us / 1000)
    consumer.close()
    return found


def _processors() -> int:
    import os  # noqa: PLC0415

    return os.cpu_count() or 0


def _now_us() -> int:
    return int(bootstrap.now().timestamp() * _MICRO)
