"""B3: how many changes a second one router process carries, decision and Avro included, against its peers.

Same broker, same bytes, alternating rounds, each contender in a process of its own; what counts is the ratio. It
ends with a check of what the router wrote in its last round: every record that had to arrive is there once, in
the lane its wedding's day says, in the order of the log.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import platform
import shutil
import statistics
import sys
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka

from ops import bench_contender, bench_log, bootstrap
from ops.config import load_settings
from ops.demo.story import fresh_state
from ops.stack import control
from ops.stack.topics import TopicPlan, ensure_topics
from schemas import codec
from schemas.backup import PLATFORM, Priority
from schemas.errors import TransientError
from schemas.topics import BACKUP_TOPICS, DEAD_LETTERS, backup_topic, capture_topic
from streams.intake import consumer_settings
from streams.produce import KafkaProducer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    from ops.bench_log import BenchLog

ROUNDS: Final = 5
PARTITIONS: Final = 4
_WEDDINGS: Final = 1_000
_CHANGES: Final = 100_000
_FAUST_CHANGES: Final = 5_000
"""The stock agent is so much slower that it reads only the beginning of the same log."""
_SETTLING_RECORDS: Final = 12_000
"""Read before the clock starts, so that a large calendar is no longer run-up than a small one; of the stock agent none,
which is warm after its calendar."""
_CONTENDER_SECONDS: Final = 120.0
_PULL_SECONDS: Final = 1.0
_QUIET_PULLS: Final = 5


class Arena:
    """A broker with a log on it, and contenders that are let loose on it one at a time."""

    def __init__(self, brokers: str, folder: pathlib.Path) -> None:
        self.brokers, self._folder = brokers, folder
        self._started = 0

    async def write(self, *, epoch: int, weddings: int, changes: int) -> BenchLog:
        """Make a log of its own epoch."""
        await ensure_topics(self.brokers, [TopicPlan(name=capture_topic("bench", epoch))])
        producer = KafkaProducer({"bootstrap.servers": self.brokers})
        log = await bench_log.write_log(producer, epoch=epoch, weddings=weddings, changes=changes, now=bootstrap.now())
        producer.close()
        return log

    async def run(
        self, contender: str, log: BenchLog, *, changes: int | None = None, partitions: int = PARTITIONS
    ) -> dict[str, float]:
        """Let one contender read a log (or its first `changes`) and return its rates.

        Raises:
            TransientError: it did not come to the end.
        """
        self._started += 1
        scratch = self._folder / f"contender-{self._started}"
        scratch.mkdir(parents=True)
        warm_up = log.warm_up + (_SETTLING_RECORDS if changes is None else 0)
        records = log.records if changes is None else log.warm_up + changes
        given = {
            "brokers": self.brokers, "topic": log.topic, "group": f"bench-{os.getpid()}-{self._started}",
            "scratch": str(scratch), "warm-up": warm_up, "records": records, "partitions": partitions,
        }  # fmt: skip
        argv = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        told = json.loads(await _output(contender, argv))
        shutil.rmtree(scratch)
        # BEGIN and END are read too, but only row changes count.
        share = log.changes / (log.records - log.warm_up)
        done = told["records"] * share
        return {"changes_per_s": done / told["wall_s"], "changes_per_cpu_s": done / told["cpu_s"], **told}


async def _output(contender: str, argv: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ops.bench_contender", contender, *argv, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _CONTENDER_SECONDS)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise TransientError(f"{contender} did not come to the end of its log", hint="is the machine busy?") from error
    lines = [line for line in out.decode().splitlines() if line.startswith("{")]
    if not lines:
        raise TransientError(f"{contender} ended with code {process.returncode}", hint="see its words above")
    return lines[-1]


async def bench_route(folder: pathlib.Path, *, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all contenders in turn, write `route.json`, and return it."""
    settings = load_settings(None, state_dir=fresh_state(folder / "state"))
    stack = bootstrap.stack_settings(settings)
    try:
        state = await control.up(stack, is_tied=True)
        arena = Arena(state.ports.bootstrap_servers, folder / "state" / "arena")
        await ensure_topics(arena.brokers, topics(PARTITIONS))
        log = await arena.write(epoch=1, weddings=_WEDDINGS, changes=_CHANGES)
        say(f"{log.records:,} records, {log.changes:,} of them row changes, lie on one capture topic")
        results: dict[str, list[dict[str, float]]] = collections.defaultdict(list)
        for number in range(rounds):
            before = await asyncio.to_thread(_ends, arena.brokers)
            for name, changes in (("router", None), ("faust", _FAUST_CHANGES), ("plain", None)):
                results[name].append(await arena.run(name, log, changes=changes))
            say(f"round {number + 1}: " + ", ".join(f"{name} {_rate(runs[-1])}" for name, runs in results.items()))
        say("reading what the router wrote in its last round")
        check = await asyncio.to_thread(check_last_round, arena.brokers, log, before)
    finally:
        await control.down(stack)
    return write_report(folder / "route.json", _report(results, check))


def topics(partitions: int) -> list[TopicPlan]:
    """Return the topics contenders write to."""
    lanes = [
        TopicPlan(name=f"{prefix}{topic}", partitions=partitions)
        for topic in BACKUP_TOPICS
        for prefix in ("", bench_contender.FAUST_PREFIX)
    ]
    return [*lanes, TopicPlan(name=DEAD_LETTERS), TopicPlan(name=bench_contender.PLAIN_TOPIC)]


def write_report(path: pathlib.Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write a bench's report, with the machine it was made on, and return it."""
    machine = {"processors": os.cpu_count() or 0, "python": platform.python_version(), "system": platform.system()}
    whole = {"machine": machine, **report}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=2) + "\n")
    return whole


def _report(results: dict[str, list[dict[str, float]]], check: dict[str, Any]) -> dict[str, Any]:
    contenders = {name: _summary(runs) for name, runs in results.items()}
    ours = contenders["router"]
    return {
        "breaking_condition": "one broker on loopback, no TLS, one capture partition, rows of about 0.9 kB; "
        "all contenders share the processors with the broker",
        "contenders": contenders,
        "ratios": {
            f"router / {name}": {
                key: round(ours[key]["median"] / contenders[name][key]["median"], 2)
                for key in ("changes_per_s", "changes_per_cpu_s")
            }
            for name in ("faust", "plain")
        },
        "check": check,
    }


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {key: spread([run[key] for run in runs]) for key in ("changes_per_s", "changes_per_cpu_s")}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, least and most of a few values."""
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
        "rounds": len(values),
    }


def _rate(run: dict[str, float]) -> str:
    return f"{run['changes_per_s']:,.0f}/s ({run['changes_per_cpu_s']:,.0f} per CPU-s)"


def _ends(brokers: str) -> dict[tuple[str, int], int]:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": brokers, "group.id": "bench-ends", "log_level": 3})
    found = {
        (topic, number): consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, number), timeout=10)[1]
        for topic in BACKUP_TOPICS
        for number in range(PARTITIONS)
    }
    consumer.close()
    return found


def check_last_round(brokers: str, log: BenchLog, begin: dict[tuple[str, int], int]) -> dict[str, Any]:
    """Read what was written since `begin` and compare it with the log: what is missing, twice or astray."""
    consumer = confluent_kafka.Consumer(consumer_settings({"bootstrap.servers": brokers, "group.id": "bench-check"}))
    consumer.assign([confluent_kafka.TopicPartition(topic, number, at) for (topic, number), at in begin.items()])
    seen: collections.Counter[int] = collections.Counter()
    last: dict[tuple[str, int], int] = {}
    rows = astray = disordered = quiet = 0
    critical = backup_topic(Priority.CRITICAL)
    while quiet < _QUIET_PULLS:
        messages = consumer.consume(5_000, _PULL_SECONDS)
        quiet = 0 if messages else quiet + 1
        for message in messages:
            if codec.name_of(message.value()) != "BackupChange":
                continue
            change = codec.decode("BackupChange", message.value())
            place = (message.topic(), message.partition())
            seen[change["position"]] += 1
            rows += change["kind"] == "row"
            disordered += change["position"] <= last.get(place, -1)
            last[place] = change["position"]
            belongs = critical if change["wedding"] == PLATFORM else log.lanes[change["wedding"]]
            astray += message.topic() != belongs
    consumer.close()
    # BEGINs are not passed on; everything else is: rows of the calendar, changes, ENDs.
    weddings = len(log.lanes)
    transactions = (log.records - log.changes - weddings) // 2
    return {
        "expected": log.changes + weddings + transactions,
        "arrived": len(seen),
        "rows": rows,
        "twice": sum(count > 1 for count in seen.values()),
        "in_the_wrong_lane": astray,
        "out_of_order": disordered,
        "passed": len(seen) == log.changes + weddings + transactions
        and rows == log.changes + weddings
        and not (astray or disordered or any(count > 1 for count in seen.values())),
    }
