"""Stores: one port, one file per kind.

An object is immutable: its name means one content for ever, and writing the same bytes again
succeeds. `create` writes and proves; no other proof counts. `Site` says what a store is: its region,
what fails together with it, and whether EU weddings may lie there.

Read first: `port` (the promises), then `filesystem`. `memory` is the twin for tests; `health` decides
whom to ask first.
"""
