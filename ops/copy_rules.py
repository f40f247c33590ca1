"""An operator's rules for table copies, as signals to Debezium: decisions, and the rules as a worker holds them.

Debezium can be paused and told to go on, and nothing else: a rate cannot be kept. A pause that a rule asked for
bears its name, so that the end of the rule ends it, and never one that somebody asked for by hand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from connectors.table_copies import ENDS, EXECUTE, PAUSE, RESUME, STOP, is_pause_wanted
from schemas.backup import Priority
from schemas.controls import strictest
from schemas.errors import TransientError
from schemas.work import Mode, Stream, Work
from sinks.controls import ControlsFollower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from connectors.table_copies import CopyProgress, Signal
    from schemas.controls import Control

log = structlog.get_logger(__name__)

COPIES: Final = Stream(Priority.STANDARD, Work.SNAPSHOT)
BY_RULE: Final = "controls-"
"""Follows `pause-` and `resume-` in the names of signals that a rule asked for."""
_AGAIN_SECONDS: Final = 5.0


def word(signals: Sequence[Signal], copies: Sequence[CopyProgress], mode: Mode) -> str | None:
    """Return what must be said to Debezium now (pause, resume) so that a rule holds, or None."""
    is_paused = is_pause_wanted(signals)
    if mode is Mode.PAUSE:
        return PAUSE if not is_paused and any(each.state not in ENDS for each in copies) else None
    return RESUME if is_paused and _last(signals).startswith(f"pause-{BY_RULE}") else None


def prefix(signals: Sequence[Signal], wanted: str) -> str:
    """Return how the name of a signal begins by which a pause is said again, or another word by a rule."""
    kind = wanted.partition("-")[0]
    is_by_hand = wanted == PAUSE and is_pause_wanted(signals) and BY_RULE not in _last(signals)
    return f"{kind}-" if is_by_hand else f"{kind}-{BY_RULE}"


def _last(signals: Sequence[Signal]) -> str:
    names = [each.name for each in signals if each.type in (PAUSE, RESUME, STOP, EXECUTE)]
    return names[-1] if names else ""


class CopyRules:
    """The rules for table copies as they were last read; none are known while Kafka has never been there."""

    def __init__(self, settings: Mapping[str, Any], *, now_us: Callable[[], int]) -> None:
        self._settings, self._now_us = settings, now_us
        self._follower: ControlsFollower | None = None

    def holding(self) -> Control | None:
        """Return the rule that holds copies up, if any does."""
        rules = self._follower.board.rules if self._follower is not None else ()
        return strictest(rules, COPIES, now_us=self._now_us())

    async def run(self) -> None:
        """Follow for ever, also when Kafka comes late: whoever asks must live without it."""
        while True:
            follower = ControlsFollower(self._settings, now_us=self._now_us)
            try:
                await asyncio.to_thread(follower.catch_up)
            except TransientError as error:
                log.warning("the controls must wait", action="guard.controls", reason=str(error))
                follower.close()
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self._follower = follower
            await follower.run()
