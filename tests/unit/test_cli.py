"""The command line: exit codes, one line of what and why, one of what to do."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ops.config import load_settings
from ops.restoring import parse_instant
from schemas.errors import FormatError
from sinks.catalog import open_engine
from sinks.cut import LogPlace, TransactionId

if TYPE_CHECKING:
    import pathlib

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def wedsync(*arguments: str, folder: pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in an empty folder, as a person would."""
    program = "from ops.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("nonsense",), {}, "No such command"),
        (("status", "--nope"), {}, "No such option"),
        (("status",), {}, "there is no catalog"),
        (("status",), {"WEDSYNC_STACK__KAFKA_PORT": "abc"}, "setting stack.kafka_port"),
        (("status", "--config", "missing.toml"), {}, "does not exist"),
        (("restore", "--wedding", "w"), {}, "no target"),
        (("keys", "export", "--out", "escrow"), {"WEDSYNC_PASSPHRASE": "x"}, "there is no master key"),
        (("uninstall",), {}, "add --yes"),
        (("init",), {}, "no database"),
        (("dead-letters", "retry"), {}, "which letters?"),
        (("dead-letters", "retry", "3f9a", "--all"), {}, "which letters?"),
        (("dead-letters", "discard", "3f9a", "--reason", "junk"), {}, "not discarded"),
        (("dead-letters", "discard", "3f9a", "--reason", " ", "--yes"), {}, "no reason"),
        (("dead-letters", "ls"), {}, "there is no catalog"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    tmp_path: pathlib.Path, arguments: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    """Whoever asks wrongly is told what, why and what to do, without a trace."""
    found = wedsync(*arguments, folder=tmp_path, **environment)

    assert found.returncode == 2
    assert says in found.stderr
    assert "what to do" in found.stderr
    assert "Traceback" not in found.stderr


def test_help_comes_at_once(tmp_path: pathlib.Path) -> None:
    """Help imports no engine: it answers within the time a person notices."""
    began = time.monotonic()
    found = wedsync("--help", folder=tmp_path)

    assert found.returncode == 0
    assert "restore" in found.stdout
    assert time.monotonic() - began < 20, "an import of everything would take this long on a busy machine"


def test_print_sql_touches_no_database(tmp_path: pathlib.Path) -> None:
    """What `up` does to a database can be read, and given to somebody with the rights."""
    found = wedsync("init", "--print-sql", folder=tmp_path)

    assert found.returncode == 0
    assert "CREATE PUBLICATION" in found.stdout.upper()


def test_an_escrow_comes_back_only_with_its_passphrase(tmp_path: pathlib.Path) -> None:
    """Exported here and imported there, the master key is the same; with another passphrase it is refused."""
    (tmp_path / ".wedsync" / "keys").mkdir(parents=True)
    key = tmp_path / ".wedsync" / "keys" / "master.key"
    key.write_bytes(bytes(range(32)))

    assert wedsync("keys", "export", "--out", "e", folder=tmp_path, WEDSYNC_PASSPHRASE="right").returncode == 0
    key.rename(tmp_path / "old.key")
    assert wedsync("keys", "import", "--from", "e", folder=tmp_path, WEDSYNC_PASSPHRASE="wrong").returncode == 2
    assert not key.exists()
    assert wedsync("keys", "import", "--from", "e", folder=tmp_path, WEDSYNC_PASSPHRASE="right").returncode == 0
    assert key.read_bytes() == bytes(range(32))


def test_an_instant_needs_a_zone() -> None:
    """The same clock time is another instant at each venue, so an instant without a zone is refused."""
    now = dt.datetime(2026, 6, 20, 12, tzinfo=dt.UTC)

    assert parse_instant("2026-06-20T14:32:00+02:00", now=now) == dt.datetime(2026, 6, 20, 12, 32, tzinfo=dt.UTC)
    assert parse_instant("2h ago", now=now) == dt.datetime(2026, 6, 20, 10, tzinfo=dt.UTC)
    assert parse_instant("latest", now=now) is None
    for odd in ("2026-06-20T14:32:00", "yesterday", ""):
        with pytest.raises(FormatError):
            parse_instant(odd, now=now)


def test_a_place_in_the_log_and_a_transaction_are_moments_too() -> None:
    """Written as Postgres writes them."""
    now = dt.datetime(2026, 6, 20, 12, tzinfo=dt.UTC)

    assert parse_instant("0/1A2B3C4", now=now) == LogPlace(0x1A2B3C4)
    assert parse_instant("1f/0", now=now) == LogPlace(0x1F << 32)
    assert parse_instant("txid 7411", now=now) == TransactionId(7411)
    assert str(LogPlace(0x1F01A2B3C4)) == "1F/1A2B3C4"


def test_restore_wants_to_know_what(tmp_path: pathlib.Path) -> None:
    """A wedding or everything: neither and both are refused before anything is opened."""
    for given in ((), ("--wedding", "w", "--everything")):
        found = wedsync("restore", *given, "--target", "x", folder=tmp_path)
        assert found.returncode == 2
        assert "--everything" in found.stderr


def test_json_output_is_json(tmp_path: pathlib.Path) -> None:
    """With --json standard output is one JSON document, whatever else is said."""
    settings = load_settings(None, state_dir=tmp_path / ".wedsync")
    open_engine(settings.catalog_file).dispose()
    found = wedsync("status", "--json", folder=tmp_path)

    assert found.returncode == 0
    assert json.loads(found.stdout)["is_up"] is False
