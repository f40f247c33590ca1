"""What is remembered between the steps of a new epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops import epochs
from ops.config import Settings, SourceSection
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_broken_log_is_remembered_until_its_epoch_is_over(tmp_path: Path) -> None:
    """What shows it may be seen for a second only; the first reason stays."""
    settings = Settings(state_dir=tmp_path)
    epochs.mark_broken(settings, 7, "moved on")
    epochs.mark_broken(settings, 7, "something else")

    assert [epochs.read_broken(settings, epoch) for epoch in (6, 7, 8)] == [None, "moved on", None]


def test_an_intent_survives_until_it_is_done(tmp_path: Path) -> None:
    """Whoever comes next begins the same epoch."""
    settings = Settings(state_dir=tmp_path)
    intent = epochs._intend(settings, 4_000_000_000, "a test", loses=True)

    assert epochs.read_intent(settings) == intent
    assert intent.epoch == 4_000_000_001


def test_an_operator_who_wants_to_be_asked_is(tmp_path: Path) -> None:
    """Nothing is begun, and the error says what to run."""
    settings = Settings(state_dir=tmp_path, source=SourceSection(new_epoch="ask"))
    with pytest.raises(ConfigError, match="cannot go on") as raised:
        epochs._refuse_unasked(settings, "the slot was dropped")

    assert "epoch begin" in raised.value.hint
