"""Builders: values the tests speak of, with sensible defaults, so that a test names only what it is about."""

from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import orjson

from connectors.ledger import Gap
from connectors.storage import ObjectAction, ObjectNotice
from schemas import codec
from schemas.backup import Residency
from schemas.mapping import CalendarRule, DeliveryRule, ParentLink, TableMapping, TableRule, table_mapping
from schemas.pack import NO_PREVIOUS
from schemas.wedding import Wedding
from sinks.receipts import PartitionMark
from sinks.stores.port import Site
from streams.records import Record, RecordBatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOON: Final = dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC)
"""A Wednesday noon; most tests need some instant and do not care which."""

EPOCH: Final = 1_780_000_000
CAPTURE: Final = f"capture.platform.e{EPOCH}"
OBJECTS: Final = f"capture.objects.e{EPOCH}"
TOPIC_IDS: Final = {"backup.critical": "id-critical", "backup.high": "id-high", "backup.standard": "id-standard"}


def a_wedding(**fields: Any) -> Wedding:
    """Return a wedding in London on the coming Saturday but one."""
    given: dict[str, Any] = {"wedding": "w1", "day": dt.date(2026, 6, 20), "venue_zone": "Europe/London"}
    return Wedding(**{**given, **fields})


def a_mapping() -> TableMapping:
    """Return a small platform: guests and tasks of weddings, meals of guests, notes of meals, vendors of nobody."""
    return table_mapping(
        [
            TableRule(name="public.weddings", key=("id",), wedding_column="id"),
            TableRule(name="public.guests", key=("id",), wedding_column="wedding_id"),
            TableRule(name="public.tasks", key=("id",), wedding_column="wedding_id"),
            TableRule(name="public.meals", key=("id",), parent=_follows("public.guests", "guest_id")),
            TableRule(name="public.notes", key=("id",), parent=_follows("public.meals", "meal_id")),
            TableRule(name="public.vendors", key=("id",)),
        ],
        calendar=CalendarRule(
            table="public.weddings", wedding="id", day="day", venue_zone="venue_zone", residency="country"
        ),
        deliveries=[DeliveryRule(table="public.tasks", due="due")],
    )


def _follows(table: str, column: str) -> ParentLink:
    return ParentLink(table=table, columns=(column,), references=("id",))


def some_sites() -> tuple[Site, ...]:
    """Return eight stores in eight failure domains, five of them in the EU."""
    places = ("eu-a", "eu-b", "eu-c", "eu-d", "eu-e", "us-a", "us-b", "ap-a")
    return tuple(
        Site(name=name, provider=f"provider-{name}", region=name, domain=f"domain-{name}", is_eu=name[:2] == "eu")
        for name in places
    )


def a_row(
    table: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    order: int = 1,
    transaction: int = 700,
    lsn: int = 2000,
    after_lsn: int | None = 1000,
    committed_us: int = 1_781_000_000_000_000,
    operation: str = "",
) -> bytes:
    """Return a row change as Debezium writes it; the operation follows from the images unless given."""
    schema, name = table.split(".")
    operation = operation or ("u" if before and after else "c" if after else "d" if before else "t")
    is_read = operation == "r"
    return orjson.dumps(
        {
            "before": before,
            "after": after,
            "source": {
                **_source(lsn=lsn, committed_us=committed_us, transaction=transaction, after_lsn=after_lsn),
                "schema": schema,
                "table": name,
                **({"snapshot": "incremental", "txId": None, "lsn": None} if is_read else {}),
            },
            "transaction": None if is_read else _place(transaction, lsn, order),
            "op": operation,
            "ts_ms": committed_us // 1000 + 2,
        }
    )


def a_message(
    prefix: str,
    content: str = "hello",
    *,
    order: int = 0,
    transaction: int = 700,
    lsn: int = 2000,
    after_lsn: int | None = 1000,
    committed_us: int = 1_781_000_000_000_000,
) -> bytes:
    """Return a logical message; one without an order stands outside any transaction."""
    source = _source(lsn=lsn, committed_us=committed_us, transaction=transaction, after_lsn=after_lsn)
    if not order:
        source["txId"] = None
    return orjson.dumps(
        {
            "op": "m",
            "source": {**source, "schema": "", "table": ""},
            "transaction": _place(transaction, lsn, order) if order else None,
            "message": {"prefix": prefix, "content": base64.b64encode(content.encode()).decode()},
        }
    )


def a_gap(**fields: Any) -> Gap:
    """Return a gap of ten minutes between two epochs."""
    begin_us = EPOCH * 1_000_000
    given: dict[str, Any] = {
        "gap": "slot-1",
        "source": "platform",
        "from_epoch": EPOCH,
        "to_epoch": EPOCH + 3600,
        "from_us": begin_us,
        "to_us": begin_us + 600_000_000,
        "from_lsn": 1000,
        "to_lsn": 2000,
        "reason": "the slot was dropped",
        "found_us": begin_us + 600_000_000,
    }
    return Gap(**{**given, **fields})


def _source(*, lsn: int, committed_us: int, transaction: int, after_lsn: int | None) -> dict[str, Any]:
    before = "null" if after_lsn is None else f'"{after_lsn}"'
    return {
        "connector": "postgresql",
        "name": "platform",
        "ts_ms": committed_us // 1000,
        "ts_us": committed_us,
        "snapshot": "false",
        "sequence": f'[{before},"{lsn}"]',
        "txId": transaction,
        "lsn": lsn,
    }


def _place(transaction: int, lsn: int, order: int) -> dict[str, Any]:
    return {"id": f"{transaction}:{lsn}", "total_order": order, "data_collection_order": order}


def a_begin(*, transaction: int = 700, lsn: int = 2000, committed_us: int = 1_781_000_000_000_000) -> bytes:
    """Return the beginning of a transaction."""
    return orjson.dumps({"status": "BEGIN", "id": f"{transaction}:{lsn}", "ts_ms": committed_us // 1000})


def an_end(
    counts: Mapping[str, int],
    *,
    transaction: int = 700,
    lsn: int = 2100,
    committed_us: int = 1_781_000_000_000_000,
) -> bytes:
    """Return the end of a transaction with its events per table."""
    return orjson.dumps(
        {
            "status": "END",
            "id": f"{transaction}:{lsn}",
            "event_count": sum(counts.values()),
            "data_collections": [{"data_collection": name, "event_count": n} for name, n in counts.items()],
            "ts_ms": committed_us // 1000,
        }
    )


def a_notice(**fields: Any) -> ObjectNotice:
    """Return the notice of a photo that was put."""
    given: dict[str, Any] = {
        "action": ObjectAction.PUT,
        "bucket": "photos",
        "key": "weddings/w1/cake.jpg",
        "version": "1",
        "size": 5,
        "modified_us": 1_781_000_000_000_000,
        "noticed_us": 1_781_000_000_100_000,
    }
    return ObjectNotice(**{**given, **fields})


def a_change(**fields: Any) -> dict[str, Any]:
    """Return a change record as the router seals it for the backup topics."""
    given = {
        "source": "platform",
        "epoch": EPOCH,
        "position": 7,
        "kind": "row",
        "wedding": "w1",
        "residency": Residency.EU.value,
        "table": "public.guests",
        "transaction": 700,
        "order": 1,
        "committed_at": 1_781_000_000_000_000,
        "captured_at": 1_781_000_000_100_000,
        "again": False,
        "also": [],
        "payload": b"{}",
    }
    return {**given, **fields}


def a_frontier(**fields: Any) -> dict[str, Any]:
    """Return a frontier record."""
    given = {"source": "platform", "epoch": EPOCH, "position": 7, "lsn": 2100, "committed_at": 1_781_000_000_000_000}
    return {**given, **fields}


def a_promotion(**fields: Any) -> dict[str, Any]:
    """Return a promotion record."""
    return {"wedding": "w1", "rank": 1, "decided_at": 1_781_000_000_000_000, **fields}


def change_value(**fields: Any) -> bytes:
    """Return an encoded change record."""
    return codec.encode("BackupChange", a_change(**fields))


def frontier_value(**fields: Any) -> bytes:
    """Return an encoded frontier record."""
    return codec.encode("Frontier", a_frontier(**fields))


def promotion_value(**fields: Any) -> bytes:
    """Return an encoded promotion record."""
    return codec.encode("Promotion", a_promotion(**fields))


def a_record(offset: int, value: bytes | None, **fields: Any) -> Record:
    """Return a record as a broker hands it out."""
    return Record(offset, fields.pop("timestamp_ms", 1_781_000_000_200), fields.pop("key", None), value, **fields)


def a_batch(topic: str, values: Sequence[bytes | None], *, first: int = 0, partition: int = 0) -> RecordBatch:
    """Return consecutive records of one partition."""
    return RecordBatch(topic, partition, [a_record(first + at, value) for at, value in enumerate(values)])


def a_mark(topic: str = "backup.critical", **fields: Any) -> PartitionMark:
    """Return where a new partition stands."""
    given: dict[str, Any] = {"topic_id": TOPIC_IDS[topic], "partition": 0, "next_offset": 0, "head": NO_PREVIOUS}
    return PartitionMark(topic=topic, **{**given, **fields})
