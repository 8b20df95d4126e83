"""SET and RESET: parameters of a session, where the value asked for is how the local workspace runs statements anyhow."""

from __future__ import annotations

import re

from obo_kit.testing.sql._refusals import StatementError

__all__ = ["check_setting"]

_SETTING = re.compile(
    r"\s*(?:RESET(?:\s+(?P<reset>[\w.]+))?|"
    r"SET\s+(?:TIME\s+ZONE\s+|(?P<name>[\w.]+)\s*=\s*)(?P<value>'[^']*'|\"[^\"]*\"|[\w./:+-]+))\s*;?\s*",
    re.IGNORECASE,
)
# The values that change nothing here, per parameter, and how to say them (docs.databricks.com/sql/language-manual/parameters).
# Nothing is cached, and no statement runs for more than a minute.
_SERVED = {
    "ansi_mode": ("true", "true"),
    "statement_timeout": (r"[6-9]\d|\d{3,}", "60 or more"),
    "timezone": ("(etc/)?utc", "UTC"),
    "use_cached_result": ("true|false", "true or false"),
}


def check_setting(sql: str) -> None:
    """Refuse to set what the local workspace does otherwise. Raises StatementError if the statement is not served."""
    match = _SETTING.fullmatch(sql)
    if match is None:
        raise StatementError("sql_unsupported", "SET like this is not served.")
    name = (match["name"] or match["reset"] or "timezone").lower()
    if name not in _SERVED and "." in name:
        raise StatementError("sql_config", f"Configuration {name} is not available.")
    if name not in _SERVED:
        raise StatementError("sql_unsupported", f"the parameter {name} is not served.")
    value = (match["value"] or "").strip("'\"")
    pattern, words = _SERVED[name]
    if match["value"] and not re.fullmatch(pattern, value, re.IGNORECASE):
        raise StatementError("sql_unsupported", f"{name} = {value} is not served, only {words}.")
