"""One request's user."""
