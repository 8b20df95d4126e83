"""Why not: refusals explained."""
