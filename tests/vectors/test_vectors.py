"""Frozen bytes are still read, and still written: a backup of years ago must open."""

from __future__ import annotations

import json
import pathlib

import blake3
import orjson
import pytest

from connectors import debezium
from connectors.debezium import Boundary, Change, Notice
from connectors.log_order import LogOrder
from connectors.storage import decode_notice
from schemas import codec, pack
from schemas.backup import PlacementClass
from sinks import key_wrapping, seal
from sinks.key_wrapping import MasterKeyWrapper
from sinks.packer import INDEX_KEYS, open_frame, open_index
from tests import builders
from tests.vectors import make

FROZEN = {name: bytes.fromhex(text) for name, text in json.loads(make.FILE.read_text(encoding="utf-8")).items()}
SAMPLES = [
    orjson.loads(line)["value"].encode()
    for line in pathlib.Path(__file__).with_name("debezium.jsonl").read_text(encoding="utf-8").splitlines()
]


async def test_what_is_written_today_is_what_was_written_then() -> None:
    """Byte for byte, wherever the bytes follow from the inputs alone."""
    written = await make.encoded()

    assert {name: FROZEN[name].hex() for name in written} == {name: each.hex() for name, each in written.items()}


@pytest.mark.parametrize("name", make.RECORDS)
def test_a_frozen_record_is_read(name: str) -> None:
    """Field for field."""
    assert codec.decode(name, FROZEN[f"record {name}"]) == make.RECORDS[name]


def test_every_record_we_own_has_a_vector() -> None:
    """No schema of ours has no bytes of its own."""
    assert {f"record {name}" for name in codec.SCHEMAS} <= FROZEN.keys()
    assert decode_notice(FROZEN["record ObjectNotice"]) == builders.a_notice()


def frames(name: str) -> list[tuple[str, str, bytes]]:
    """Return (kind, wedding, plaintext) of a frozen pack."""
    content = FROZEN[name]
    footer, (_, salt) = pack.check_body(content), pack.decode_header(content)
    key = make.KEYS[INDEX_KEYS[PlacementClass.EU]]
    index = open_index(content[footer.index_offset :], footer, salt=salt, index_key=key)
    return [
        (
            each["kind"],
            each["wedding"],
            open_frame(
                content[each["offset"] : each["offset"] + each["length"]],
                salt=salt,
                number=number,
                kind=each["kind"],
                data_key=make.KEYS[each["wedding"]],
            ),
        )
        for number, each in enumerate(index["frames"])
    ]


def test_a_frozen_log_pack_is_read() -> None:
    """Header, index, frames, entries, chain."""
    plain = pack.encode_log_entries(make.ENTRIES)

    assert frames("log pack") == [("log", "w1", plain), ("log", "w2", plain)]
    assert pack.decode_log_entries(FROZEN["log entries"]) == make.ENTRIES
    assert pack.check_body(FROZEN["log pack"]).previous == make.PREVIOUS


def test_a_frozen_blob_pack_is_read() -> None:
    """A chunk and the manifest that needs it."""
    (_, _, chunk), (_, _, manifest) = frames("blob pack")

    assert chunk == b"photo" * 20
    assert codec.decode("BlobManifest", manifest) == make.RECORDS["BlobManifest"]


@pytest.mark.parametrize("name", ["log pack", "blob pack"])
def test_a_frozen_pack_has_the_hash_its_name_would_tell(name: str) -> None:
    """BLAKE3 over the whole file."""
    assert blake3.blake3(FROZEN[name]).digest() == FROZEN[f"{name} hash"]


async def test_frozen_keys_open() -> None:
    """The wrapped key by the master key, the master key by its passphrase, the note by the key."""
    key = await MasterKeyWrapper(make.MASTER_KEY).unwrap(FROZEN["wrapped key"], context=b"w1")

    assert key == make.KEYS["w1"]
    assert key_wrapping.open_escrow(FROZEN["escrow"], make.PASSPHRASE) == make.MASTER_KEY
    assert seal.open_note(key, FROZEN["note"]) == b"a note"


def test_what_a_real_connector_wrote_is_read() -> None:
    """Debezium 3.7.0 on Postgres 15: every kind of record there is."""
    captured = [debezium.parse(value) for value in SAMPLES]
    operations = {each.operation.value for each in captured if isinstance(each, Change)}

    assert operations == {"c", "u", "d", "t", "m", "r"}
    assert {type(each) for each in captured} == {Change, Boundary, Notice}


def test_what_a_real_connector_wrote_is_in_order() -> None:
    """The whole sample once, and its end once more, as after a crash."""
    captured = [each for each in map(debezium.parse, SAMPLES) if not isinstance(each, Notice)]
    order = LogOrder()
    new = [each for each in captured if not order.is_repeated(each)]
    again = [each for each in captured[-15:] if not order.is_repeated(each)]

    assert all(isinstance(each, Change) or each.is_end for each in new)
    assert all(isinstance(each, Change) and each.operation is debezium.Operation.READ for each in again)
