"""The static check of an agent's source."""
