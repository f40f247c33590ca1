"""The catalog's tables. Everything in them can be found again in the stores, given the master key.

All but `promotions`, which only hasten what their lanes do anyway.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData()

PARTITIONS: Final = sa.Table(
    "partitions",
    METADATA,
    sa.Column("topic_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False),
    sa.Column("recent", sa.Text, nullable=False, server_default="[]"),
)

FRONTIERS: Final = sa.Table(
    "frontiers",
    METADATA,
    sa.Column("topic_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("lsn", sa.BigInteger, nullable=False),
    sa.Column("committed_us", sa.BigInteger, nullable=False),
)

PACKS: Final = sa.Table(
    "packs",
    METADATA,
    sa.Column("pack_hash", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("topic_id", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("placement", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("copies", sa.Integer, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("created_us", sa.BigInteger, nullable=False),
    sa.Column("durable_us", sa.BigInteger, nullable=False),
    sa.Column("protected_us", sa.BigInteger, nullable=False),
    sa.Column("is_full", sa.Boolean, nullable=False),
)
sa.Index("packs_owed", PACKS.c.created_us, sqlite_where=PACKS.c.is_full.is_(False))

COPIES: Final = sa.Table(
    "copies",
    METADATA,
    sa.Column("pack_hash", sa.LargeBinary, primary_key=True),
    sa.Column("store", sa.Text, primary_key=True),
    sa.Column("proof", sa.Text, nullable=False),
    sa.Column("verified_us", sa.BigInteger, nullable=False),
)

FRAMES: Final = sa.Table(
    "frames",
    METADATA,
    sa.Column("pack_hash", sa.LargeBinary, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("wedding", sa.Text, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("earliest_us", sa.BigInteger, nullable=False),
    sa.Column("latest_us", sa.BigInteger, nullable=False),
    sa.Column("name", sa.LargeBinary, nullable=False),
)
sa.Index("frames_by_wedding", FRAMES.c.wedding, FRAMES.c.kind, FRAMES.c.earliest_us)
sa.Index("frames_by_name", FRAMES.c.wedding, FRAMES.c.name, sqlite_where=FRAMES.c.kind != "log")

OBJECTS: Final = sa.Table(
    "objects",
    METADATA,
    sa.Column("wedding", sa.Text, primary_key=True),
    sa.Column("name", sa.LargeBinary, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("placement", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("copies", sa.Integer, nullable=False),
    sa.Column("modified_us", sa.BigInteger, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("manifest_pack", sa.LargeBinary),
    sa.Column("manifest_frame", sa.Integer),
    sa.Column("protected_us", sa.BigInteger),
)
sa.Index("objects_claimed", OBJECTS.c.lane, OBJECTS.c.position, sqlite_where=OBJECTS.c.state == "claimed")

KEYS: Final = sa.Table(
    "keys",
    METADATA,
    sa.Column("wedding", sa.Text, primary_key=True),
    sa.Column("object_name", sa.Text, nullable=False),
    sa.Column("is_stored", sa.Boolean, nullable=False),
)
"""Which object of the keyring holds a wedding's key; never the key, wrapped or not."""

GAPS: Final = sa.Table(
    "gaps",
    METADATA,
    sa.Column("gap", sa.Integer, primary_key=True),
    sa.Column("wedding", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("found_us", sa.BigInteger, nullable=False),
)

PROMOTIONS: Final = sa.Table(
    "promotions",
    METADATA,
    sa.Column("topic_id", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("slow_topic", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("wedding", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("decided_us", sa.BigInteger, nullable=False),
    sa.Column("next_offset", sa.BigInteger),
    sa.Column("end_offset", sa.BigInteger),
    sa.Column("found", sa.BigInteger, nullable=False),
    sa.Column("done_us", sa.BigInteger),
)
sa.Index("promotions_pending", PROMOTIONS.c.decided_us, sqlite_where=PROMOTIONS.c.done_us.is_(None))
CAPTURE_GAPS: Final = sa.Table(
    "capture_gaps",
    METADATA,
    sa.Column("gap", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("from_epoch", sa.BigInteger, nullable=False),
    sa.Column("to_epoch", sa.BigInteger, nullable=False),
    sa.Column("from_us", sa.BigInteger, nullable=False),
    sa.Column("to_us", sa.BigInteger, nullable=False),
    sa.Column("from_lsn", sa.BigInteger, nullable=False),
    sa.Column("to_lsn", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("found_us", sa.BigInteger, nullable=False),
)
"""Stretches of time of which a source's log is not whole: see `connectors.ledger.Gap`. Rebuilt from its messages."""
