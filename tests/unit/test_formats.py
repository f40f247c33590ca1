"""FORMATS.md against the code: numbers that a reader in another language relies on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

import schemas
from schemas import codec, pack
from sinks import blobs, key_wrapping, objects, seal

TEXT: Final = (Path(schemas.__file__).parent / "FORMATS.md").read_text(encoding="utf-8")
NONE: Final = bytes(32)


@pytest.mark.parametrize("name", codec.SCHEMAS)
def test_each_record_s_first_ten_bytes_are_written_down(name: str) -> None:
    """A schema that changes has a new fingerprint, and the text names it."""
    (written,) = re.findall(rf"^\| `{name}` \| `([0-9a-f]{{20}})` \|", TEXT, re.MULTILINE)

    assert codec.name_of(bytes.fromhex(written)) == name


@pytest.mark.parametrize("name", codec.SCHEMAS)
def test_each_field_of_each_record_is_named(name: str) -> None:
    """A field nobody explains is a field nobody can read."""
    (paragraph,) = re.findall(rf"^\*\*{name}\*\* — (.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)

    assert [field["name"] for field in codec.SCHEMAS[name]["fields"] if f"`{field['name']}`" not in paragraph] == []


def test_header_and_footer_have_the_sizes_that_are_written_down() -> None:
    """Offsets in the tables add up to what the encoder writes."""
    assert f"**Header**, {pack.HEADER_BYTES} bytes" in TEXT
    assert f"the last {pack.FOOTER_BYTES} bytes" in TEXT


def test_names_have_the_shape_that_is_written_down() -> None:
    """Twenty digits, then the hash; the example is what the code makes."""
    log = pack.log_pack_name(topic_id="t", partition=1, first=2, last=3, part=0, pack_hash=NONE)

    assert log == f"log/t/1/{2:020d}-{3:020d}-0-{'00' * 32}.pack"
    assert pack.blob_pack_name(NONE).startswith("blob/00/00")
    assert pack.checkpoint_pack_name(4, NONE) == f"checkpoint/{4:020d}-{'00' * 32}.pack"


async def test_wrapped_keys_and_escrows_have_the_sizes_that_are_written_down() -> None:
    """What a reader cuts apart by offsets has to have exactly that length."""
    wrapped = await key_wrapping.MasterKeyWrapper(NONE).wrap(NONE, context=b"w")
    escrow = key_wrapping.seal_escrow(NONE, "passphrase")

    assert f"(a wrapped data key), {len(wrapped)} bytes" in TEXT
    assert f"(`keys export`), {len(escrow)} bytes" in TEXT


def test_limits_are_those_of_the_code() -> None:
    """The table of limits is not older than the constants."""
    assert f"| frame, decompressed | {seal.FRAME_BYTES_MAX >> 20} MiB" in TEXT
    assert f"| pack | {pack.PACK_BYTES_MAX >> 30} GiB" in TEXT
    assert f"closed at {blobs.PACK_BYTES >> 20} MiB" in TEXT
    assert f"average {objects.CHUNK_BYTES >> 20} MiB" in TEXT


def test_frame_kinds_are_numbered_as_written_down() -> None:
    """A kind, once used, is never given another meaning."""
    kinds = ", ".join(f"`{kind.value}` {kind.name.lower()}" for kind in seal.FrameKind)

    assert f"Kinds: {kinds}." in TEXT
