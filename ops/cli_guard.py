"""Verbs that watch over capture: gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.cli import AsJson, Config, State, answer, app, run, settings_of

if TYPE_CHECKING:
    from ops.config import Settings


@app.command()
def gaps(config: Config = None, state_dir: State = None, as_json: AsJson = False) -> None:
    """List what the archive knows it does not have. Example: wedsync-backup gaps --json."""
    found = run(_gaps(settings_of(config, state_dir)))
    if as_json:
        answer(found)
        return
    from ops.tables import print_table

    columns = ("source", "from", "to", "reason", "found")
    print_table("gaps", columns, [tuple(each[name] or "-" for name in columns) for each in found])


async def _gaps(settings: Settings) -> list[dict[str, Any]]:
    from ops.gaps import known_gaps

    return await known_gaps(settings)
