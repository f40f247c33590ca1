"""The entry for applications' events: `POST /api/events`, acknowledged once Kafka holds them.

Terms: a *client* is who a token belongs to; a *submission* the events of one request; the *ledger*
remembers which events the log holds, and is made again from the log where it is behind. An answer of 202
means that every event of the request is in the log, exactly once.

Read first: `web` (the routes, in the order of their checks), `appender` (one thread: look up, append,
remember, answer), then `ledger` and `event_log` on either side of it, `clients`, `limits` and `problems`.
`serve` is the worker process; `openapi` writes `openapi.json`.
"""
