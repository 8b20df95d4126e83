"""Tables of Unity Catalog: their metadata. Their data is read through a warehouse (``_warehouses``)."""

from __future__ import annotations

from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.iam._grants import Grants
from obo_kit.testing.server._app import Answer, Api, Call
from obo_kit.testing.server._pages import page
from obo_kit.testing.sql._engine import Engine
from obo_kit.testing.sql._results import column_body

__all__ = ["Tables"]

# A vector search index is a table of Unity Catalog too; the retriever tools read its columns here.
_KINDS = ("table", "vector_search_index")


class Tables:
    """Describes the tables of one workspace to those who may select from them. Lives as long as it."""

    def __init__(self, grants: Grants, engine: Engine) -> None:
        self._grants = grants
        self._engine = engine

    def apis(self) -> list[Api]:
        """The routes."""
        root = "/api/2.1/unity-catalog"
        return [
            Api(method="GET", path=root + "/catalogs", handler=self._catalogs),
            Api(method="GET", path=root + "/schemas", handler=self._schemas),
            Api(method="GET", path=root + "/tables", handler=self._list),
            Api(method="GET", path=root + "/tables/{table}", handler=self._get),
            Api(method="GET", path=root + "/tables/{table}/exists", handler=self._exists),
        ]

    def _get(self, call: Call) -> Answer:
        name = call.params["table"].lower()
        kind = self._kind(name)
        if kind is None:
            raise RefusedError("table_missing", name=name)
        if not self._grants.holds(call.user.principal, "SELECT", kind, name):
            raise RefusedError("table_denied", name=name)
        return Answer(content=self._info(name))

    def _exists(self, call: Call) -> Answer:
        name = call.params["table"].lower()
        return Answer(content={"table_exists": name in self._visible(call.user.principal)})

    def _list(self, call: Call) -> Answer:
        catalog, schema = call.query.get("catalog_name", "").lower(), call.query.get("schema_name", "").lower()
        if not catalog or not schema:
            raise RefusedError("invalid_parameter", detail="catalog_name and schema_name are required")
        names = [name for name in self._visible(call.user.principal) if name.startswith(f"{catalog}.{schema}.")]
        return page(call, "tables", [self._info(name) for name in names])

    def _schemas(self, call: Call) -> Answer:
        catalog = call.query.get("catalog_name", "").lower()
        if not catalog:
            raise RefusedError("invalid_parameter", detail="catalog_name is required")
        names = dict.fromkeys(tuple(name.split(".")[:2]) for name in self._named(call.user.principal))
        schemas = [
            {"name": schema, "catalog_name": parent, "full_name": f"{parent}.{schema}"}
            for parent, schema in names
            if parent == catalog
        ]
        return page(call, "schemas", schemas)

    def _catalogs(self, call: Call) -> Answer:
        names = dict.fromkeys(name.split(".")[0] for name in self._named(call.user.principal))
        return page(call, "catalogs", [{"name": name, "full_name": name} for name in names])

    # ------------------------------------------------------------------ looking things up

    def _kind(self, name: str) -> str | None:
        return next((kind for kind in _KINDS if self._grants.exists(kind, name)), None)

    def _visible(self, principal: Principal) -> list[str]:
        return self._held(principal, dict.fromkeys(_KINDS, "SELECT"))

    def _named(self, principal: Principal) -> list[str]:
        """What the principal may use of Unity Catalog. Whoever holds a grant is taken to see its schema and catalog."""
        return self._held(principal, {**dict.fromkeys(_KINDS, "SELECT"), "function": "EXECUTE"})

    def _held(self, principal: Principal, wanted: dict[str, str]) -> list[str]:
        return sorted(
            name
            for kind, privilege in wanted.items()
            for name in self._grants.names(kind)
            if self._grants.holds(principal, privilege, kind, name)
        )

    def _info(self, name: str) -> dict[str, Any]:
        catalog, schema, table = name.split(".")
        return {
            "name": table,
            "catalog_name": catalog,
            "schema_name": schema,
            "full_name": name,
            "table_type": "MANAGED",
            "data_source_format": "DELTA",
            "columns": [column_body(position, column) for position, column in enumerate(self._engine.columns(name))],
        }
