"""Auth middleware for Databricks agents that act on behalf of the user who asks.

Importing this package loads neither MLflow nor the Databricks SDK: names are imported when they are first used (rule 24).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from obo_kit._utils.plugins import PLUGINS
from obo_kit._utils.version import __version__

if TYPE_CHECKING:
    from obo_kit.denials import explain, raise_for_denial, rewrite_denials
    from obo_kit.exceptions import (
        AccessDeniedError,
        Denial,
        DenialReason,
        IdentityMismatchError,
        MissingScopeError,
        NoUserIdentityError,
        NoUserSessionError,
        OboError,
        PolicyError,
        ScopeViolationError,
        SessionClosedError,
        TokenExpiredError,
        UnknownScopeError,
    )
    from obo_kit.identity._credentials import Limits
    from obo_kit.identity._sources import IdentitySource, register_identity_source
    from obo_kit.identity._user import UserIdentity
    from obo_kit.instrumentation._events import ToolEvent, capture_events, on_event
    from obo_kit.policy._audit import AuditReport, audit
    from obo_kit.policy._policy import app_config, auth_policy, log_model
    from obo_kit.policy._preflight import Preflight, preflight
    from obo_kit.session._entry import user_session
    from obo_kit.session._opening import current_session
    from obo_kit.session._propagate import propagate
    from obo_kit.session._session import UserSession
    from obo_kit.tools._available import AvailableTools, available_tools, available_tools_async
    from obo_kit.tools._optional import optional_tool
    from obo_kit.tools._requires import requires_scopes, system_resources
    from obo_kit.tools._user_tool import user_tool
    from obo_kit.tools._with_client import INJECTED, with_user_client

_HOMES: dict[str, tuple[str, ...]] = {
    "policy._audit": ("AuditReport", "audit"),
    "identity._credentials": ("Limits",),
    "tools._available": ("AvailableTools", "available_tools", "available_tools_async"),
    "instrumentation._events": ("ToolEvent", "capture_events", "on_event"),
    "denials": ("explain", "raise_for_denial", "rewrite_denials"),
    "identity._sources": ("IdentitySource", "register_identity_source"),
    "identity._user": ("UserIdentity",),
    "tools._with_client": ("INJECTED", "with_user_client"),
    "tools._optional": ("optional_tool",),
    "policy._policy": ("app_config", "auth_policy", "log_model"),
    "policy._preflight": ("Preflight", "preflight"),
    "tools._user_tool": ("user_tool",),
    "tools._requires": ("requires_scopes", "system_resources"),
    "session._entry": ("user_session",),
    "session._propagate": ("propagate",),
    "session._opening": ("current_session",),
    "session._session": ("UserSession",),
}
# Modules of higher packages, which sessions and tools load by name.
PLUGINS.update(
    asgi="obo_kit.integrations.asgi",
    client_objects="obo_kit.policy._client_objects",
    langchain_core="obo_kit.integrations.langchain",
    openai="obo_kit.integrations.openai",
    mcp="obo_kit.integrations._mcp_server",
    fastmcp="obo_kit.integrations._mcp_server",
    pydantic="obo_kit.integrations._pydantic",
    **dict.fromkeys(
        ("strands", "google.adk", "crewai", "autogen_core", "llama_index"), "obo_kit.integrations._other_agents"
    ),
)

__all__ = [
    "AccessDeniedError",
    "AuditReport",
    "AvailableTools",
    "Denial",
    "DenialReason",
    "INJECTED",
    "IdentityMismatchError",
    "IdentitySource",
    "Limits",
    "MissingScopeError",
    "NoUserIdentityError",
    "NoUserSessionError",
    "OboError",
    "PolicyError",
    "Preflight",
    "ScopeViolationError",
    "SessionClosedError",
    "TokenExpiredError",
    "ToolEvent",
    "UnknownScopeError",
    "UserIdentity",
    "UserSession",
    "__version__",
    "app_config",
    "audit",
    "auth_policy",
    "available_tools",
    "available_tools_async",
    "capture_events",
    "current_session",
    "explain",
    "log_model",
    "on_event",
    "optional_tool",
    "preflight",
    "propagate",
    "raise_for_denial",
    "register_identity_source",
    "requires_scopes",
    "rewrite_denials",
    "system_resources",
    "user_session",
    "user_tool",
    "with_user_client",
]
_HOMES["exceptions"] = tuple(name for name in __all__ if name.endswith("Error") or name.startswith("Denial"))
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
