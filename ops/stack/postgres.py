"""One Postgres server with logical decoding on: its commands, its account and its address."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.stack.settings import LOOPBACK, SLOT_WAL_KEEP_MIB
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from ops.stack.settings import StackPorts, StackSettings

SUPERUSER: Final = "postgres"
CONNECT_TIMEOUT_S: Final = 10
# Postgres refuses to run as root: the first of these accounts that exists runs it instead.
_ACCOUNTS: Final = ("postgres", "nobody")
_DEBIAN_VERSIONS: Final = Path("/usr/lib/postgresql")


def postgres_dir(settings: StackSettings) -> Path:
    """Return the folder whose `data` is the cluster; it belongs to the server's user."""
    return settings.stack_dir / "postgres"


def password_file(settings: StackSettings) -> Path:
    """Return the file that keeps the superuser's password, readable by its owner only."""
    return postgres_dir(settings) / "password"


def is_initialised(settings: StackSettings) -> bool:
    """Tell whether the cluster exists."""
    return (postgres_dir(settings) / "data" / "PG_VERSION").exists()


def password(settings: StackSettings) -> str:
    """Return the superuser's password, made at the first start."""
    return password_file(settings).read_text(encoding="utf-8").strip()


def dsn(settings: StackSettings, ports: StackPorts, *, database: str = "postgres") -> str:
    """Return the superuser's connection string for one database of the running stack."""
    login = f"user={SUPERUSER} password={password(settings)}"
    return f"host={LOOPBACK} port={ports.postgres} {login} dbname={database} connect_timeout={CONNECT_TIMEOUT_S}"


def server_bin_dir() -> Path:
    """Return the folder of the server's programs, the newest version when there are several.

    Raises:
        ConfigError: no Postgres server is installed.
    """
    versions = [folder for folder in _DEBIAN_VERSIONS.glob("*/bin") if (folder / "initdb").exists()]
    if versions:
        return max(versions, key=lambda folder: int(folder.parent.name))
    initdb = shutil.which("initdb")
    if initdb is None:
        raise ConfigError("no Postgres server is installed", hint="on Debian: apt-get install postgresql")
    return Path(initdb).resolve().parent


def server_account() -> str | None:
    """Return the account the server has to run as: None when it may run as we do.

    Raises:
        ConfigError: we are root and there is no other account to use.
    """
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    account = next((name for name in _ACCOUNTS if name in known), None)
    if account is None:
        raise ConfigError("Postgres refuses to run as root, and there is no account `postgres`", hint="add one")
    return account


def initdb_command(settings: StackSettings, *, bin_dir: Path, target: Path) -> tuple[str, ...]:
    """Return the command that makes an empty cluster in `target`, checksummed, with a password for everyone."""
    return (
        str(bin_dir / "initdb"),
        f"--pgdata={target}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file(settings)}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--data-checksums",
    )


def serve_command(settings: StackSettings, ports: StackPorts, *, bin_dir: Path) -> tuple[str, ...]:
    """Return the command that runs the server in the foreground."""
    options = server_options(ports, slot_wal_keep_mib=settings.slot_wal_keep_mib)
    flags = tuple(flag for name, value in options.items() for flag in ("-c", f"{name}={value}"))
    return (str(bin_dir / "postgres"), "-D", str(postgres_dir(settings) / "data"), *flags)


def server_options(ports: StackPorts, *, slot_wal_keep_mib: int = SLOT_WAL_KEEP_MIB) -> dict[str, str]:
    """Return the server's settings: logical decoding, fast where no promise is touched, fsync on."""
    return {
        "listen_addresses": LOOPBACK,
        "port": str(ports.postgres),
        # No socket file: its path may be too long, and its folder would belong to another user.
        "unix_socket_directories": "",
        "wal_level": "logical",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_slot_wal_keep_size": f"{slot_wal_keep_mib}MB",
        "fsync": "on",
        "shared_buffers": "128MB",
        # After a crash: one system call instead of opening every file of the cluster.
        "recovery_init_sync_method": "syncfs",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        "log_checkpoints": "off",
        "log_min_messages": "warning",
        "timezone": "UTC",
    }
