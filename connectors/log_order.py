"""The order of a Postgres log as Debezium sends it: what is repeated, and what is missing. Pure.

Each change names the commit it comes after (P, in `source.sequence`) and its order n within its
transaction; each END names its commit LSN, which only ever grows. So two numbers tell everything:
H, up to which every transaction is whole, and N, how far the one after it has come. After a crash
Connect sends the end of its log once more, sometimes from the middle of a transaction; those
changes lie at or before (H, N). A change that skips ahead means that one was lost.
"""

from __future__ import annotations

from connectors.debezium import Boundary, Change, Operation
from schemas.errors import CorruptionError


class LogOrder:
    """How far one source's log has been read: `whole_lsn` is H, `order` is N."""

    __slots__ = ("order", "whole_lsn")

    def __init__(self, *, whole_lsn: int = 0, order: int = 0) -> None:
        self.whole_lsn = whole_lsn
        self.order = order

    def is_repeated(self, captured: Change | Boundary) -> bool:
        """Return whether this was seen before; if not, it counts as seen from now on.

        Raises:
            CorruptionError: something between the last event and this one never came.
        """
        if isinstance(captured, Boundary):
            return self._is_old_boundary(captured)
        if captured.operation is Operation.READ:
            return False
        return self._is_old_change(captured) if captured.order else self._is_old_message(captured)

    def resume_at(self, captured: Change | Boundary) -> None:
        """Go on behind a hole, as if everything before this event had come."""
        if isinstance(captured, Boundary):
            self.whole_lsn, self.order = captured.lsn, 0
        elif captured.order:
            self.whole_lsn, self.order = captured.after_lsn, captured.order
        else:
            self.whole_lsn, self.order = captured.lsn, 0

    def _is_old_boundary(self, boundary: Boundary) -> bool:
        if not boundary.is_end:
            return True
        if boundary.lsn <= self.whole_lsn:
            return True
        # A log may begin in the middle of a transaction only where it begins at all.
        if boundary.events != self.order and self.whole_lsn:
            raise _lost(f"transaction {boundary.transaction} ended with {boundary.events} events, {self.order} came")
        self.whole_lsn, self.order = boundary.lsn, 0
        return False

    def _is_old_change(self, change: Change) -> bool:
        after = change.after_lsn
        if after < self.whole_lsn or (after == self.whole_lsn and change.order <= self.order):
            return True
        if not self.whole_lsn:
            # The first change of all: the log is whole up to where it begins, whatever came before.
            self.whole_lsn = after
        elif after != self.whole_lsn or change.order != self.order + 1:
            raise _lost(
                f"transaction {change.transaction}: change {change.order} after commit {after} follows "
                f"change {self.order} after commit {self.whole_lsn}"
            )
        self.order = change.order
        return False

    def _is_old_message(self, message: Change) -> bool:
        if message.lsn <= self.whole_lsn:
            return True
        if self.order:
            raise _lost(f"a message outside of transactions came after change {self.order}, before its END")
        self.whole_lsn = message.lsn
        return False


def _lost(what: str) -> CorruptionError:
    return CorruptionError(
        f"the captured log has a hole: {what}", hint="stop, take a new snapshot (a new epoch) and file the gap"
    )
