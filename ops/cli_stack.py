"""Verbs that start, stop, look at and connect: up, down, status, init, uninstall."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import AsJson, Config, State, answer, app, run, say, settings_of

if TYPE_CHECKING:
    from ops.config import Settings

Database = Annotated[
    str | None, typer.Option("--database", help="postgresql://user@host:port/database", envvar="WEDSYNC_SOURCE__URL")
]


@app.command()
def up(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """Start everything and protect from then on. Example: wedsync-backup up."""
    from ops import bringup
    from ops.api import reachable

    settings = settings_of(config, state_dir)
    platform = run(bringup.bring_up(settings, config=config, progress=lambda step: say(f"… {step}")))
    ports = platform.state.ports
    if as_json:
        answer({"brokers": platform.brokers, "connect": ports.connect_url, "postgres_port": ports.postgres})
        return
    say("up: every change is being protected")
    say(f"  Postgres  port {ports.postgres}, database {settings.source.database}")
    say(f"  Kafka     {platform.brokers}")
    say(f"  Connect   {ports.connect_url}")
    say(f"  objects   {settings.objects_folder}")
    if settings.api.enabled:
        say(f"  events    {reachable.url(settings)}/api/events, token in {settings.api_token_file}")
    say(f"  logs      {settings.state_dir}/stack/logs")
    say("  The stores are folders on one disk that stand for eight locations: one disk's fire takes them all.")


@app.command()
def down(config: Config = None, state_dir: State = None) -> None:
    """Stop everything; nothing is lost. Example: wedsync-backup down."""
    from ops import bootstrap
    from ops.stack import control

    was_up = run(control.down(bootstrap.stack_settings(settings_of(config, state_dir))))
    say("down" if was_up else "nothing was running")


@app.command()
def status(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """Say what runs, how far each lane is protected and what is owed. Example: wedsync-backup status --json."""
    from ops.status import observe

    found = run(observe(settings_of(config, state_dir)))
    if as_json:
        answer(found)
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    from ops.tables import print_table

    print_table("parts", ("part", "status", "restarts"), [tuple(part.values()) for part in found["parts"]])
    _show_guard(found["guard"])
    lanes = [
        (lane["lane"], lane["lag_messages"], lane["protected_until"] or "-", lane["behind_seconds"], lane["verdict"])
        for lane in found["lanes"]
    ]
    print_table("lanes", ("lane", "lag", "protected until", "behind s", "verdict"), lanes)
    _show_controls(found)
    rows = [
        (name, found[name])
        for name in (
            "objects_claimed",
            "objects_lost",
            "packs",
            "packs_owed",
            "packs_below_three",
            "gaps",
            "capture_gaps",
            "dead_letters",
        )
    ]
    print_table("archive", ("what", "count"), rows)
    print_table("promotions of the last day", ("what", "count"), list(found["promotions"].items()))


def _show_guard(guard: dict[str, Any] | None) -> None:
    from ops.tables import print_table

    if guard is None:
        say("the guard has never run: nobody watches over capture")
        return
    slot = guard["slot"] or {}
    rows = [("verdict", guard["verdict"]), ("seen at", guard["at"])]
    shown = ("wal_status", "kept_bytes", "lag_seconds")
    rows += [(name.replace("_", " "), slot[name]) for name in shown if name in slot]
    rows += [("moved rows to copy", guard["moved_rows_owed"])] if guard.get("moved_rows_owed") else []
    rows += [(copy["copy"], f"{copy['state']}, {copy['percent']} %") for copy in guard["copies"]]
    print_table("capture", ("what", "state"), rows)
    for alarm in guard["alarms"]:
        say(f"{alarm['level']}: {alarm['text']}")
        say(f"  what to do: {alarm['hint']}")


def _show_controls(found: dict[str, Any]) -> None:
    for rule in found["controls"] or ():
        end = rule["until"] or "it is taken back"
        say(
            f"control {rule['rule']}: {rule['order']}, by {rule['by']} since {rule['since']} until {end}: {rule['why']}"
        )
    for lane in found["lanes"]:
        if lane["because"] and lane["is_breached"]:
            say(f"the {lane['lane']} lane breaks its promise: {lane['because']}")
    if found["controls_refused"]:
        say(f"{found['controls_refused']} records of backup.controls cannot be read: wedsync-backup controls show")


@app.command()
def init(
    database: Database = None,
    out: Annotated[pathlib.Path, typer.Option(help="Where to write the settings.")] = pathlib.Path("wedsync.toml"),
    calendar: Annotated[str | None, typer.Option(help="The table of weddings, where it cannot be guessed.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    print_sql: Annotated[bool, typer.Option("--print-sql", help="Print what `up` will do to the database.")] = False,
) -> None:
    """Propose settings for a database of your own. Example: wedsync-backup init --database postgresql://me@db/weddings."""
    from ops import onboarding
    from schemas.errors import ConfigError

    if print_sql:
        print(onboarding.print_sql())
        return
    if database is None:
        raise ConfigError("no database", hint="--database postgresql://user@host:port/database")
    if out.exists() and not force:
        raise ConfigError(f"{out} exists", hint="write elsewhere with --out, or replace it with --force")
    proposal = run(onboarding.propose(database, calendar=calendar))
    out.write_text(onboarding.render_toml(proposal))
    say(f"wrote {out}: {len(proposal.mapping.tables)} tables, calendar {proposal.mapping.calendar.table}")
    for warning in proposal.warnings:
        say(f"  check: {warning}")
    say("next: set WEDSYNC_SOURCE__URL to this database, then `wedsync-backup up`")


@app.command()
def uninstall(
    config: Config = None,
    state_dir: State = None,
    database: Annotated[str, typer.Option("--database", help="Default: the database of the settings.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
) -> None:
    """Remove slot, publication and triggers from the database. Example: wedsync-backup uninstall --yes."""
    from ops import onboarding

    if not yes:
        say("would drop the replication slot, the publication, the event trigger and schema wedsync")
        say("  what to do: add --yes; the archive stays as it is")
        raise typer.Exit(2)
    report = run(_uninstall(settings_of(config, state_dir), database, onboarding))
    say(f"slot {_gone(report.slot)}, publication {_gone(report.publication)}, trigger {_gone(report.event_trigger)}")
    say(f"replica identity reset on {len(report.tables_reset)} tables")


async def _uninstall(settings: Settings, database: str, onboarding: Any) -> Any:
    from connectors.connect import ConnectClient
    from ops import bootstrap, bringup
    from ops.stack import control

    state = await control.status(bootstrap.stack_settings(settings))
    if state is not None:
        # The connector first: it would make its slot again.
        async with ConnectClient(state.ports.connect_url) as connect:
            for name in await connect.statuses():
                await connect.delete(name)
    dsn = database or settings.source.url or bringup.database_dsn(settings, (await bringup.running(settings)).state)
    return await onboarding.uninstall(dsn)


def _gone(was_there: bool) -> str:
    return "removed" if was_there else "was not there"
