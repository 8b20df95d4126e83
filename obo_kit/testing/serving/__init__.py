"""Models, served by the local workspace."""
