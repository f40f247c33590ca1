"""Verbs that look into the archive and bring things back: snapshots, ls, diff, restore, verify, stats, catalog."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ops.cli import (
    EXIT_FAILED,
    EXIT_PARTIAL,
    AsJson,
    Config,
    State,
    WeddingId,
    answer,
    app,
    run,
    say,
    settings_of,
)
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from ops.config import Settings
    from sinks.cut import Moment
    from sinks.restore_plan import State as WeddingState
    from sinks.restore_report import Plan, Progress, RestoreResult

At = Annotated[
    str,
    typer.Option("--at", help="RFC 3339 with a zone, '2h ago', latest, Postgres' 0/1A2B3C4, or 'txid 7411'."),
]

_FAILURES_SHOWN: Final = 20

catalog_app = typer.Typer(no_args_is_help=True, help="The catalog of what lies where.")
app.add_typer(catalog_app, name="catalog")


def _instant(text: str) -> Moment:
    from ops import bootstrap
    from ops.restoring import parse_instant

    return parse_instant(text, now=bootstrap.now())


@app.command()
def snapshots(
    wedding: Annotated[str | None, typer.Option("--wedding", help="One wedding (default: all).")] = None,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Say from when to when each wedding can be restored. Example: wedsync-backup snapshots --json."""
    from ops.snapshots import restore_points

    found = run(restore_points(settings_of(config, state_dir), wedding))
    if as_json:
        answer(found)
        return
    from ops.tables import print_table

    columns = ("wedding", "changes", "objects", "first change", "restorable until")
    print_table("restore points", columns, [tuple(each.values()) for each in found])


@app.command("ls")
def ls(
    wedding: WeddingId, at: At = "latest", config: Config = None, state_dir: State = None, as_json: AsJson = False
) -> None:
    """List what a wedding held at an instant. Example: wedsync-backup ls --wedding ID --at '2h ago'."""
    state = run(_state(settings_of(config, state_dir), wedding, _instant(at)))
    listing: dict[str, Any] = {
        "wedding": wedding,
        "as_of": state.cut.committed_at.isoformat(),
        "tables": {table: len(rows) for table, rows in state.tables().items()},
        "objects": [
            {"key": version.notice.key, "size": version.notice.size, "version": version.notice.version}
            for version in sorted(state.objects.values(), key=lambda version: version.notice.key)
        ],
        "events": dict(collections.Counter(event.type for event in state.events)),
        "warnings": list(state.warnings),
    }
    if as_json:
        answer(listing)
        return
    from ops.tables import print_table

    print_table(f"rows as of {listing['as_of']}", ("table", "rows"), list(listing["tables"].items()))
    print_table("objects", ("key", "bytes"), [(each["key"], each["size"]) for each in listing["objects"]])
    print_table("events", ("type", "count"), list(listing["events"].items()))
    for warning in state.warnings:
        say(f"note: {warning}")


async def _state(settings: Settings, wedding: str, at: Moment) -> WeddingState:
    from ops import restoring

    with restoring.opened(settings) as archive:
        return await restoring.restorer_of(archive).state_at(wedding, at)


@app.command()
def diff(
    wedding: WeddingId,
    at: At,
    to: Annotated[str, typer.Option("--to", help="The later instant.")] = "latest",
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Say what changed between two instants. Example: wedsync-backup diff --wedding ID --at '2h ago'."""
    from sinks.state_diff import diff as difference

    settings = settings_of(config, state_dir)

    async def both() -> Any:
        return await _state(settings, wedding, _instant(at)), await _state(settings, wedding, _instant(to))

    earlier, later = run(both())
    found = difference(earlier, later)
    tables = {
        name: {"added": len(each.added), "removed": len(each.removed), "changed": len(each.changed)}
        for name, each in found.tables.items()
    }
    objects = {
        "added": [name[-1] for name in found.objects_added],
        "removed": [name[-1] for name in found.objects_removed],
        "changed": [name[-1] for name in found.objects_changed],
    }
    if as_json:
        answer({"wedding": wedding, "tables": tables, "objects": objects})
        return
    from ops.tables import print_table

    rows = [(name, *counts.values()) for name, counts in tables.items()]
    print_table("rows", ("table", "added", "removed", "changed"), rows)
    print_table("objects", ("what", "keys"), [(what, ", ".join(keys) or "-") for what, keys in objects.items()])


@app.command()
def restore(
    wedding: Annotated[str, typer.Option("--wedding", help="The wedding's id.")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="All weddings, and what belongs to none.")] = False,
    target: Annotated[
        str,
        typer.Option("--target", help="A folder for files, or postgresql://… for the rows.", envvar="WEDSYNC_TARGET"),
    ] = "",
    at: At = "latest",
    objects: Annotated[
        pathlib.Path | None, typer.Option("--objects", help="Folder for the photos (default: with a folder target).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be restored; write nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Bring a wedding back as it was. Example: wedsync-backup restore --wedding ID --at '2h ago' --target ./back."""
    settings = settings_of(config, state_dir)
    if bool(wedding) == everything:
        raise ConfigError("what to restore?", hint="--wedding ID, or --everything")
    whose, instant = wedding or None, _instant(at)
    if dry_run:
        _show_plan(run(_plan(settings, whose, instant)), as_json)
        return
    if not target:
        raise ConfigError("no target", hint="--target FOLDER, or --target postgresql://… with --objects FOLDER")
    result = run(_restore(settings, whose, instant, target=target, objects=objects, overwrite=overwrite))
    _show_result(result, as_json)
    if result.status.value != "whole":
        raise typer.Exit(EXIT_PARTIAL)


async def _plan(settings: Settings, wedding: str | None, at: Moment) -> Plan:
    from ops import restoring

    with restoring.opened(settings) as archive:
        return await restoring.restorer_of(archive).plan(wedding, at)


async def _restore(
    settings: Settings,
    wedding: str | None,
    at: Moment,
    *,
    target: str,
    objects: pathlib.Path | None,
    overwrite: bool,
) -> RestoreResult:
    from ops import bootstrap, restoring
    from sinks.restored_events import ndjson
    from sinks.targets import FileTarget, PostgresTarget, RowTarget

    is_database = target.startswith(("postgresql://", "postgres://")) or "dbname=" in target
    mapping = bootstrap.mapping(settings)

    def rows(state: WeddingState) -> RowTarget:
        if is_database:
            of_that_time = state.mapping or mapping
            return PostgresTarget(
                target,
                of_that_time,
                ddl=state.ddl,
                overwrite=overwrite,
                sequences=state.sequences,
                used_numbers=state.used_numbers,
            )
        folder = pathlib.Path(target) / "rows"
        return FileTarget(folder, overwrite=overwrite, events=ndjson(state.events), ddl=state.ddl)

    folder = objects if is_database else objects or pathlib.Path(target) / "objects"
    with restoring.opened(settings) as archive:
        restorer = restoring.restorer_of(archive, progress=_tell)
        return await restorer.restore(
            wedding, at, restore_id=str(uuid.uuid4()), rows=rows, folder=folder, overwrite=overwrite
        )


_told: dict[str, int] = {}


def _tell(progress: Progress) -> None:
    """Say where the restore stands, once every ten percent."""
    step = int(progress.percent) // 10
    if _told.get("step") != step:
        _told["step"] = step
        eta = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s to go"
        say(f"{progress.percent:3.0f} %  {progress.phase}  {progress.bytes_per_second / 1e6:.1f} MB/s{eta}")


def _show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        answer(dataclasses.asdict(plan))
        return
    say(f"would restore the state of {plan.cut.committed_at.isoformat()}")
    say(f"  {sum(plan.rows.values())} rows, {plan.objects} objects, {plan.bytes / 1e6:,.1f} MB")
    say(f"  from {', '.join(plan.stores)}; about {plan.estimated_seconds:.0f} s")
    for each in plan.missing:
        say(f"  missing: {each.key}: {each.reason}")


def _show_result(result: RestoreResult, as_json: bool) -> None:
    if as_json:
        answer(dataclasses.asdict(result))
        return
    say(f"{result.status.value}: {sum(result.rows.values())} rows, {result.objects} objects in {result.seconds:.1f} s")
    say(f"  as of the commit at {result.cut.committed_at.isoformat()}, position {result.cut.order.position}")
    for warning in result.warnings:
        say(f"  note: {warning}")
    for each in result.missing:
        say(f"  missing: {each.key}: {each.reason}")


@app.command()
def verify(
    read_data: Annotated[bool, typer.Option("--read-data", help="Read every byte of every copy.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Replace damaged copies from good ones.")] = False,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Check every copy of every pack. Example: wedsync-backup verify --read-data."""
    from ops.verifying import verify_archive

    report = run(verify_archive(settings_of(config, state_dir), read_data=read_data, repair=repair))
    if as_json:
        answer(dataclasses.asdict(report))
    else:
        say(f"{report.packs} packs and {report.keys} keys in {report.copies} copies: {len(report.failures)} failures")
        for failure in report.failures[:_FAILURES_SHOWN]:
            say(f"  {failure.fault.value} on {failure.store or 'the archive'}: {failure.name}")
    if not report.is_passed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def stats(
    latency: Annotated[bool, typer.Option("--latency", help="Read every change's instants back.")] = False,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Count what is protected, and how fast it was. Example: wedsync-backup stats --latency."""
    from ops.snapshots import statistics

    found = run(statistics(settings_of(config, state_dir), latency=latency))
    if as_json:
        answer(found)
        return
    from ops.tables import print_table

    print_table("archive", ("what", "value"), list(found.items()))


@catalog_app.command("rebuild")
def rebuild(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """Make the catalog again from stores and master key. Example: wedsync-backup catalog rebuild."""
    from ops.rebuilding import rebuild_catalog

    report = run(rebuild_catalog(settings_of(config, state_dir)))
    if as_json:
        answer(dataclasses.asdict(report))
    else:
        say(f"{report.packs} packs, {report.frames} frames, {report.objects_protected} objects, {report.keys} keys")
        say(f"  {len(report.orphans)} orphans left out, {len(report.damaged)} damaged copies not counted")
    if not report.is_whole:
        say(f"  incomplete: holes {report.holes}, behind {report.behind}, lost {report.lost}, silent {report.silent}")
        raise typer.Exit(EXIT_PARTIAL)
