"""What `control` asks of the supervisor, in two small files: the settings once, the list of workers at any time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ops.stack.parts import ENGINES
from ops.stack.settings import StackSettings
from ops.stack.state import replace_file
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

# A name, which is also its log's name, and the command line.
Worker: TypeAlias = tuple[str, tuple[str, ...]]


def write_settings(settings: StackSettings) -> None:
    """Leave the settings where the supervisor looks for them."""
    replace_file(settings.request_file, json.dumps(dataclasses.asdict(settings), default=str))


def read_settings(path: Path) -> StackSettings:
    """Return the settings `control` left."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return StackSettings(**{**raw, "state_dir": Path(raw["state_dir"]), "jars_dir": Path(raw["jars_dir"])})


def write_workers(settings: StackSettings, workers: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Leave the whole list of workers; those absent from it are to be stopped.

    Raises:
        ConfigError: two have one name, or one has an engine's.
    """
    names = [name for name, _ in workers]
    if len({*names, *ENGINES}) != len(names) + len(ENGINES):
        raise ConfigError(f"workers {names} need names of their own", hint=f"not twice, and none of {ENGINES}")
    replace_file(settings.workers_file, json.dumps([[name, list(argv)] for name, argv in workers]))


def read_workers(settings: StackSettings) -> tuple[Worker, ...]:
    """Return the workers wanted now, in their order."""
    try:
        raw = json.loads(settings.workers_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple((name, tuple(argv)) for name, argv in raw)
