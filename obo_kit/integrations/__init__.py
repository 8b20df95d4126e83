"""Adapters for servers and frameworks. Each is imported by name; nothing else in the package imports from here."""
