"""The contents of Unity Catalog as one user sees them: ``information_schema``, SHOW and DESCRIBE."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sqlglot import exp

from obo_kit.testing.sql._databases import NAME, PART, backticked, parts_of
from obo_kit.testing.sql._information_schema import TABLES, relation
from obo_kit.testing.sql._refusals import StatementError
from obo_kit.testing.sql._types import sql_type

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Principal
    from obo_kit.testing.iam._grants import Grants
    from obo_kit.testing.sql._databases import Session, Store

__all__ = ["Listing", "Metadata"]

Rows = list[tuple[str | None, ...]]
Listing = tuple[tuple[str, ...], Rows]
"""Names of columns, all of type text, and rows."""
Cells = dict[str, str | None]
"""Values of a row by column."""

_IN = rf"(?:\s+(?:IN|FROM)\s+({NAME}))?"
_LIKE = r"(?:\s+(?:LIKE\s+)?['\"]([^'\"]*)['\"])?"
_SCHEMA_LIKE = r"(?:\s+SCHEMA\s+LIKE\s+'([^']*)')?"
_SHOW = {
    "catalogs": rf"CATALOGS{_LIKE}",
    "schemas": rf"(?:SCHEMAS|DATABASES){_IN}{_LIKE}",
    "tables": rf"TABLES{_IN}{_LIKE}",
    # The connector's SEA mode and the JDBC driver ask for metadata in these forms, which are not documented.
    "tables_of": rf"TABLES\s+IN\s+(?:ALL\s+CATALOGS|CATALOG\s+({PART})){_SCHEMA_LIKE}{_LIKE}",
    "columns_of": rf"COLUMNS\s+IN\s+CATALOG\s+({PART}){_SCHEMA_LIKE}(?:\s+TABLE\s+LIKE\s+'([^']*)')?{_LIKE}",
    "views": rf"VIEWS{_IN}{_LIKE}",
    "extended": rf"TABLE\s+EXTENDED{_IN}{_LIKE}",
    "create": rf"CREATE\s+TABLE\s+({NAME})",
    "volumes": rf"VOLUMES{_IN}{_LIKE}",
    "columns": rf"COLUMNS\s+(?:IN|FROM)\s+({NAME}){_IN}",
    "functions": rf"USER\s+FUNCTIONS{_IN}{_LIKE}",
    "grants": rf"GRANTS?(?:\s+`?([\w@. -]+?)`?)?\s+ON\s+(?:(CATALOG|SCHEMA|DATABASE|TABLE|VIEW|FUNCTION|VOLUME)\s+)?({NAME})",
}


class Metadata:
    """The contents of a workspace, limited to what each user may see. Lives as long as the workspace."""

    def __init__(self, store: Store, grants: Grants) -> None:
        self._store = store
        self._grants = grants

    def _names(self, principal: Principal, kind: str) -> list[str]:
        """Return the full names of the securables of a kind that a user sees, sorted."""
        return [name for name in self._grants.names(kind) if self._grants.sees(principal, kind, name)]

    # ------------------------------------------------------------------ information_schema

    def information(self, principal: Principal, name: str) -> exp.Expr:
        """Return a table of ``information_schema`` as a query. Raises StatementError if there is none.

        A table about something that the local workspace does not have (views, constraints, tags) is empty.
        """
        catalog, _, table = name.split(".")
        if table not in TABLES:
            raise StatementError("sql_missing", backticked(name))
        contents = getattr(self, f"_{table}", None)
        rows: Iterable[Cells] = contents(principal) if contents is not None else ()
        return relation(table, (row for row in rows if catalog in {"system", next(iter(row.values()))}))

    def _catalogs(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "catalog"):
            yield {"catalog_name": name, "catalog_owner": self._grants.owner("catalog", name)}

    def _schemata(self, principal: Principal) -> Iterator[Cells]:
        for full in self._names(principal, "schema"):
            catalog, name = full.split(".")
            yield {"catalog_name": catalog, "schema_name": name, "schema_owner": self._grants.owner("schema", full)}

    def _tables(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "table"):
            details = {"table_type": "MANAGED", "is_insertable_into": "YES", "commit_action": "PRESERVE"}
            owner = self._grants.owner("table", name)
            comment = self._store.tables[name].comment
            made = {"table_owner": owner, "data_source_format": "DELTA", "comment": comment}
            yield {**_named("table", name), **details, **made}

    def _columns(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "table"):
            for at, (column, duck) in enumerate(self._store.tables[name].types.items(), 1):
                yield {
                    **_named("table", name),
                    "column_name": column,
                    "ordinal_position": str(at),
                    "is_nullable": "YES",
                    "is_updatable": "YES",
                    **_data(*sql_type(duck)),
                    "comment": self._store.tables[name].column_comments.get(column.lower()),
                }

    def _table_privileges(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "table"):
            for who, privilege, place, _ in self._grants.listed("table", name, inherited=True):
                if who in {principal.user_name, *principal.groups} or self._grants.manages(principal, "table", name):
                    inherited = "NONE" if place == "table" else place.upper()
                    yield {
                        **_named("table", name),
                        "grantee": who,
                        "privilege_type": privilege.replace(" ", "_"),
                        "is_grantable": "NO",
                        "inherited_from": inherited,
                    }

    def _volumes(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "volume"):
            owner = self._grants.owner("volume", name)
            yield {**_named("volume", name), "volume_type": "MANAGED", "volume_owner": owner}

    def _routines(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "function"):
            function = self._store.functions[name]
            returns = function.returns if isinstance(function.returns, str) else "TABLE"
            yield {
                **_named("routine", name),
                **_named("specific", name),
                "routine_owner": self._grants.owner("function", name),
                "routine_type": "FUNCTION",
                "data_type": returns.partition("(")[0].upper(),
                "full_data_type": returns.lower(),
                "routine_body": "SQL",
                "security_type": "DEFINER",
                "comment": function.comment or None,
            }

    def _parameters(self, principal: Principal) -> Iterator[Cells]:
        for name in self._names(principal, "function"):
            for at, parameter in enumerate(self._store.functions[name].parameters, 1):
                yield {
                    **_named("specific", name),
                    "ordinal_position": str(at),
                    "parameter_mode": "IN",
                    "is_result": "NO",
                    "parameter_name": parameter.name,
                    "data_type": parameter.type_text.partition("(")[0].upper(),
                    "full_data_type": parameter.type_text.lower(),
                    "parameter_default": parameter.default,
                    "comment": parameter.comment or None,
                }

    def _information_schema_catalog_name(self, principal: Principal) -> Iterator[Cells]:
        return ({"catalog_name": name} for name in self._names(principal, "catalog"))

    # ------------------------------------------------------------------ SHOW and DESCRIBE

    def show(self, principal: Principal, text: str, session: Session) -> Listing:
        """Return the result of SHOW. Raises StatementError if it is not served."""
        for kind, pattern in _SHOW.items():
            match = re.fullmatch(pattern, text.strip().rstrip(";").strip(), re.IGNORECASE)
            if match is not None:
                return getattr(self, f"_show_{kind}")(principal, session, *match.groups())  # type: ignore[no-any-return]
        raise StatementError("sql_unsupported", f"SHOW {text.strip()} is not served.")

    def _show_catalogs(self, principal: Principal, _: Session, like: str | None) -> Listing:
        return ("catalog",), _matching([(name,) for name in self._names(principal, "catalog")], like)

    def _show_schemas(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        catalog = parts_of(name)[0].lower() if name else session.catalog
        names = (each.split(".") for each in self._names(principal, "schema"))
        return ("databaseName",), _matching([(schema,) for parent, schema in names if parent == catalog], like)

    def _show_tables(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        place = session.complete(parts_of(name or ""), 2)
        rows: Rows = [(schema, table, "false") for schema, table in self._in(self._names(principal, "table"), place)]
        rows += [("", view, "true") for view in session.views]
        return ("database", "tableName", "isTemporary"), _matching(rows, like, at=1)

    def _show_tables_of(
        self, principal: Principal, _: Session, catalog: str | None, schema: str | None, like: str | None
    ) -> Listing:
        rows: Rows = [
            (place, table, "false", "", parent, "TABLE", "")
            for parent, place, table in (name.split(".") for name in self._names(principal, "table"))
            if catalog is None or parent == parts_of(catalog)[0].lower()
        ]
        # The names of the columns are the JDBC driver's; their order is inferred.
        columns = ("namespace", "tableName", "isTemporary", "information", "catalogName", "tableType", "remarks")
        return columns, _matching(_matching(rows, schema), like, at=1)

    def _show_columns_of(self, principal: Principal, session: Session, catalog: str, *patterns: str | None) -> Listing:
        schema, table, like = patterns
        _, tables = self._show_tables_of(principal, session, catalog, schema, table)
        rows: Rows = [
            (column, f"{parent}", f"{place}", f"{name}", sql_type(duck)[0], str(at), "true", "")
            for place, name, _, _, parent, *_ in tables
            for at, (column, duck) in enumerate(self._store.tables[f"{parent}.{place}.{name}"].types.items(), 1)
        ]
        columns = ("col_name", "catalogName", "namespace", "tableName", "columnType", "ordinalPosition", "isNullable")
        return (*columns, "remarks"), _matching(rows, like)

    def _show_extended(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        columns, rows = self._show_tables(principal, session, name, like)
        place = session.complete(parts_of(name or ""), 2)
        return (*columns, "information"), [
            (*row, self._information_text(f"{place}.{row[1]}")) for row in rows if row[2] == "false"
        ]

    def _information_text(self, name: str) -> str:
        kinds = self._store.tables[name].types.items()
        lines = [f"{label}: {value}" for label, value in self._details(name).items() if value]
        lines += [
            "Schema: root",
            *(f" |-- {column}: {sql_type(duck)[0].lower()} (nullable = true)" for column, duck in kinds),
        ]
        return "\n".join([*lines, "", ""])

    def _show_create(self, principal: Principal, session: Session, name: str) -> Listing:
        table = self._seen(principal, name, session)
        columns = ",\n".join(
            f"  {column} {sql_type(duck)[0]}" for column, duck in self._store.tables[table].types.items()
        )
        return ("createtab_stmt",), [(f"CREATE TABLE {table} (\n{columns})\nUSING delta\n",)]

    def _show_volumes(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        return ("database", "volume_name"), _matching(
            list(self._in(self._names(principal, "volume"), session.complete(parts_of(name or ""), 2))), like, at=1
        )

    def _show_views(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        rows: Rows = [("", view, "true", "false") for view in session.views]
        return ("namespace", "viewName", "isTemporary", "isMaterialized"), _matching(rows, like, at=1)

    def _show_functions(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        place = session.complete(parts_of(name or ""), 2)
        names = [each for each in self._names(principal, "function") if each.startswith(f"{place}.")]
        return ("function",), _matching([(each,) for each in names], like)

    def _show_columns(self, principal: Principal, session: Session, name: str, schema: str | None) -> Listing:
        table = self._seen(principal, f"{schema}.{name}" if schema else name, session)
        return ("col_name",), [(column,) for column in self._store.tables[table].types]

    def _show_grants(
        self, principal: Principal, session: Session, who: str | None, kind: str | None, name: str
    ) -> Listing:
        kind, full = session.securable(kind, name)
        rows: Rows = [
            (grantee, privilege, place.upper(), where)
            for grantee, privilege, place, where in self._grants.listed(kind, full, inherited=True)
            if (who is None or grantee == who)
            and (self._grants.manages(principal, kind, full) or grantee in {principal.user_name, *principal.groups})
        ]
        return ("Principal", "ActionType", "ObjectType", "ObjectKey"), rows

    def describe(self, principal: Principal, tree: exp.Describe, session: Session) -> Listing:
        """Return a table's columns in the platform's form, and more if EXTENDED asks for it."""
        target, kind = tree.this, str(tree.args.get("kind") or "TABLE").upper()
        style = "AS JSON" if tree.args.get("as_json") else str(tree.args.get("style") or "").upper()
        if (
            not isinstance(target, exp.Table)
            or kind not in {"TABLE", "SCHEMA", "DATABASE", "CATALOG"}
            or style not in {"", "EXTENDED", "FORMATTED"}
        ):
            raise StatementError("sql_unsupported", f"DESCRIBE {style or kind} is not served.")
        parts = [part.name for part in target.parts]
        if kind != "TABLE":
            return self._describe_place(principal, "catalog" if kind == "CATALOG" else "schema", parts, session)
        name = self._seen(principal, backticked(".".join(parts)), session)
        table = self._store.tables[name]
        rows: Rows = [
            (column, sql_type(duck)[0].lower(), table.column_comments.get(column.lower()))
            for column, duck in table.types.items()
        ]
        if style:
            rows += [
                ("", "", ""),
                ("# Detailed Table Information", "", ""),
                *((key, value or "", "") for key, value in self._details(name).items()),
            ]
        return ("col_name", "data_type", "comment"), rows

    def _details(self, name: str) -> Cells:
        catalog, schema, table = name.split(".")
        place: Cells = {"Catalog": catalog, "Database": schema, "Table": table}
        comment = self._store.tables[name].comment
        said: Cells = {"Comment": comment} if comment else {}
        return {**place, "Type": "MANAGED", **said, "Provider": "delta", "Owner": self._grants.owner("table", name)}

    def _describe_place(self, principal: Principal, kind: str, parts: list[str], session: Session) -> Listing:
        name = session.complete(parts, 2 if kind == "schema" else 1)
        if name not in self._names(principal, kind):
            raise StatementError(f"sql_no_{kind}", backticked(name))
        labels = ("Catalog Name", "Namespace Name") if kind == "schema" else ("Catalog Name",)
        rows: Rows = [*zip(labels, name.split("."), strict=True), ("Owner", self._grants.owner(kind, name))]
        return ("info_name", "info_value") if kind == "catalog" else (
            "database_description_item",
            "database_description_value",
        ), rows

    # ------------------------------------------------------------------ names

    def _seen(self, principal: Principal, name: str, session: Session) -> str:
        full = session.complete(parts_of(name))
        if not self._grants.exists("table", full):
            raise StatementError("sql_missing", backticked(full))
        if not self._grants.sees(principal, "table", full):
            raise StatementError("sql_lacks", f"SELECT on Table '{full}'")
        return full

    @staticmethod
    def _in(names: Iterable[str], place: str) -> list[tuple[str, str]]:
        parts = (name.split(".") for name in names if name.startswith(f"{place}."))
        return [(schema, table) for _, schema, table in parts]


def _matching(rows: Rows, like: str | None, *, at: int = 0) -> Rows:
    """Return the rows whose name matches a SHOW pattern: ``*`` for any characters, ``|`` between alternatives."""
    patterns = [each.strip().lower() for each in (like or "*").split("|")]
    return [row for row in rows if any(fnmatch.fnmatchcase(str(row[at]).lower(), pattern) for pattern in patterns)]


def _named(kind: str, name: str) -> Cells:
    return dict(zip((f"{kind}_catalog", f"{kind}_schema", f"{kind}_name"), name.split("."), strict=True))


def _data(type_text: str, type_name: str) -> Cells:
    """Return what ``information_schema`` says of a type."""
    bits = {"BYTE": "8", "SHORT": "16", "INT": "32", "LONG": "64", "FLOAT": "24", "DOUBLE": "53"}
    numbers = re.findall(r"\d+", type_text) if type_name == "DECIMAL" else [bits.get(type_name), None]
    whole = type_name in {"BYTE", "SHORT", "INT", "LONG"}
    return {
        "data_type": type_name,
        "full_data_type": type_text.lower(),
        "numeric_precision": numbers[0],
        "numeric_precision_radix": "10" if type_name == "DECIMAL" else "2" if numbers[0] else None,
        "numeric_scale": "0" if whole else numbers[1],
        "datetime_precision": {"DATE": "0", "TIMESTAMP": "3"}.get(type_name),
    }
