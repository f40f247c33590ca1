"""Bad input through every entry: seeded, a few thousand pieces in the quick tests, `make soak FUZZ=100000` for more."""
