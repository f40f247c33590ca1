"""What the doctor looks at on this machine: stores, master key, cipher, chunker, disk, ports. Leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import socket
import sys
from typing import TYPE_CHECKING, Final

import blake3

from ops import bootstrap
from ops.doctor_rules import Check, failed, passed, warned
from schemas.errors import ConfigError, WedSyncError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.config import Settings
    from sinks.stores.port import ObjectStore

STORE_SECONDS: Final = 10.0
_DISK_FAIL_BYTES: Final = 1 << 30
_DISK_WARN_BYTES: Final = 10 << 30
_PROBE_BYTES: Final = 4096


async def examine_machine(settings: Settings, *, is_up: bool) -> list[Check]:
    """Return the checks of the installation; stores are written to, read from and tidied."""
    checks = [_chunker(), _cipher(), *_disk(settings), _master_key(settings)]
    checks += [] if is_up else list(_ports(settings))
    return [*checks, *await _stores(settings)]


def _chunker() -> Check:
    try:
        import sinks.objects  # noqa: F401, PLC0415 - it refuses the slow one when it is imported
    except ConfigError as error:
        return failed("chunker", str(error), error.hint)
    return passed("chunker", "compiled")


def _cipher() -> Check:
    flags = pathlib.Path("/proc/cpuinfo")
    if sys.platform != "linux" or not flags.exists():
        return warned("cipher", "whether this processor has AES instructions is not known", "-- measure: make bench")
    words = set(flags.read_text(encoding="utf-8", errors="replace").split())
    if "aes" in words:
        return passed("cipher", "AES in hardware")
    return warned("cipher", "no AES instructions: sealing is ten times slower", "-- use a processor with AES-NI")


def _disk(settings: Settings) -> Iterator[Check]:
    folder = next(
        each for each in (settings.state_dir.absolute(), *settings.state_dir.absolute().parents) if each.exists()
    )
    free = shutil.disk_usage(folder).free
    says = f"{free >> 30} GiB free at {folder}"
    if free < _DISK_FAIL_BYTES:
        yield failed("disk", f"{says}: Kafka stops when it is full", "-- free space, or move --state-dir")
    elif free < _DISK_WARN_BYTES:
        yield warned("disk", says, "-- free space, or move --state-dir")
    else:
        yield passed("disk", says)


def _master_key(settings: Settings) -> Check:
    key = settings.master_key_file
    if not key.exists():
        return passed("master_key", "`up` makes one")
    if key.stat().st_mode & 0o077:
        return failed("master_key", f"others may read {key}", f"chmod 600 {key}")
    if not settings.escrow_mark.exists():
        says = "never exported: with this machine the key is gone, and with the key everything"
        return warned("master_key", says, "wedsync-backup keys export --out escrow.key")
    return passed("master_key", f"exported on {settings.escrow_mark.read_text(encoding='utf-8').strip()}")


def _ports(settings: Settings) -> Iterator[Check]:
    wanted = {
        "kafka": settings.stack.kafka_port,
        "connect": settings.stack.connect_port,
        "postgres": settings.stack.postgres_port,
    }
    taken = [f"{name} {port}" for name, port in wanted.items() if port and not _is_free(port)]
    yield (
        failed("ports", f"taken: {', '.join(taken)}", "-- choose others under [stack], or 0 for free ones")
        if taken
        else passed("ports", "free, or chosen freely")
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _stores(settings: Settings) -> list[Check]:
    if not settings.master_key_file.exists() or not settings.catalog_file.exists():
        return [passed("stores", f"{len(settings.stores)} stores: `up` founds the archive")]
    archive = bootstrap.Archive(settings, must_exist=True)
    try:
        return list(await asyncio.gather(*(_store(name, store) for name, store in archive.stores.items())))
    finally:
        archive.close()


async def _store(name: str, store: ObjectStore) -> Check:
    """Put, get and compare a small object of a name that was never used, and take it away again."""
    content = os.urandom(_PROBE_BYTES)
    digest = blake3.blake3(content).digest()
    probe = f"doctor/{digest.hex()}"
    try:
        async with asyncio.timeout(STORE_SECONDS):
            proof = await store.create(probe, content, digest=digest)
            is_same = await store.read(probe) == content
            await store.delete(probe)
    except (WedSyncError, TimeoutError, OSError) as error:
        return failed(f"store {name}", f"{type(error).__name__} {error}", getattr(error, "hint", "") or "-- is it up?")
    if not is_same:
        return failed(f"store {name}", "what was read is not what was written", "-- take this store out of use")
    return passed(f"store {name}", f"put, got and compared ({proof.value})")
