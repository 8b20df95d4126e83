"""The tools of the managed MCP servers. Each makes a few REST calls to the workspace as the caller.

Names of tools and arguments, and the forms of results, are documented or reported unless marked as inferred: those of Genie,
Databricks SQL and functions come from code that was written against a workspace, the ``_meta`` parameters from D-MCP.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.server._api import Answer, Call
from obo_kit.testing.services._functions import Function, Functions, Parameter

__all__ = ["FunctionTools", "GenieTools", "Inner", "Request", "Result", "SearchTools", "SqlTools", "Tool", "Tools"]

# Answers a REST call as part of a request. Takes the request, method, path and body; see ``Gate.inner``.
Inner = Callable[[Call, str, str, bytes], Awaitable[Answer]]

_TEXT = {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool, as the server lists it.

    Attributes:
        name: Its name.
        description: The description for the model.
        arguments: JSON schema per argument.
        optional: The arguments that may be omitted.
    """

    name: str
    description: str
    arguments: Mapping[str, Mapping[str, Any]]
    optional: frozenset[str] = frozenset()

    @property
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of all arguments."""
        required = [name for name in self.arguments if name not in self.optional]
        return {"type": "object", "properties": dict(self.arguments), "required": required}


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a tool call. Any decision except ``allowed`` is sent as ``isError``.

    Attributes:
        text: The text for the model.
        structured: The same as data, if the platform sends it.
        decision: The decision in the request log.
    """

    text: str
    structured: dict[str, Any] | None = None
    decision: str = "allowed"


@dataclass(kw_only=True)
class Request:
    """The arguments of a tool call, and its ``_meta``, which the author sets and not the model."""

    name: str
    arguments: Mapping[str, Any]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a required argument. Raises RefusedError if it is not text."""
        value = self.arguments.get(name)
        if not isinstance(value, str) or not value:
            raise RefusedError("invalid_parameter", detail=f"{name} must be a non-empty string")
        return value

    def option(self, name: str) -> str | None:
        """Return a ``_meta`` parameter as text. Numbers and booleans may be sent as such."""
        value = self.meta.get(name)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, (bool, int, float)):
            return json.dumps(value)
        raise RefusedError("invalid_parameter", detail=f"_meta.{name} must be a string, a number or a boolean")

    def number(self, name: str, kind: type[int] | type[float], default: float | None = None) -> float | None:
        """Return a ``_meta`` parameter that is a number. Raises RefusedError if it is not one."""
        value = self.option(name)
        try:
            return default if value is None else kind(value)
        except ValueError:
            raise RefusedError("invalid_parameter", detail=f"_meta.{name} must be a number, not {value!r}") from None


class Tools:
    """The tools of one server, for one request."""

    def __init__(self, inner: Inner, call: Call) -> None:
        self._inner = inner
        self._call = call

    async def open(self) -> None:
        """Admit the caller, or raise RefusedError."""

    async def offered(self) -> list[Tool]:
        """Return the tools that the caller may use."""
        raise NotImplementedError

    async def run(self, request: Request) -> Result:
        """Call a tool. Raises RefusedError if it is refused, or if there is no such tool (``mcp_tool_missing``)."""
        raise NotImplementedError

    def _param(self, name: str) -> str:
        return self._call.params.get(name, "").lower()

    async def _rest(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], str]:
        """Make a REST call as the caller. Return its answer, and the decision."""
        answer = await self._inner(self._call, method, path, b"" if body is None else json.dumps(body).encode())
        assert isinstance(answer.content, dict)
        return answer.content, answer.decision


class SchemaTools(Tools):
    """One tool per securable of a schema, or of one securable: ``catalog__schema__name``."""

    def _full(self, name: str) -> str:
        return f"{self._param('catalog')}.{self._param('schema')}.{name}"

    def _securable(self, tool: str) -> str:
        """Return the full name behind a tool of this server."""
        prefix = _tool_name(self._full(""))
        name, only = tool.removeprefix(prefix), self._param("name")
        if not tool.startswith(prefix) or not name or (only and name != only):
            raise RefusedError("mcp_tool_missing", name=tool)
        return self._full(name)


def _tool_name(full_name: str) -> str:
    return full_name.replace(".", "__")


# ---------------------------------------------------------------------- Genie


class GenieTools(Tools):
    """Ask one Genie space, and poll what it has not answered yet."""

    async def open(self) -> None:
        self._about, _ = await self._rest("GET", self._path)

    async def offered(self) -> list[Tool]:
        conversation = {"type": "string", "description": "The conversation to go on with"}
        return [
            Tool(
                name=f"query_space_{self._space}",
                description=f"Ask the Genie space {self._about['title']!r} a question. {self._about['description']}",
                arguments={
                    "query": {"type": "string", "description": "The question"},
                    "conversation_id": conversation,
                },
                optional=frozenset({"conversation_id"}),
            ),
            Tool(
                name=f"poll_response_{self._space}",
                description="Poll a question until its status is COMPLETED or FAILED.",
                arguments={"conversation_id": _TEXT, "message_id": _TEXT},
            ),
        ]

    async def run(self, request: Request) -> Result:
        if request.name == f"query_space_{self._space}":
            return await self._poll(*await self._ask(request))
        if request.name == f"poll_response_{self._space}":
            return await self._poll(request.text("conversation_id"), request.text("message_id"))
        raise RefusedError("mcp_tool_missing", name=request.name)

    @property
    def _space(self) -> str:
        return self._call.params["space"]

    @property
    def _path(self) -> str:
        return f"/api/2.0/genie/spaces/{self._space}"

    async def _ask(self, request: Request) -> tuple[str, str]:
        question = {"content": request.text("query")}
        conversation = request.arguments.get("conversation_id")
        if conversation is None:
            started, _ = await self._rest("POST", f"{self._path}/start-conversation", question)
            return started["conversation_id"], started["message_id"]
        path = f"{self._path}/conversations/{request.text('conversation_id')}/messages"
        message, _ = await self._rest("POST", path, question)
        return message["conversation_id"], message["id"]

    async def _poll(self, conversation: str, message: str) -> Result:
        path = f"{self._path}/conversations/{conversation}/messages/{message}"
        body, decision = await self._rest("GET", path)
        queries: list[dict[str, Any]] = []
        texts: list[str] = []
        for attachment in body.get("attachments", ()):
            if "text" in attachment:
                texts.append(attachment["text"]["content"])
            else:
                rows, _ = await self._rest("GET", f"{path}/query-result/{attachment['attachment_id']}")
                statement = _typed(rows["statement_response"])
                query = {name: attachment["query"][name] for name in ("query", "description")}
                queries.append({**query, "statement_response": statement})
        structured: dict[str, Any] = {
            "content": {"queryAttachments": queries, "textAttachments": texts},
            "conversationId": conversation,
            "messageId": message,
            "status": body["status"],
        }
        if "error" in body:  # inferred: the shape of an error
            structured["error"] = {"code": body["error"]["type"], "message": body["error"]["error"]}
        return Result(text=json.dumps(structured), structured=structured, decision=decision)


# ---------------------------------------------------------------------- vector search


class SearchTools(SchemaTools):
    """Search the indexes of a schema, or one of them."""

    async def open(self) -> None:
        if self._param("name"):
            await self._describe(self._full(self._param("name")))

    async def offered(self) -> list[Tool]:
        answer, _ = await self._rest("GET", "/api/2.0/vector-search/indexes")
        start = self._full(self._param("name"))
        mine = [
            index["name"]
            for index in answer["vector_indexes"]
            if index["name"] == start or (not self._param("name") and index["name"].startswith(start))
        ]
        return [
            Tool(
                name=_tool_name(name),
                description=f"Search the vector search index {name}.",
                arguments={"query": {"type": "string", "description": "What to search for"}},
            )
            for name in mine
        ]

    async def run(self, request: Request) -> Result:
        name = self._securable(request.name)
        try:
            await self._describe(name)
        except RefusedError as error:
            if error.refusal.decision == "not found":
                raise RefusedError("mcp_tool_missing", name=request.name) from None
            raise
        columns = request.option("columns")
        body = {
            "query_text": request.text("query"),
            "columns": [column.strip() for column in columns.split(",")] if columns else await self._columns(name),
            "num_results": request.number("num_results", int, 5),
            "score_threshold": request.number("score_threshold", float),
            "query_type": request.option("query_type"),
            "filters_json": request.option("filters"),
        }
        if request.option("columns_to_rerank"):
            raise RefusedError("invalid_parameter", detail="The local workspace has no reranking model")
        answer, decision = await self._rest("POST", f"/api/2.0/vector-search/indexes/{name}/query", body)
        names = [column["name"] for column in answer["manifest"]["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in answer["result"]["data_array"]]
        if (request.option("include_score") or "false").lower() != "true":
            for row in rows:
                del row["score"]
        # Inferred: the rows as a JSON list of objects.
        return Result(text=json.dumps(rows), decision=decision)

    async def _describe(self, name: str) -> None:
        await self._rest("GET", f"/api/2.0/vector-search/indexes/{name}")

    async def _columns(self, name: str) -> list[str]:
        table, _ = await self._rest("GET", f"/api/2.1/unity-catalog/tables/{name}")
        return [column["name"] for column in table["columns"] if not column["name"].startswith("__")]


# ---------------------------------------------------------------------- functions


class FunctionTools(SchemaTools):
    """Call the functions of a schema, or one of them. No warehouse is needed."""

    def __init__(self, functions: Functions, pool: Executor, inner: Inner, call: Call) -> None:
        super().__init__(inner, call)
        self._functions = functions
        self._pool = pool

    async def open(self) -> None:
        if self._param("name"):
            self._functions.find(self._call.user.principal, self._full(self._param("name")))

    async def offered(self) -> list[Tool]:
        mine = self._functions.executable(self._call.user.principal, self._param("catalog"), self._param("schema"))
        only = self._param("name")
        return [_function_tool(each) for each in mine if not only or each.name == self._full(only)]

    async def run(self, request: Request) -> Result:
        name = self._securable(request.name)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._functions.execute, self._call.user.principal, name, request.arguments
            )
        except RefusedError as error:
            if error.refusal.decision == "not found":
                raise RefusedError("mcp_tool_missing", name=request.name) from None
            raise
        if outcome.error is not None:
            return Result(text=outcome.error.text, decision=outcome.decision)
        kinds = [_JSON_TYPES.get(column.type_name, "string") for column in outcome.columns]
        rows = [[_json(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in outcome.rows]
        table = {
            "is_truncated": outcome.truncated,
            "columns": [column.name for column in outcome.columns],
            "rows": rows,
        }
        return Result(text=json.dumps(table), decision=outcome.decision)


# The JSON type of a SQL type, by its base.
_JSON_TYPES = {
    **dict.fromkeys(("BYTE", "SHORT", "INT", "LONG", "TINYINT", "SMALLINT", "BIGINT"), "integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL"), "number"),
    "BOOLEAN": "boolean",
    "ARRAY": "array",
}


def _function_tool(function: Function) -> Tool:
    return Tool(
        name=_tool_name(function.name),
        description=function.comment or f"The function {function.name}.",
        arguments={each.name: _argument(each) for each in function.parameters},
        optional=frozenset(each.name for each in function.parameters if each.default is not None),
    )


def _argument(parameter: Parameter) -> dict[str, Any]:
    base = re.split(r"[(<]", parameter.type_text)[0]
    schema = {"type": _JSON_TYPES.get(base, "string")}
    return {**schema, "description": parameter.comment} if parameter.comment else schema


def _json(kind: str, text: str | None) -> Any:
    """Convert a value that SQL returns as text."""
    return text if text is None or kind == "string" else json.loads(text)


# ---------------------------------------------------------------------- SQL


class SqlTools(Tools):
    """Run statements on a warehouse."""

    async def offered(self) -> list[Tool]:
        query = {"query": {"type": "string", "description": "One SQL statement"}}
        return [
            Tool(name="execute_sql", description="Run a SQL statement.", arguments=query),
            Tool(name="execute_sql_read_only", description="Run a SQL statement that only reads.", arguments=query),
            Tool(
                name="poll_sql_result",
                description="Poll a statement until its state is SUCCEEDED or FAILED.",
                arguments={"statement_id": _TEXT},
            ),
        ]

    async def run(self, request: Request) -> Result:
        if request.name == "poll_sql_result":
            body, decision = await self._rest("GET", f"/api/2.0/sql/statements/{request.text('statement_id')}")
        elif request.name in {"execute_sql", "execute_sql_read_only"}:
            from obo_kit.testing.sql._dialect import only_reads

            statement = {"statement": request.text("query"), "warehouse_id": await self._warehouse(request)}
            if request.name == "execute_sql_read_only" and not only_reads(statement["statement"]):
                raise RefusedError("mcp_read_only")
            body, decision = await self._rest("POST", "/api/2.0/sql/statements", statement)
        else:
            raise RefusedError("mcp_tool_missing", name=request.name)
        structured = _typed(body)
        # Reported: a failed statement is data. Inferred: that it is marked isError as well.
        return Result(text=json.dumps(structured), structured=structured, decision=decision)

    async def _warehouse(self, request: Request) -> str:
        wanted = request.option("warehouse_id")
        if wanted:
            return wanted
        mine, _ = await self._rest("GET", "/api/2.0/sql/warehouses")
        if not mine["warehouses"]:
            raise RefusedError("mcp_no_warehouse", user_id=self._call.user.principal.id)
        return str(mine["warehouses"][0]["id"])


def _typed(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement as the MCP servers write it: a value is ``{"string_value": …}``, and null is ``{}``."""
    body = dict(statement)
    if "result" in body:
        body["manifest"] = {**body["manifest"], "truncated": _truncated(body["manifest"])}
        rows = body["result"]["data_array"]
        values = [{"values": [{} if value is None else {"string_value": value} for value in row]} for row in rows]
        body["result"] = {"row_count": len(values), "data_array": values}
    return body


def _truncated(manifest: Mapping[str, Any]) -> bool:
    """Return whether the result has more chunks: only the first one is sent."""
    return bool(manifest["truncated"]) or manifest["total_chunk_count"] > 1
