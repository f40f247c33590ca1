"""Following a partition's chain through the packs that were found. Pure.

Each pack names the head before its window; the head after it follows from the hashes of the window's
packs. From the first window on there is one way that leads farthest; what branches off it is an
*orphan*: an attempt that died before the catalog knew it, and whose records the next attempt sealed
again. Where the way ends too early, a window is lost: the hole is told, and the way goes on behind it.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import TYPE_CHECKING, Final

from schemas.pack import NO_PREVIOUS, chain_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PAIRINGS_MAX: Final = 64

_Rank = tuple[bool, int, int, bytes]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FoundPack:
    """One log pack, by its name, footer and index; `copies` is in how many stores it was found."""

    pack_hash: bytes
    previous: bytes
    first: int
    last: int
    part: int
    parts: int
    created_us: int
    copies: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The way that was found: packs to be catalogued in order, the head at its end, holes and orphans.

    `heads` are all heads the way has passed; `holes` are (first, last) offsets nobody has any more.
    """

    packs: tuple[FoundPack, ...]
    head: bytes
    last: int
    heads: frozenset[bytes]
    holes: tuple[tuple[int, int], ...]
    orphans: tuple[FoundPack, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    packs: tuple[FoundPack, ...]
    after: bytes

    @property
    def first(self) -> int:
        return self.packs[0].first

    @property
    def last(self) -> int:
        return self.packs[0].last


def follow(found: Iterable[FoundPack], *, wanted_head: bytes = NO_PREVIOUS) -> Chain:
    """Return the chain of one partition; of two ways the one through `wanted_head`, then the longer, is right."""
    packs = sorted(found, key=lambda each: (each.first, each.last, each.part, each.pack_hash))
    windows = _windows(packs)
    ranks = _ranks(windows, wanted_head)
    chosen: list[_Window] = []
    holes: list[tuple[int, int]] = []
    children = _children(windows)
    head, last = NO_PREVIOUS, -1
    while True:
        following = _best(children.get(head, ()), ranks, beyond=last)
        if following is None:
            following = _behind_hole(windows, ranks, beyond=last)
            if following is None:
                break
            holes.append((last + 1, following.first - 1))
        chosen.append(following)
        head, last = following.after, following.last
    used = {each.pack_hash for window in chosen for each in window.packs}
    return Chain(
        packs=tuple(each for window in chosen for each in window.packs),
        head=head,
        last=last,
        heads=frozenset(window.after for window in chosen),
        holes=tuple(holes),
        orphans=tuple(each for each in packs if each.pack_hash not in used),
    )


def _windows(packs: Sequence[FoundPack]) -> list[_Window]:
    """Return the windows of which every part is there; parts of one attempt bear the same instant."""
    attempts: dict[tuple[bytes, int, int, int], dict[int, list[FoundPack]]] = collections.defaultdict(dict)
    for each in packs:
        parts = attempts[each.previous, each.first, each.last, each.created_us]
        parts.setdefault(each.part, []).append(each)
    windows = []
    for parts in attempts.values():
        # Two attempts within one microsecond cannot be told apart: then every way of pairing them is tried.
        for ordered in itertools.islice(itertools.product(*(parts[number] for number in sorted(parts))), _PAIRINGS_MAX):
            if len(ordered) == ordered[0].parts:
                after = chain_head(ordered[0].previous, [each.pack_hash for each in ordered])
                windows.append(_Window(packs=ordered, after=after))
    return windows


def _children(windows: Iterable[_Window]) -> Mapping[bytes, list[_Window]]:
    children: dict[bytes, list[_Window]] = collections.defaultdict(list)
    for window in windows:
        children[window.packs[0].previous].append(window)
    return children


def _ranks(windows: Sequence[_Window], wanted_head: bytes) -> dict[bytes, _Rank]:
    """Return how good the way through each window is, known by the head after it; later windows are ranked first."""
    children = _children(windows)
    ranks: dict[bytes, _Rank] = {}
    for window in sorted(windows, key=lambda each: each.first, reverse=True):
        copies = min(each.copies for each in window.packs)
        own: _Rank = (window.after == wanted_head, window.last, copies, window.after)
        following = [ranks[child.after] for child in children.get(window.after, ()) if child.after in ranks]
        best = max(following, default=own)
        ranks[window.after] = (own[0] or best[0], best[1], *own[2:])
    return ranks


def _best(windows: Iterable[_Window], ranks: Mapping[bytes, _Rank], *, beyond: int) -> _Window | None:
    return max((each for each in windows if each.first > beyond), key=lambda each: ranks[each.after], default=None)


def _behind_hole(windows: Sequence[_Window], ranks: Mapping[bytes, _Rank], *, beyond: int) -> _Window | None:
    """Return the window to go on with behind a hole: on the way that leads farthest, the earliest."""
    candidates = [each for each in windows if each.first > beyond]
    return max(candidates, key=lambda each: (*ranks[each.after][:2], -each.first, each.after), default=None)
