"""What a restore says of the gap ledger: which gaps it falls into, and which it can only warn of. Pure.

A gap of the restore's own source ends with an epoch whose copies say again what every row is. Gaps elsewhere (a log
of objects or of events, a partition of a backup topic the restore depends on) end with nothing: what lay in
them is not said again, so every restore beyond their begin tells of them and is not whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sinks.cut import instant
from sinks.partition_holes import is_partition

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from connectors.ledger import Gap
    from sinks.cut import Cut


class Told(NamedTuple):
    """Sentences of a report: what may be missing from this restore, and what is only good to know."""

    losses: tuple[str, ...]
    notes: tuple[str, ...]


def relevant(gaps: Sequence[Gap], places: Collection[str]) -> list[Gap]:
    """Return the gaps without those of partitions that are none of `places`."""
    return [gap for gap in gaps if not is_partition(gap.source) or gap.source in places]


def told(gaps: Sequence[Gap], cut: Cut) -> Told:
    """Return what to say of relevant gaps in a restore that cuts there."""
    at_us = cut.committed_us if cut.at_us is None else cut.at_us
    own = [gap for gap in gaps if gap.source == cut.source]
    losses = [f"this instant lies in a gap: {_span(gap)}: {gap.reason}" for gap in own if gap.touches(at_us)]
    losses += [
        f"{gap.source}: what it had between {_span(gap)} may be missing: {gap.reason}"
        for gap in gaps
        # The latest there is lies beyond the begin of every one of them.
        if gap.source != cut.source and (cut.at_us is None or gap.from_us < cut.at_us)
    ]
    notes = [
        f"not captured: what changed between {_span(gap)} ({gap.reason}); all tables were copied again after it"
        for gap in own
        if gap.to_epoch == cut.order.epoch and gap.to_us <= at_us
    ]
    return Told(tuple(losses), tuple(notes))


def reasons(gaps: Sequence[Gap], source: str, at_us: int | None) -> str:
    """Return why nothing can be restored at an instant (None: a place, or the latest) that was refused."""
    touching = [gap for gap in gaps if gap.source == source and gap.touches(at_us or 0)]
    touching += [gap for gap in gaps if is_partition(gap.source) and at_us is not None and gap.from_us < at_us]
    return "; ".join(dict.fromkeys(gap.reason for gap in touching))


def _span(gap: Gap) -> str:
    begin = instant(gap.from_us).isoformat() if gap.from_us else "an unknown instant"
    return f"{begin} and {instant(gap.to_us).isoformat()}"
