"""Vector search in the local workspace."""
