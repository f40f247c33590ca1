"""Nothing that comes in crashes us, hangs us, fills the memory, or is lost: it is routed, known, or a letter."""

from __future__ import annotations

import random
import resource
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from connectors import debezium, ledger
from connectors.notices import azure, gcs, s3
from connectors.notices.reading import Where
from schemas import codec, pack, wire
from schemas.backup import UNREAD
from schemas.errors import ConfigError, CorruptionError, FormatError, RefusedError
from schemas.topics import BACKUP_TOPICS, DEAD_LETTERS, SOURCE_BYTES_MAX
from sinks import key_wrapping, seal
from sinks.key_wrapping import MasterKeyWrapper
from sinks.packer import INDEX_KEYS, open_frame, open_index
from sinks.window import sort_window
from streams.dead_letters import Letters
from tests.builders import CAPTURE, OBJECTS, a_batch, a_mark, a_record
from tests.fuzz.mutations import BOMBS, BUILT, DEBEZIUM, FROZEN, RECORDS, harmed, seed, share
from tests.unit.streams.test_router import Rig
from tests.vectors import make

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(3600)

GROWTH_KIB_MAX: Final = 400 * 1024
"""A value of 16 MiB comes by, and is held a few times over on its way; what grew beyond were a leak."""
WHERE: Final = Where(name="album", bucket="photos", prefix="weddings/", wedding_metadata="wedding")


def pieces(rng: random.Random, count: int) -> list[bytes | None]:
    """Return so many records as they may lie in a topic: broken, repeated, late, foreign, hostile."""
    corpus, found = (*DEBEZIUM, *BUILT, *RECORDS), list[bytes | None]()
    for number in range(count):
        kind = rng.random()
        if kind < 0.02:
            found.append(rng.choice((*BOMBS, None)))
        elif kind < 0.12 and found:
            found.append(rng.choice(found[-50:]))
        else:
            # In order, so that most of what is whole is believed; or not, as after a restart.
            found.append(harmed(rng, corpus[number % len(corpus)] if kind < 0.7 else rng.choice(corpus)))
    return found


def is_silent(value: bytes) -> bool:
    """Return whether a readable record of a capture topic is no change of anybody's: it may leave nothing."""
    captured = debezium.parse(value)
    if isinstance(captured, debezium.Change):
        return captured.operation is not debezium.Operation.READ or captured.table.startswith("wedsync.")
    return True


@pytest.mark.parametrize("topic", [CAPTURE, OBJECTS])
async def test_the_router_takes_anything_and_loses_nothing(topic: str) -> None:
    """Each record is on a backup topic under its position, a letter, or one of those that say nothing new."""
    rng, rig, before = random.Random(seed()), Rig(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, count = 0, share(0.3)
    while first < count:
        values = pieces(rng, min(rng.randint(1, 400), count - first))
        rig.producer.delivered.clear()
        await rig.router.route(a_batch(topic, values, first=first))
        await rig.router.announce_frontiers()
        kept = _positions(rig)
        for at, value in enumerate(values, start=first):
            assert at in kept or (value and is_silent(value)), f"lost: {value!r:.300}"
        first += len(values)
    assert rig.router._state.progress(*_source(topic)) is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KIB_MAX


def _source(topic: str) -> tuple[str, int]:
    _, source, epoch = topic.split(".")
    return source, int(epoch[1:])


def _positions(rig: Rig) -> set[int]:
    """Return the positions of what was produced, of letters and of what retries brought."""
    found, letters = set[int](), 0
    for each in rig.producer.delivered:
        assert len(each.value or b"") <= SOURCE_BYTES_MAX + (1 << 20)
        letters += each.topic == DEAD_LETTERS
        if each.topic in BACKUP_TOPICS and codec.name_of(each.value or b"") == "BackupChange":
            found.add(codec.decode("BackupChange", each.value or b"")["position"])
    return found


def test_a_sink_keeps_whatever_lies_on_its_topics() -> None:
    """What it cannot read is a letter under its own key; nothing between two offsets goes missing."""
    rng = random.Random(seed())
    for _ in range(share(0.25) // 50 + 1):
        values = [harmed(rng, rng.choice(RECORDS)) for _ in range(45)] + [rng.choice(BOMBS) for _ in range(5)]
        window = sort_window([a_record(at, value) for at, value in enumerate(values)], a_mark())
        entries = [each for part in window.parts for events in part.weddings.values() for each in events.entries]
        kept = {each.offset for each in entries}
        silent = [at for at, value in enumerate(values) if at not in kept and not _says_nothing_new(value)]

        assert len(silent) <= window.repeated
        for part in window.parts:
            letters = Letters()
            for each in part.weddings[UNREAD].entries if UNREAD in part.weddings else ():
                letters.take(codec.decode("BackupChange", each.value))


def _says_nothing_new(value: bytes) -> bool:
    return codec.name_of(value) in {"Frontier", "Promotion"}


def _decoders() -> dict[str, tuple[Callable[[bytes], Any], tuple[bytes, ...]]]:
    packs = (FROZEN["log pack"], FROZEN["blob pack"])
    records = {name: lambda value, name=name: codec.decode(name, value) for name in codec.SCHEMAS}
    sealed = seal.PackSealer(make.SALT).seal(
        make.KEYS["w1"], number=0, kind=seal.FrameKind.LOG, plain=seal.compress(b"x" * 99)
    )
    return {
        **{f"record {name}": (decode, RECORDS) for name, decode in records.items()},
        "pack": (read_pack, packs),
        "log entries": (pack.decode_log_entries, (FROZEN["log entries"],)),
        "compressed": (seal.decompress, (seal.compress(b"x" * 9999), seal.compress(bytes(range(256))))),
        "frame": (lambda value: open_frame(value, salt=make.SALT, number=0, kind="log", data_key=KEY), (sealed,)),
        "note": (lambda value: seal.open_note(make.KEYS["w1"], value), (FROZEN["note"],)),
        "escrow": (read_escrow, (FROZEN["escrow"],)),
        "pack name": (lambda value: pack.parse_pack_name(text(value)), tuple(FROZEN["names"].splitlines())),
        "capture": (debezium.parse, (*DEBEZIUM, *BUILT)),
        "message": (debezium.message_content, (*DEBEZIUM, *BUILT)),
        "gap": (ledger.gap_of, DEBEZIUM),
        "framed": (read_framed, tuple(b"\x00\x00\x00\x00\x01\x00" + each[10:] for each in RECORDS)),
        "registered schema": (lambda value: wire.headers_of(text(value)), (SUBJECT.schema.encode(),)),
        "S3's notice": (lambda value: s3.read(value, WHERE, noticed_us=7, are_keys_encoded=True), NOTICES),
        "GCS's notice": (lambda value: gcs.read(value, {}, WHERE, noticed_us=7), NOTICES),
        "Azure's notice": (lambda value: azure.read(value, WHERE, noticed_us=7), NOTICES),
    }  # fmt: skip


KEY: Final = make.KEYS["w1"]
SUBJECT: Final = wire.Subject(name="s", records=wire.LANE_RECORDS)
NOTICES: Final = tuple(
    orjson.dumps(each)
    for each in (
        {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventName": "ObjectCreated:Put",
                    "eventTime": "2026-06-20T10:00:00.000Z",
                    "s3": {"bucket": {"name": "photos"}, "object": {"key": "weddings/w1/a.jpg", "size": 5}},
                }
            ]
        },
        {"kind": "storage#object", "bucket": "photos", "name": "weddings/w1/a.jpg", "generation": "1", "size": "5"},
        [{"eventType": "Microsoft.Storage.BlobCreated", "subject": "/blobServices/default/containers/photos/blobs/a"}],
    )
)


def text(value: bytes) -> str:
    """Return bytes as somebody's text."""
    return value.decode(errors="replace")


def read_pack(content: bytes) -> None:
    """Read a pack as a rebuild does: everything in it."""
    pack.decode_header(content)
    footer = pack.decode_footer(content[-pack.FOOTER_BYTES :], pack_size_bytes=len(content))
    tail = memoryview(content)[footer.index_offset :]
    index = open_index(tail, footer, salt=make.SALT, index_key=make.KEYS[next(iter(INDEX_KEYS.values()))])
    pack.check_body(content)
    assert index["frames"]


def read_escrow(content: bytes) -> None:
    """Open an escrow, unless its work factor alone would take minutes."""
    if content[5:6] < b"\x11":
        key_wrapping.open_escrow(content, make.PASSPHRASE)


def read_framed(value: bytes) -> None:
    """Unframe a value of a registry's."""
    found = wire.schema_id_of(value, ())
    if found is not None:
        wire.unframed(value, found[1], wire.headers_of(SUBJECT.schema))


@pytest.mark.parametrize("name", [*_decoders()])
def test_a_decoder_says_what_is_wrong_and_nothing_worse(name: str) -> None:
    """A value, or one of the errors that say whose move it is: never another exception, never a long wait."""
    decode, corpus = _decoders()[name]
    rng = random.Random(seed())
    for _ in range(share(0.02) if name != "escrow" else min(40, share(0.002))):
        value = harmed(rng, rng.choice(corpus)) if rng.random() < 0.95 else rng.choice(BOMBS)
        try:
            decode(value)
        except (FormatError, CorruptionError, RefusedError, ConfigError):
            continue


async def test_no_altered_key_is_taken_for_one() -> None:
    """A wrapped key opens as it was, or not at all."""
    rng, wrapper = random.Random(seed()), MasterKeyWrapper(make.MASTER_KEY)
    for _ in range(share(0.02)):
        value = harmed(rng, FROZEN["wrapped key"])
        try:
            assert await wrapper.unwrap(value, context=b"w1") == make.KEYS["w1"]
        except (FormatError, CorruptionError, ConfigError):
            continue
        assert value == FROZEN["wrapped key"]


async def test_a_value_of_the_largest_size_passes_and_one_byte_more_is_a_letter() -> None:
    """With the envelopes around it each still fits its topic."""
    rig = Rig()
    filled = b'{"x":"' + b"y" * (SOURCE_BYTES_MAX - 8) + b'"}'
    await rig.router.route(a_batch(CAPTURE, [filled, filled + b" ", None]))

    assert max(len(each.value or b"") for each in rig.producer.delivered) < SOURCE_BYTES_MAX + (1 << 20)
    assert rig.router.dead_letters == 3
