"""Settings: wrong ones are named, the environment wins, promises that cannot be kept are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.bootstrap import routing_rules
from ops.config import Settings, load_settings
from schemas.backup import Priority
from schemas.errors import ConfigError
from streams.priority import DEFAULT_RULES, Condition, LaneRule

if TYPE_CHECKING:
    import pathlib


def test_the_environment_wins_over_the_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting may stand in the file and be overruled where it runs."""
    file = tmp_path / "w.toml"
    file.write_text("[stack]\nkafka_port = 1111\nconnect_port = 2222\n")
    monkeypatch.setenv("WEDSYNC_STACK__KAFKA_PORT", "3333")

    settings = load_settings(file)

    assert (settings.stack.kafka_port, settings.stack.connect_port) == (3333, 2222)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[stack]\nkafka_port = 99999\n", "stack.kafka_port"),
        ("[archive]\npartitions = 0\n", "archive.partitions"),
        ("[archive.windows]\ncritical_ms = -1\n", "archive.windows.critical_ms"),
        ("unheard_of = 1\n", "unheard_of"),
        ('[objects]\nbucket = "My Photos"\n', "objects.bucket"),
        ('[[buckets]]\nname = "album"\n', "buckets.0.bucket"),
        ('[[buckets]]\nname = "a"\nbucket = "b"\nchannel = "pubsub"\nchannel_name = "c"\n', "belong to s3"),
        ('[[buckets]]\nname = "a"\nbucket = "b"\nchannel = "kafka"\n', "channel_name"),
        ('[[buckets]]\nname = "objects"\nbucket = "b"\n', "named like another"),
        ("not toml at all", "not TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: pathlib.Path, text: str, says: str) -> None:
    """The message says which setting, and where to correct it."""
    file = tmp_path / "w.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=says) as caught:
        load_settings(file)
    assert caught.value.hint


def test_three_copies_need_three_failure_domains(tmp_path: pathlib.Path) -> None:
    """Stores that fall together count once: what could never be protected is refused at the start."""
    file = tmp_path / "w.toml"
    stores = "".join(
        f'[[archive.stores]]\nname = "s{number}"\nfolder = "f{number}"\ndomain = "one-rack"\nis_eu = true\n'
        for number in range(5)
    )
    file.write_text(stores)

    with pytest.raises(ConfigError, match="failure domains"):
        load_settings(file)


def test_eu_weddings_need_three_eu_domains(tmp_path: pathlib.Path) -> None:
    """Eight stores of which two are European could never protect a wedding in Florence."""
    file = tmp_path / "w.toml"
    stores = "".join(
        f'[[archive.stores]]\nname = "s{number}"\nfolder = "f{number}"\nis_eu = {str(number < 2).lower()}\n'
        for number in range(8)
    )
    file.write_text(stores)

    with pytest.raises(ConfigError, match="EU failure domains"):
        load_settings(file)


def test_the_routing_table_is_the_settings_or_the_default(tmp_path: pathlib.Path) -> None:
    """One rule given replaces them all."""
    file = tmp_path / "w.toml"
    file.write_text('[[routing.rules]]\nwhen = "within_days"\nlane = "high"\ndays = 30\n')

    assert routing_rules(load_settings(file)) == (
        LaneRule(when=Condition.WITHIN_DAYS, lane=Priority.HIGH, days=30, rank=None),
    )
    assert routing_rules(Settings()) == DEFAULT_RULES
