"""The command line: `wedsync-backup VERB`. Errors are one line of what and why, one of what to do.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 done in part, 130 cancelled. With `--json`
standard output holds JSON and nothing else; progress goes to standard error. Verbs import what they
need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from schemas.errors import ConfigError, WedSyncError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ops.config import Settings

T = TypeVar("T")

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PARTIAL: Final = 3
EXIT_CANCELLED: Final = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Captures every change of a wedding platform and rebuilds any wedding as of any instant.",
)

Config = Annotated[
    pathlib.Path | None,
    typer.Option("--config", help="Settings file (default: wedsync.toml).", envvar="WEDSYNC_CONFIG"),
]
State = Annotated[pathlib.Path | None, typer.Option("--state-dir", help="State folder (default: .wedsync).")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
WeddingId = Annotated[str, typer.Option("--wedding", help="The wedding's id.")]


def settings_of(config: pathlib.Path | None, state_dir: pathlib.Path | None) -> Settings:
    """Return the settings, with a state folder given on the command line over them."""
    from ops.config import load_settings

    return load_settings(config, **({"state_dir": state_dir} if state_dir else {}))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a verb's work to its end."""
    return asyncio.run(work)


def say(text: str) -> None:
    """Print for a person, on standard error, so that standard output stays clean."""
    print(text, file=sys.stderr, flush=True)


def answer(value: object) -> None:
    """Print a JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str, sort_keys=False))


def main() -> None:
    """Run the command line; the console script's entry."""
    from ops import (  # noqa: F401 - they register their verbs
        cli_archive,
        cli_controls,
        cli_dead_letters,
        cli_demo,
        cli_doctor,
        cli_events,
        cli_guard,
        cli_keys,
        cli_routing,
        cli_stack,
    )

    try:
        # In this mode an `Exit` is not raised but returned, as its code.
        code = app(standalone_mode=False)
    except WedSyncError as error:
        say(f"error: {error}")
        if error.hint:
            say(f"  what to do: {error.hint}")
        code = exit_code(error)
    except (KeyboardInterrupt, typer.Abort):
        say("cancelled")
        code = EXIT_CANCELLED
    except typer.TyperException as error:
        say(f"error: {error}")
        say("  what to do: wedsync-backup --help, or the verb's own --help")
        code = EXIT_USAGE
    except Exception as error:
        if os.environ.get("WEDSYNC_DEBUG"):
            raise
        say(f"error: a bug of ours: {type(error).__name__}: {error}")
        say("  what to do: run it again with WEDSYNC_DEBUG=1 and report the trace")
        code = EXIT_FAILED
    sys.exit(code or 0)


def exit_code(error: WedSyncError) -> int:
    """Return the exit code an error deserves."""
    return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
