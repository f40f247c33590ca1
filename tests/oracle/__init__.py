"""The proof: random workloads on the real stack, restored at random commits, against Postgres' own recovery.

Read first: `second` (a Postgres recovered by itself to a place in the log), `workload` (what is done to the
database, all of it drawn from a seed), `rounds` (play, restore, compare), `shifting` (tables whose
shape changes all the time; with SHIFTING=1), then the tests.
"""
