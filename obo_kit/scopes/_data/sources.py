"""The facts: where each of them comes from. Data only."""

from __future__ import annotations

from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from obo_kit.scopes._data.disputes import DISPUTES
from obo_kit.scopes._data.kinds import KINDS
from obo_kit.scopes._data.routes import ROUTES
from obo_kit.scopes._data.scopes import FAMILIES, SCOPES
from obo_kit.scopes._model import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obo_kit.scopes._model import Dispute, Family, Grant, ResourceKind, Route, Scope

# key: (address, what it is)
_NAMED: Final = {
    "D-MS": (
        "https://learn.microsoft.com/en-us/azure/databricks/generative-ai/agent-framework/agent-authentication-model-serving",
        "Agent authentication on Model Serving, as reproduced late 2025 and on 2026-09-21",
    ),
    "D-APPS-AUTH": (
        "https://docs.databricks.com/aws/en/dev-tools/databricks-apps/auth",
        "Authorization of Databricks Apps, as of 2026-09-28; that of users is generally available (databricks.com, 2026)",
    ),
    "D-MCP": (
        "https://docs.databricks.com/aws/en/agents/mcp/managed-mcp",
        "Managed MCP servers: addresses and scopes, late 2026",
    ),
    "D-SCOPES": ("https://docs.databricks.com/api/workspace/scopes", "The REST API scopes page"),
    "D-REST-2025": ("", "Stored copy of the Azure REST reference of 2025-09-01, which names a scope per operation"),
    "G-HEALTH": (
        "https://github.com/prashsub/databricks-health-monitor/blob/03c5e421/docs/agent-framework-design/obo-authentication-guide.md",
        "Reproduces the Model Serving scope table",
    ),
    "G-BHAVINK": (
        "https://github.com/bhavink/applied-ai-governance/blob/d6cb191/identity/oauth-scopes-reference.md",
        "Scope reference, 2026-07-14",
    ),
    "G-BHAVINK-PLAY": (
        "https://github.com/bhavink/applied-ai-governance/blob/d6cb191/identity/auth-playbook.md",
        "Auth playbook",
    ),
    "G-DAO-276": (
        "https://github.com/natefleming/dao-ai/pull/276",
        "Model Serving allowlist copied from a rejection by the server, 2026-08-06",
    ),
    "G-DAO-113": (
        "https://github.com/natefleming/dao-ai/pull/113",
        "Apps scope probe campaign, 2026-06-11 (fid:60335514341)",
    ),
    "G-APPKIT-265": ("https://github.com/databricks/appkit/pull/265", "Missing-scope message on jobs"),
    "G-TPL-145": ("https://github.com/databricks/app-templates/pull/145", "Parent-scope matching"),
    "G-TPL-222": (
        "https://github.com/databricks/app-templates/pull/222",
        "serving.serving-endpoints replaced by model-serving, 2026-05-28",
    ),
    "G-TPL": ("https://github.com/databricks/app-templates/tree/2a4c792", "Templates + agent skills, 2026-07-01"),
    "G-TPL-MIGRATE": (
        "https://github.com/databricks/app-templates/blob/2a4c792/.claude/skills/migrate-from-model-serving/SKILL.md",
        "Resource kind to privilege table",
    ),
    "G-BRIDGE": (
        "https://github.com/databricks/databricks-ai-bridge/tree/59f216a",
        "databricks_ai_bridge, 2026-06-25 (PyPI 0.22 also read)",
    ),
    "G-BRIDGE-656": (
        "https://github.com/databricks/databricks-ai-bridge/pull/656",
        "UC connection proxy scopes (analysis: fid:69521569942)",
    ),
    "G-SKILLS": ("https://github.com/databricks/databricks-agent-skills/tree/653db60", "Agent skills, 2026-08-19"),
    "G-SKILLS-NEW": ("", "Later copy of the platform guide in the agent skills (scope table, deprecated aliases)"),
    "G-SDKPY": (
        "https://github.com/databricks/databricks-sdk-py/tree/9ae2241",
        "databricks-sdk source; PyPI 0.156.0 also read",
    ),
    "G-SDKGO-1408": (
        "https://github.com/databricks/databricks-sdk-go/issues/1408",
        "CurrentUser.me in serving, 2026-01-09",
    ),
    "G-ONTOS-288": ("https://github.com/databrickslabs/ontos/pull/288", "Stale scope consent, 2026-04-23"),
    "G-ONTOS-599": ("https://github.com/databrickslabs/ontos/pull/599", "iam.* rejected in manifest"),
    "P-AGENTBRICKS": (
        "",
        "The package databricks-agentbricks 0.7.0 (Databricks): clients/apps_user_auth_client.py, runtime/mcp_auth.py",
    ),
    "P-APX": ("", "The package apx-agent 0.7.1: _resources.py, _managed_mcp.py"),
    "P-MLFLOW": ("", "The package mlflow 3.17.2: mlflow/models/auth_policy.py"),
    "P-MCP": ("", "The package databricks-mcp 0.9.2: the client"),
    "C-160960": (
        "https://community.databricks.com",
        "OBO with Unity AI Gateway and agents.deploy(), mid-2026 (td-p/160960, reply 160985)",
    ),
    "G-SOLANA-116": (
        "https://github.com/solana-foundation/solana-mcp-official/pull/116",
        "What the AI search MCP server asks for, 2026-06-22",
    ),
    "G-BRIDGE-264": (
        "https://github.com/databricks/databricks-ai-bridge/pull/264",
        "The index's address that names its endpoint, 2026-01-07",
    ),
    "G-BRIDGE-300": (
        "https://github.com/databricks/databricks-ai-bridge/pull/300",
        "The look at Me asks for further scopes, and was taken out",
    ),
    "G-BRIDGE-619": (
        "https://github.com/databricks/databricks-ai-bridge/pull/619",
        "Scopes of managed MCP in Databricks' own runtime, 2026-09-18 (also 603, 620 and 621)",
    ),
    "G-SPARKLYR-3515": (
        "https://github.com/sparklyr/sparklyr/issues/3515",
        "Personal access tokens with scopes, 2026-05-22",
    ),
    "G-DFER-143": (
        "https://github.com/dfe-analytical-services/dfeR/issues/143",
        "Personal access tokens with scopes, 2026-06-09",
    ),
    "G-APPKIT-343": ("https://github.com/databricks/appkit/pull/343", "Lakebase as the user, 2026-05-04"),
    "G-APPKIT-557": ("https://github.com/databricks/appkit/pull/557", "Lakebase as the user"),
    "G-DEVHUB-154": (
        "https://github.com/databricks/devhub/pull/154",
        "The current names of the scopes, 2026-09-18; the dotted ones are deprecated",
    ),
    "G-TPL-MEM": (
        "https://github.com/databricks/app-templates/blob/2a4c792/.claude/skills/managed-memory/SKILL.md",
        "Memory stores are reached as the app",
    ),
    "D-OBO-OLD": (
        "https://docs.databricks.com/gcp/en/generative-ai/agent-framework/authenticate-on-behalf-of-user",
        "The first page about agents that act for the user",
    ),
    "KIT": ("", "Concluded by the authors of this catalogue from its other entries"),
    "UNTRACED": ("", "Read once in the platform's documentation; the page was not found again"),
}


# The day that a source describes, if it has one.
_DATES: Final = {
    "D-MS": date(2026, 9, 21),
    "D-APPS-AUTH": date(2026, 9, 28),
    "D-MCP": date(2026, 9, 28),
    "D-SCOPES": date(2026, 7, 14),
    "D-REST-2025": date(2025, 9, 1),
    "G-BHAVINK": date(2026, 7, 14),
    "G-DAO-276": date(2026, 8, 6),
    "G-DAO-113": date(2026, 6, 11),
    "G-TPL-222": date(2026, 5, 28),
    "G-TPL": date(2026, 7, 1),
    "G-BRIDGE": date(2026, 6, 25),
    "G-SKILLS": date(2026, 8, 19),
    "G-SDKGO-1408": date(2026, 1, 9),
    "G-ONTOS-288": date(2026, 4, 23),
    "G-APPKIT-343": date(2026, 5, 4),
    "G-BRIDGE-264": date(2026, 1, 7),
    "G-BRIDGE-619": date(2026, 9, 18),
    "G-DEVHUB-154": date(2026, 9, 18),
    "G-DFER-143": date(2026, 6, 9),
    "G-SOLANA-116": date(2026, 6, 22),
    "G-SPARKLYR-3515": date(2026, 5, 22),
    "fid:60335514341": date(2026, 6, 11),
    "fid:70209365701": date(2026, 10, 5),
    "fid:61964634769": date(2026, 8, 10),
    "fid:70586659427": date(2026, 9, 21),
}


def source_of(key: str) -> Source:
    """Return the source of a key: one that is named above, or an anonymous report."""
    """

    Raises:
        KeyError: It is neither.
    """
    if key.startswith("fid:"):
        url, what = "", f"Public file {key.removeprefix('fid:')}, repository unknown: an anonymous report"
    else:
        url, what = _NAMED[key]
    return Source(key=key, url=url, what=what, as_of=_DATES.get(key))


def _cited() -> set[str]:
    entries: tuple[Scope | Family | ResourceKind | Route | Grant | Dispute, ...] = (
        *SCOPES.values(),
        *FAMILIES.values(),
        *KINDS.values(),
        *ROUTES,
        *DISPUTES,
        *(grant for kind in KINDS.values() for grant in kind.grants),
    )
    return {key for entry in entries for key in entry.sources}


SOURCES: Final[Mapping[str, Source]] = MappingProxyType({key: source_of(key) for key in sorted(_cited())})
"""Every source that an entry cites, by key. A key ``fid:N`` is a public file read through a search index."""
