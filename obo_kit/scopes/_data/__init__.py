"""The catalogue's entries."""
