"""Wrapped keys and the escrow open for nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.errors import ConfigError, CorruptionError, FormatError
from sinks import key_wrapping
from sinks.key_wrapping import MasterKeyWrapper
from tests.fakes import seeded_randomness

if TYPE_CHECKING:
    import pathlib

MASTER, KEY = bytes(range(32)), b"k" * 32


def a_wrapper(master: bytes = MASTER) -> MasterKeyWrapper:
    """Return a wrapper with known nonces."""
    return MasterKeyWrapper(master, randomness=seeded_randomness())


async def test_a_wrapped_key_opens_in_its_own_context_only() -> None:
    """A copy put under another wedding's name is noticed."""
    wrapped = await a_wrapper().wrap(KEY, context=b"w1")

    assert await a_wrapper().unwrap(wrapped, context=b"w1") == KEY
    with pytest.raises(CorruptionError):
        await a_wrapper().unwrap(wrapped, context=b"w2")


async def test_another_master_key_is_the_operator_s_mistake() -> None:
    """Not damage: the copies are fine."""
    wrapped = await a_wrapper().wrap(KEY, context=b"w1")

    with pytest.raises(ConfigError, match="another master key"):
        await a_wrapper(b"m" * 32).unwrap(wrapped, context=b"w1")


async def test_every_altered_byte_and_length_is_refused() -> None:
    """Whatever it is altered to."""
    wrapped = await a_wrapper().wrap(KEY, context=b"w1")

    for at in range(len(wrapped)):
        altered = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
        for bad in (altered, wrapped[:at]):
            with pytest.raises((CorruptionError, ConfigError)):
                await a_wrapper().unwrap(bad, context=b"w1")


def test_an_escrow_opens_by_its_passphrase() -> None:
    """And by no other, nor when altered."""
    escrow = key_wrapping.seal_escrow(MASTER, "correct horse", randomness=seeded_randomness())
    altered = escrow[:-1] + bytes([escrow[-1] ^ 1])

    assert key_wrapping.open_escrow(escrow, "correct horse") == MASTER
    for bad, passphrase in ((escrow, "wrong horse"), (altered, "correct horse")):
        with pytest.raises(ConfigError):
            key_wrapping.open_escrow(bad, passphrase)


@pytest.mark.parametrize("bad", [b"", b"x" * 82, b"WESC\x01\x17" + bytes(76), b"WESC\x02\x10" + bytes(76)])
def test_what_is_no_escrow_is_refused_before_it_costs_memory(bad: bytes) -> None:
    """Among it one that asks for more than 4 GiB."""
    with pytest.raises(FormatError):
        key_wrapping.open_escrow(bad, "any")


def test_a_master_key_is_never_replaced(tmp_path: pathlib.Path) -> None:
    """It would make every backup unreadable."""
    path = tmp_path / "keys" / "master.key"
    key_wrapping.create_master_key(path, MASTER)

    with pytest.raises(ConfigError, match="already"):
        key_wrapping.create_master_key(path, b"n" * 32)
    assert (key_wrapping.load_master_key(path), path.stat().st_mode & 0o777) == (MASTER, 0o600)


def test_a_master_key_of_the_wrong_length_is_refused(tmp_path: pathlib.Path) -> None:
    """A missing one too, with the command that helps."""
    (tmp_path / "short").write_bytes(b"short")

    for name in ("short", "missing"):
        with pytest.raises(ConfigError) as caught:
            key_wrapping.load_master_key(tmp_path / name)
        assert "keys import" in caught.value.hint
