"""The local stack: real Postgres, Kafka and Kafka Connect on this machine, without Docker.

Terms: a *part* is one process that is kept alive; the *engines* are the three parts named above; *workers* are
our own parts, started once every engine answered. The *supervisor* is the one process that owns them all: when it
dies, however it dies, they die. `control` is what the CLI and the tests call; nothing else starts or stops a part.

Read `settings` first, then `parts` (what runs), `supervisor` (how it is kept running) and `control` (up, down,
status). What the engines are told: `postgres`, `kafka`, `connect_worker`; `topics` makes topics.
"""
