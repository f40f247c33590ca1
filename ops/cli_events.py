"""Verbs around applications' events: clients add | ls | rm, and dump."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli import AsJson, Config, State, WeddingId, answer, app, run, say, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ops.config import Settings
    from sinks.restore_plan import State as WeddingState

At = Annotated[str, typer.Option("--at", help="RFC 3339 with a zone, '2h ago', or latest.")]

clients_app = typer.Typer(no_args_is_help=True, help="Who may send events: names and hashes, never tokens.")
app.add_typer(clients_app, name="clients")


@clients_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and -.")],
    token_file: Annotated[pathlib.Path, typer.Option("--token-file", help="Where the token is written, once.")],
    wedding: Annotated[list[str] | None, typer.Option(help="Only these weddings (default: all).")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only sources that begin so (default: all).")] = None,
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Let an application send events. Example: wedsync-backup clients add shop --token-file shop.token."""
    import os

    from ops.api.clients import add_client, write_private

    path = settings_of(config, state_dir).api_clients_file
    token = add_client(path, name, randomness=os.urandom, weddings=tuple(wedding or ()), sources=tuple(source or ()))
    write_private(token_file, f"{token}\n")
    say(f"{name} may send events; its token is in {token_file}, and nowhere else")


@clients_app.command("ls")
def ls(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """List who may send events. Example: wedsync-backup clients ls."""
    from ops.api.clients import read_clients

    found = [
        {"name": each.name, "weddings": list(each.weddings), "sources": list(each.sources)}
        for each in read_clients(settings_of(config, state_dir).api_clients_file)
    ]
    if as_json:
        answer(found)
        return
    from ops.tables import print_table

    rows = [(each["name"], *(", ".join(each[what]) or "all" for what in ("weddings", "sources"))) for each in found]
    print_table("clients", ("client", "weddings", "sources"), rows)


@clients_app.command("rm")
def rm(name: str, config: Config = None, state_dir: State = None) -> None:
    """Refuse an application's token from now on. Example: wedsync-backup clients rm shop."""
    from ops.api.clients import remove_client

    was_there = remove_client(settings_of(config, state_dir).api_clients_file, name)
    say(f"{name} may send no more events" if was_there else f"{name} could not send any")


@app.command()
def dump(
    wedding: WeddingId,
    at: At = "latest",
    events_only: Annotated[bool, typer.Option("--events", help="Only its events, as CloudEvents.")] = False,
    config: Config = None,
    state_dir: State = None,
) -> None:
    """Print what a wedding held, a JSON line each. Example: wedsync-backup dump --wedding ID --events."""
    from sinks.restored_events import ndjson

    state = run(_state(settings_of(config, state_dir), wedding, at))
    if not events_only:
        for line in _lines(state):
            sys.stdout.buffer.write(line)
    sys.stdout.buffer.write(ndjson(state.events))
    sys.stdout.buffer.flush()
    for warning in state.warnings:
        say(f"note: {warning}")


def _lines(state: WeddingState) -> Iterable[bytes]:
    """Yield the rows and objects of a state as lines."""
    for table, rows in state.tables().items():
        for row in rows:
            yield _line({"message_type": "row", "table": table, "row": row})
    for version in state.objects.values():
        notice = version.notice
        about = {"bucket": notice.bucket, "key": notice.key, "size": notice.size, "version": notice.version}
        yield _line({"message_type": "object", **about})


def _line(value: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


async def _state(settings: Settings, wedding: str, at: str) -> WeddingState:
    from ops import bootstrap, restoring

    instant = restoring.parse_instant(at, now=bootstrap.now())
    with restoring.opened(settings) as archive:
        return await restoring.restorer_of(archive).state_at(wedding, instant)
