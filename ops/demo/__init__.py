"""The main job, told as a story on real parts: `make demo`.

`story` is the order of events; `wedding` is the one that is left alone, recorded, harmed and brought back;
`outcome` holds what must be true at the end and prints it.
"""
