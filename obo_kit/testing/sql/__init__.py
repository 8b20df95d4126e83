"""SQL as the local workspace runs it."""
