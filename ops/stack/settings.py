"""What the local stack is told, and where its parts lie. Pure values; nothing here touches a disk.

Everything the stack writes lies under `<state_dir>/stack` and `<state_dir>/run`: delete both and it never was.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

_PROJECT_ROOT: Final = Path(__file__).resolve().parents[2]
_IS_CHECKOUT: Final = (_PROJECT_ROOT / "pyproject.toml").exists()
# In a checkout beside the sources; an installed package keeps out of its own folder.
CACHE_DIR: Final = _PROJECT_ROOT / ".cache" if _IS_CHECKOUT else Path.home() / ".cache" / "wedsync-backup"
DEFAULT_JARS_DIR: Final = CACHE_DIR / "jars"

LOOPBACK: Final = "127.0.0.1"
# A source that is down must not fill the disk: past this the slot is lost, loudly, and a new epoch begins.
SLOT_WAL_KEEP_MIB: Final = 4096


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """What may be chosen about a local stack; a port of 0 means "find a free one, then keep it"."""

    state_dir: Path
    kafka_port: int = 0
    kafka_controller_port: int = 0
    connect_port: int = 0
    postgres_port: int = 0
    # Resident with these, measured: Kafka 240-310 MiB, Connect 200 at rest and 300-425 MiB under 1,000 changes/s.
    kafka_heap_mib: int = 384
    connect_heap_mib: int = 448
    slot_wal_keep_mib: int = SLOT_WAL_KEEP_MIB
    # How long `up` waits for all three parts before it gives up and says which one is missing.
    ready_timeout_seconds: float = 90.0
    jars_dir: Path = DEFAULT_JARS_DIR

    def anchored(self) -> StackSettings:
        """Return the same with absolute folders: the supervisor's own folder may be another."""
        return dataclasses.replace(self, state_dir=self.state_dir.absolute(), jars_dir=self.jars_dir.absolute())

    @property
    def stack_dir(self) -> Path:
        """Return the folder of all engines' own files."""
        return self.state_dir / "stack"

    @property
    def logs_dir(self) -> Path:
        """Return the folder with one log per process."""
        return self.stack_dir / "logs"

    @property
    def run_dir(self) -> Path:
        """Return the folder that says what is running now."""
        return self.state_dir / "run"

    @property
    def ports_file(self) -> Path:
        """Return the file that keeps chosen ports across restarts."""
        return self.stack_dir / "ports.json"

    @property
    def request_file(self) -> Path:
        """Return the file that hands these settings to the supervisor."""
        return self.run_dir / "request.json"

    @property
    def workers_file(self) -> Path:
        """Return the file that lists the workers to keep alive."""
        return self.run_dir / "workers.json"

    @property
    def state_file(self) -> Path:
        """Return the file in which the supervisor says what it runs."""
        return self.run_dir / "supervisor.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StackPorts:
    """The ports in use, all on loopback."""

    kafka: int
    kafka_controller: int
    connect: int
    postgres: int

    @property
    def bootstrap_servers(self) -> str:
        """Return Kafka's address as its clients want it."""
        return f"{LOOPBACK}:{self.kafka}"

    @property
    def connect_url(self) -> str:
        """Return the root of Kafka Connect's REST interface, without a trailing slash."""
        return f"http://{LOOPBACK}:{self.connect}"
