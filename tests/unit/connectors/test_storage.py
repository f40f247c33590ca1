"""Object notices, and whose an object is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.storage import ObjectAction, ObjectNotice, decode_notice, encode_notice, wedding_of_key
from tests import builders

LONGS = st.integers(-(2**63), 2**63 - 1)


@given(
    st.builds(
        ObjectNotice,
        action=st.sampled_from(ObjectAction),
        bucket=st.text(),
        key=st.text(),
        version=st.text(),
        size=LONGS,
        modified_us=LONGS,
        noticed_us=LONGS,
        sequencer=st.text(),
        wedding=st.text(),
    )
)
def test_a_notice_comes_back_as_it_was(notice: ObjectNotice) -> None:
    """Encoder and decoder are each other's inverse."""
    assert decode_notice(encode_notice(notice)) == notice


@pytest.mark.parametrize(
    ("key", "wedding"),
    [
        ("weddings/w1/cake.jpg", "w1"),
        ("weddings/w1/day/1/cake.jpg", "w1"),
        ("weddings/w1", None),
        ("weddings//cake.jpg", None),
        ("other/weddings/w1/cake.jpg", None),
        ("brochure.pdf", None),
    ],
)
def test_an_object_belongs_to_the_wedding_under_whose_prefix_it_lies(key: str, wedding: str | None) -> None:
    """The rest is the platform's."""
    assert wedding_of_key(key, builders.a_mapping()) == wedding
