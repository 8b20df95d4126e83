"""Find the LLM endpoints that functions name when they build or ask a model. The source is read; nothing is run."""

from __future__ import annotations

import ast
import inspect
import linecache
import operator
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from obo_kit._upstream.client_objects import default_openai_client
from obo_kit._utils.functions import quietly
from obo_kit.policy import _litellm
from obo_kit.policy._uncalled import Names, UnreadableError
from obo_kit.scopes._lookup import KINDS

__all__: list[str] = []

DECLARE: Final = "Declare it with system_resources(…) if the agent reaches it."
AS_AGENT: Final = (
    "LiteLLM asks as the agent itself wherever DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET are set, whatever token it "
    "receives"
)
AS_USER: Final = (
    "To ask as the user, name an 'openai/…' model with api_base=f'{client.config.host}/serving-endpoints', or use a client of "
    "databricks-openai."
)
# Models that use the agent's own client unless they receive another, and the arguments that name their endpoint.
_BUILT: Final = {"ChatDatabricks": ("endpoint", "model"), "DatabricksEmbeddings": ("endpoint",)}
_CLIENTS: Final = ("DatabricksOpenAI", "AsyncDatabricksOpenAI", "WorkspaceClient", "DatabricksDeploymentClient")
# The SDK makes a client of `openai` itself, which has the workspace's address.
_OF_WORKSPACE: Final = "/serving-endpoints"
_MADE_BY_SDK: Final = "serving_endpoints.get_open_ai_client"
_MADE_BY_MLFLOW: Final = "get_deploy_client"
# Methods that ask an endpoint, and the argument that names it.
_ASKED: Final = {
    "completions.create": "model",
    "responses.create": "model",
    "responses.stream": "model",
    "embeddings.create": "model",
    "serving_endpoints.query": "name",
    "predict": "endpoint",
    "predict_stream": "endpoint",
}
# Those that also take it first.
_BY_POSITION: Final = ("query", "predict", "predict_stream")
# Objects that act as the agent unless they receive a client. Whether a function makes the user's of them is not read.
_OBJECTS: Final = frozenset(
    {"DatabricksMCPClient", "DatabricksMCPServer", "DatabricksVectorSearch", "Genie", "GenieAgent", "McpServer"}
    | {"VectorSearchRetrieverTool"}
)
# A source without any of these words asks no model.
WORDS: Final = (*_BUILT, "DatabricksOpenAI", _MADE_BY_SDK, _MADE_BY_MLFLOW, "serving_endpoints.query", *_litellm.WORDS)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A place in the code that asks a model.

    Attributes:
        name: The endpoint; `None` if only running the call would tell.
        place: File and line.
        call: The call, as it is written.
        by_litellm: Whether LiteLLM asks it, which acts as the agent.
        user_s: Whether LiteLLM receives credentials that may be a user's.
    """

    name: str | None
    place: str
    call: str
    by_litellm: bool = False
    user_s: bool = False

    @property
    def called(self) -> str:
        """Return the own name of what is called, such as a class's."""
        return self.call.partition("(")[0].rpartition(".")[2]


def endpoints_in(
    functions: Mapping[types.CodeType, types.FunctionType], modules: Iterable[types.ModuleType] = ()
) -> Iterator[Endpoint]:
    """Yield the endpoints that functions name and ask as the agent itself.

    A model that receives a client is left out, unless the client is a global of the module: only running the call would tell
    whose client it is.

    Args:
        functions: The functions that the agent reaches, by their code.
        modules: The modules that it reaches. They may hand a model over to a library, and keep nothing of it.
    """
    for call, names, within, place in (*_calls(functions), *_handed_over(modules)):
        if models := _litellm.endpoints_for_litellm(call, names):
            user_s = _litellm.hands_user_on(call, names)
            text = _shortened(call)
            yield from (Endpoint(name=name, place=place, call=text, by_litellm=True, user_s=user_s) for name in models)
        elif arguments := _asks(call, names, within):
            yield _endpoint(call, arguments, names, place)


def objects_in(functions: Mapping[types.CodeType, types.FunctionType], declared: Iterable[str]) -> Iterator[Endpoint]:
    """Yield the client objects that functions build without a client. Only running the call tells what becomes of them.

    Args:
        functions: The functions that the agent reaches, by their code.
        declared: The names of resources that are declared. An object that names one of them is left out.
    """
    known = {name.replace(".", "/") for name in declared}
    for call, names, _, place in _calls(functions):
        if _name(call.func, names) in _OBJECTS and len(call.args) < 2 and _as_agent(call, names):
            written = [
                quietly(names.value, part) for part in (*call.args, *(keyword.value for keyword in call.keywords))
            ]
            if not any(name in str(part).replace(".", "/") for part in (*written, ast.unparse(call)) for name in known):
                yield Endpoint(name=None, place=place, call=_shortened(call))


def _calls(
    functions: Mapping[types.CodeType, types.FunctionType],
) -> Iterator[tuple[ast.Call, Names, ast.AST, str]]:
    """Yield the calls in functions, each with its function and its place."""
    for code, function in functions.items():
        lines = linecache.getlines(code.co_filename, function.__globals__)
        try:
            source = inspect.getblock(lines[code.co_firstlineno - 1 :])
            tree = ast.parse(inspect.cleandoc("\n" + "".join(source)) if source else "")
        except (SyntaxError, ValueError, IndexError):  # a lambda in the middle of something
            continue
        within = tuple(node for node in tree.body[:1] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
        if not within:
            continue
        names = Names(function.__globals__, within)
        for node in ast.walk(within[0]):
            if isinstance(node, ast.Call):
                yield node, names, within[0], f"{code.co_filename}:{code.co_firstlineno + node.lineno - 1}"


def _handed_over(modules: Iterable[types.ModuleType]) -> Iterator[tuple[ast.Call, Names, ast.AST, str]]:
    """Yield the calls that modules make while they are loaded, in statements that bind no name of the module."""
    for module in modules:
        file = str(vars(module).get("__file__", ""))
        source = "".join(linecache.getlines(file, vars(module)))
        if not any(word in source for word in WORDS):
            continue
        names = Names(vars(module), ())
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Expr) or (
                isinstance(statement, ast.Assign) and not any(isinstance(each, ast.Name) for each in statement.targets)
            ):
                for node in ast.walk(statement):
                    if isinstance(node, ast.Call):
                        yield node, names, statement, f"{file}:{node.lineno}"


def _asks(call: ast.Call, names: Names, function: ast.AST) -> tuple[str, ...]:
    """Return the arguments that name the endpoint; none if a call asks no endpoint, or not as the agent."""
    if not _as_agent(call, names):
        return ()
    called = _name(call.func, names)
    if called in _BUILT:
        return _BUILT[called]
    if called == "Agent" and _is_agents_sdk(call, names):
        return ("model",)
    written = ast.unparse(call.func)
    argument = next((argument for method, argument in _ASKED.items() if written.endswith(f".{method}")), None)
    if argument is None:
        return ()
    root: ast.expr = call.func
    while isinstance(root, ast.Attribute):
        root = root.value
    return (argument,) if _is_own_client(root, names, function) else ()


def _as_agent(call: ast.Call, names: Names) -> bool:
    """Return whether a call receives no client, or only those of the module."""
    clients = [keyword.value for keyword in call.keywords if keyword.arg in ("workspace_client", "client", None)]
    return all(_is_of_module(client, names) for client in clients)


def _is_of_module(client: ast.expr, names: Names) -> bool:
    """Return whether a client belongs to the module: it is the agent's own, since a user's lives as long as a request."""
    value = quietly(names.value, client)
    return any(cls.__name__ == "WorkspaceClient" for cls in type(value).__mro__)


def _is_agents_sdk(call: ast.Call, names: Names) -> bool:
    """Return whether an agent of the OpenAI Agents SDK asks an endpoint of the workspace as the agent itself."""
    client = default_openai_client()
    return str(names.value(call.func).__module__).partition(".")[0] == "agents" and any(
        cls.__name__ in _CLIENTS for cls in type(client).__mro__
    )


def _is_own_client(node: ast.expr, names: Names, function: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        made = _name(node.func, names) in _CLIENTS or called.endswith(_MADE_BY_SDK)
        return called.endswith(_MADE_BY_MLFLOW) or (made and not node.args and not node.keywords)
    try:
        value: Any = names.value(node)
    except UnreadableError:
        values = _assigned(node, function) if isinstance(node, ast.Name) else []
        return len(values) == 1 and isinstance(values[0], ast.Call) and _is_own_client(values[0], names, function)
    return any(cls.__name__ in _CLIENTS for cls in type(value).__mro__) or _OF_WORKSPACE in str(
        quietly(operator.attrgetter("base_url"), value)
    )


def _assigned(name: ast.Name, function: ast.AST) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name.id]
    ]


def _name(node: ast.expr, names: Names) -> str:
    value = quietly(names.value, node)
    return value.__name__ if issubclass(type(value), type) else names.imported_name(node)


def _endpoint(call: ast.Call, arguments: tuple[str, ...], names: Names, place: str) -> Endpoint:
    written = next((keyword.value for keyword in call.keywords if keyword.arg in arguments), None)
    if written is None and call.args and ast.unparse(call.func).endswith(_BY_POSITION):
        written = call.args[0]
    name: Any = None
    if written is not None:
        try:
            name = names.value(written)
        except UnreadableError:
            name = None
    return Endpoint(name=name if isinstance(name, str) else None, place=place, call=_shortened(call))


def _shortened(call: ast.Call) -> str:
    text = ast.unparse(call)
    return text if len(text) <= 60 else f"{text[:57]}..."


def resource(name: str) -> list[Any]:
    """Return the MLflow resource of an endpoint in a list; an empty list for a Unity Catalog model, whose name has dots."""
    from mlflow.models import resources

    return [] if "." in name else [getattr(resources, KINDS["serving_endpoint"].mlflow_classes[0])(name)]
