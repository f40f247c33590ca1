"""The sequences at the cut: the log carries none of their steps, so their values are told now and then. Pure.

A value is at least what the sequence had reached when it was last told, and a restored table may hold a
larger one; a restore takes the greater. What was drawn between the last telling and the cut and stands in no
row is not known: nobody can tell it from a number that was never drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectors.ledger import sequences_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinks.cut import Order


class Sequences:
    """Takes messages in any order, and keeps the newest values."""

    def __init__(self) -> None:
        self._newest: tuple[Order, Mapping[str, int]] | None = None

    @property
    def values(self) -> Mapping[str, int]:
        """Return the last value of each sequence that was told, by `schema.name`."""
        return self._newest[1] if self._newest is not None else {}

    def take(self, order: Order, change: Mapping[str, Any]) -> None:
        """Take a change; any but a message about sequences says nothing.

        Raises:
            FormatError: it says it is about sequences, and cannot be read.
        """
        if change["kind"] != "message" or (self._newest is not None and order <= self._newest[0]):
            return
        values = sequences_of(change["payload"])
        if values is not None:
            self._newest = order, values
