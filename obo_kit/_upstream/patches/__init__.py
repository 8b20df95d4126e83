"""Patches of other packages, a module for each. What the kit does there is passed in as functions."""
