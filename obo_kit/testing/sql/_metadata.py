"""The contents of Unity Catalog as one user sees them: ``information_schema``, SHOW and DESCRIBE."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from obo_kit.testing.sql._dialect import UnreadableError
from obo_kit.testing.sql._types import sql_type

if TYPE_CHECKING:
    from obo_kit.testing.iam._directory import Principal
    from obo_kit.testing.iam._grants import Grants
    from obo_kit.testing.sql._databases import Session, Store

__all__ = ["Listing", "Metadata"]

Rows = list[tuple[str | None, ...]]
Listing = tuple[tuple[str, ...], Rows]
"""Names of columns, all of type text, and rows."""

_PART = r"(?:`[^`]+`|[\w-]+)"
_NAME = rf"({_PART}(?:\.{_PART}){{0,2}})"
_LIKE = r"(?:\s+(?:LIKE\s+)?['\"]([^'\"]*)['\"])?"
_SHOW = {
    "catalogs": rf"CATALOGS{_LIKE}",
    "schemas": rf"(?:SCHEMAS|DATABASES)(?:\s+(?:IN|FROM)\s+{_NAME})?{_LIKE}",
    "tables": rf"TABLES(?:\s+(?:IN|FROM)\s+{_NAME})?{_LIKE}",
    "views": rf"VIEWS(?:\s+(?:IN|FROM)\s+{_NAME})?{_LIKE}",
    "columns": rf"COLUMNS\s+(?:IN|FROM)\s+{_NAME}(?:\s+(?:IN|FROM)\s+{_NAME})?",
    "functions": rf"USER\s+FUNCTIONS(?:\s+(?:IN|FROM)\s+{_NAME})?{_LIKE}",
    "grants": rf"GRANTS?(?:\s+`?([\w@. -]+?)`?)?\s+ON\s+(?:(CATALOG|SCHEMA|DATABASE|TABLE|VIEW|FUNCTION|VOLUME)\s+)?{_NAME}",
}
_INFORMATION = ("catalogs", "schemata", "tables", "columns", "routines")


class Metadata:
    """The contents of a workspace, limited to what each user may see. Lives as long as the workspace."""

    def __init__(self, store: Store, grants: Grants) -> None:
        self._store = store
        self._grants = grants

    def tables(self, principal: Principal) -> list[str]:
        """Return the full names of the tables that a user sees, sorted."""
        return [name for name in self._grants.names("table") if self._grants.sees(principal, "table", name)]

    def _functions(self, principal: Principal) -> list[str]:
        return [name for name in sorted(self._store.functions) if self._grants.sees(principal, "function", name)]

    def schemas(self, principal: Principal) -> list[str]:
        """Return the full names of the schemas that a user sees, sorted."""
        return [name for name in self._grants.names("schema") if self._grants.sees(principal, "schema", name)]

    def catalogs(self, principal: Principal) -> list[str]:
        """Return the names of the catalogs that a user sees, sorted."""
        return [name for name in self._grants.names("catalog") if self._grants.sees(principal, "catalog", name)]

    # ------------------------------------------------------------------ information_schema

    def information(self, principal: Principal, name: str) -> exp.Expr:
        """Return a table of ``information_schema`` as a query. Raises UnreadableError if there is none."""
        catalog, _, table = name.split(".")
        if table not in _INFORMATION:
            raise UnreadableError("sql_missing", ".".join(f"`{part}`" for part in name.split(".")))
        columns, rows = getattr(self, f"_{table}")(principal, "" if catalog == "system" else catalog)
        names = [exp.to_identifier(column, quoted=True) for column in columns]
        values = [_row(row, columns) for row in rows] or [exp.Tuple(expressions=[_text(None) for _ in columns])]
        source = exp.Values(
            expressions=values, alias=exp.TableAlias(this=exp.to_identifier("rows", quoted=True), columns=names)
        )
        query = exp.Select(expressions=[exp.Column(this=each.copy()) for each in names]).from_(source)
        return query if rows else query.where(exp.false())

    def _catalogs(self, principal: Principal, catalog: str) -> Listing:
        rows: Rows = [(name, self._grants.owner("catalog", name)) for name in self.catalogs(principal)]
        return ("catalog_name", "catalog_owner"), [row for row in rows if not catalog or row[0] == catalog]

    def _schemata(self, principal: Principal, catalog: str) -> Listing:
        names = [name.split(".") for name in self.schemas(principal)]
        rows: Rows = [(parent, name, self._grants.owner("schema", f"{parent}.{name}")) for parent, name in names]
        return ("catalog_name", "schema_name", "schema_owner"), _within(rows, catalog)

    def _tables(self, principal: Principal, catalog: str) -> Listing:
        rows: Rows = [
            (*name.split("."), "MANAGED", self._grants.owner("table", name), "DELTA") for name in self.tables(principal)
        ]
        names = ("table_catalog", "table_schema", "table_name", "table_type", "table_owner", "data_source_format")
        return names, _within(rows, catalog)

    def _columns(self, principal: Principal, catalog: str) -> Listing:
        rows: Rows = [
            (*name.split("."), column, str(at), "YES", sql_type(duck)[1], sql_type(duck)[0].lower())
            for name in self.tables(principal)
            for at, (column, duck) in enumerate(self._store.tables[name].types.items())
        ]
        names = (
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "is_nullable",
            "data_type",
            "full_data_type",
        )
        return names, _within(rows, catalog)

    def _routines(self, principal: Principal, catalog: str) -> Listing:
        rows: Rows = [(*name.split("."), "FUNCTION", "SQL") for name in self._functions(principal)]
        return ("routine_catalog", "routine_schema", "routine_name", "routine_type", "routine_body"), _within(
            rows, catalog
        )

    # ------------------------------------------------------------------ SHOW and DESCRIBE

    def show(self, principal: Principal, text: str, session: Session) -> Listing:
        """Return the result of SHOW. Raises UnreadableError if it is not served."""
        for kind, pattern in _SHOW.items():
            match = re.fullmatch(pattern, text.strip().rstrip(";").strip(), re.IGNORECASE)
            if match is not None:
                return getattr(self, f"_show_{kind}")(principal, session, *match.groups())  # type: ignore[no-any-return]
        raise UnreadableError("sql_unsupported", f"SHOW {text.strip()} is not served.")

    def _show_catalogs(self, principal: Principal, _: Session, like: str | None) -> Listing:
        return ("catalog",), _matching([(name,) for name in self.catalogs(principal)], like)

    def _show_schemas(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        catalog = _parts(name)[0] if name else session.catalog
        names = (each.split(".") for each in self.schemas(principal))
        return ("databaseName",), _matching([(schema,) for parent, schema in names if parent == catalog], like)

    def _show_tables(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        place = _place(name, session)
        rows: Rows = [(schema, table, "false") for schema, table in self._in(self.tables(principal), place)]
        rows += [("", view, "true") for view in session.views]
        return ("database", "tableName", "isTemporary"), _matching(rows, like, at=1)

    def _show_views(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        rows: Rows = [("", view, "true", "false") for view in session.views]
        return ("namespace", "viewName", "isTemporary", "isMaterialized"), _matching(rows, like, at=1)

    def _show_functions(self, principal: Principal, session: Session, name: str | None, like: str | None) -> Listing:
        place = _place(name, session)
        names = [each for each in self._functions(principal) if each.startswith(f"{place}.")]
        return ("function",), _matching([(each,) for each in names], like)

    def _show_columns(self, principal: Principal, session: Session, name: str, schema: str | None) -> Listing:
        table = self._seen(principal, f"{schema}.{name}" if schema else name, session)
        return ("col_name",), [(column,) for column in self._store.tables[table].types]

    def _show_grants(
        self, principal: Principal, session: Session, who: str | None, kind: str | None, name: str
    ) -> Listing:
        kind = {None: "table", "database": "schema", "view": "table"}.get(kind and kind.lower(), (kind or "").lower())
        full = ".".join(_parts(name)) if kind == "catalog" else _full(name, session, 2 if kind == "schema" else 3)
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
        style = str(tree.args.get("style") or "").upper()
        if (
            not isinstance(target, exp.Table)
            or kind not in {"TABLE", "SCHEMA", "DATABASE", "CATALOG"}
            or style not in {"", "EXTENDED", "FORMATTED"}
        ):
            raise UnreadableError("sql_unsupported", f"DESCRIBE {style or kind} is not served.")
        parts = [part.name for part in target.parts]
        if kind != "TABLE":
            return self._describe_place(principal, "catalog" if kind == "CATALOG" else "schema", parts, session)
        name = self._seen(principal, ".".join(f"`{part}`" for part in parts), session)
        rows: Rows = [
            (column, sql_type(duck)[0].lower(), None) for column, duck in self._store.tables[name].types.items()
        ]
        if style:
            catalog, schema, table = name.split(".")
            details = {
                "Catalog": catalog,
                "Database": schema,
                "Table": table,
                "Type": "MANAGED",
                "Provider": "delta",
                "Owner": self._grants.owner("table", name),
            }
            rows += [
                ("", "", ""),
                ("# Detailed Table Information", "", ""),
                *((key, value, "") for key, value in details.items()),
            ]
        return ("col_name", "data_type", "comment"), rows

    def _describe_place(self, principal: Principal, kind: str, parts: list[str], session: Session) -> Listing:
        name = ".".join([*([session.catalog] if kind == "schema" and len(parts) == 1 else []), *parts]).lower()
        if name not in (self.schemas(principal) if kind == "schema" else self.catalogs(principal)):
            raise UnreadableError("sql_no_schema", ".".join(f"`{part}`" for part in name.split(".")))
        labels = ("Catalog Name", "Namespace Name") if kind == "schema" else ("Catalog Name",)
        rows: Rows = [*zip(labels, name.split("."), strict=True), ("Owner", self._grants.owner(kind, name))]
        return ("info_name", "info_value") if kind == "catalog" else (
            "database_description_item",
            "database_description_value",
        ), rows

    # ------------------------------------------------------------------ names

    def _seen(self, principal: Principal, name: str, session: Session) -> str:
        full = _full(name, session, 3)
        if not self._grants.exists("table", full):
            raise UnreadableError("sql_missing", ".".join(f"`{part}`" for part in full.split(".")))
        if not self._grants.sees(principal, "table", full):
            raise UnreadableError("sql_lacks", f"SELECT on Table '{full}'")
        return full

    @staticmethod
    def _in(names: Iterable[str], place: str) -> list[tuple[str, str]]:
        parts = (name.split(".") for name in names if name.startswith(f"{place}."))
        return [(schema, table) for _, schema, table in parts]


def _parts(name: str) -> list[str]:
    return [part.strip("`").lower() for part in re.findall(_PART, name)]


def _full(name: str, session: Session, count: int) -> str:
    parts = _parts(name)
    return ".".join([*[session.catalog, session.schema][: max(0, count - len(parts))], *parts]).lower()


def _place(name: str | None, session: Session) -> str:
    return _full(name, session, 2) if name else f"{session.catalog}.{session.schema}".lower()


def _matching(rows: Rows, like: str | None, *, at: int = 0) -> Rows:
    """Return the rows whose name matches a SHOW pattern: ``*`` for any characters, ``|`` between alternatives."""
    patterns = [each.strip().lower() for each in (like or "*").split("|")]
    return [row for row in rows if any(fnmatch.fnmatchcase(str(row[at]).lower(), pattern) for pattern in patterns)]


def _within(rows: Rows, catalog: str) -> Rows:
    return [row for row in rows if not catalog or row[0] == catalog]


def _text(value: str | None) -> exp.Expr:
    literal = exp.null() if value is None else exp.Literal.string(value)
    return exp.Cast(this=literal, to=exp.DataType.build("TEXT"))


def _row(row: Sequence[str | None], columns: Sequence[str]) -> exp.Tuple:
    return exp.Tuple(
        expressions=[
            exp.Literal.number(int(str(value))) if column == "ordinal_position" else _text(value)
            for value, column in zip(row, columns, strict=True)
        ]
    )
