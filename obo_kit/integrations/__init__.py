"""Glue for servers and frameworks, each imported by name; nothing else in the package imports from here."""
