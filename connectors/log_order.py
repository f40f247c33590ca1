"""The order of a Postgres log as Debezium sends it: what is repeated, and what is missing. Pure.

Each change names the commit it comes after (P, in `source.sequence`) and its order n within its
transaction; each END names its commit LSN, which only ever grows. So two numbers tell everything:
H, up to which every transaction is whole, and N, how far the one after it has come. After a crash
Connect sends the end of its log once more, sometimes from the middle of a transaction; those
changes lie at or before (H, N). A change that skips ahead means that one was lost.

A record that cannot be read says nothing of its place. It is kept as a dead letter and counted here:
as many as were passed over since the last place that was certain may be missing from the order, no more.
"""

from __future__ import annotations

from connectors.debezium import Boundary, Change, Operation
from schemas.errors import CorruptionError, FormatError

_JUMP_BYTES_MAX = 1 << 44
"""How far one commit may lie behind the one before it: 16 TiB of log. Beyond, a number was made up."""


class LogOrder:
    """How far one source's log has been read: `whole_lsn` is H, `order` is N, `unread` what was passed over since."""

    __slots__ = ("order", "unread", "whole_lsn")

    def __init__(self, *, whole_lsn: int = 0, order: int = 0, unread: int = 0) -> None:
        self.whole_lsn = whole_lsn
        self.order = order
        self.unread = unread

    def pass_over(self) -> None:
        """Take note of a record that cannot be read: it may have been any change, or an END."""
        self.unread += 1

    def takes(self, after_lsn: int, order: int) -> bool:
        """Count a change that comes right behind the last event, as nearly all do; False says nothing yet."""
        if order == self.order + 1 and after_lsn == self.whole_lsn and not self.unread:
            self.order = order
            return True
        return False

    def is_repeated(self, captured: Change | Boundary) -> bool:
        """Return whether this was seen before; if not, it counts as seen from now on.

        Raises:
            CorruptionError: something between the last event and this one never came.
            FormatError: its commit LSN is made up; believing it would pass over everything that follows.
        """
        if isinstance(captured, Boundary):
            return self._is_old_boundary(captured)
        if captured.operation is Operation.READ:
            return False
        return self._is_old_change(captured) if captured.order else self._is_old_message(captured)

    def resume_at(self, captured: Change | Boundary) -> None:
        """Go on behind a hole, as if everything before this event had come."""
        self.unread = 0
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
        self._refuse_made_up(boundary.lsn)
        # A log may begin in the middle of a transaction only where it begins at all.
        if self.whole_lsn and not self._may_count(boundary.events):
            raise _lost(f"transaction {boundary.transaction} ended with {boundary.events} events, {self.order} came")
        self.whole_lsn, self.order, self.unread = boundary.lsn, 0, 0
        return False

    def _may_count(self, events: int) -> bool:
        """Return whether a transaction of so many events may end here; an END may be among what was passed over."""
        return events == self.order or self.order < events <= self.order + self.unread or events < self.unread

    def _refuse_made_up(self, lsn: int) -> None:
        if self.whole_lsn and lsn - self.whole_lsn > _JUMP_BYTES_MAX:
            raise FormatError(f"commit LSN {lsn} after {self.whole_lsn}", hint="who else writes to the capture topic?")

    def _is_old_change(self, change: Change) -> bool:
        after = change.after_lsn
        if after < self.whole_lsn or (after == self.whole_lsn and change.order <= self.order):
            return True
        self._refuse_made_up(after)
        if not self.whole_lsn:
            pass  # The first change of all: the log is whole up to where it begins, whatever came before.
        elif self._missing_before(change) > self.unread:
            raise _lost(
                f"transaction {change.transaction}: change {change.order} after commit {after} follows "
                f"change {self.order} after commit {self.whole_lsn}"
            )
        self.whole_lsn, self.order, self.unread = after, change.order, 0
        return False

    def _missing_before(self, change: Change) -> int:
        """Return how many records must lie between the last event and this one, at least."""
        if change.after_lsn == self.whole_lsn:
            return change.order - self.order - 1
        return change.order  # The END of the transaction before, and all but the last of its own.

    def _is_old_message(self, message: Change) -> bool:
        if message.lsn <= self.whole_lsn:
            return True
        self._refuse_made_up(message.lsn)
        if self.order and not self.unread:
            raise _lost(f"a message outside of transactions came after change {self.order}, before its END")
        self.whole_lsn, self.order, self.unread = message.lsn, 0, 0
        return False


def _lost(what: str) -> CorruptionError:
    return CorruptionError(
        f"the captured log has a hole: {what}", hint="stop, take a new snapshot (a new epoch) and file the gap"
    )
