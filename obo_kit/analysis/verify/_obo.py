"""Tell whether on-behalf-of-user authorization is on, from what the workspace says of its settings and its apps.

A preview is a setting of the workspace, and the Settings API reads it (documented; as a rule, it answers admins only). The
names of these settings were reported: two listings of a workspace's settings, of 2026, call each as the page *Previews* does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from obo_kit.analysis.verify._probe import Probe, get

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obo_kit.scopes._lookup import Target

__all__ = ["LOOK_UP", "OBO_PROBES", "State", "on_or_off"]

State = Literal["on", "off", "unknown"]

_SETTINGS: Final = "/api/2.1/settings"
OBO_PROBES: Final[Mapping[Target, Mapping[str, Probe]]] = {
    "apps": {
        "allowed": get(f"{_SETTINGS}/allowedAppsUserApiScopes", case="allowed"),
        "enable_obo_user_apps": get(f"{_SETTINGS}/enable_obo_user_apps", case="allowed"),
        "apps": get("/api/2.0/apps", case="allowed", query={"page_size": "20"}),
    },
    "model-serving": {"agents_obo": get(f"{_SETTINGS}/agents_obo", case="allowed")},
}
"""What to ask of a target, by name."""
LOOK_UP: Final[Mapping[Target, str]] = {
    "apps": "No app that you may see has user_api_scopes, and you may not read the workspace's settings. Look it up, or ask an "
    'admin: your user menu, Previews, "Databricks Apps - On-Behalf-Of User Authorization".',
    "model-serving": "You may not read the workspace's setting agents_obo. Look it up, or ask an admin: your user menu, "
    'Previews, "Agent Framework: On-Behalf-Of-User Authorization".',
}
"""The way to look it up when the workspace does not say."""


def on_or_off(bodies: Mapping[str, bytes], target: Target) -> tuple[State, str]:
    """Return whether users' tokens reach what runs on a target, and what says so.

    An app shows it best: an app whose tokens lack scopes that it is configured with was reported of workspaces where user
    authorization is off. An empty list of allowed scopes switches it off (documented).

    Args:
        bodies: The answers to `OBO_PROBES` that were no refusals, by name.
        target: The runtime.
    """
    if target == "model-serving":
        return _preview(bodies, "agents_obo", target)
    allowed = _scopes(_object(bodies.get("allowed")).get("effective_allowed_apps_user_api_scopes"))
    if allowed == []:
        return "off", "The workspace allows no scope in users' tokens of apps (allowedAppsUserApiScopes)."
    listed = _object(bodies.get("apps")).get("apps")
    apps = [app for app in listed if isinstance(app, dict)] if isinstance(listed, list) else []
    configured = [
        (wanted, _scopes(app.get("effective_user_api_scopes")) or [])
        for app in apps
        if (wanted := _scopes(app.get("user_api_scopes")))
    ]
    if any(set(wanted) <= set(effective) for wanted, effective in configured):
        return "on", "The tokens of an app carry all the scopes that it is configured with."
    if configured:
        return "off", "No app's tokens carry the scopes that it is configured with."
    state, why = _preview(bodies, "enable_obo_user_apps", target)
    if state == "unknown" and allowed:
        return "on", "The workspace allows scopes in users' tokens of apps (allowedAppsUserApiScopes)."
    return state, why


def _preview(bodies: Mapping[str, bytes], name: str, target: Target) -> tuple[State, str]:
    value = _object(bodies.get(name)).get("effective_boolean_val")
    state = value.get("value") if isinstance(value, dict) else value
    if not isinstance(state, bool):
        return "unknown", LOOK_UP[target]
    said: State = "on" if state else "off"
    return said, f"The workspace's setting {name} is {said}."


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
