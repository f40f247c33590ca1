"""Which stores a pack shall lie on. Pure.

Residency decides who may hold it, the failure domain that no two copies fall together, health who is
asked first, and a hash of the pack's name spreads the load over the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.backup import PlacementClass
    from sinks.stores.port import Site


def rank(
    sites: Iterable[Site], *, placement: PlacementClass, name: str, down: frozenset[str] = frozenset()
) -> list[Site]:
    """Return the sites that may hold `name`, best first; those that are down come last, as a last resort."""
    allowed = [site for site in sites if site.may_hold(placement)]
    return sorted(
        allowed, key=lambda site: (site.name in down, xxhash.xxh3_64_intdigest(f"{site.name}/{name}".encode()))
    )


def next_site(ranked: Iterable[Site], *, tried: frozenset[str], used_domains: frozenset[str]) -> Site | None:
    """Return the best site not tried yet whose failure domain holds no copy, or None."""
    return next((site for site in ranked if site.name not in tried and site.domain not in used_domains), None)
