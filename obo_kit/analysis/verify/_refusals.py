"""The list, second part: for each refusal of the local workspace the request that provokes it, or why none can be safe.

Most are what a route's own request meets with. The others need something that only the developer can name: what they may not
use (``denied``), what they may (``use``), or a token that has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from obo_kit.analysis.verify._probe import ABSENT, ABSENT_ID, Probe, get, post

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obo_kit.scopes._recording import Case

__all__ = ["REFUSAL_PROBES", "UNSAFE_REFUSALS", "Provoked"]


@dataclass(frozen=True, kw_only=True)
class Provoked:
    """How a refusal is provoked.

    Attributes:
        probe: The request; None where it is a route's own.
        route: The route whose request meets with it.
        lacks: Whether the token lacks the route's scopes: all of them, or the last one.
        denied: The kind of a resource that the developer may not use, where one has to be named.
        use: The kind of a resource that the developer may use, where one has to be named.
        instead: Another refusal that a workspace may answer with in its place.
    """

    probe: Probe | None = None
    route: str = ""
    lacks: Literal["", "lacks", "lacks_last"] = ""
    denied: str = ""
    use: str = ""
    instead: str = ""


_ME: Final = "/api/2.0/preview/scim/v2/Me"
_STATEMENTS: Final = "/api/2.0/sql/statements"
_TOKEN: Final = "/oidc/v1/token"  # noqa: S105  a path
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS: Final = "urn:ietf:params:oauth:token-type:access_token"


def _denied(kind: str, path: str, instead: str = "") -> Provoked:
    return Provoked(probe=get(path, case="no_permission"), denied=kind, instead=instead)


def _statement(sql: str, case: Case = "bad_request", **more: str) -> Provoked:
    body = {"warehouse_id": "{name}", "statement": sql, "wait_timeout": "30s", **more}
    return Provoked(probe=post(_STATEMENTS, body, "statement", case), use="sql_warehouse")


def _sign_in(fields: Mapping[str, str], case: Case) -> Provoked:
    return Provoked(probe=post(_TOKEN, fields, "refused", case, form="form", token="none"))  # noqa: S106


REFUSAL_PROBES: Final[Mapping[str, Provoked]] = {
    # --- the token
    "credential_missing": Provoked(probe=get(_ME, case="no_credential", token="none")),  # noqa: S106
    "invalid_token": Provoked(probe=get(_ME, case="invalid_token", token="made_up")),  # noqa: S106
    "expired_token": Provoked(probe=get(_ME, case="expired", token="expired")),  # noqa: S106
    "missing_scope": Provoked(route="GET /api/2.0/serving-endpoints", lacks="lacks"),
    "missing_scope_text": Provoked(route="/api/2.0/sql/statements", lacks="lacks"),
    "missing_scope_bare": Provoked(route="POST /serving-endpoints/{name}/invocations", lacks="lacks"),
    "missing_scope_token": Provoked(route="/api/2.0/mcp/ai-search/{catalog}/{schema}", lacks="lacks"),
    "missing_scope_uc": Provoked(route="GET /api/2.1/unity-catalog/tables", lacks="lacks"),
    "missing_gateway_scope": Provoked(route="POST /serving-endpoints/responses", lacks="lacks_last"),
    "oauth_client": _sign_in(
        {"grant_type": "client_credentials", "client_id": ABSENT_ID, "client_secret": ABSENT, "scope": "all-apis"},
        "invalid_token",
    ),
    "oauth_subject": _sign_in(
        {"grant_type": _EXCHANGE, "subject_token": ABSENT, "subject_token_type": _ACCESS, "scope": "sql"},
        "invalid_token",
    ),
    "oauth_grant_type": _sign_in({"grant_type": ABSENT}, "bad_request"),
    # --- the request
    "no_such_api": Provoked(probe=get("/api/2.0/obo-kit-verify/{absent}", case="no_api")),
    "malformed": Provoked(probe=post(_STATEMENTS, "{", "unreadable", "bad_request", form="text")),
    "invalid_parameter": Provoked(probe=post(_STATEMENTS, {}, "incomplete", "bad_request")),
    "mcp_no_stream": Provoked(probe=get("/api/2.0/mcp/sql", case="bad_request")),
    # --- what does not exist
    "warehouse_missing": Provoked(route="GET /api/2.0/sql/warehouses"),
    "statement_missing": Provoked(route="/api/2.0/sql/statements"),
    "uc_missing": Provoked(route="/api/2.1/unity-catalog/"),
    "table_missing": Provoked(route="GET /api/2.1/unity-catalog/tables"),
    "function_missing": Provoked(route="/api/2.1/unity-catalog/functions"),
    "connection_missing": Provoked(route="/api/2.1/unity-catalog/connections"),
    "genie_missing": Provoked(route="/api/2.0/genie/"),
    "index_missing": Provoked(route="GET /api/2.0/vector-search/indexes"),
    "search_endpoint_missing": Provoked(route="GET /api/2.0/vector-search/endpoints"),
    "serving_missing": Provoked(route="GET /api/2.0/serving-endpoints"),
    "app_missing": Provoked(route="/api/2.0/apps"),
    "lakebase_missing": Provoked(route="/api/2.0/database"),
    "setting_missing": Provoked(route="/api/2.1/settings"),
    "file_missing": Provoked(probe=get("/api/2.0/fs/files/Volumes/{volume}/{absent}"), use="volume"),
    "directory_missing": Provoked(probe=get("/api/2.0/fs/directories/Volumes/{volume}/{absent}"), use="volume"),
    "mcp_tool_missing": Provoked(
        probe=post(
            "/api/2.0/mcp/sql",
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": ABSENT, "arguments": {}}},
            "absent",
        )
    ),
    # --- what the developer may not use
    "warehouse_denied": _denied("sql_warehouse", "/api/2.0/sql/warehouses/{name}"),
    "uc_lacks": _denied("uc_table", "/api/2.1/unity-catalog/tables/{name}"),
    "genie_denied": _denied("genie_space", "/api/2.0/genie/spaces/{name}", "genie_forbidden"),
    "genie_forbidden": _denied("genie_space", "/api/2.0/genie/spaces/{name}", "genie_denied"),
    "index_denied": _denied("vector_search_index", "/api/2.0/vector-search/indexes/{name}"),
    "search_endpoint_denied": _denied("vector_search_endpoint", "/api/2.0/vector-search/endpoints/{name}"),
    "serving_denied": _denied("serving_endpoint", "/api/2.0/serving-endpoints/{name}"),
    "app_denied": _denied("databricks_app", "/api/2.0/apps/{name}"),
    "connection_denied": _denied("uc_connection", "/api/2.1/unity-catalog/connections/{name}"),
    # --- statements that fail, on a warehouse that the developer names; nothing of anybody's is put into them
    "session_missing": _statement("SELECT 1", "absent", session_id=ABSENT_ID),
    "sql_missing": _statement(f"SELECT * FROM {ABSENT}.{ABSENT}.{ABSENT}", "absent"),  # noqa: S608
    "sql_no_connection": _statement(
        f"SELECT http_request(conn => '{ABSENT}', method => 'GET', path => '/')",
        "absent",
    ),
    "sql_no_function": _statement(f"SELECT {ABSENT}()", "absent"),
    "sql_no_table_function": _statement(f"SELECT * FROM {ABSENT}()", "absent"),  # noqa: S608
    "sql_arguments": _statement("SELECT length('a', 'b')"),
    "sql_types": _statement("SELECT length(array(1))"),
    "sql_syntax": _statement("SELECT FROM WHERE"),
    "sql_column": _statement(f"SELECT {ABSENT} FROM (SELECT 1 AS a)"),  # noqa: S608
    "sql_cast": _statement("SELECT CAST('a' AS INT)"),
    "sql_aggregation": _statement("SELECT a, b, count(*) FROM (SELECT 1 AS a, 2 AS b) GROUP BY a"),
    "sql_alias_in_window": _statement("SELECT a AS b, sum(b) OVER () FROM (SELECT 1 AS a)"),
    "sql_cast_overflow": _statement("SELECT CAST(300 AS TINYINT)"),
    "sql_overflow": _statement("SELECT CAST(9223372036854775807 AS BIGINT) + 1"),
    "sql_range": _statement("SELECT CAST(1234.5 AS DECIMAL(3, 1))"),
    "sql_scalar": _statement("SELECT (SELECT * FROM VALUES (1), (2))"),
    "sql_set_columns": _statement("SELECT 1 UNION SELECT 1, 2"),
    "sql_set_types": _statement("SELECT 1 UNION SELECT true"),
    "sql_ambiguous": _statement("SELECT a FROM (SELECT 1 AS a) x JOIN (SELECT 1 AS a) y ON x.a = y.a"),
    "sql_extract": _statement("SELECT extract(TIDE FROM DATE'2026-01-01')"),
    "sql_generators": _statement("SELECT explode(array(1)), explode(array(2))"),
    "sql_group_index": _statement("SELECT regexp_extract('a1', '[0-9]')"),
    "sql_pattern": _statement("SELECT 'a' RLIKE '['"),
    "sql_field": _statement("SELECT struct(1 AS a).b"),
    "sql_field_base": _statement("SELECT s.a.b FROM (SELECT struct(1 AS a) AS s)"),
    "sql_group_place": _statement("SELECT a FROM (SELECT 1 AS a) GROUP BY 2"),
    "sql_moment": _statement("SELECT to_date('2026-01-02', 'dd/MM/yyyy')"),
    "sql_nested": _statement("SELECT sum(sum(a)) FROM (SELECT 1 AS a)"),
    "sql_no_group": _statement("SELECT a, count(*) FROM (SELECT 1 AS a)"),
    "sql_order_place": _statement("SELECT a FROM (SELECT 1 AS a) ORDER BY 2"),
    "sql_unit": _statement("SELECT date_diff('DAY', DATE'2026-01-01', DATE'2026-01-02')"),
    "sql_where": _statement("SELECT a FROM (SELECT 1 AS a) WHERE count(*) > 1"),
    "sql_date_fields": _statement("SELECT make_date(2026, 13, 1)"),
    "sql_inline_types": _statement("SELECT * FROM VALUES (1), ('a')"),
    "sql_inline_width": _statement("SELECT * FROM VALUES (1), (1, 2)"),
    "sql_limit": _statement("SELECT 1 LIMIT -1"),
    "sql_scalar_columns": _statement("SELECT (SELECT 1, 2)"),
    "sql_twice": _statement("SELECT * FROM (WITH a AS (SELECT 1), a AS (SELECT 2) SELECT 1)"),
    "sql_window_distinct": _statement("SELECT count(DISTINCT a) OVER () FROM (SELECT 1 AS a)"),
    "sql_window_missing": _statement("SELECT sum(a) OVER w FROM (SELECT 1 AS a)"),
    "sql_window_order": _statement("SELECT row_number() OVER () FROM (SELECT 1 AS a)"),
    "sql_window_place": _statement("SELECT a FROM (SELECT 1 AS a) WHERE row_number() OVER (ORDER BY a) = 1"),
    "sql_window_without": _statement("SELECT row_number() FROM (SELECT 1 AS a)"),
    "sql_zone": _statement(f"SELECT from_utc_timestamp(TIMESTAMP'2026-01-01 00:00:00', '{ABSENT}')"),
    "sql_parameter": _statement(f"SELECT :{ABSENT}"),
    "sql_raised": _statement(f"SELECT raise_error('{ABSENT}')"),
    # --- a query for a column that does not exist, of an index that the developer names
    "search_columns": Provoked(
        probe=post(
            "/api/2.0/vector-search/indexes/{name}/query",
            {"query_text": "", "columns": [ABSENT], "num_results": 1},
            "absent",
            "bad_request",
        ),
        use="vector_search_index",
    ),
}
"""How each refusal is provoked."""

_CHANGES: Final = "Only a request that changes something meets with it."
_OURS: Final = "The local workspace says so of itself; no workspace does."
_ASKS_GENIE: Final = "Only a question to a Genie space meets with it, and that starts a conversation."
_POSTGRES: Final = "Postgres answers so to a connection of its own protocol, and the list is of the REST API."
_ANYTHING: Final = "It stands for whatever else may fail: no request provokes it on purpose."

UNSAFE_REFUSALS: Final[Mapping[str, str]] = {
    "app_bad_scope": _CHANGES,
    "connection_login": "Only a call of the service behind a connection meets with it; whoever has logged in would call it.",
    "connection_unreachable": "Only a call of the service behind a connection meets with it.",
    "deploy_bad_scope": _CHANGES,
    "directory_not_empty": _CHANGES,
    "file_exists": _CHANGES,
    "genie_no_select": _ASKS_GENIE,
    "genie_no_warehouse": _ASKS_GENIE,
    "genie_not_manager": "It depends on a space that you may run and not manage; its list of conversations is others' data.",
    "genie_scripted": _ASKS_GENIE,
    "genie_sql_failed": _ASKS_GENIE,
    "index_not_direct": _CHANGES,
    "internal": _OURS,
    "lakebase_broken": _OURS,
    "lakebase_password": _POSTGRES,
    "lakebase_undecodable": _POSTGRES,
    "lakebase_unencrypted": _POSTGRES,
    "link_denied": "It is storage that answers, on a link that only a statement with a result hands out.",
    "mcp_read_only": _CHANGES,
    "mcp_no_warehouse": "It depends on a user who may use no warehouse at all.",
    "no_such_setting": "It would open a session, which stays open.",
    "model_error": "Only a model that runs meets with it.",
    "oauth_scope": "It would ask for a token that may do more than yours.",
    "sql_config": "Only SET and RESET meet with it, which change a session.",
    "search_filter_form": "It depends on the type of an endpoint, which its requests do not name.",
    "search_filter_operator": "It takes the name of a column of an index, which no request asks for.",
    "sql_exists": _CHANGES,
    "sql_failed": _ANYTHING,
    "setting_unsupported": _OURS,
    "sql_inline_limit": "It would ask for more than 25 MiB.",
    "sql_insert_columns": _CHANGES,
    "sql_merge_twice": _CHANGES,
    "sql_not_null": _CHANGES,
    "sql_login": "Only a call of the service behind a connection meets with it; whoever has logged in would call it.",
    "sql_lacks": "A statement that reads a table would show its rows to whoever may read it after all.",
    "sql_no_catalog": "Only a statement that would create something meets with it.",
    "sql_no_principal": _CHANGES,
    "sql_no_volume": "Only a statement that would grant something meets with it.",
    "sql_no_schema": "Only a statement that would create something meets with it.",
    "sql_replace_where": _CHANGES,
    "sql_unsupported": _OURS,
    "thrift_malformed": "The connector's own protocol: a body that is no call would reach a warehouse that may start.",
    "thrift_missing": _OURS,
    "too_large": "It would send more than a workspace takes.",
    "uc_no_principal": _CHANGES,
}
"""Why there is no request for the others."""
