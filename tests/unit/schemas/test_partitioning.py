"""The partition of a key is the one Kafka's own clients choose."""

from __future__ import annotations

import confluent_kafka
import pytest

from schemas.partitioning import murmur2, partition_of

KEYS = ["w1", "wedding-4711", "@platform", "@quarantine", "Zoë & Ægir", "a", "ab", "abc", "abcd", "x" * 300]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_agrees_with_kafka_s_own_vectors(key: str, expected: int) -> None:
    """These are the values in the test of Kafka's Java client."""
    assert murmur2(key.encode()) == expected & 0xFFFFFFFF


def test_librdkafka_sends_keys_where_we_say() -> None:
    """Its partitioner, asked on its own mock broker."""
    settings = {"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "partitioner": "murmur2_random"}
    producer = confluent_kafka.Producer(settings)
    found: dict[str, int] = {}

    def note(_error: object, message: confluent_kafka.Message) -> None:
        found[(message.key() or b"").decode()] = message.partition() or 0

    partitions = len(producer.list_topics("keys", timeout=10).topics["keys"].partitions)
    for key in KEYS:
        producer.produce("keys", key=key.encode(), value=b"", on_delivery=note)
    assert producer.flush(10) == 0
    assert found == {key: partition_of(key, partitions) for key in KEYS}


def test_one_partition_takes_everything() -> None:
    """The smallest set-up works too."""
    assert {partition_of(key, 1) for key in KEYS} == {0}
