"""Patches of other packages, a module for each: what the kit does there, it is handed as functions."""
