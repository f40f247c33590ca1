"""Which rows of the signal table nobody needs any more. Pure.

Debezium writes two rows for every chunk of a copy and never takes one away; each copy and each word to it is
one more. Old are those of more than a day. What tells what is still owed, or how a copy ended that was not whole,
stays: the newest copy with its words, an epoch's own copy, and all of an epoch in which one failed.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import orjson

from connectors.moved_rows import position_of
from connectors.table_copies import ENDS, EXECUTE, CopyState, asked_us, epoch_copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from connectors.table_copies import CopyProgress, Signal

KEPT_FOR: Final = dt.timedelta(days=1)
WINDOWS: Final = ("snapshot-window-open", "snapshot-window-close")
_MICRO: Final = 1_000_000
_MADE: Final = ("closeWindowTimestamp", "openWindowTimestamp")


def old_windows(windows: Iterable[Signal], now: dt.datetime) -> list[str]:
    """Return the ids of chunks' rows that are old; one that does not say when it was made stays."""
    found = [(each.name, _made_at(each.data)) for each in windows if each.type in WINDOWS]
    return [name for name, made_at in found if made_at is not None and made_at < now - KEPT_FOR]


def old_signals(signals: Sequence[Signal], copies: Sequence[CopyProgress], epoch: int, now: dt.datetime) -> list[str]:
    """Return the ids of old signals; `copies` are those of the present epoch, as its signals and notices tell them.

    Signals without an instant in their name are somebody else's, and stay.
    """
    before_us = int((now - KEPT_FOR).timestamp() * _MICRO)
    dated = sorted(((asked_us(each.name), each) for each in signals), key=lambda pair: pair[0])
    begin_us = asked_us(epoch_copy(epoch))
    earlier = [each.name for at, each in dated if 0 < at < min(begin_us, before_us)]
    own = [each for at, each in dated if at >= begin_us]
    return earlier + [name for group in _over(own, copies, epoch) for name in group if asked_us(name) < before_us]


def _over(signals: Sequence[Signal], copies: Sequence[CopyProgress], epoch: int) -> list[list[str]]:
    """Return the copies of an epoch that say nothing any more, each with the words that steered it."""
    states = {each.copy: each.state for each in copies}
    if states.get(epoch_copy(epoch)) is not CopyState.DONE or CopyState.FAILED in states.values():
        return []  # A copy that went well since is what says that nothing is missing.
    done = max((each.copy for each in copies if each.state is CopyState.DONE), key=position_of, default="")
    groups: list[list[str]] = []
    for signal in signals:
        if signal.type == EXECUTE or not groups:
            groups.append([])
        groups[-1].append(signal.name)
    kept = {done, epoch_copy(epoch)}
    return [group for group in groups[:-1] if states.get(group[0]) in ENDS and group[0] not in kept]


def _made_at(data: str) -> dt.datetime | None:
    try:
        told = orjson.loads(data)
        made_at = dt.datetime.fromisoformat(next(str(told[name]) for name in _MADE if told.get(name)))
    except (ValueError, TypeError, AttributeError, StopIteration):
        return None
    return made_at if made_at.tzinfo is not None else made_at.replace(tzinfo=dt.UTC)
