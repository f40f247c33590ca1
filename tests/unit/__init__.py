"""Tests without an engine: pure decisions, and small processes of our own."""
