"""Verbs about routing: explain, urgent; and its benches."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ops.cli import EXIT_FAILED, AsJson, Config, State, answer, app, run, say, settings_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from ops.config import Settings
    from schemas.wedding import Wedding
    from streams.records import Record

_ROUTE_ROUNDS: Final = 5
_SCALE_ROUNDS: Final = 3


Wedding_ = Annotated[str, typer.Option("--wedding", help="The wedding's id.")]


@app.command()
def explain(
    event: Annotated[str, typer.Argument(help="A captured record: capture.<source>.e<epoch>:<offset>.")] = "",
    wedding: Wedding_ = "",
    at: Annotated[str, typer.Option("--at", help="As if it were then (RFC 3339, or 2h ago); default now.")] = "",
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Say in which lane a change or a wedding travels, and why. Example: wedsync-backup explain --wedding ID --json."""
    from ops.bootstrap import routing_rules
    from schemas.errors import ConfigError
    from streams.explain import explain as explained

    if bool(event) == bool(wedding):
        raise ConfigError("explain needs one of a captured record and --wedding", hint="wedsync-backup explain --help")
    settings = settings_of(config, state_dir)
    now, rules = _instant(at), routing_rules(settings)
    told = [
        explained(name, line, now=now, rules=rules)
        for name, line in _lines(settings, _owners(settings, event, wedding))
    ]
    if as_json:
        answer(told)
        return
    for each in told:
        _show(each)


@app.command()
def urgent(
    wedding: Wedding_,
    lasting: Annotated[str, typer.Option("--for", help="For how long: 90s, 30m, 2h, 1d.")] = "2h",
    stop: Annotated[bool, typer.Option("--stop", help="Take it back.")] = False,
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Let a wedding's changes go before all others. Example: wedsync-backup urgent --wedding ID --for 2h."""
    import datetime as dt

    from ops import bootstrap, bringup
    from streams import urgency
    from streams.produce import KafkaProducer

    settings, now = settings_of(config, state_dir), bootstrap.now()
    until = now - dt.timedelta(seconds=1) if stop else now + _duration(lasting)
    record = urgency.request(wedding, until=until, by=getpass.getuser(), now=now)

    async def ask() -> None:
        running = await bringup.running(settings)
        producer = KafkaProducer({"bootstrap.servers": running.state.ports.bootstrap_servers})
        await producer.deliver([record])
        producer.close()

    run(ask())
    how = "urgent no more" if stop else f"urgent until {until.isoformat(timespec='seconds')}"
    say(f"{wedding} is {how}")
    say("  the router follows within a second; what waits of it is promoted (`status` shows how far)")


def _instant(text: str) -> Any:
    from ops import bootstrap
    from ops.restoring import parse_instant
    from schemas.errors import ConfigError

    now = bootstrap.now()
    found = parse_instant(text, now=now) if text else now
    if not hasattr(found, "astimezone"):
        raise ConfigError(f"--at {text}: a calendar knows instants only", hint="2026-06-20T10:00:00+02:00, or '2h ago'")
    return found


def _duration(text: str) -> Any:
    import datetime as dt
    import re

    from schemas.errors import ConfigError

    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise ConfigError(f"--for {text}: no duration", hint="90s, 30m, 2h or 1d")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return dt.timedelta(**{unit: int(match[1])})


def _owners(settings: Settings, event: str, wedding: str) -> list[str]:
    if wedding:
        return [wedding]
    from ops import bootstrap
    from streams.explain import owners, parse_event

    topic, offset = parse_event(event)
    record = run(_captured(settings, topic, offset))
    state = _router_state(settings)
    try:
        return owners(record.value or b"", bootstrap.mapping(settings), state)
    finally:
        state.close()


async def _captured(settings: Settings, topic: str, offset: int) -> Record:
    from ops import bringup
    from schemas.errors import FormatError
    from streams.lane_reader import KafkaLaneReader

    running = await bringup.running(settings)
    reader = KafkaLaneReader({"bootstrap.servers": running.state.ports.bootstrap_servers})
    try:
        if offset >= await reader.end(topic, 0):
            raise FormatError(f"{topic} has no record {offset} yet", hint="count from 0")
        record = (await reader.read(topic, 0, offset, 1))[0]
    finally:
        reader.close()
    if record.offset != offset:
        raise FormatError(f"record {offset} of {topic} has aged out", hint="ask with --wedding instead")
    return record


def _lines(settings: Settings, names: list[str]) -> list[tuple[str, Wedding | None]]:
    state = _router_state(settings)
    try:
        return [(name, state.wedding(name)) for name in names]
    finally:
        state.close()


def _router_state(settings: Settings) -> Any:
    from schemas.errors import ConfigError
    from streams.state import RouterState

    path = settings.router_file
    if not path.exists():
        raise ConfigError(f"there is no router's memory at {path}", hint="explain runs where the router does")
    return RouterState(path)


def _show(told: dict[str, Any]) -> None:
    from ops.tables import print_table
    from streams.explain import rank_in_words

    following = told["next_change"]
    rows = [
        ("lane", told["lane"]),
        ("rank in it", f"{told['rank']} ({rank_in_words(told['rank'])})"),
        ("because", told["because"]),
        *told["values"].items(),
        ("time alone changes it", f"{following['at']} to {following['lane']}" if following else "not within 400 days"),
        ("else", told["would_change_it"]),
    ]
    print_table(f"wedding {told['wedding']} at {told['at']}", ("what", "value"), rows)
    if told["rules"]:
        rules = [(each["when"], each["lane"], "holds" if each["holds"] else "-") for each in told["rules"]]
        print_table("the rules, the first that holds decides", ("when", "lane", ""), rules)


def _bench_route(folder: pathlib.Path, rounds: int) -> None:
    from ops.bench_route import bench_route
    from ops.tables import print_table

    report = run(bench_route(folder, rounds=rounds or _ROUTE_ROUNDS, say=say))
    rows = [
        (name, *(f"{of[key][part]:,.0f}" for key in of for part in ("median", "least", "most")))
        for name, of in report["contenders"].items()
    ]
    columns = ("contender", "changes/s", "least", "most", "per CPU-s", "least", "most")
    print_table(f"routing, medians of {rounds or _ROUTE_ROUNDS} rounds", columns, rows)
    for name, ratio in report["ratios"].items():
        say(f"{name}: {ratio['changes_per_s']} x by the clock, {ratio['changes_per_cpu_s']} x by CPU-seconds")
    say(f"breaking condition: {report['breaking_condition']}")
    _require(report["check"]["passed"], f"what the router wrote is not what it read: {report['check']}")


def _bench_scale(folder: pathlib.Path, rounds: int) -> None:
    from ops.bench_scale import bench_scale
    from ops.tables import print_table

    report = run(bench_scale(folder, rounds=rounds or _SCALE_ROUNDS, say=say))
    for what, sizes in report["cpu_s_per_million_changes"].items():
        rows = [(f"{size:,}", of["median"], of["least"], of["most"]) for size, of in sizes.items()]
        flat = report["dearest_over_cheapest"][what]
        title = f"CPU-seconds per million changes; the dearest is {flat} x the cheapest"
        print_table(title, (what, "median", "least", "most"), rows)
    say(f"breaking condition: {report['breaking_condition']}")


def _require(has_passed: Any, otherwise: str) -> None:
    if not has_passed:
        say(otherwise)
        raise typer.Exit(EXIT_FAILED)


BENCHES: Final[dict[str, Callable[[pathlib.Path, int], None]]] = {"route": _bench_route, "scale": _bench_scale}
