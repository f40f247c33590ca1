"""Reading what Debezium writes; samples of a real connector lie in `tests/vectors/debezium.jsonl`."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import debezium
from connectors.debezium import UNAVAILABLE, Boundary, Change, Notice, Operation
from schemas.errors import FormatError
from tests import builders

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["op", "before", "after", "source", "transaction", "status", "id", "ts_ms", "message", "aggregate_type"]


def parsed(value: bytes) -> Change:
    """Return what must be a change."""
    change = debezium.parse(value)
    assert isinstance(change, Change)
    return change


def test_an_update_has_both_images_and_its_place() -> None:
    """Everything routing needs is there."""
    change = parsed(builders.a_row("public.guests", before={"id": 1}, after={"id": 1, "name": "Ada"}, order=3))

    assert (change.operation, change.table, change.order) == (Operation.UPDATE, "public.guests", 3)
    assert change.image == {"id": 1, "name": "Ada"}


def test_a_delete_is_known_by_what_was_there() -> None:
    """The image of a deleted row is its last one."""
    assert parsed(builders.a_row("public.guests", before={"id": 1})).image == {"id": 1}


@pytest.mark.parametrize(("after_lsn", "expected"), [(1000, 1000), (None, 0)])
def test_the_commit_before_may_be_unknown(after_lsn: int | None, expected: int) -> None:
    """`sequence` begins with null before the first commit."""
    assert parsed(builders.a_row("public.guests", after={"id": 1}, after_lsn=after_lsn)).after_lsn == expected


def test_a_message_has_a_prefix_and_a_content() -> None:
    """It belongs to no table."""
    value = builders.a_message("wedsync.schema", order=1)

    assert (parsed(value).prefix, parsed(value).table) == ("wedsync.schema", "")
    assert debezium.message_content(value) == b"hello"


def test_an_end_counts_its_events() -> None:
    """By table and altogether."""
    end = debezium.parse(builders.an_end({"public.guests": 2, "public.meals": 1}, lsn=2100))

    assert isinstance(end, Boundary)
    assert (end.is_end, end.events, end.lsn) == (True, 3, 2100)


def test_a_heartbeat_is_a_notice() -> None:
    """It moves nothing."""
    assert isinstance(debezium.parse(b'{"ts_ms":1}'), Notice)


def test_a_missing_toast_value_is_taken_from_the_image_before() -> None:
    """The placeholder must never be stored as if it were the data."""
    value = builders.a_row(
        "public.notes", before={"id": 1, "words": "long"}, after={"id": 1, "words": UNAVAILABLE, "is_read": True}
    )

    assert debezium.with_whole_images(parsed(value)).after == {"id": 1, "words": "long", "is_read": True}


def test_a_toast_value_that_nobody_has_is_refused() -> None:
    """Without REPLICA IDENTITY FULL there is no image before."""
    with pytest.raises(FormatError) as caught:
        debezium.with_whole_images(parsed(builders.a_row("public.notes", after={"id": 1, "words": UNAVAILABLE})))
    assert "REPLICA IDENTITY FULL" in caught.value.hint


@given(JSON)
def test_arbitrary_json_never_does_worse_than_a_format_error(value: object) -> None:
    """A foreign record costs a dead letter, not the worker."""
    _parse_or_refuse(value)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(["c", "u", "m", "r", "END"]), max_size=8))
def test_almost_events_never_do_worse_than_a_format_error(value: object) -> None:
    """The nearer to the truth, the more dangerous."""
    _parse_or_refuse(value)


def _parse_or_refuse(value: object) -> None:
    try:
        text = orjson.dumps(value)
    except TypeError:  # An integer beyond 64 bits is not JSON of ours.
        return
    try:
        debezium.parse(text)
    except FormatError:
        return
