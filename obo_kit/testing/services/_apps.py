"""Databricks Apps of the workspace, as their API describes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from obo_kit.testing._refusals import RefusedError, refusal_text
from obo_kit.testing.iam._directory import ServicePrincipal
from obo_kit.testing.iam._grants import Grants
from obo_kit.testing.server._app import Answer, Api, Call
from obo_kit.testing.server._pages import page

__all__ = ["Apps"]

# What an app's effective scopes hold beside the configured ones.
_ALWAYS = ("iam.access-control:read", "iam.current-user:read")


class Apps:
    """The apps of one workspace. Lives as long as it; thread-safe."""

    def __init__(self, grants: Grants, credentials: Callable[[str], ServicePrincipal], workspace_id: str) -> None:
        self._grants = grants
        self._credentials = credentials
        self._workspace_id = workspace_id
        self._lock = threading.Lock()
        self._apps: dict[str, dict[str, Any]] = {}

    def add(self, name: str, *, user_api_scopes: Iterable[str], url: str, description: str) -> None:
        """Add an app; see ``LocalWorkspace.add_app``."""
        from obo_kit.scopes._lookup import SCOPES

        if isinstance(user_api_scopes, str):
            msg = f"user_api_scopes= takes names in a list, not the single string {user_api_scopes!r}"
            raise ValueError(msg)
        if not re.fullmatch(r"[a-z0-9-]+", name):
            msg = f"The name of an app is made of small letters, digits and -, not {name!r}"
            raise ValueError(msg)
        scopes = list(user_api_scopes)
        for scope in scopes:
            if scope not in SCOPES or "apps" not in SCOPES[scope].accepted_by:
                raise ValueError(refusal_text("app_bad_scope", scope=scope))
        self._grants.register("app", name)
        principal = self._credentials(name)
        with self._lock:
            self._apps[name] = {
                "name": name,
                "description": description,
                "url": url or f"https://{name}-{self._workspace_id}.aws.databricksapps.com",
                "service_principal_name": principal.name,
                "service_principal_client_id": principal.client_id,
                "oauth2_app_client_id": principal.client_id,
                "user_api_scopes": scopes,
                "effective_user_api_scopes": sorted({*scopes, *_ALWAYS}),
                "app_status": {"state": "RUNNING", "message": "App is running"},
                "compute_status": {"state": "ACTIVE", "message": "App compute is active"},
            }

    def apis(self) -> list[Api]:
        """The routes."""
        return [
            Api(method="GET", path="/api/2.0/apps", handler=self._list),
            Api(method="GET", path="/api/2.0/apps/{app}", handler=self._get),
        ]

    def _list(self, call: Call) -> Answer:
        mine = [
            self._apps[name]
            for name in self._grants.names("app")
            if self._grants.holds(call.user.principal, "CAN USE", "app", name)
        ]
        return page(call, "apps", mine, size="page_size")

    def _get(self, call: Call) -> Answer:
        name = call.params["app"]
        with self._lock:
            found = self._apps.get(name)
        if found is None:
            raise RefusedError("app_missing", name=name)
        if not self._grants.holds(call.user.principal, "CAN USE", "app", name):
            raise RefusedError("app_denied", name=name)
        return Answer(content=found)
