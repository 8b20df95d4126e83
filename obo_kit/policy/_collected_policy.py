"""The ``AuthPolicy`` that the kit writes: MLflow's class with a readable repr. Imports MLflow."""

from __future__ import annotations

from typing import Any

from mlflow.models.auth_policy import AuthPolicy

from obo_kit._utils.html import html_table
from obo_kit.scopes._lookup import kind_of

__all__ = ["CollectedPolicy"]


class CollectedPolicy(AuthPolicy):
    """MLflow's policy, with a repr that lists its contents."""

    def __repr__(self) -> str:
        user, system = (", ".join(names) or "nothing" for names in self._parts())
        return f"<AuthPolicy: as the user: {user}; as the agent itself: {system}>"

    def _repr_html_(self) -> str:
        user, system = self._parts()
        rows = [("the user", name) for name in user] + [("the agent itself", name) for name in system]
        return html_table(("runs as", "scope or resource"), rows, title="AuthPolicy")

    def _parts(self) -> tuple[list[str], list[str]]:
        user: Any = self.user_auth_policy
        system: Any = self.system_auth_policy
        scopes = list(user.api_scopes) if user is not None else []
        resources = list(system.resources) if system is not None else []
        return scopes, [f"{kind_of(resource).title} {resource.name}" for resource in resources]
