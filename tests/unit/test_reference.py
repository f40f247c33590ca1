"""The reference is what the code says, and the README names nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ops.reference import REFERENCE, render_reference

README: Final = Path(__file__).parents[2] / "README.md"
VERB: Final = re.compile(r"^\| `([a-z -]+)` \|", re.MULTILINE)
NAMED: Final = re.compile(r"wedsync-backup ((?:keys|catalog|clients|controls|dead-letters) [a-z]+|[a-z]+)")


def test_the_reference_is_up_to_date() -> None:
    """A setting, verb or metric that came or went is documented in the same change: `python -m ops.reference`."""
    assert REFERENCE.read_text(encoding="utf-8") == render_reference()


def test_the_readme_names_only_verbs_that_exist() -> None:
    """A command somebody copies from the README is one that runs."""
    verbs = set(VERB.findall(render_reference()))

    assert set(NAMED.findall(README.read_text(encoding="utf-8"))) <= verbs


def test_the_readme_names_only_metrics_that_exist() -> None:
    """A dashboard built from the README finds its series."""
    named = set(re.findall(r"`(wedsync_[a-z_]+)`", README.read_text(encoding="utf-8")))

    assert all(f"`{name}`" in render_reference() for name in named)
