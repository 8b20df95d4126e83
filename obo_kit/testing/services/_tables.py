"""Tables of Unity Catalog: their metadata. Their data is read through a warehouse (``_warehouses``)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._pages import page
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.services._permissions import check_granted
from obo_kit.testing.sql._results import column_body
from obo_kit.testing.sql._rows import Rows
from obo_kit.testing.sql._types import Column

__all__ = ["Tables", "TablesMixin"]

# A vector search index is also a table of Unity Catalog. The retriever tools read its columns here.
_KINDS = ("table", "vector_search_index")


class Tables(Service):
    """Describes the tables of one workspace to users who may select from them. Lives as long as the workspace."""

    def __init__(self, core: Core) -> None:
        self._grants = core.grants
        self._engine = core.engine

    def apis(self) -> list[Api]:
        """Return the routes."""
        root = "/api/2.1/unity-catalog"
        return [
            Api(method="GET", path=root + "/catalogs", handler=self._catalogs),
            Api(method="GET", path=root + "/catalogs/{name}", handler=functools.partial(self._place, "catalog")),
            Api(method="GET", path=root + "/schemas", handler=self._schemas),
            Api(method="GET", path=root + "/schemas/{name}", handler=functools.partial(self._place, "schema")),
            Api(method="GET", path=root + "/tables", handler=self._list),
            Api(method="GET", path=root + "/tables/{table}", handler=self._get),
            Api(method="GET", path=root + "/tables/{table}/exists", handler=self._exists),
        ]

    def _get(self, call: Call) -> Answer:
        name = call.params["table"].lower()
        kind = self._kind(name)
        if kind is None:
            raise RefusedError("table_missing", name=name)
        check_granted(self._grants, call.user.principal, "SELECT", kind, name)
        return Answer(content=self._info(name))

    def _exists(self, call: Call) -> Answer:
        name = call.params["table"].lower()
        return Answer(content={"table_exists": name in self.visible(call.user.principal)})

    def _list(self, call: Call) -> Answer:
        catalog, schema = call.query.get("catalog_name", "").lower(), call.query.get("schema_name", "").lower()
        if not catalog or not schema:
            raise RefusedError("invalid_parameter", detail="catalog_name and schema_name are required")
        names = [name for name in self.visible(call.user.principal) if name.startswith(f"{catalog}.{schema}.")]
        return page(call, "tables", [self._info(name) for name in names])

    def _schemas(self, call: Call) -> Answer:
        catalog = call.query.get("catalog_name", "").lower()
        if not catalog:
            raise RefusedError("invalid_parameter", detail="catalog_name is required")
        names = self._seen(call.user.principal, "schema")
        return page(call, "schemas", [self._described(name) for name in names if name.startswith(f"{catalog}.")])

    def _catalogs(self, call: Call) -> Answer:
        return page(call, "catalogs", [self._described(name) for name in self._seen(call.user.principal, "catalog")])

    def _place(self, kind: str, call: Call) -> Answer:
        name = call.params["name"].lower()
        if not self._grants.exists(kind, name):
            raise RefusedError("uc_missing", kind=kind.title(), name=name)
        if not self._grants.sees(call.user.principal, kind, name):
            check_granted(self._grants, call.user.principal, f"USE {kind.upper()}", kind, name)
        return Answer(content=self._described(name))

    def _described(self, full: str) -> dict[str, Any]:
        """Return a catalog or schema."""
        catalog, _, name = full.rpartition(".")
        owner = self._grants.owner("schema" if catalog else "catalog", full)
        return {
            "name": name,
            "full_name": full,
            **({"catalog_name": catalog} if catalog else {}),
            **({"owner": owner} if owner else {}),
        }

    # ------------------------------------------------------------------ looking things up

    def _kind(self, name: str) -> str | None:
        return next((kind for kind in _KINDS if self._grants.exists(kind, name)), None)

    def visible(self, principal: Principal) -> list[str]:
        """Return the full names of the tables that the principal may read."""
        names = ((kind, name) for kind in _KINDS for name in self._grants.names(kind))
        return sorted(name for kind, name in names if self._grants.holds(principal, "SELECT", kind, name))

    def columns(self, table: str) -> Sequence[Column]:
        """Return the columns of a table."""
        return self._engine.columns(table)

    def _seen(self, principal: Principal, kind: str) -> list[str]:
        return [name for name in self._grants.names(kind) if self._grants.sees(principal, kind, name)]

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


class TablesMixin(Mixin):
    """Tables of Unity Catalog."""

    _tables = Part(Tables)

    def add_table(
        self,
        name: str,
        rows: Rows,
        *,
        row_filter: str | None = None,
        column_masks: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table of Unity Catalog. Users need SELECT on it, and query it through a warehouse.

        Filter and masks are SQL over the table's columns. They apply whatever statement, function or Genie space reads the
        table. ``current_user()`` and ``is_account_group_member('…')`` in them refer to the caller. They may call functions
        and read tables that were added before::

            workspace.add_table(
                "main.hr.people",
                rows,
                row_filter="manager = current_user() OR is_account_group_member('hr')",
                column_masks={"salary": "CASE WHEN is_account_group_member('hr') THEN salary END"},
            )

        Args:
            name: ``catalog.schema.table``.
            rows: Records, or the path of a CSV file with a line of column names. At least one. Columns and their types come
                from them.
            row_filter: A condition. Users see the rows for which it is true.
            column_masks: Per column, an expression of the same type that users see in its place.

        Raises:
            ValueError: Name or rows are unusable, or filter or masks do not fit them.
        """
        loaded = self._core.engine.load(name, rows, row_filter=row_filter, column_masks=column_masks)
        self._core.grants.register("table", loaded)
