"""What the sample platform plans, without a database."""
