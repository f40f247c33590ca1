"""A wedding business to protect: its schema, its people, and the traffic they make.

Nothing here is needed to protect a database of your own. Read `schema.sql` first, then `platform`
(create it, and how its rows find their wedding), then `load` (what runs against it).
Terms: the *cast* is who takes part; a *scene* is one thing that happens to a wedding (guests answer,
a seat is swapped); a *shape* says how scenes are spread over weddings and time.
"""
