"""ops/stack."""
