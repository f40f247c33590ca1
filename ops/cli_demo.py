"""Verbs that show: demo, load, bench."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Annotated, Final

import typer

from ops.cli import EXIT_FAILED, Config, State, app, run, say, settings_of
from schemas.errors import ConfigError

_PHOTO_BYTES: Final = 2_500_000
_DEMO_FOLDER: Final = pathlib.Path("build/demo")


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack up afterwards.")] = False,
) -> None:
    """Show the main job, end to end, on real parts. Example: wedsync-backup demo."""
    from ops.config import load_settings
    from ops.demo import outcome
    from ops.demo.story import Demo, fresh_state
    from ops.tables import print_table

    began = time.monotonic()

    def tell(what: str) -> None:
        say(f"[{time.monotonic() - began:6.1f} s] {what}")

    settings = load_settings(None, state_dir=fresh_state(_DEMO_FOLDER / "state"))
    report = run(Demo(settings, say=tell, keep=keep).run())
    report["seconds"] = round(time.monotonic() - began, 1)
    report["failures"] = outcome.failures(report)
    outcome.write_report(report, _DEMO_FOLDER / "report.json")
    print_table(f"the main job, {report['seconds']} s", ("what", "how it went"), outcome.rows(report))
    print(
        "Eight folders on one disk stood for eight locations: what survives the loss of one was shown, a fire was not."
    )
    if report["failures"]:
        for failure in report["failures"]:
            say(f"did not hold: {failure}")
        raise typer.Exit(EXIT_FAILED)
    say(f"every promise held; the report is in {_DEMO_FOLDER / 'report.json'}")


@app.command()
def load(
    changes: Annotated[int, typer.Option(help="Row changes in all.")] = 10_000,
    rate: Annotated[float, typer.Option(help="Changes a second; 0 means as fast as it goes.")] = 500,
    shape: Annotated[str, typer.Option(help="steady, saturday or photo_upload.")] = "saturday",
    weddings: Annotated[int, typer.Option(help="Weddings they are spread over.")] = 100,
    photos: Annotated[int, typer.Option(help="Photos of 2.5 MB on average.")] = 20,
    seed: Annotated[int, typer.Option(help="A database takes each seed once.")] = 1,
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Play the sample platform's traffic against the stack that is up. Example: wedsync-backup load --shape steady."""
    from ops import bootstrap, bringup
    from ops.sample.load import Load, LoadCounts, LoadSettings
    from ops.sample.shapes import Shape

    if shape not in {each.value for each in Shape}:
        raise ConfigError(f"--shape {shape}: there is no such shape", hint=", ".join(each.value for each in Shape))
    settings = settings_of(config, state_dir)

    async def play() -> LoadCounts:
        running = await bringup.running(settings)
        return await Load(LoadSettings(seed=seed, now=bootstrap.now())).run(
            running.dsn,
            settings.objects_folder,
            changes=changes,
            weddings=weddings,
            photos=photos,
            photo_bytes_total=photos * _PHOTO_BYTES,
            rate=rate or None,
            shape=shape,
        )

    counts = run(play())
    say(f"{counts.changes:,} changes in {counts.transactions:,} transactions, {counts.photos} photos")
    say(f"  in {counts.elapsed_s:.1f} s, at most {counts.behind_s_max:.2f} s behind the schedule")


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Which one: rpo, route or scale.")] = "rpo",
    seconds: Annotated[float, typer.Option(help="How long each rate is held (rpo).")] = 20.0,
    rounds: Annotated[int, typer.Option(help="Rounds (route, scale); 0 means as many as are usual.")] = 0,
) -> None:
    """Measure, and write build/bench/NAME.json. Example: wedsync-backup bench rpo."""
    from ops import cli_routing

    if name in cli_routing.BENCHES:
        cli_routing.BENCHES[name](pathlib.Path("build/bench"), rounds)
        return
    if name != "rpo":
        raise ConfigError(f"there is no bench {name!r}", hint=", ".join(("rpo", *cli_routing.BENCHES)))
    from ops.bench_rpo import bench_rpo
    from ops.tables import print_table

    report = run(bench_rpo(pathlib.Path("build/bench"), seconds=seconds, say=say))
    rows = [
        (
            f"{each['rate']}/s",
            each["changes"],
            *(each["initiation_ms"][key] for key in ("p50", "p99", "p99.9")),
            *(each["rpo_ms"][key] for key in ("p50", "p99", "p99.9")),
        )
        for each in report["runs"]
    ]
    columns = ("rate", "changes", "init p50", "p99", "p99.9", "rpo p50", "p99", "p99.9")
    print_table("commit → backup topic, commit → protected (ms)", columns, rows)
    say(json.dumps(report["restore"]))
