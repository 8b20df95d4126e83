"""Principals and grants of the local workspace."""
