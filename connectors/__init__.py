"""Capture: from a database's log and a store's events to one ordered capture topic per source.

Terms: a *source* is one log that changes come from; a *notice* says that an object was put or
deleted and is a *claim check*: whoever needs the bytes fetches that very version. The order of a
Postgres source is the order of its commits, and two numbers tell what is repeated or missing.

Read first: `debezium`, `storage`, `application` (what is captured, pure), `log_order`, `ledger`
(gaps and sequences, written into the log itself), `table_copies` (copies by signal) with `moved_rows`
and `signal_pruning`, then `connector_config` (what Debezium is told, and why), `connect` (Kafka
Connect's REST interface) and `folder` with `known_objects` (a folder, watched and swept). `bucket` is
the same for a bucket: told by `notices` over `channels`, compared by `sweep` with its `listings` and
what was `announced`. `cloudevents` reads what applications do; `event_client` over `event_spool` is
what they send it with.
"""
