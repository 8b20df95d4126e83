"""Tell which release a workspace runs, as far as it says.

The platform has no number of its own that a workspace tells: it is rolled out region by region (documented, "Platform release
process"). Two versions are documented, and move with it: the newest Databricks Runtime that the workspace offers, which costs
nothing to ask for, and that of Databricks SQL, which a warehouse has to run for.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from obo_kit.analysis.verify._probe import get, post
from obo_kit.scopes._recording import Release

if TYPE_CHECKING:
    from obo_kit.analysis.verify._transport import Raw

__all__ = ["RUNTIMES", "SQL_VERSION", "release_of"]

RUNTIMES: Final = get("/api/2.1/clusters/spark-versions", case="allowed")
SQL_VERSION: Final = post(
    "/api/2.0/sql/statements",
    {"warehouse_id": "{name}", "statement": "SELECT current_version().dbsql_version", "wait_timeout": "30s"},
    "statement",
    "allowed",
)
# Whatever else a key is, such as that of an image of the customer's own, is not read.
_KEY: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.x-(?:[a-z0-9]{1,12}-){0,4}scala\d\.\d{1,2}")
_SQL: Final = re.compile(r"\d{4}\.\d{1,2}")


def release_of(runtimes: Raw | None, sql: Raw | None) -> Release:
    """Return what the answers to `RUNTIMES` and `SQL_VERSION` say. None stands for a request that was not sent."""
    newest = max(
        (tuple(map(int, key.groups())) for key in map(_KEY.fullmatch, _keys(runtimes)) if key is not None), default=None
    )
    version = _SQL.fullmatch(_cell(sql))
    return Release(
        runtime=f"{newest[0]}.{newest[1]}" if newest is not None else None,
        sql=version[0] if version is not None else None,
        why=None if newest is not None else _why(runtimes),
    )


def _why(raw: Raw | None) -> Any:
    if raw is None:
        return "not_asked"
    if raw.failed:
        return "failed"
    return "unreadable" if raw.status == 200 else "refused"


def _keys(raw: Raw | None) -> list[str]:
    listed = _body(raw).get("versions")
    return [str(entry.get("key")) for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _cell(raw: Raw | None) -> str:
    result = _body(raw).get("result")
    rows: Any = result.get("data_array") if isinstance(result, dict) else None
    try:
        return str(rows[0][0])
    except (IndexError, KeyError, TypeError):
        return ""


def _body(raw: Raw | None) -> dict[str, Any]:
    try:
        data = json.loads(raw.body) if raw is not None and raw.status == 200 else None
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
