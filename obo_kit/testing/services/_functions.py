"""Functions of Unity Catalog: their descriptions, and who may execute them. They run as SQL (``_sql``)."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._pages import page
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.services._permissions import check_granted
from obo_kit.testing.sql._engine import Function, Outcome, Parameter, split_name
from obo_kit.testing.sql._texts import text_of
from obo_kit.testing.sql._types import sql_type, type_json

__all__ = ["Function", "Functions", "FunctionsMixin", "Parameter"]

# The type, the text after DEFAULT, and the text after COMMENT, as in CREATE FUNCTION.
_PARAMETER = re.compile(
    r"(?P<type>.+?)(?:\s+DEFAULT\s+(?P<default>.+?))?(?:\s+COMMENT\s+'(?P<comment>(?:[^']|'')*)')?",
    re.IGNORECASE | re.DOTALL,
)
_TABLE = re.compile(r"TABLE\s*\((.*)\)", re.IGNORECASE | re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z_]\w*")


class Functions(Service):
    """The functions of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self, core: Core) -> None:
        self._grants = core.grants
        self._engine = core.engine
        self._functions: dict[str, Function] = {}

    def add(self, name: str, body: str, *, parameters: Mapping[str, str], returns: str, comment: str) -> None:
        """Add a function; see ``LocalWorkspace.add_function``."""
        function = Function(
            name=".".join(split_name(name)),
            body=re.sub(r"^\s*RETURN\b", "", body, flags=re.IGNORECASE).strip().rstrip(";"),
            parameters=tuple(_parameter(name, each, text) for each, text in parameters.items()),
            returns=_returns(name, returns),
            comment=comment,
        )
        if not function.body:
            msg = f"Function {name!r} needs a body: an expression or a query"
            raise ValueError(msg)
        self._engine.define(function)
        self._functions[function.name] = function
        self._grants.register("function", function.name)

    def find(self, principal: Principal, name: str) -> Function:
        """Return the function of that full name to a principal who may execute it.

        Raises:
            RefusedError: There is no such function, or the principal does not hold EXECUTE on it.
        """
        function = self._functions.get(name.lower())
        if function is None:
            raise RefusedError("function_missing", name=name)
        check_granted(self._grants, principal, "EXECUTE", "function", function.name)
        return function

    def executable(self, principal: Principal, catalog: str, schema: str) -> list[Function]:
        """Return the functions of a schema that the principal may execute, by name."""
        start = f"{catalog}.{schema}.".lower()
        return [
            self._functions[name]
            for name in self._grants.names("function")
            if name.startswith(start) and self._grants.holds(principal, "EXECUTE", "function", name)
        ]

    def execute(self, principal: Principal, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """Run a function as the principal, who needs EXECUTE on it and no warehouse.

        Args:
            principal: The caller.
            name: The function's full name.
            arguments: Values by parameter, of JSON's types.

        Returns:
            One column ``output`` and one row, or the rows of a table function; or the reason why it failed.

        Raises:
            RefusedError: There is no such function, the principal may not execute it, or an argument is missing or unknown.
        """
        function = self.find(principal, name)
        known = {parameter.name: parameter for parameter in function.parameters}
        missing = [
            parameter.name
            for parameter in function.parameters
            if parameter.default is None and parameter.name not in arguments
        ]
        wrong = [f"unknown parameter {each}" for each in arguments if each not in known]
        wrong += [f"missing parameter {each}" for each in missing]
        if wrong:
            raise RefusedError("invalid_parameter", detail=f"Function {function.name}: {', '.join(wrong)}")
        named_arguments = ", ".join(f"{each} => :{each}" for each in arguments)
        call = ".".join(f"`{part}`" for part in split_name(name)) + f"({named_arguments})"
        scalar = isinstance(function.returns, str)
        return self._engine.run(
            principal,
            f"SELECT {call} AS output" if scalar else f"SELECT * FROM {call}",  # noqa: S608  checked names
            parameters=[
                {"name": each, "type": known[each].type_text, "value": text_of(value)}
                for each, value in arguments.items()
            ],
        )

    def apis(self) -> list[Api]:
        """Return the routes."""
        functions = "/api/2.1/unity-catalog/functions"
        return [
            Api(method="GET", path=functions, handler=self._list),
            Api(method="GET", path=functions + "/{function}", handler=self._get),
        ]

    def _list(self, call: Call) -> Answer:
        catalog, schema = call.query.get("catalog_name", ""), call.query.get("schema_name", "")
        if not catalog or not schema:
            raise RefusedError("invalid_parameter", detail="catalog_name and schema_name are required")
        # The platform silently omits what the user may not execute.
        return page(call, "functions", [_info(each) for each in self.executable(call.user.principal, catalog, schema)])

    def _get(self, call: Call) -> Answer:
        return Answer(content=_info(self.find(call.user.principal, call.params["function"])))


def _parameter(function: str, name: str, text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text.strip())
    if match is None or not _PLAIN.fullmatch(name):
        msg = f"Parameter {name!r} of function {function!r} needs a plain name and a SQL type, as in 'STRING', not {text!r}"
        raise ValueError(msg)
    type_text, _ = sql_type(_duck_type(match["type"]))
    comment = (match["comment"] or "").replace("''", "'")
    return Parameter(name=name.lower(), type_text=type_text, default=match["default"], comment=comment)


def _returns(function: str, text: str) -> str | tuple[Parameter, ...]:
    table = _TABLE.fullmatch(text.strip())
    if table is None:
        return sql_type(_duck_type(text))[0]
    # Commas inside DECIMAL(10, 2) do not divide columns.
    columns = re.split(r",(?![^(]*\))", table[1])
    return tuple(_parameter(function, *column.strip().partition(" ")[::2]) for column in columns)


def _info(function: Function) -> dict[str, Any]:
    """Return a function as the API describes it."""
    catalog, schema, name = split_name(function.name)
    scalar = isinstance(function.returns, str)
    info: dict[str, Any] = {
        "name": name,
        "catalog_name": catalog,
        "schema_name": schema,
        "full_name": function.name,
        "specific_name": name,
        "function_id": str(uuid.uuid5(uuid.NAMESPACE_DNS, function.name)),
        "comment": function.comment,
        "input_params": {"parameters": _parameters(function.parameters)},
        "data_type": _base(function.returns) if isinstance(function.returns, str) else "TABLE_TYPE",
        "full_data_type": function.returns if scalar else "TABLE",
        "routine_body": "SQL",
        "routine_definition": function.body,
        "parameter_style": "S",
        "is_deterministic": False,
        "is_null_call": False,
        "sql_data_access": "READS_SQL_DATA",
        "security_type": "DEFINER",
    }
    if not isinstance(function.returns, str):
        info["return_params"] = {"parameters": _parameters(function.returns)}
    return info


def _parameters(parameters: tuple[Parameter, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "type_text": each.type_text.lower(),
            "type_name": _base(each.type_text),
            "type_json": json.dumps(
                {"name": each.name, "type": type_json(each.type_text), "nullable": True, "metadata": {}}
            ),
            "position": position,
            "parameter_mode": "IN",
            "parameter_type": "PARAM",
            **({"parameter_default": each.default} if each.default is not None else {}),
            **({"comment": each.comment} if each.comment else {}),
        }
        for position, each in enumerate(parameters)
    ]


def _base(type_text: str) -> str:
    return sql_type(_duck_type(type_text))[1]


class FunctionsMixin(Mixin):
    """Functions of Unity Catalog."""

    _functions = Part(Functions)

    def add_function(
        self,
        name: str,
        body: str,
        *,
        parameters: Mapping[str, str] | None = None,
        returns: str = "STRING",
        comment: str = "",
    ) -> None:
        """Add a SQL function of Unity Catalog. Users need EXECUTE on it.

        It runs with the rights of its definer: it may read what its caller may not, as its body determines.
        ``current_user()`` and ``is_account_group_member()`` in it refer to the caller. Row filters and column masks apply
        in it too.

        Args:
            name: ``catalog.schema.function``.
            body: An expression or a query, with or without ``RETURN`` before it. What it names must exist already. Short
                names refer to its own schema.
            parameters: SQL type per parameter, followed by ``DEFAULT …`` and ``COMMENT '…'`` as in CREATE FUNCTION.
            returns: SQL type, or ``TABLE(name type, …)``.
            comment: Its description. A tool made of it shows it to the model.

        Raises:
            ValueError: The name is unusable or taken, or the SQL does not fit.
        """
        self._functions.add(name, body, parameters=parameters or {}, returns=returns, comment=comment)


def _duck_type(text: str) -> str:
    """Return DuckDB's name of a Databricks type. Raises ValueError if it is not served here."""
    from obo_kit.testing.sql._calls import duck_type as duck_type_of
    from obo_kit.testing.sql._dialect import parse_type
    from obo_kit.testing.sql._refusals import StatementError

    try:
        return duck_type_of(parse_type(text))
    except StatementError:
        msg = f"{text!r} is not a SQL type that the local workspace knows"
        raise ValueError(msg) from None
