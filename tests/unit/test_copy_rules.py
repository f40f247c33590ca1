"""What the controls say of table copies, as signals to Debezium."""

from __future__ import annotations

import pytest

from connectors.table_copies import EXECUTE, PAUSE, RESUME, CopyProgress, CopyState, Signal
from ops import controlling, copy_rules
from schemas.errors import ConfigError
from schemas.work import Mode, Work
from tests.unit.schemas.test_controls import a_rule

COPY = "copy-e1"
BY_HAND, BY_RULE = (f"pause-{each}" for each in ("5", f"{copy_rules.BY_RULE}5"))


def said(*names: str) -> list[Signal]:
    """Return a copy's signal and words to it."""
    types = {"pause": PAUSE, "resume": RESUME, "copy": EXECUTE}
    return [Signal(name=name, type=types[name.partition("-")[0]], data="{}") for name in (COPY, *names)]


@pytest.mark.parametrize(
    ("words", "state", "mode", "wanted"),
    [
        ((), CopyState.RUNNING, Mode.PAUSE, PAUSE),
        ((), CopyState.ASKED, Mode.PAUSE, PAUSE),
        ((), CopyState.DONE, Mode.PAUSE, None),
        ((), CopyState.RUNNING, Mode.DRAIN, None),
        ((BY_RULE,), CopyState.PAUSED, Mode.PAUSE, None),
        ((BY_RULE,), CopyState.PAUSED, Mode.RUN, RESUME),
        ((BY_RULE,), CopyState.PAUSED, Mode.DRAIN, RESUME),
        ((BY_HAND,), CopyState.PAUSED, Mode.RUN, None),
        ((BY_RULE, BY_HAND), CopyState.PAUSED, Mode.RUN, None),
        ((BY_RULE, "resume-controls-6"), CopyState.RUNNING, Mode.RUN, None),
    ],
)
def test_a_rule_pauses_copies_and_its_end_lets_go_of_what_it_paused(
    words: tuple[str, ...], state: CopyState, mode: Mode, wanted: str | None
) -> None:
    """A pause by hand is nobody else's to end; a drain lets a copy end."""
    copies = [CopyProgress(copy=COPY, state=state, tables=())]

    assert copy_rules.word(said(*words), copies, mode) == wanted


@pytest.mark.parametrize(
    ("words", "wanted", "begins"),
    [
        ((), PAUSE, "pause-controls-"),
        ((BY_RULE,), PAUSE, "pause-controls-"),
        ((BY_HAND,), PAUSE, "pause-"),
        ((BY_RULE,), RESUME, "resume-controls-"),
    ],
)
def test_a_pause_that_is_said_again_stays_whose_it_was(words: tuple[str, ...], wanted: str, begins: str) -> None:
    """Debezium forgets it when it restarts."""
    assert copy_rules.prefix(said(*words), wanted) == begins


async def test_copies_can_be_paused_and_not_slowed() -> None:
    """An order that is accepted and not carried out is worse than none."""
    with pytest.raises(ConfigError, match="not slowed"):
        await controlling.publish(
            "127.0.0.1:1", [a_rule(works=frozenset({Work.SNAPSHOT}), mode=Mode.RUN, bytes_per_second=5)]
        )
