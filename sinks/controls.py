"""Following the controls: every worker reads the compacted topic itself, from its beginning, and goes on reading.

Nothing is committed and no group is joined: a worker that begins reads up to the end before it
begins, so it never works by rules that are over. A record that cannot be read is refused, counted and told; the
last good rule of that name stays. When Kafka is away, so do all.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
import structlog

from schemas import controls
from schemas.errors import FormatError, TransientError
from schemas.topics import CONTROLS
from streams.urgency import KEY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.controls import Control
    from schemas.work import Limit

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 0.2
_RECORDS_MAX: Final = 500
_WITHIN_SECONDS: Final = 15.0


class Board:
    """The rules that were read: one of each name."""

    def __init__(self) -> None:
        self._rules: dict[bytes, Control] = {}
        self.refused = 0

    @property
    def rules(self) -> list[Control]:
        """Return all rules, also those that are over or take nothing away."""
        return list(self._rules.values())

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Take one record; one without value removes the rule of its key, and requests for weddings are not ours."""
        if (key or b"").startswith(KEY_PREFIX):
            return
        if value is None:
            self._rules.pop(key or b"", None)
            return
        try:
            rule = controls.decode(key, value)
        except FormatError as error:
            self.refused += 1
            log.warning("a control is refused", action="controls.refused", reason=str(error), hint=error.hint)
            return
        self._rules[key or b""] = rule


class ControlsFollower:
    """Reads the rules and hands on what holds; calls of `obey` come in the loop's thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        now_us: Callable[[], int],
        obey: Callable[[Sequence[Limit]], None] = lambda _limits: None,
    ) -> None:
        self._settings, self._now_us, self._obey = settings, now_us, obey
        self._consumer: Any = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="controls")
        self._followed: list[Limit] = []
        self.board = Board()

    def catch_up(self, *, within_seconds: float = _WITHIN_SECONDS) -> list[Limit]:
        """Read up to the end, and return what holds now. Blocks; before `run`.

        Raises:
            TransientError: Kafka did not answer in time: nobody knows what an operator has ordered.
        """
        self._consumer = confluent_kafka.Consumer(_settings(self._settings))
        self._consumer.assign([confluent_kafka.TopicPartition(CONTROLS, 0, confluent_kafka.OFFSET_BEGINNING)])
        deadline = time.monotonic() + within_seconds
        while not self._read():
            if time.monotonic() > deadline:
                raise TransientError("Kafka did not say which controls hold", hint="is the broker up and reachable?")
        self._followed = controls.limits(self.board.rules, now_us=self._now_us())
        return self._followed

    async def run(self) -> None:
        """Follow for ever: a rule holds within a second, and ends by itself when its time is over."""
        loop = asyncio.get_running_loop()
        while True:
            self._follow()
            await loop.run_in_executor(self._thread, self._read)

    def close(self) -> None:
        """Let the consumer go."""
        if self._consumer is not None:
            self._consumer.close()
        self._thread.shutdown(wait=False)

    def _follow(self) -> None:
        wanted = controls.limits(self.board.rules, now_us=self._now_us())
        if wanted != self._followed:
            self._followed = wanted
            log.info("other controls hold", action="controls.follow", rules=[each.name for each in wanted])
            self._obey(wanted)

    def _read(self) -> bool:
        """Read what is there, and return whether that was all."""
        is_all = False
        for message in self._consumer.consume(_RECORDS_MAX, _POLL_SECONDS):
            error = message.error()
            if error is None:
                self.board.take(message.key(), message.value())
                is_all = False
            elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name for it
                is_all = True
        return is_all


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "group.id": "wedsync-controls",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "enable.partition.eof": True,
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 1024,
        "log_level": 3,
        **given,
    }
