"""What buckets hold now, asked of their stores: one module a provider, behind `connectors.sweep.Listing`."""
