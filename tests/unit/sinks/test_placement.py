"""Which stores a pack lies on."""

from __future__ import annotations

import collections

from schemas.backup import PlacementClass
from sinks.placement import next_site, rank
from sinks.stores.port import Site
from tests.builders import some_sites


def test_residency_decides_before_anything_else() -> None:
    """Down or not, nothing European leaves."""
    down = frozenset({"eu-a", "eu-b", "eu-c"})
    ranked = rank(some_sites(), placement=PlacementClass.EU, name="x", down=down)

    assert {site.name for site in ranked} == {"eu-a", "eu-b", "eu-c", "eu-d", "eu-e"}


def test_a_store_that_is_down_comes_last() -> None:
    """As a last resort."""
    ranked = rank(some_sites(), placement=PlacementClass.ANYWHERE, name="x", down=frozenset({"eu-a", "us-a"}))

    assert {site.name for site in ranked[-2:]} == {"eu-a", "us-a"}


def test_the_name_spreads_the_load() -> None:
    """Every store is the first for some."""
    firsts = collections.Counter(
        rank(some_sites(), placement=PlacementClass.ANYWHERE, name=f"pack {number}")[0].name for number in range(800)
    )

    assert len(firsts) == 8
    assert min(firsts.values()) > 50


def test_no_two_copies_fall_together() -> None:
    """One domain, one copy; what was tried is not tried again."""
    sites = [Site(name=name, provider="p", region="r", domain=name[0], is_eu=True) for name in ("a1", "a2", "b1")]
    second = next_site(sites, tried=frozenset({"a1"}), used_domains=frozenset({"a"}))

    assert second is not None
    assert second.name == "b1"
    assert next_site(sites, tried=frozenset({"a1", "b1"}), used_domains=frozenset("ab")) is None
