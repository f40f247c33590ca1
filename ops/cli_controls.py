"""Verbs that order the workers about: controls show, pause, resume, limit, emergency-stop, emergency-resume."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli import EXIT_USAGE, AsJson, Config, State, answer, app, run, say, settings_of

if TYPE_CHECKING:
    from ops.config import Settings
    from schemas.controls import Control

controls = typer.Typer(no_args_is_help=True, help="Pause, limit and stop what the workers do; capture never stops.")
app.add_typer(controls, name="controls")

Lanes = Annotated[list[str], typer.Option("--lane", help="critical, high or standard; again for more; default all.")]
Works = Annotated[
    list[str], typer.Option("--work", help="log, blob, owed, snapshot, sweep, scrub or migration; default all.")
]
Lasting = Annotated[str, typer.Option("--for", help="Ends by itself after 90s, 15m, 2h, 1d.")]
Why = Annotated[str, typer.Option("--why", help="For whoever asks later.")]
By = Annotated[str, typer.Option("--by", help="Who orders it; default: you, on this machine.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]


@controls.command()
def show(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """Say which rules hold, by whom, why and until when. Example: wedsync-backup controls show --json."""
    _show(run(_read(settings_of(config, state_dir))), as_json=as_json)


@controls.command()
def pause(
    why: Why,
    lane: Lanes = [],  # noqa: B006 - typer copies it
    work: Works = [],  # noqa: B006
    drain: Annotated[bool, typer.Option("--drain", help="What waits already is still done.")] = False,
    lasting: Lasting = "",
    by: By = "",
    yes: Yes = False,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Hold kinds of work. Example: wedsync-backup controls pause --work blob --why 'slow line' --for 2h."""
    from schemas.work import Mode, Work

    rule = _rule(lane, work, why=why, by=by, lasting=lasting, mode=Mode.DRAIN if drain else Mode.PAUSE)
    if any(stream.work is Work.LOG for stream in rule.streams):
        _confirm(yes, f"would hold changes of {_lanes_of(rule)}: they wait in Kafka, unprotected, for at most 72 h")
    _order([rule], settings_of(config, state_dir), as_json=as_json)


@controls.command()
def limit(
    why: Why,
    lane: Lanes = [],  # noqa: B006
    work: Works = [],  # noqa: B006
    rate: Annotated[str, typer.Option("--rate", help="Bytes a second, of each sink: 500k, 20M, 1G.")] = "",
    at_once: Annotated[int | None, typer.Option("--at-once", help="Copies under way.")] = None,
    lasting: Lasting = "",
    by: By = "",
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Slow work down. Example: wedsync-backup controls limit --work blob --rate 20M --why 'office hours'."""
    from ops.controlling import bytes_of
    from schemas.errors import ConfigError

    if not rate and at_once is None:
        raise ConfigError("no limit given", hint="--rate 20M, --at-once 2, or both")
    bytes_per_second = bytes_of(rate) if rate else None
    rule = _rule(lane, work, why=why, by=by, lasting=lasting, bytes_per_second=bytes_per_second, at_once=at_once)
    _order([rule], settings_of(config, state_dir), as_json=as_json)


@controls.command()
def resume(
    lane: Lanes = [],  # noqa: B006
    work: Works = [],  # noqa: B006
    why: Why = "resumed",
    by: By = "",
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Take back the rule for these lanes and works; without any, all rules. Example: wedsync-backup controls resume."""
    settings = settings_of(config, state_dir)
    wanted = _rule(lane, work, why=why, by=by).name
    rules, _ = run(_read(settings))
    chosen = [rule for rule in rules if not rule.is_emergency and (rule.name == wanted or not (lane or work))]
    _take_back(chosen, settings, why=why, by=by, as_json=as_json)


@controls.command("emergency-stop")
def emergency_stop(
    why: Why,
    lasting: Lasting = "",
    by: By = "",
    yes: Yes = False,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Stop critical changes, too. Example: wedsync-backup controls emergency-stop --why 'a breach' --yes."""
    from schemas.work import Mode

    _confirm(yes, "would stop everything but capture: NOTHING is protected from then on, until emergency-resume")
    rule = _rule([], [], why=why, by=by, lasting=lasting, mode=Mode.PAUSE, is_emergency=True)
    _order([rule], settings_of(config, state_dir), as_json=as_json)


@controls.command("emergency-resume")
def emergency_resume(
    why: Why = "resumed",
    by: By = "",
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Go on after an emergency stop. Example: wedsync-backup controls emergency-resume --why 'false alarm'."""
    settings = settings_of(config, state_dir)
    rules, _ = run(_read(settings))
    _take_back([rule for rule in rules if rule.is_emergency], settings, why=why, by=by, as_json=as_json)


def _rule(lane: list[str], work: list[str], *, why: str, by: str, lasting: str = "", **asked: object) -> Control:
    from ops import bootstrap, controlling
    from schemas.backup import Priority
    from schemas.controls import Control
    from schemas.work import Work

    now_us = bootstrap.now_us()
    return Control(
        lanes=controlling.parse_all(lane, Priority, "--lane"),
        works=controlling.parse_all(work, Work, "--work"),
        by=by or f"{getpass.getuser()}@{socket.gethostname()}",
        why=why,
        made_us=now_us,
        until_us=controlling.until(now_us, lasting),
        **asked,  # type: ignore[arg-type]
    )


def _take_back(rules: list[Control], settings: Settings, *, why: str, by: str, as_json: bool) -> None:
    from ops import controlling

    model = _rule([], [], why=why, by=by)
    _order(controlling.released(rules, by=model.by, why=why, made_us=model.made_us), settings, as_json=as_json)


def _order(rules: list[Control], settings: Settings, *, as_json: bool) -> None:
    run(_publish(settings, rules))
    if not as_json:
        say("\n".join(f"ordered: {rule.name}: {_words(rule)}" for rule in rules) or "nothing to take back")
    _show(run(_read(settings)), as_json=as_json)


def _words(rule: Control) -> str:
    from ops.controlling import sentence

    return sentence(rule)


def _lanes_of(rule: Control) -> str:
    from schemas.work import Work

    return " and ".join(sorted({stream.lane.value for stream in rule.streams if stream.work is Work.LOG}))


def _confirm(yes: bool, what: str) -> None:
    if not yes:
        say(what)
        say("  what to do: add --yes")
        raise typer.Exit(EXIT_USAGE)


async def _read(settings: Settings) -> tuple[list[Control], int]:
    from ops import bringup, controlling

    return await controlling.read((await bringup.running(settings)).brokers)


async def _publish(settings: Settings, rules: list[Control]) -> None:
    from ops import bringup, controlling

    await controlling.publish((await bringup.running(settings)).brokers, rules)


def _show(found: tuple[list[Control], int], *, as_json: bool) -> None:
    from ops import bootstrap, controlling
    from ops.tables import print_table

    rules, refused = found
    told = controlling.told(rules, now_us=bootstrap.now_us())
    if as_json:
        answer({"controls": told, "refused": refused})
        return
    rows = [
        (rule["rule"], rule["order"], rule["by"], rule["since"], rule["until"] or "-", rule["why"]) for rule in told
    ]
    print_table("controls in force", ("rule", "order", "by", "since", "until", "why"), rows)
    if refused:
        say(f"{refused} records of backup.controls could not be read; the last good rule of each name holds")
