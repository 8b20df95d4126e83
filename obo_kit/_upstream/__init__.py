"""Everything known about other packages by name, with the versions in which it was read."""
