"""Collect what an agent's tools declare, and write it down as a policy."""
