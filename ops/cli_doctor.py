"""The verb that examines: doctor."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from ops.cli import EXIT_FAILED, AsJson, Config, State, answer, app, run, say, settings_of

_MARKS = {"pass": "ok", "warn": "warn", "fail": "FAIL"}


@app.command()
def doctor(
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
    print_sql: Annotated[bool, typer.Option("--print-sql", help="Print the SQL that prepares a database.")] = False,
) -> None:
    """Examine database and installation; exits 1 when a check fails. Example: wedsync-backup doctor."""
    from ops import doctor as examination
    from ops import onboarding
    from ops.doctor_rules import Outcome

    if print_sql:
        print(onboarding.print_sql())
        return
    checks = run(examination.examine(settings_of(config, state_dir)))
    if as_json:
        answer([dataclasses.asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{_MARKS[check.outcome.value]:<5} {check.name}: {check.says}")
            if check.fix:
                say(f"        {check.fix}")
    if any(check.outcome is Outcome.FAIL for check in checks):
        raise typer.Exit(EXIT_FAILED)
