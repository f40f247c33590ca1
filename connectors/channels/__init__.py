"""Where providers' notifications arrive: one module a medium, all behind the port in `port`."""
