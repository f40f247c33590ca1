"""Routing: each captured change to the backup topic of its wedding's urgency.

Terms: the *calendar* knows each wedding's day, venue zone and residency; *membership* which wedding
a parent row belongs to; a *rank* orders what waits inside one lane; a *frontier* says that everything
up to a position has been delivered.
Faust gives agents, supervision and the worker's life; records and offsets are ours.

Read first: `priority`, `destinations` and `routing` (the decisions), `live_rules` and `state` (what must be
remembered between two records), `router` (decide, deliver, remember, in this order), then `intake` and `produce`
(Kafka on either side), `released` (what waited for its parent), `dead_letters` (what cannot be read), `lost_records`
(what never came), `schema_registry` (framing, where one is set) and `app` (the Faust worker).
"""
