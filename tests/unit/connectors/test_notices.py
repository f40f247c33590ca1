"""Providers' notifications: every documented shape becomes the notices it should, and nothing odd is a crash."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.notices import azure, gcs, s3
from connectors.notices.reading import MESSAGE_BYTES_MAX, Reading, Where
from schemas.errors import FormatError

if TYPE_CHECKING:
    from connectors.storage import ObjectNotice

VECTORS = json.loads((pathlib.Path(__file__).parents[2] / "vectors" / "notices.json").read_text(encoding="utf-8"))
WHERE = Where(name="album", bucket="photos", prefix="weddings/", wedding_metadata="wedding")
SHOWN = ("key", "version", "size", "sequencer", "modified_us", "wedding")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(vector: dict[str, Any]) -> Reading:
    """Return what a provider's module makes of a vector."""
    payload = vector["payload"].encode()
    match vector["provider"]:
        case "s3":
            return s3.read(payload, WHERE, noticed_us=7, are_keys_encoded=not vector.get("plain"))
        case "gcs":
            return gcs.read(payload, vector.get("attributes", {}), WHERE, noticed_us=7)
        case _:
            return azure.read(payload, WHERE, noticed_us=7)


def shown(notice: ObjectNotice) -> dict[str, Any]:
    """Return a notice as the vectors have it."""
    assert (notice.bucket, notice.noticed_us) == ("album", 7)
    return {"action": notice.action.value, **{name: getattr(notice, name) for name in SHOWN}}


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{each['provider']}: {each['says']}" for each in VECTORS])
def test_a_documented_message_is_read(vector: dict[str, Any]) -> None:
    """What cannot be read at all is refused as a whole, with a reason and advice."""
    if vector["expect"] is None:
        with pytest.raises(FormatError) as refused:
            read(vector)
        assert refused.value.hint
        return
    found = read(vector)

    assert [shown(each) for each in found.notices] == vector["expect"].get("notices", [])
    assert [shown(each) for each in found.purged] == vector["expect"].get("purged", [])
    assert (len(found.refused), found.passed) == (vector["expect"].get("refused", 0), vector["expect"].get("passed", 0))


@pytest.mark.parametrize("bomb", [b"[" * 500_000, b'{"a":' * 200_000, b"9" * (MESSAGE_BYTES_MAX + 1)])
def test_a_bomb_is_refused(bomb: bytes) -> None:
    """Too deep or too large: said at once, whoever seems to have sent it."""
    for provider in ("s3", "gcs", "azure"):
        attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "photos", "objectId": "weddings/a"}
        with pytest.raises(FormatError):
            read(
                {"provider": provider, "payload": bomb.decode(), "attributes": {**attributes, "objectGeneration": "1"}}
            )


@given(st.sampled_from([each for each in VECTORS if each["expect"]]), st.data())
def test_no_altered_message_is_a_crash(vector: dict[str, Any], data: st.DataObject) -> None:
    """Any part of a message may be anything."""
    try:
        found = orjson.loads(vector["payload"])
    except orjson.JSONDecodeError:
        found = {}
    altered = _altered(found, data)
    attributes = {name: data.draw(st.text(max_size=8)) for name in data.draw(st.sets(st.sampled_from(["eventTime"])))}
    try:
        read(
            {
                **vector,
                "payload": orjson.dumps(altered).decode(),
                "attributes": {**vector.get("attributes", {}), **attributes},
            }
        )
    except FormatError:
        return


def _altered(found: Any, data: st.DataObject) -> Any:
    """Return a document of which one part, at any depth, is something else."""
    if isinstance(found, dict) and found and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(found)))
        return {**found, name: _altered(found[name], data)}
    if isinstance(found, list) and found and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(found) - 1))
        return [*found[:at], _altered(found[at], data), *found[at + 1 :]]
    return data.draw(JSON.filter(_is_writable))


def _is_writable(value: object) -> bool:
    try:
        orjson.dumps(value)
    except (TypeError, UnicodeEncodeError):
        return False
    return True


def test_sequencers_of_different_lengths_compare_as_numbers() -> None:
    """As S3 asks: the shorter is padded on the left."""
    early, late = s3._sequencer("FFFFFFFFFFFFFFFF", 5), s3._sequencer("10000000000000000", 4)

    assert early < late


def test_a_counter_that_began_again_does_not_turn_time_back() -> None:
    """Versitygw counts from one after each start, so there the second of the event leads."""
    assert s3._sequencer("1F4", 1_000_000) < s3._sequencer("1", 2_000_000) < s3._sequencer("2", 2_000_000)
