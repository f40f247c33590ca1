"""The simulation: the real router, sink, catalog and restore on a seeded clock, log, stores and deaths.

A *history* is one run of everything, decided by its seed alone. A *life* is one process between its
start and its death; it dies between two steps, where each call of a port is a step before its effect
and another one after. What survives is what would survive: logs, stores, the catalog's committed
state, the router's file. Read in this order: virtual, lives, platform, connect, log, stores, worlds,
workers, archive, invariants, histories.
"""
