"""The names of the metrics: what each counts, and by which labels. Pure; no wedding is ever a label."""

from __future__ import annotations

from typing import Final, NamedTuple


class Metric(NamedTuple):
    """One metric; `kind` is Prometheus' word for it."""

    name: str
    kind: str
    says: str
    labels: tuple[str, ...] = ()


LATENCY_BUCKETS_SECONDS: Final = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0, 300.0,
)  # fmt: skip
"""Fine below a second, where the promises are; then the service levels of the lanes."""

INITIATION: Final = Metric(
    "wedsync_initiation_seconds", "histogram", "from the source's commit to the change on its backup topic", ("lane",)
)
PROTECTION: Final = Metric(
    "wedsync_protection_seconds",
    "histogram",
    "from the source's commit to verified copies in the catalog (the RPO)",
    ("lane", "kind"),
)
PROTECTED: Final = Metric("wedsync_protected_changes_total", "counter", "changes protected", ("lane",))
PROTECTED_BYTES: Final = Metric(
    "wedsync_protected_bytes_total", "counter", "bytes of packs protected, one copy", ("lane",)
)
PROTECTED_OBJECTS: Final = Metric("wedsync_protected_objects_total", "counter", "object versions protected", ("lane",))
LAST_PROTECTED: Final = Metric(
    "wedsync_last_protected_timestamp_seconds", "gauge", "when this lane last protected something", ("lane",)
)
REPEATED: Final = Metric(
    "wedsync_repeated_changes_total", "counter", "changes received again and passed over", ("lane",)
)
UNDECODABLE: Final = Metric("wedsync_undecodable_records_total", "counter", "records kept under quarantine", ("lane",))
LAG_MESSAGES: Final = Metric(
    "wedsync_consumer_lag_messages", "gauge", "records not acknowledged yet", ("topic", "partition")
)
OBJECTS_CLAIMED: Final = Metric(
    "wedsync_objects_claimed", "gauge", "object versions announced whose bytes are not protected yet"
)
PACKS_OWED: Final = Metric("wedsync_packs_owed", "gauge", "packs with fewer copies than their due")
GAPS: Final = Metric("wedsync_gaps", "gauge", "entries of the gap ledger")
STORE_SUSPECT: Final = Metric("wedsync_store_suspect", "gauge", "1 while a store's last call failed", ("store",))
CAPTURE_HOLES: Final = Metric(
    "wedsync_capture_holes", "gauge", "logs in which a hole was found: the platform's needs a new epoch"
)
SLOT_KEPT_BYTES: Final = Metric("wedsync_slot_kept_bytes", "gauge", "log the server keeps back for the slot")
SLOT_LAG: Final = Metric("wedsync_slot_lag_seconds", "gauge", "for how long the first log not yet confirmed has waited")
SLOT_KEPT_PERCENT: Final = Metric(
    "wedsync_slot_kept_percent", "gauge", "what the slot keeps back, in percent of max_slot_wal_keep_size"
)
GUARD_ALARMS: Final = Metric("wedsync_guard_alarms", "gauge", "alarms of the guard that stand now")
GUARD_CRITICAL: Final = Metric("wedsync_guard_critical_alarms", "gauge", "of these, the critical ones")
EPOCHS_BEGUN: Final = Metric("wedsync_guard_epochs", "gauge", "new epochs the guard has begun since it started")
TASKS_RESTARTED: Final = Metric("wedsync_guard_restarts", "gauge", "failed tasks the guard has started again")
GRANTED_BYTES: Final = Metric(
    "wedsync_granted_bytes", "gauge", "bytes the lanes let pass to stores since the sink began", ("lane", "work")
)
TRANSFERS_WAITING: Final = Metric("wedsync_transfers_waiting", "gauge", "copies that wait for their turn", ("lane",))
CONTROLS_REFUSED: Final = Metric(
    "wedsync_controls_refused", "gauge", "records of backup.controls that could not be read since the sink began"
)
SINKS_ALIVE: Final = Metric("wedsync_sinks_alive", "gauge", "sinks that share the bandwidth")
ROUTED: Final = Metric("wedsync_routed_records", "gauge", "records produced to backup topics since the router began")
DEAD_LETTERS: Final = Metric("wedsync_dead_letters", "gauge", "records that became dead letters since the router began")
LETTERS_UNRESOLVED: Final = Metric(
    "wedsync_dead_letters_unresolved", "gauge", "archived dead letters nobody has resolved: each counts as unprotected"
)
WAITING: Final = Metric(
    "wedsync_waiting_changes", "gauge", "changes under quarantine whose parent row is not known yet"
)
ANNOUNCED: Final = Metric("wedsync_objects_announced", "gauge", "object notices since the folder connector began")
EVENTS_ACCEPTED: Final = Metric(
    "wedsync_events_accepted_total", "counter", "events of applications that lie in the log"
)
EVENTS_REFUSED: Final = Metric(
    "wedsync_event_requests_refused_total", "counter", "requests for events that were not accepted", ("status",)
)
BUCKET_ANNOUNCED: Final = Metric(
    "wedsync_bucket_announced", "gauge", "object notices of a bucket since its connector began", ("bucket",)
)
BUCKET_SWEPT: Final = Metric(
    "wedsync_bucket_swept", "gauge", "those of them that no notice had told, but a sweep found", ("bucket",)
)
BUCKET_SWEPT_AT: Final = Metric(
    "wedsync_bucket_swept_timestamp_seconds", "gauge", "when a bucket's last sweep came to its end", ("bucket",)
)
BUCKET_BURIED: Final = Metric(
    "wedsync_bucket_dead_letters", "gauge", "messages of a bucket's channel that became dead letters", ("bucket",)
)
BUCKET_REFUSED: Final = Metric(
    "wedsync_bucket_refused", "gauge", "1 while a bucket or its channel refuses us", ("bucket",)
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
