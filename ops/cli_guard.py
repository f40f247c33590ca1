"""Verbs that watch over capture and mend it: gaps, epoch begin, snapshot …."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import EXIT_USAGE, AsJson, Config, State, answer, app, run, say, settings_of

if TYPE_CHECKING:
    from ops.config import Settings

epoch_app = typer.Typer(no_args_is_help=True, help="The epochs of the platform's log.")
snapshot_app = typer.Typer(no_args_is_help=True, help="Copies of whole tables or of one wedding's rows, on demand.")
app.add_typer(epoch_app, name="epoch")
app.add_typer(snapshot_app, name="snapshot")


@app.command()
def gaps(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """List what the archive knows it does not have. Example: wedsync-backup gaps --json."""
    from ops.gaps import known_gaps

    found = run(known_gaps(settings_of(config, state_dir)))
    if as_json:
        answer(found)
        return
    from ops.tables import print_table

    columns = ("source", "from", "to", "reason", "found")
    print_table("gaps", columns, [tuple(each[name] or "-" for name in columns) for each in found])


@epoch_app.command("begin")
def epoch_begin(
    config: Config = None,
    state_dir: State = None,
    reason: Annotated[str, typer.Option("--reason", help="Stands in the gap ledger.")] = "an operator asked for it",
    lost: Annotated[
        bool, typer.Option("--lost", help="Changes may be missing: file a gap (after a power cut).")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
) -> None:
    """Begin a new log and copy every table again. Example: wedsync-backup epoch begin --yes --lost --reason fire."""
    settings = settings_of(config, state_dir)
    if not yes:
        say("would stop the connector, begin a new capture topic, and copy every table again")
        say("  what to do: add --yes; nothing that is archived changes")
        raise typer.Exit(EXIT_USAGE)
    say(f"epoch {run(_begin(settings, reason, loses=lost))} has begun; `snapshot status` shows the copies")


async def _begin(settings: Settings, reason: str, *, loses: bool) -> int:
    from connectors.connector_config import PLATFORM_SOURCE
    from ops import bringup, epochs

    platform = await bringup.running(settings)
    where = epochs.Where(dsn=platform.dsn, brokers=platform.brokers, connect_url=platform.state.ports.connect_url)
    newest = platform.epochs[PLATFORM_SOURCE]
    epoch = await epochs.begin(settings, where, reason=reason, newest=newest, loses=loses)
    if loses:
        others = await bringup.renew_other_logs(settings, platform.brokers)
        say(f"new logs of {', '.join(others)} too: `down` and `up` let their workers begin them")
    return epoch


@snapshot_app.command("start")
def snapshot_start(
    table: Annotated[list[str] | None, typer.Option("--table", help="schema.table; may be repeated.")] = None,
    wedding: Annotated[str | None, typer.Option("--wedding", help="Only this wedding's rows.")] = None,
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Copy tables again while changes go on. Example: wedsync-backup snapshot start --wedding ID."""
    from ops import table_copies

    name = run(table_copies.start(settings_of(config, state_dir), tables=table or (), wedding=wedding))
    say(f"copy {name} was asked for")


@snapshot_app.command("pause")
def snapshot_pause(config: Config = None, state_dir: State = None) -> None:
    """Hold the copy that runs, also over restarts. Example: wedsync-backup snapshot pause."""
    _steer("pause-snapshot", config, state_dir)


@snapshot_app.command("resume")
def snapshot_resume(config: Config = None, state_dir: State = None) -> None:
    """Let a paused copy go on. Example: wedsync-backup snapshot resume."""
    _steer("resume-snapshot", config, state_dir)


@snapshot_app.command("stop")
def snapshot_stop(config: Config = None, state_dir: State = None) -> None:
    """Give the copy that runs up. Example: wedsync-backup snapshot stop."""
    _steer("stop-snapshot", config, state_dir)


def _steer(word: str, config: Any, state_dir: Any) -> None:
    from ops import table_copies

    name = run(table_copies.steer(settings_of(config, state_dir), word))
    say(f"copy {name}: {word.partition('-')[0]} was asked for")


@snapshot_app.command("status")
def snapshot_status(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """Say how far the copies of this epoch are. Example: wedsync-backup snapshot status --json."""
    from ops import table_copies

    found = run(table_copies.status(settings_of(config, state_dir)))
    if as_json:
        answer(found)
        return
    from ops.tables import print_table

    rows = [
        (copy["copy"], copy["state"], copy["percent"], table["table"], table["rows"], table["rows_total"] or "-")
        for copy in found
        for table in copy["tables"]
    ]
    print_table("copies", ("copy", "state", "%", "table", "rows", "of"), rows)
