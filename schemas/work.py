"""The kinds of work that compete for the way to the stores, and what an operator may ask of each. Pure."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final, NamedTuple

from schemas.backup import Priority


class Work(enum.StrEnum):
    """What a transfer is for, in the order in which one lane does it."""

    LOG = "log"
    """Windows of changes, with the keys and checkpoints they need."""
    BLOB = "blob"
    """The bytes of stored objects."""
    OWED = "owed"
    """Copies beyond the third."""
    SNAPSHOT = "snapshot"
    """Rows of table copies."""
    SWEEP = "sweep"
    """Listings compared with what is known."""
    SCRUB = "scrub"
    """Copies read again."""
    MIGRATION = "migration"
    """Packs moved to other stores."""


class Stream(NamedTuple):
    """One kind of work in one lane: what is queued, limited and counted together."""

    lane: Priority
    work: Work


STREAMS: Final = tuple(Stream(lane, work) for lane in Priority for work in Work)
UNSTOPPABLE: Final = frozenset({Stream(Priority.CRITICAL, Work.LOG), Stream(Priority.CRITICAL, Work.BLOB)})
"""What stops for nothing but the operator's emergency stop."""


class Mode(enum.StrEnum):
    """What may go on, from most to least."""

    RUN = "run"
    DRAIN = "drain"
    """What waits already is done; nothing new begins."""
    PAUSE = "pause"
    """Nothing begins, and what waits goes on waiting."""


MODES: Final = tuple(Mode)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One operator's rule for some streams together: rate and number at once are theirs in common."""

    name: str
    streams: frozenset[Stream]
    mode: Mode = Mode.RUN
    bytes_per_second: int | None = None
    at_once: int | None = None
