"""Tell whether on-behalf-of-user authorization is on, from what the workspace says of its apps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from obo_kit.analysis.verify._probe import Probe, get

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NO_WAY", "OBO_PROBES", "on_or_off"]

State = Literal["on", "off", "unknown"]

OBO_PROBES: Final[Mapping[str, Probe]] = {
    "setting": get("/api/2.1/settings/allowed_apps_user_api_scopes", case="allowed"),
    "apps": get("/api/2.0/apps", case="allowed", query={"page_size": "20"}),
}
NO_WAY: Final = (
    "No API says whether it is on for Model Serving. Deploy an agent with a user policy, and call obo_kit.preflight() in a "
    "request."
)


def on_or_off(bodies: Mapping[str, bytes]) -> tuple[State, str]:
    """Return whether apps get users' tokens, and what says so.

    The list of allowed scopes is a setting of the workspace (documented). An app whose tokens lack scopes that it is
    configured with was reported of workspaces where user authorization is off.

    Args:
        bodies: The answers to `OBO_PROBES` that were no refusals.
    """
    allowed = _scopes(_object(bodies.get("setting")).get("effective_allowed_apps_user_api_scopes"))
    if allowed == []:
        return "off", "the workspace allows no scope in users' tokens of apps (allowed_apps_user_api_scopes)"
    listed = _object(bodies.get("apps")).get("apps")
    apps = [app for app in listed if isinstance(app, dict)] if isinstance(listed, list) else []
    configured = [
        (wanted, _scopes(app.get("effective_user_api_scopes")) or [])
        for app in apps
        if (wanted := _scopes(app.get("user_api_scopes")))
    ]
    if any(set(wanted) <= set(effective) for wanted, effective in configured):
        return "on", "the tokens of an app carry all the scopes that it is configured with"
    if configured:
        return "off", "no app's tokens carry the scopes that it is configured with"
    if allowed:
        return "on", "the workspace allows scopes in users' tokens of apps (allowed_apps_user_api_scopes)"
    return "unknown", "no app that you may see has user_api_scopes"


def _object(body: bytes | None) -> Mapping[str, Any]:
    try:
        data = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _scopes(value: object) -> list[str] | None:
    if isinstance(value, dict):
        value = next((inner for inner in value.values() if isinstance(inner, list)), None)
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else None
