"""The names of the topics. Pure.

A capture topic belongs to one source and one epoch of it; the *epoch* begins anew whenever the
order of the source's log can no longer be continued (slot lost, Kafka lost).
"""

from __future__ import annotations

import re
from typing import Final

from schemas.backup import Priority
from schemas.errors import FormatError

CAPTURE_PATTERN: Final = r"^capture\.([a-z0-9-]+)\.e([0-9]+)$"
DEAD_LETTERS: Final = "backup.dead-letters"
CONTROLS: Final = "backup.controls"
SOURCE_BYTES_DEFAULT: Final = 16 << 20
"""What one record of a database may weigh unless the settings say otherwise: a row may hold a document."""
SOURCE_BYTES_MAX: Final = 48 << 20
"""What it may weigh at most, whatever they say: topics, brokers, producers and readers are sized for it."""
RECORD_BYTES_MAX: Final = SOURCE_BYTES_MAX + (1 << 20)
"""What one record of a topic may weigh: whatever a source sent, in the envelopes we put around it."""
FETCH_BYTES: Final = SOURCE_BYTES_DEFAULT + (1 << 20)
"""What a reader asks of one partition at a time; a single record that is larger comes all the same."""
_CAPTURE: Final = re.compile(CAPTURE_PATTERN)
_BACKUP_PREFIX: Final = "backup."


def capture_topic(source: str, epoch: int) -> str:
    """Return the topic that holds one source's log since `epoch` (Unix seconds)."""
    return f"capture.{source}.e{epoch}"


def parse_capture_topic(topic: str) -> tuple[str, int]:
    """Return (source, epoch) of a capture topic.

    Raises:
        FormatError: the name is not a capture topic's.
    """
    match = _CAPTURE.match(topic)
    if match is None:
        raise FormatError(
            f"{topic!r} is not a capture topic", hint="capture topics are named capture.<source>.e<epoch>"
        )
    return match[1], int(match[2])


def backup_topic(priority: Priority) -> str:
    """Return the topic of a lane."""
    return _BACKUP_PREFIX + priority.value


def priority_of_topic(topic: str) -> Priority:
    """Return the lane of a backup topic."""
    return Priority(topic.removeprefix(_BACKUP_PREFIX))


BACKUP_TOPICS: Final = tuple(backup_topic(priority) for priority in Priority)
