"""What the connector is told of the size of a change."""

from __future__ import annotations

import pytest

from connectors.connector_config import PostgresSource, connector_config
from ops.config import SourceSection
from schemas.topics import RECORD_BYTES_MAX, SOURCE_BYTES_MAX


def a_config(mib: int) -> dict[str, str]:
    """Return the settings of a connector whose changes may weigh so much."""
    source = PostgresSource(host="h", port=1, user="u", password="", database="d", epoch=1, record_bytes_max=mib << 20)
    return dict(connector_config(source))


@pytest.mark.parametrize("mib", [1, 16, SOURCE_BYTES_MAX >> 20])
def test_the_connector_s_producer_stops_at_the_limit_and_has_room_for_it(mib: int) -> None:
    """A record that fits into no buffer would wait for ever; whatever passes, every topic takes."""
    config = a_config(mib)

    assert int(config["producer.override.max.request.size"]) == mib << 20 < RECORD_BYTES_MAX
    assert int(config["producer.override.buffer.memory"]) > mib << 20


@pytest.mark.parametrize("mib", [0, (SOURCE_BYTES_MAX >> 20) + 1])
def test_a_limit_that_no_topic_would_take_is_refused(mib: int) -> None:
    """Before anything is started."""
    with pytest.raises(ValueError, match="record_mib"):
        SourceSection(record_mib=mib)
