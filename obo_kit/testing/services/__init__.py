"""The services of the local workspace."""
