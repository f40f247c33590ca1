"""Kafka Connect as it behaves: the log in order, and after each of its crashes the end of it once more."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import orjson

from schemas import codec
from streams.dead_letters import Place, letters_of
from tests.builders import CAPTURE, EPOCH

if TYPE_CHECKING:
    from tests.simulation.log import Log
    from tests.simulation.platform import Platform

_AGAIN_MAX: Final = 25
_ONCE_ONLY: Final = frozenset({"read", "notice"})
"""Rows of a table copy are read anew by the next window, not sent again."""

_FOREIGN: Final = (b"{", b"CANARY not json", b'{"op":"x"}', b"\xc3\x01CANARY", b"[]", b'{"CANARY":1}', b"", b"\xff\xfe")


class Connect:
    """Copies the platform's log to the capture topic; `positions` tells where each entry lies first."""

    def __init__(self, rng: random.Random, log: Log, platform: Platform) -> None:
        self._rng, self._log, self._platform = rng, log, platform
        # An operator of their own mind: what they do is drawn apart from all else.
        self._operator = random.Random(rng.getstate()[1][0])
        self._next = 0
        self.positions: dict[int, int] = {}
        self.dead_letters: dict[int, bytes] = {}

    def send(self, entries_max: int) -> None:
        """Send the next entries; sometimes somebody else writes between them."""
        for index in range(self._next, min(self._next + entries_max, len(self._platform.log))):
            self._send(index)
            if self._rng.random() < 0.02:
                self._write_foreign(self._rng.choice(_FOREIGN))
            if self.dead_letters and self._operator.random() < 0.02:
                self._ask_again(self._operator.choice(sorted(self.dead_letters)))
            self._next = index + 1

    def send_all(self) -> None:
        """Send whatever is left."""
        self.send(len(self._platform.log))

    def crash(self) -> None:
        """Begin again a little earlier, perhaps in the middle of a transaction, as the real one does."""
        if not self._next:
            return
        self._log.append(CAPTURE, 0, None, _NOTICE)
        for index in range(max(0, self._next - self._rng.randint(1, _AGAIN_MAX)), self._next):
            if self._platform.log[index].kind not in _ONCE_ONLY:
                self._send(index)

    def _send(self, index: int) -> None:
        entry = self._platform.log[index]
        offset = self._log.append(CAPTURE, 0, b"key", entry.value)
        self.positions.setdefault(index, offset)
        if entry.is_dead_letter and self.positions[index] == offset:
            self.dead_letters[offset] = entry.value

    def _write_foreign(self, value: bytes) -> None:
        offset = self._log.append(CAPTURE, 0, b"key", value)
        self.dead_letters[offset] = value

    def _ask_again(self, offset: int) -> None:
        """Let somebody ask for a retry, though nothing was mended."""
        record = self._log.partitions[CAPTURE, 0][offset]
        (letter,) = letters_of(record, Place(origin=CAPTURE, source="platform", epoch=EPOCH), "asked again")
        self._log.append(CAPTURE, 0, None, codec.encode("DeadLetter", letter))


_NOTICE: Final = orjson.dumps({"id": "s", "type": "SKIPPED", "aggregate_type": "Initial Snapshot"})
