"""Helpers that know nothing of the kit."""
