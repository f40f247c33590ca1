"""What happens to input on its way, or is done to it: cut, flipped, spliced, repeated, nested, inflated. Seeded."""

from __future__ import annotations

import json
import os
import pathlib
import random
from typing import TYPE_CHECKING, Final

import orjson

from connectors.storage import encode_notice
from tests import builders
from tests.vectors import make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COUNT: Final = int(os.environ.get("FUZZ", "3000"))
_VECTORS: Final = pathlib.Path(make.__file__).parent

DEBEZIUM: Final = tuple(
    str(orjson.loads(line)["value"]).encode() for line in (_VECTORS / "debezium.jsonl").read_text("utf-8").splitlines()
)
RECORDS: Final = tuple(
    bytes.fromhex(each["value"]) for each in json.loads(make.RECORDS_FILE.read_text("utf-8")).values()
)
FROZEN: Final = {name: bytes.fromhex(text) for name, text in json.loads(make.FILE.read_text("utf-8")).items()}
BUILT: Final = (
    builders.a_row("public.weddings", after={"id": "w1", "day": 20616, "venue_zone": "Europe/London", "country": "FR"}),
    builders.a_row("public.guests", after={"id": 1, "wedding_id": "w1"}, order=2),
    builders.a_row("public.meals", before={"id": 1, "guest_id": 1}, after={"id": 1, "guest_id": 2}, order=3),
    builders.a_row("public.tasks", after={"id": 1, "wedding_id": "w1", "due": 20616}, order=4),
    builders.a_message("wedsync.schema"),
    builders.an_end({"public.guests": 4}),
    encode_notice(builders.a_notice()),
)
BOMBS: Final = (
    b"[" * 200_000,
    b'{"op":' * 50_000,
    b'{"op":"c","after":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    b'{"ts_ms":' + b"9" * 10_000 + b"}",
    b'{"status":"END","id":"1:' + b"9" * 30 + b'","ts_ms":1e308,"event_count":-1}',
    b'{"op":"\xff\xfe"}',
    b'{"op":"c","source":"\\ud800"}',
    b"\x00" * 70_000,
    b"\xc3\x01" + b"\xff" * 40,
    b"\x00\x00\x00\x00\x01" + b"\xff" * 40,
    b"",
)
_NUMBERS: Final = (
    b"-1",
    b"0",
    b"1e999",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"null",
    b'"x"',
    b"[]",
    b"{}",
    b"NaN",
)


def flipped(rng: random.Random, value: bytes) -> bytes:
    """Return a value with a bit of it flipped."""
    if not value:
        return value
    changed = bytearray(value)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, value: bytes) -> bytes:
    """Return a piece of a value."""
    begin = rng.randrange(len(value) + 1) if rng.random() < 0.3 else 0
    return value[begin : rng.randrange(begin, len(value) + 1)]


def spliced(rng: random.Random, value: bytes) -> bytes:
    """Return the beginning of one value and the end of another."""
    other = rng.choice((*DEBEZIUM, *RECORDS))
    return value[: rng.randrange(len(value) + 1)] + other[rng.randrange(len(other) + 1) :]


def stuffed(rng: random.Random, value: bytes) -> bytes:
    """Return a value with random bytes, or many of the same, put in."""
    at, many = rng.randrange(len(value) + 1), rng.choice([1, 3, 40, 5000])
    return value[:at] + (rng.randbytes(many) if rng.random() < 0.5 else rng.randbytes(1) * many) + value[at:]


def renumbered(rng: random.Random, value: bytes) -> bytes:
    """Return JSON in which something stands where a number or a text was."""
    marks = [at for at, byte in enumerate(value[:4000]) if byte == ord(":")]
    if not marks:
        return value
    begin = rng.choice(marks) + 1
    end = min((at for at in (value.find(b",", begin), value.find(b"}", begin)) if at >= 0), default=len(value))
    return value[:begin] + rng.choice(_NUMBERS) + value[end:]


def unharmed(_rng: random.Random, value: bytes) -> bytes:
    """Return the value: among the broken there is always what must go on."""
    return value


MUTATIONS: Final[Sequence[Callable[[random.Random, bytes], bytes]]] = (
    flipped, cut, spliced, stuffed, renumbered, renumbered, unharmed,
)  # fmt: skip


def harmed(rng: random.Random, value: bytes) -> bytes:
    """Return a value after one or a few mishaps."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        mishap = rng.choice(MUTATIONS)
        value = mishap(rng, value)
    return value


def seed() -> int:
    """Return this run's seed, and print it: `SEED=n` runs it again."""
    chosen = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SEED={chosen} FUZZ={COUNT}")
    return chosen


def share(part: float) -> int:
    """Return how many pieces a part of the whole is."""
    return max(1, int(COUNT * part))
