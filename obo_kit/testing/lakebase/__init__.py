"""Lakebase: an API that mints credentials, and a real Postgres behind a front that accepts them as passwords."""
