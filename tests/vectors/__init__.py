"""Frozen bytes of every format, and their generator."""
