"""The managed MCP servers of the local workspace."""
