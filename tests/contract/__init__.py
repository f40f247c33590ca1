"""What every implementation of a port must promise, run against each of them."""
