"""Verbs for the master key: keys export, keys import."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Annotated, Final

import typer

from ops.cli import Config, State, app, say, settings_of
from schemas.errors import ConfigError

PASSPHRASE_VARIABLE: Final = "WEDSYNC_PASSPHRASE"

keys_app = typer.Typer(no_args_is_help=True, help="The master key and its escrow.")
app.add_typer(keys_app, name="keys")


@keys_app.command("export")
def export(
    out: Annotated[pathlib.Path, typer.Option("--out", help="Where to write the escrow.")],
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Seal the master key with a passphrase. Example: wedsync-backup keys export --out escrow.key."""
    from ops import bootstrap
    from sinks.key_wrapping import load_master_key, seal_escrow

    if out.exists():
        raise ConfigError(f"{out} exists", hint="an escrow is never overwritten: choose another name")
    settings = settings_of(config, state_dir)
    master = load_master_key(settings.master_key_file)
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(seal_escrow(master, _passphrase(is_new=True)))
    settings.escrow_mark.write_text(f"{bootstrap.now().date().isoformat()}\n", encoding="utf-8")
    say(f"wrote {out}: keep it away from this machine, and its passphrase away from both")


@keys_app.command("import")
def import_(
    source: Annotated[pathlib.Path, typer.Option("--from", help="The escrow.")],
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Bring the master key back. Example: wedsync-backup keys import --from escrow.key."""
    from sinks.key_wrapping import create_master_key, open_escrow

    settings = settings_of(config, state_dir)
    try:
        escrow = source.read_bytes()
    except OSError as error:
        raise ConfigError(f"the escrow {source} cannot be read: {error.strerror}", hint="is the path right?") from error
    create_master_key(settings.master_key_file, open_escrow(escrow, _passphrase(is_new=False)))
    say(f"the master key is at {settings.master_key_file}; next: wedsync-backup catalog rebuild")


def _passphrase(*, is_new: bool) -> str:
    """Return the passphrase from the environment or the terminal; never from a flag, which `ps` would show."""
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise ConfigError("no passphrase", hint=f"set {PASSPHRASE_VARIABLE}, or run this in a terminal")
    return str(typer.prompt("passphrase", hide_input=True, confirmation_prompt=is_new, err=True))
