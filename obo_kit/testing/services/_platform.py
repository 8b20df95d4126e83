"""The settings of the workspace, and the runtimes that it offers."""

from __future__ import annotations

from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service

__all__ = ["Platform", "PlatformMixin"]

declare(
    {
        "setting_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="The setting {name} does not exist.",
            decision="not found",
            standing="inferred",
            source="ResourceDoesNotExist was reported of an unknown name; the wording is ours",
        ),
    }
)

# Keys and names as the documentation of the API has them, of three runtimes. They are ours: no release is meant.
_RUNTIMES = {
    "17.3.x-scala2.13": "17.3 LTS (includes Apache Spark 4.0.0, Scala 2.13)",
    "16.4.x-scala2.12": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.12)",
    "16.4.x-gpu-ml-scala2.12": "16.4 LTS ML (includes Apache Spark 3.5.2, GPU, Scala 2.12)",
}


class Platform(Service):
    """The settings of one workspace, and its runtimes. Lives as long as the workspace.

    Anybody may read the settings here. Databricks lets only admins read most of them (documented).
    """

    def __init__(self, core: Core) -> None:
        self._obo = core.obo

    def apis(self) -> list[Api]:
        """Return the routes."""
        return [
            Api(method="GET", path="/api/2.1/settings/{setting}", handler=self._setting),
            Api(method="GET", path="/api/2.1/clusters/spark-versions", handler=self._runtimes),
        ]

    def _setting(self, call: Call) -> Answer:
        name = call.params["setting"]
        if name == "allowedAppsUserApiScopes":
            return Answer(content={"name": name, "effective_allowed_apps_user_api_scopes": {"allowed_scopes": ["*"]}})
        targets = {"enable_obo_user_apps": "apps", "agents_obo": "model-serving"}
        if name not in targets:
            raise RefusedError("setting_missing", name=name)
        return Answer(content={"name": name, "effective_boolean_val": {"value": self._obo(targets[name])}})

    def _runtimes(self, _call: Call) -> Answer:
        return Answer(content={"versions": [{"key": key, "name": name} for key, name in _RUNTIMES.items()]})


class PlatformMixin(Mixin):
    """Settings and runtimes."""

    _platform = Part(Platform)
