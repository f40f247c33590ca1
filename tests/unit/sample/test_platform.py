"""The sample schema and its mapping agree."""

from __future__ import annotations

import re

from ops.sample.platform import sample_mapping, schema_sql


def test_every_table_has_a_rule() -> None:
    """A table nobody declared would go unprotected."""
    created = set(re.findall(r"CREATE TABLE (\S+)", schema_sql()))

    assert created == set(sample_mapping().tables)


def test_refunds_find_their_wedding_over_two_parents() -> None:
    """The longest way of the sample."""
    mapping = sample_mapping()
    payments = mapping.tables["public.refunds"].parent

    assert payments is not None
    assert mapping.tables[payments.table].parent is not None
