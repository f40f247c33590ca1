"""Verbs for what could not be read: dead-letters ls, show, retry, discard."""

from __future__ import annotations

import base64
import pathlib
import sys
from typing import Annotated, Any, Final

import typer

from ops.cli import EXIT_PARTIAL, AsJson, Config, State, answer, app, run, say, settings_of
from schemas.errors import ConfigError

_SHOWN_BYTES: Final = 4096

letters_app = typer.Typer(no_args_is_help=True, help="Records that could not be read; unprotected until resolved.")
app.add_typer(letters_app, name="dead-letters")

LetterId = Annotated[str, typer.Argument(help="The letter's id, or how it begins.")]
Brokers = Annotated[
    str | None, typer.Option("--brokers", help="Kafka, where it does not run here (default: the local stack).")
]


@letters_app.command("ls")
def ls(
    is_all: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """List what could not be read and waits for you. Example: wedsync-backup dead-letters ls --json."""
    from ops.dead_letters import listed

    found = run(listed(settings_of(config, state_dir), is_all=is_all))
    if as_json:
        answer(found)
        return
    _table(found)
    if found and not is_all:
        say("next: `dead-letters show ID`, then `retry ID` (once its cause is mended) or `discard ID`")


def _table(found: list[dict[str, Any]]) -> None:
    from ops.tables import print_table

    columns = ("id", "state", "origin", "offset", "bytes", "captured_at", "reason")
    print_table("dead letters", columns, [tuple(each[name] for name in columns) for each in found])


@letters_app.command("show")
def show(
    letter: LetterId,
    out: Annotated[pathlib.Path | None, typer.Option("--out", help="Write its bytes, as they came, here.")] = None,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Show one letter: its place, reason, bytes. Example: wedsync-backup dead-letters show 3f9a --out letter.bin."""
    from ops.dead_letters import shown

    if out is not None and out.exists():
        raise ConfigError(f"{out} exists", hint="choose another name")
    about, value = run(shown(settings_of(config, state_dir), letter))
    if out is not None:
        out.write_bytes(value or b"")
    if as_json:
        answer({**about, "value_base64": None if value is None else base64.b64encode(value).decode()})
        return
    for name, said in about.items():
        say(f"{name:12} {said}")
    if value is not None and out is None:
        print(value[:_SHOWN_BYTES].decode(errors="backslashreplace"))
        if len(value) > _SHOWN_BYTES:
            say(f"… and {len(value) - _SHOWN_BYTES} bytes more: --out FILE writes all")


@letters_app.command("retry")
def retry(
    letters: Annotated[list[str] | None, typer.Argument(help="Their ids, or how they begin.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Every unresolved letter.")] = False,
    brokers: Brokers = None,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Route letters again, at their old place. Example: wedsync-backup dead-letters retry --all."""
    from ops import dead_letters

    if bool(letters) == is_all:
        raise ConfigError("which letters?", hint="name some, or --all")
    work = dead_letters.retry(settings_of(config, state_dir), None if is_all else letters, brokers=brokers)
    found = run(work)
    if as_json:
        answer(found)
    else:
        _table(found)
    if any(each["state"] == "unresolved" for each in found):
        say("some are still unresolved: `dead-letters show ID` says why; one not taken up yet may be asked for again")
        raise typer.Exit(EXIT_PARTIAL)


@letters_app.command("discard")
def discard(
    letter: LetterId,
    reason: Annotated[str, typer.Option("--reason", help="Why it says nothing; kept with it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    brokers: Brokers = None,
    config: Config = None,
    state_dir: State = None,
    as_json: AsJson = False,
) -> None:
    """Resolve a letter without routing it. Example: wedsync-backup dead-letters discard 3f9a --reason test --yes."""
    from ops import dead_letters

    if not reason.strip():
        raise ConfigError("no reason", hint="--reason says to whoever comes later why nothing was lost")
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"discard {letter}? It will count as resolved", err=True)):
        raise ConfigError("not discarded", hint="--yes discards without asking")
    found = run(dead_letters.discard(settings_of(config, state_dir), letter, reason.strip(), brokers=brokers))
    if as_json:
        answer(found)
    else:
        _table([found])
    if found["state"] == "unresolved":
        say("not archived yet: look again with `dead-letters ls`")
        raise typer.Exit(EXIT_PARTIAL)
