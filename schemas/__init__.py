"""The language: what every other package says and reads, and nothing that runs.

Pure values and their encodings; no clock, no engine, no I/O. Terms: a *change* is one captured event,
a *lane* (`Priority`) how urgently it travels, a *pack* an immutable file of sealed *frames*, an
*epoch* the beginning of a source's log. FORMATS.md defines the rest, byte by byte.

Read first: `backup` (what is promised), `mapping` (how a row finds its wedding) with `shapes` and `live_mapping`
(how both follow the schema), `topics`, then
`pack` and `codec` (what is written), `versions` and `compatibility` (what was written before, and what may
change), `wire` (a schema registry's framing). `errors` splits failures by whose move it is next.
"""
