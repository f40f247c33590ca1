"""Which port each engine listens on: as told, else as last time, else one that is free now."""

from __future__ import annotations

import dataclasses
import json
import random
import socket
from typing import TYPE_CHECKING, Final

from ops.stack.settings import LOOPBACK, StackPorts
from ops.stack.state import replace_file
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from ops.stack.settings import StackSettings

# Below the range from which the kernel takes ports for outgoing connections:
# one of those could sit on "our" port at the very moment an engine is restarted.
_FREE_RANGE: Final = range(20_000, 32_000)
_ATTEMPTS: Final = 200


def choose_ports(settings: StackSettings) -> StackPorts:
    """Return the ports of this stack and remember them, so that a restart keeps the same addresses.

    Raises:
        ConfigError: a port was set and another process has it.
    """
    kept = _kept(settings)
    chosen: dict[str, int] = {}
    for field in dataclasses.fields(StackPorts):
        wanted = int(getattr(settings, f"{field.name}_port"))
        taken = {*chosen.values(), *kept.values()}
        chosen[field.name] = _set_port(field.name, wanted) if wanted else _own_port(kept.get(field.name), taken)
    replace_file(settings.ports_file, json.dumps(chosen))
    return StackPorts(**chosen)


def is_free(port: int) -> bool:
    """Tell whether nobody listens on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # What a dead server left in TIME_WAIT does not count: the engines set this option too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _kept(settings: StackSettings) -> dict[str, int]:
    try:
        raw = json.loads(settings.ports_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    names = {field.name for field in dataclasses.fields(StackPorts)}
    return {name: int(port) for name, port in raw.items() if name in names}


def _set_port(name: str, port: int) -> int:
    if not is_free(port):
        raise ConfigError(
            f"{name}_port {port} is in use by another process", hint="set another port, or 0 to choose one"
        )
    return port


def _own_port(kept: int | None, taken: set[int]) -> int:
    if kept is not None and is_free(kept):
        return kept
    choice = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = choice.choice(_FREE_RANGE)
        if port not in taken and is_free(port):
            return port
    raise ConfigError("no free port was found between 20000 and 32000", hint="set the stack's ports yourself")
