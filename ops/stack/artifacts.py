"""The engines' jars: fetched once by Maven into the project's cache, then never asked for again.

Our classes (`connectors/java`) are built into Debezium's plugin on the way. A marker names the exact list
(`pom.xml`) and sources they were made from, so what changed is made anew and what did not needs neither Maven nor a
network.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Final

from ops.stack.process import end, log_tail, spawn
from ops.stack.settings import DEFAULT_JARS_DIR
from schemas.errors import ConfigError, TransientError, WedSyncError

POM: Final = Path(__file__).with_name("pom.xml")
JAVA_SOURCES: Final = Path(__file__).parents[2] / "connectors" / "java"
_MAVEN_TIMEOUT_SECONDS: Final = 600.0


def has_jars(jars_dir: Path) -> bool:
    """Tell whether exactly the jars of today's list are there."""
    try:
        return _marker(jars_dir).read_text(encoding="utf-8") == _list_digest()
    except FileNotFoundError:
        return False


async def ensure_jars(jars_dir: Path) -> None:
    """Fetch the jars unless they are there; the folder appears whole or not at all.

    Raises:
        ConfigError: Maven is not installed.
        TransientError: Maven could not fetch them.
    """
    if has_jars(jars_dir):
        return
    if shutil.which("mvn") is None:
        raise ConfigError("the engines' jars are missing, and so is Maven", hint="on Debian: apt-get install maven")
    draft = jars_dir.with_name(f"{jars_dir.name}.draft")
    await asyncio.to_thread(_empty, draft)
    await _fetch(draft)
    _marker(draft).write_text(_list_digest(), encoding="utf-8")
    await asyncio.to_thread(shutil.rmtree, jars_dir, ignore_errors=True)
    draft.rename(jars_dir)


async def _fetch(draft: Path) -> None:
    # Maven writes beside the list it reads; the copy keeps the sources clean.
    shutil.copyfile(POM, draft / "pom.xml")
    log_file = draft.with_suffix(".log")
    folders = (f"-Djars={draft}", f"-Dsources={JAVA_SOURCES}")
    argv = ("mvn", "--batch-mode", "--quiet", f"--file={draft / 'pom.xml'}", *folders, "package")
    process = await spawn(argv, log_file=log_file)
    try:
        code = await asyncio.wait_for(process.wait(), _MAVEN_TIMEOUT_SECONDS)
    except TimeoutError as error:
        raise TransientError("Maven took too long", hint=f"see {log_file}") from error
    finally:
        await end(process)
    if code != 0:
        raise TransientError("Maven could not fetch the engines' jars", hint=log_tail(log_file))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _marker(jars_dir: Path) -> Path:
    return jars_dir / "complete"


def _list_digest() -> str:
    made_from = (POM, *sorted(JAVA_SOURCES.rglob("*.java")))
    return hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()


def main() -> int:
    """Fetch into the default cache; returns the process's exit code."""
    try:
        asyncio.run(ensure_jars(DEFAULT_JARS_DIR))
    except WedSyncError as error:
        sys.stderr.write(f"{error}\n{error.hint}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
