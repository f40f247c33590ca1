"""Packing, protecting, finding again."""
