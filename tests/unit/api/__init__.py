"""The entry for applications' events."""
