"""Who may do what in the local workspace."""
