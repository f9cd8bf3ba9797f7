"""Each study prints the table that it is about."""
