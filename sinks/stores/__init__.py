"""sinks/stores."""
