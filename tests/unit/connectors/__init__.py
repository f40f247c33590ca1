"""Reading what was captured."""
