"""Which ports are chosen."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ops.stack.ports import choose_ports, is_free
from ops.stack.settings import LOOPBACK, StackSettings
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_chosen_ports_are_kept(tmp_path: Path) -> None:
    """After a restart every engine is found where it was."""
    settings = StackSettings(state_dir=tmp_path)

    assert choose_ports(settings) == choose_ports(settings)


def test_no_port_is_chosen_twice(tmp_path: Path) -> None:
    """Four engines, four ports."""
    ports = choose_ports(StackSettings(state_dir=tmp_path))

    assert len({ports.kafka, ports.kafka_controller, ports.connect, ports.postgres}) == 4


def test_a_kept_port_that_was_taken_is_chosen_anew(tmp_path: Path) -> None:
    """A stranger on our old port moves us, instead of stopping us."""
    settings = StackSettings(state_dir=tmp_path)
    before = choose_ports(settings)
    with socket.create_server((LOOPBACK, before.kafka)):
        after = choose_ports(settings)

    assert after.kafka != before.kafka
    assert after.postgres == before.postgres


def test_a_set_port_that_is_taken_is_refused_by_name(tmp_path: Path) -> None:
    """What the operator chose is never changed in silence."""
    with socket.create_server((LOOPBACK, 0)) as stranger:
        taken = stranger.getsockname()[1]
        assert not is_free(taken)
        with pytest.raises(ConfigError, match=f"kafka_port {taken}"):
            choose_ports(StackSettings(state_dir=tmp_path, kafka_port=taken))
