"""Serve the local workspace: transport, gate, log, pages."""
