"""The workspace's Databricks Apps, as their API describes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Any

from obo_kit.testing._kit import scopes_accepted_by
from obo_kit.testing._refusals import Refusal, RefusedError, declare, refusal_text
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._pages import page
from obo_kit.testing.server._service import Core, Mixin, Part, Service

__all__ = ["Apps", "AppsMixin"]

declare(
    {
        "app_denied": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="User does not have CAN_USE on app {name}",
            decision="missing grant",
            standing="inferred",
            source="kinds.databricks_app (CAN USE); the wording is ours",
        ),
        "app_missing": Refusal(
            status=404,
            code="NOT_FOUND",
            text="App with name {name} does not exist or is deleted.",
            decision="not found",
            standing="inferred",
            source="NOT_FOUND in databricks-sdk errors; the wording is ours",
        ),
        "app_bad_scope": Refusal(
            status=400,
            code="INVALID_PARAMETER_VALUE",
            text="The specified scope {scope} is not a valid scope.",
            decision="bad request",
            standing="reported",
            source="errors.apps_config_bad_scope",
        ),
    }
)

# The scopes that an app always has besides the configured ones.
_ALWAYS = ("iam.access-control:read", "iam.current-user:read")


class Apps(Service):
    """The apps of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self, core: Core) -> None:
        self._grants = core.grants
        self._credentials = core.service_principal
        self._workspace_id = core.workspace_id
        self._obo = core.obo
        self._lock = threading.Lock()
        self._apps: dict[str, dict[str, Any]] = {}

    def add(self, name: str, *, user_api_scopes: Iterable[str], url: str, description: str) -> None:
        """Add an app; see ``LocalWorkspace.add_app``."""
        if isinstance(user_api_scopes, str):
            msg = f"user_api_scopes= takes names in a list, not the single string {user_api_scopes!r}"
            raise ValueError(msg)
        if not re.fullmatch(r"[a-z0-9-]+", name):
            msg = f"The name of an app consists of small letters, digits and -, not {name!r}"
            raise ValueError(msg)
        scopes, accepted = list(user_api_scopes), scopes_accepted_by("apps")
        for scope in scopes:
            if scope not in accepted:
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
        """Return the routes."""
        return [
            Api(method="GET", path="/api/2.0/apps", handler=self._list),
            Api(method="GET", path="/api/2.0/apps/{app}", handler=self._get),
        ]

    def _list(self, call: Call) -> Answer:
        mine = [
            self._shown(self._apps[name])
            for name in self._grants.names("app")
            if self._grants.holds(call.user.principal, "CAN USE", "app", name)
        ]
        return page(call, "apps", mine, size="page_size")

    def _get(self, call: Call) -> Answer:
        name = call.params["app"]
        with self._lock:
            app = self._apps.get(name)
        if app is None:
            raise RefusedError("app_missing", name=name)
        if not self._grants.holds(call.user.principal, "CAN USE", "app", name):
            raise RefusedError("app_denied", name=name)
        return Answer(content=self._shown(app))

    def _shown(self, app: dict[str, Any]) -> dict[str, Any]:
        return app if self._obo("apps") else {**app, "effective_user_api_scopes": list(_ALWAYS)}


class AppsMixin(Mixin):
    """Databricks Apps."""

    _apps = Part(Apps)

    def add_app(self, name: str, *, user_api_scopes: Iterable[str] = (), url: str = "", description: str = "") -> None:
        """Add a Databricks App. ``WorkspaceClient.apps`` shows it to users with CAN USE on it.

        Its service principal has its name, as in ``as_app``.

        Args:
            name: Its name.
            user_api_scopes: The scopes of its users' tokens, besides those that Apps always grants.
            url: Its address; by default one like the platform's.
            description: Its description.

        Raises:
            ValueError: The name is malformed or taken, or Apps does not accept a scope (with the platform's text).
        """
        self._apps.add(name, user_api_scopes=user_api_scopes, url=url, description=description)
