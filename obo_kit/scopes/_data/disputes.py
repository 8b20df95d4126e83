"""The facts: points on which sources disagree, and the catalogue's stance on each. Data only."""

from __future__ import annotations

from typing import Final

from obo_kit.scopes._model import Dispute

DISPUTES: Final = (
    Dispute(
        about=("ai-gateway", "ai_gateway_model", "uc_model_service"),
        one="Model Serving refuses ai-gateway (mid-2026).",
        other="Model Serving's own list holds it (2026-08-06).",
        stance="Declared where it is needed.",
        sources=("C-160960", "G-DAO-276"),
    ),
    Dispute(
        about=("mcp.functions", "mcp_functions"),
        one="Functions through managed MCP need mcp.functions.",
        other="They need unity-catalog, which Apps refuses.",
        stance="mcp.functions is declared on both targets; either is accepted on Model Serving.",
        sources=("P-AGENTBRICKS", "G-TPL", "G-HEALTH", "D-MCP", "P-APX"),
    ),
    Dispute(
        about=("catalog.connections", "mcp.external", "uc_connection", "mcp_external"),
        one="A connection needs catalog.connections (the docs' table).",
        other="The connection proxy takes mcp.external or unity-catalog, and refuses catalog.connections.",
        stance="By the way it is used: http_request the first, MCP through a connection mcp.external.",
        sources=("G-HEALTH", "fid:69521569942", "G-BRIDGE-656"),
    ),
    Dispute(
        about=("serving.serving-endpoints", "model-serving", "serving_endpoint"),
        one="serving.serving-endpoints is still an alias of model-serving.",
        other="LLM endpoints refuse it, and name model-serving.",
        stance="model-serving is declared. Whether a token with the older name is enough counts as unknown.",
        sources=("G-SKILLS-NEW", "fid:46160422395", "fid:66017891750", "fid:56388594490"),
    ),
    Dispute(
        about=("genie", "dashboards.genie", "genie_space"),
        one="Azure asks for both genie and dashboards.genie.",
        other="One of them is enough, and dashboards.genie is deprecated.",
        stance="genie is declared; either is accepted.",
        sources=("G-BHAVINK", "G-SKILLS", "G-SKILLS-NEW"),
    ),
    Dispute(
        about=("vector-search", "ai-search", "vector_search_index", "vector_search_endpoint", "mcp_vectorsearch"),
        one="The scope is vector-search.",
        other="It is ai-search, in docs after the rename of June 2026.",
        stance="vector-search is declared; either is accepted.",
        sources=("G-DAO-276", "G-BHAVINK", "D-MCP", "fid:70586659427"),
    ),
    Dispute(
        about=("vector_search_index", "vector_search_endpoint"),
        one="The user needs CAN USE on the vector search endpoint.",
        other="The user needs CAN MANAGE on it.",
        stance="CAN USE.",
        sources=("G-BHAVINK-PLAY", "fid:56828970741"),
    ),
    Dispute(
        about=("apps", "apps.apps", "databricks_app"),
        one="Apps takes the scope apps, and needs it to reach another app.",
        other="Its picker did not show the scope (2026-08-10), and CAN USE alone is enough. apps.apps is refused.",
        stance="apps is declared.",
        sources=("D-APPS-AUTH", "fid:61964634769", "fid:60335514341"),
    ),
    Dispute(
        about=("postgres", "lakebase"),
        one="With postgres, an app reaches Lakebase as the user, who needs a Postgres role.",
        other="Lakebase is always reached as the app's service principal.",
        stance="postgres is declared on Apps; AppKit's asUser() does the same.",
        sources=("fid:69389892685", "G-SKILLS", "G-APPKIT-343", "G-APPKIT-557"),
    ),
    Dispute(
        about=("uc_table", "sql_warehouse"),
        one="Without SELECT on a table a query returns no rows.",
        other="It fails, with SQL state 42501 or 42P01.",
        stance="It fails; no rows are a row filter's work.",
        sources=("G-BHAVINK", "fid:70164141621"),
    ),
    Dispute(
        about=("iam.current-user:read",),
        one="Nearly any scope opens the user's own entry, SCIM's Me (the scopes page).",
        other="A token of Model Serving needs an identity scope for it.",
        stance="iam.current-user:read is asked for. Whether another scope is enough counts as unknown.",
        sources=("D-SCOPES", "G-SDKGO-1408", "G-BRIDGE-300"),
    ),
    Dispute(
        about=("ai-search", "mcp_ai_search"),
        one="vector-search and ai-search are two names of one permission.",
        other="The AI search MCP server takes ai-search alone, all-apis neither.",
        stance="ai-search is declared for that server.",
        sources=("G-BHAVINK", "G-SOLANA-116", "D-MCP"),
    ),
)
