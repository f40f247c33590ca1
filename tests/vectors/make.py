"""Writes `vectors.json`: every format with its inputs and its bytes in hexadecimal.

Run it (`python -m tests.vectors.make`) only when a format changes on purpose: frozen bytes are what
backups of years ago look like. A new version of a format gets new vectors beside the old ones.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Final

import blake3

import schemas
from connectors.storage import encode_notice
from schemas import codec, pack
from schemas.backup import PlacementClass
from schemas.partitioning import partition_of
from schemas.topics import DEAD_LETTERS
from sinks import key_wrapping, seal
from sinks.key_wrapping import MasterKeyWrapper
from sinks.keyring import keyring_name
from sinks.packer import INDEX_KEYS, PackBuilder, PlainFrame, WeddingEvents, WindowPart, build_log_pack
from sinks.protect import object_name
from tests import builders

FILE: Final = pathlib.Path(__file__).with_name("vectors.json")
AVRO: Final = pathlib.Path(schemas.__file__).parent / "avro"
RECORDS_FILE: Final = pathlib.Path(__file__).with_name("records.json")
"""One record of every version of every schema there ever was, by its first ten bytes; only ever appended to."""
MASTER_KEY: Final = bytes(range(32))
KEYS: Final = {"w1": b"\x11" * 32, "w2": b"\x22" * 32, INDEX_KEYS[PlacementClass.EU]: b"\x33" * 32}
SALT, PREVIOUS = b"\x55" * 32, b"\x66" * 32
PASSPHRASE: Final = "correct horse battery staple"
ENTRIES: Final = [
    pack.LogEntry(offset=41, timestamp_ms=1_781_000_000_200, value=b"first"),
    pack.LogEntry(offset=42, timestamp_ms=1_781_000_000_201, value=b""),
]
RECORDS: Final[dict[str, dict[str, Any]]] = {
    "BackupChange": builders.a_change(payload=b'{"op":"c"}'),
    "Frontier": builders.a_frontier(),
    "Promotion": builders.a_promotion(),
    "Urgency": {"wedding": "w1", "until": 1_781_000_000_000_000, "by": "ops", "made_at": 1_780_000_000_000_000},
    "Controls": {
        "name": "standard/blob+owed",
        "mode": "pause",
        "lanes": ["standard"],
        "works": ["blob", "owed"],
        "bytes_per_second": 20_000_000,
        "at_once": 2,
        "is_emergency": False,
        "by": "ana@office",
        "why": "a slow line",
        "made_at": 1_781_000_000_000_000,
        "until": 1_781_007_200_000_000,
    },
    "BlobManifest": {
        "source": "objects",
        "epoch": 7,
        "position": 9,
        "wedding": "w1",
        "key": "weddings/w1/cake.jpg",
        "version": "1",
        "size": 5,
        "modified_at": 1_781_000_000_000_000,
        "checksum": b"\x77" * 32,
        "chunks": [{"chunk": b"\x88" * 32, "size": 5}],
    },
    "DeadLetter": {
        "origin": builders.CAPTURE,
        "partition": 0,
        "offset": 9,
        "source": "platform",
        "epoch": builders.EPOCH,
        "captured_at": 1_781_000_000_200_000,
        "committed_at": 1_781_000_000_000_000,
        "reason": "an empty record",
        "key": b"k",
        "headers": [{"name": "h", "value": b"v"}],
        "value": None,
        "part": 0,
        "parts": 1,
    },
    "DeadLetterOutcome": {"letter": "0123456789ab", "outcome": "retried", "reason": "", "decided_at": 1},
    "PackIndex": {
        "kind": "log",
        "topic": "backup.critical",
        "partition": 1,
        "first": 41,
        "last": 42,
        "window_part": 0,
        "window_parts": 1,
        "placement": "eu",
        "copies": 5,
        "created_at": 1_781_000_000_000_000,
        "frontiers": [builders.a_frontier()],
        "frames": [
            {"kind": "log", "wedding": "w1", "offset": 48, "length": 70}
            | {"events": 2, "earliest_at": 1, "latest_at": 2, "chunk": b""}
        ],
    },
    "Checkpoint": {
        "created_at": 1_781_000_000_000_000,
        "partitions": 2,
        "marks": [
            {
                "topic": "backup.critical",
                "topic_id": "id-critical",
                "partition": 1,
                "next_offset": 43,
                "head": PREVIOUS,
                "frontiers": [builders.a_frontier()],
            }
        ],
    },
}
RECORDS["ApplicationEvent"] = {
    "id": "e1",
    "source": "/app",
    "type": "wedding.upload.started",
    "subject": "weddings/w1",
    "wedding": "w1",
    "time": "2026-06-10T12:00:00Z",
    "content_type": "application/json",
    "data_schema": "",
    "extensions": {"weddingid": "w1"},
    "payload": b'{"n": 1}',
    "received_at": 1_781_000_000_000_000,
    "client": "app",
}
PARTITIONED: Final = ("w1", "wedding-4711", "@platform", "@quarantine", "Zoë & Ægir")


def fixed(length: int) -> bytes:
    """Return nonces and salts that anybody can repeat: the numbers from 0 on."""
    return bytes(range(length))


def a_log_pack() -> bytes:
    """Return a log pack of two weddings."""
    events = WeddingEvents(entries=ENTRIES, earliest_us=1, latest_us=2)
    about = {"topic": "backup.critical", "partition": 1, "first": 41, "last": 42, "window_part": 0, "copies": 5}
    built = build_log_pack(
        WindowPart(placement=PlacementClass.EU, weddings={"w1": events, "w2": events}),
        keys=KEYS,
        salt=SALT,
        previous=PREVIOUS,
        about={**about, "created_at": 1_781_000_000_000_000},
        topic_id="id-critical",
    )
    return built.content


def a_blob_pack() -> bytes:
    """Return a blob pack with one chunk and its manifest."""
    builder = PackBuilder(kind=pack.KIND_BLOB, salt=SALT)
    chunk = b"photo" * 20
    builder.add(PlainFrame(kind="chunk", wedding="w1", plain=chunk, name=b"\x88" * 32), KEYS["w1"])
    manifest = codec.encode("BlobManifest", RECORDS["BlobManifest"])
    builder.add(PlainFrame(kind="manifest", wedding="w1", plain=manifest, name=b"\x99" * 32), KEYS["w1"])
    content, _, _ = builder.finish(
        index_key=KEYS[INDEX_KEYS[PlacementClass.EU]], placement="eu", copies=3, created_at=1_781_000_000_000_000
    )
    return content


async def a_wrapped_key() -> bytes:
    """Return the key of w1, wrapped by the master key."""
    return await MasterKeyWrapper(MASTER_KEY, randomness=fixed).wrap(KEYS["w1"], context=b"w1")


async def encoded() -> dict[str, bytes]:
    """Return everything whose bytes follow from its inputs alone."""
    wrapped = await a_wrapped_key()
    return {
        **{f"record {name}": codec.encode(name, record) for name, record in RECORDS.items()},
        "record ObjectNotice": encode_notice(builders.a_notice()),
        "log entries": pack.encode_log_entries(ENTRIES),
        "pack header": pack.encode_header(kind=pack.KIND_LOG, salt=SALT),
        "pack footer": pack.encode_footer(index_offset=48, index_length=7, previous=PREVIOUS, body_hash=SALT),
        "chain head": pack.chain_head(PREVIOUS, [b"\x01" * 32, b"\x02" * 32]),
        "wrapped key": wrapped,
        "escrow": key_wrapping.seal_escrow(MASTER_KEY, PASSPHRASE, randomness=fixed),
        "note": seal.seal_note(KEYS["w1"], b"a note", salt=SALT),
        "naming key": seal.naming_key(KEYS["w1"]),
        "object name": object_name(KEYS["w1"], "objects", "weddings/w1/cake.jpg", "1"),
        "names": "\n".join(
            [
                keyring_name("w1", wrapped),
                pack.log_pack_name(topic_id="t", partition=1, first=41, last=42, part=0, pack_hash=SALT),
                pack.blob_pack_name(SALT),
                pack.checkpoint_pack_name(1_781_000_000_000_000, SALT),
                DEAD_LETTERS,
            ]
        ).encode(),
        "partitions of 7": ",".join(str(partition_of(name, 7)) for name in PARTITIONED).encode(),
    }


async def make() -> dict[str, str]:
    """Return all vectors; packs depend on the compressor's version, so only their reading is frozen."""
    packs = {"log pack": a_log_pack(), "blob pack": a_blob_pack()}
    hashes = {f"{name} hash": blake3.blake3(content).digest() for name, content in packs.items()}
    return {name: content.hex() for name, content in {**await encoded(), **packs, **hashes}.items()}


def versions(frozen: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Return what is frozen of every version, with those that are new; what is frozen stays as it is."""
    samples = {**RECORDS, "ObjectNotice": codec.decode("ObjectNotice", encode_notice(builders.a_notice()))}
    new = {
        version.header.hex(): {
            "record": f"{version.name}.{version.number}",
            "layout": blake3.blake3(version.layout.encode()).hexdigest(),
            "value": codec.encode(version.name, samples[version.name]).hex(),
        }
        for version in codec.VERSIONS.values()
        if version.header == codec.header(version.name)
    }
    return {**new, **frozen}


if __name__ == "__main__":
    import asyncio

    known = json.loads(RECORDS_FILE.read_text(encoding="utf-8")) if RECORDS_FILE.exists() else {}
    RECORDS_FILE.write_text(json.dumps(versions(known), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    FILE.write_text(json.dumps(asyncio.run(make()), indent=1) + "\n", encoding="utf-8")
