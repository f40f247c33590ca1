"""Tests: what each promise means, said by running it."""
