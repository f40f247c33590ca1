"""Which partition a key goes to: murmur2, as Kafka's Java client and librdkafka's `murmur2_random` do. Pure.

Restore needs to know it without asking a broker: a wedding's cut is the least frontier of its own partitions.
"""

from __future__ import annotations

import functools
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Return Kafka's unsigned 32-bit murmur2 of a key."""
    mixed = (_SEED ^ len(key)) & _MASK
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        mixed = (mixed * _M & _MASK) ^ word
    if tail := key[whole:]:
        mixed = (mixed ^ int.from_bytes(tail, "little")) * _M & _MASK
    mixed = (mixed ^ mixed >> 13) * _M & _MASK
    return mixed ^ mixed >> 15


@functools.lru_cache(maxsize=65536)
def partition_of(wedding: str, partitions: int) -> int:
    """Return the partition of a wedding in each backup topic of that many partitions."""
    return (murmur2(wedding.encode()) & 0x7FFFFFFF) % partitions
