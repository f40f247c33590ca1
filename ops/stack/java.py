"""How every JVM of the stack is started: small heap, quick start, dies rather than limps. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where a JVM of ours writes its log: standard output, which the supervisor sends to a file per process.
LOG4J_CONFIG: Final = Path(__file__).with_name("log4j2.properties")

# Most of what flows through lives for milliseconds: a large young generation keeps it out of the old one, whose
# collection stops everything for some 400 ms. The rest is ample for what stays.
YOUNG_PERCENT: Final = 60

# Serial collector: on two cores it costs less memory and starts sooner than G1.
# First compiler only: on two cores the second one costs more than it gives (measured: ready with 6.5 instead of
# 10.5 seconds of CPU; the first 50,000 captured rows in 8 instead of 14 s, later ones in 5.5 instead of 6.4 s).
# A JVM out of memory must exit, so that the supervisor restarts it, instead of going on half dead.
_FLAGS: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    # Copied dates pass through the JVM's calendar: some zones have skipped a day, this one never.
    "-Duser.timezone=UTC",
)


def java_command(main_class: str, arguments: Sequence[str], *, classpath: Path, heap_mib: int) -> tuple[str, ...]:
    """Return the command line of one JVM; `classpath` is a folder of jars."""
    return (
        "java",
        f"-Xmx{heap_mib}m",
        f"-Xmn{heap_mib * YOUNG_PERCENT // 100}m",
        *_FLAGS,
        f"-Dlog4j2.configurationFile={LOG4J_CONFIG}",
        "-cp",
        f"{classpath}/*",
        main_class,
        *arguments,
    )
