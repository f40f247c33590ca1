"""Tests on the real stack: Postgres, Kafka and Kafka Connect."""
