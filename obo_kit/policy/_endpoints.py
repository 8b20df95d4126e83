"""Find the LLM endpoints that functions name when they build or ask a model. The source is read; nothing is run."""

from __future__ import annotations

import ast
import functools
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
from obo_kit.policy._several import Several
from obo_kit.policy._uncalled import UnreadableError
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
_OF_APPS: Final = "apps/"  # what DatabricksOpenAI calls the agent of an app
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
    | {"UCFunctionToolkit", "VectorSearchRetrieverTool"}
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


def endpoints_in(calls: Calls, modules: Iterable[types.ModuleType] = ()) -> Iterator[Endpoint]:
    """Yield the endpoints that functions name and ask as the agent itself.

    A model that receives a client is left out, unless the client is a global of the module: only running the call would tell
    whose client it is.

    Args:
        calls: The calls in the functions that the agent reaches.
        modules: The modules that it reaches. They may hand a model over to a library, and keep nothing of it.
    """
    for each in (*calls.all, *_handed_over(modules)):
        call, names = _completed(each.call, each.names), each.names
        if models := _litellm.endpoints_for_litellm(call, names):
            user_s = _litellm.hands_user_on(call, names)
            text = _shortened(each.call)
            yield from (
                Endpoint(name=name, place=each.place, call=text, by_litellm=True, user_s=user_s) for name in models
            )
        elif arguments := _asks(call, names, each.within):
            yield from _named_by(call, arguments, names, each)


def objects_in(calls: Calls, declared: Iterable[str]) -> Iterator[Endpoint]:
    """Yield the client objects that functions build without a client. Only running the call tells what becomes of them.

    Args:
        calls: The calls in the functions that the agent reaches.
        declared: The names of resources that are declared. An object that names one of them is left out.
    """
    known = {name.replace(".", "/") for name in declared}
    for each in calls.all:
        call, names = each.call, each.names
        if _name(call.func, names) in _OBJECTS and len(call.args) < 2 and _as_agent(call, names):
            written = [
                quietly(names.value, part) for part in (*call.args, *(keyword.value for keyword in call.keywords))
            ]
            if not any(name in str(part).replace(".", "/") for part in (*written, ast.unparse(call)) for name in known):
                yield Endpoint(name=None, place=each.place, call=_shortened(call))


@dataclass(frozen=True)
class _Call:
    call: ast.Call
    names: Several
    within: ast.AST
    place: str


class Calls:
    """The calls in functions that the agent reaches, with what the names in them may mean.

    Args:
        functions: The functions, by their code.
        objects: The objects of the author's classes that the agent reaches, by their classes' names.
    """

    def __init__(
        self, functions: Mapping[types.CodeType, types.FunctionType], objects: Mapping[tuple[str, str], list[Any]]
    ) -> None:
        self._objects = objects
        self.all: list[_Call] = []
        self._passing: set[tuple[int, str]] = set()
        for code, function in functions.items():
            self._read(code, function)

    def _read(self, code: types.CodeType, function: types.FunctionType) -> None:
        lines = linecache.getlines(code.co_filename, function.__globals__)
        try:
            source = inspect.getblock(lines[code.co_firstlineno - 1 :])
            tree = ast.parse(inspect.cleandoc("\n" + "".join(source)) if source else "")
        except (SyntaxError, ValueError, IndexError):  # a lambda in the middle of something
            return
        within = tuple(node for node in tree.body[:1] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
        if not within:
            return
        selves = self._selves(function)
        names = Several(
            function.__globals__, within, selves, lambda name: self._handed(function, within[0], bool(selves), name)
        )
        for node in ast.walk(within[0]):
            if isinstance(node, ast.Call):
                place = f"{code.co_filename}:{code.co_firstlineno + node.lineno - 1}"
                self.all.append(_Call(node, names, within[0], place))

    def _selves(self, function: types.FunctionType) -> list[Any]:
        """Return the objects whose method a function is; its class if the agent holds none."""
        owner = function.__qualname__.rpartition(".")[0]
        module = str(function.__globals__.get("__name__"))
        cls = function.__globals__.get(owner)
        return self._objects.get((module, owner)) or ([cls] if issubclass(type(cls), type) else [])

    def _handed(
        self, function: types.FunctionType, within: ast.FunctionDef | ast.AsyncFunctionDef, method: bool, name: str
    ) -> list[Any] | None:
        """Return what the calls of a function pass for a parameter; `None` if none of them does."""
        parameters = [each.arg for each in (*within.args.posonlyargs, *within.args.args)][1 if method else 0 :]
        passed: list[Any] = []
        if (key := (id(function), name)) in self._passing:  # it calls itself, with nothing new
            return []
        self._passing.add(key)
        try:
            for each in self.all:
                if self._runs(each, function, within.name, method):
                    written = {keyword.arg: keyword.value for keyword in each.call.keywords}
                    written |= dict(zip(parameters, each.call.args, strict=False))
                    if name in written:
                        passed += each.names.values(written[name])
        finally:
            self._passing.discard(key)
        return passed or None

    @staticmethod
    def _runs(each: _Call, function: types.FunctionType, name: str, method: bool) -> bool:
        called = each.call.func
        if getattr(called, "id", getattr(called, "attr", "")) != name:
            return False
        if not method:
            return quietly(each.names.value, called) is function
        owners = quietly(each.names.values, called.value, []) if isinstance(called, ast.Attribute) else []
        classes = [owner if issubclass(type(owner), type) else type(owner) for owner in owners]
        return any(vars(cls).get(name) is function for owner in classes for cls in owner.__mro__)


def _handed_over(modules: Iterable[types.ModuleType]) -> Iterator[_Call]:
    """Yield the calls that modules make while they are loaded, in statements that bind no name of the module."""
    for module in modules:
        file = str(vars(module).get("__file__", ""))
        source = "".join(linecache.getlines(file, vars(module)))
        if not any(word in source for word in WORDS):
            continue
        names = Several(vars(module), ())
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Expr) or (
                isinstance(statement, ast.Assign) and not any(isinstance(each, ast.Name) for each in statement.targets)
            ):
                for node in ast.walk(statement):
                    if isinstance(node, ast.Call):
                        yield _Call(node, names, statement, f"{file}:{node.lineno}")


def _asks(call: ast.Call, names: Several, function: ast.AST) -> tuple[str, ...]:
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
    while isinstance(root, ast.Attribute):  # the client may be on `self`
        root = root.value
        if _is_own_client(root, names, function):
            return (argument,)
    return ()


def _as_agent(call: ast.Call, names: Several) -> bool:
    """Return whether a call receives no client, or only those of the module."""
    clients = [keyword.value for keyword in call.keywords if keyword.arg in ("workspace_client", "client", None)]
    return all(_is_of_module(client, names) for client in clients)


def _is_of_module(client: ast.expr, names: Several) -> bool:
    """Return whether a client belongs to the module: it is the agent's own, since a user's lives as long as a request."""
    value = quietly(names.value, client)
    return any(cls.__name__ == "WorkspaceClient" for cls in type(value).__mro__)


def _is_agents_sdk(call: ast.Call, names: Several) -> bool:
    """Return whether an agent of the OpenAI Agents SDK asks an endpoint of the workspace as the agent itself."""
    client = default_openai_client()
    return str(names.value(call.func).__module__).partition(".")[0] == "agents" and any(
        cls.__name__ in _CLIENTS for cls in type(client).__mro__
    )


def _is_own_client(node: ast.expr, names: Several, function: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        made = _name(node.func, names) in _CLIENTS or called.endswith(_MADE_BY_SDK)
        return (
            called.endswith(_MADE_BY_MLFLOW)
            or (made and not node.args and not node.keywords)
            or _is_at_workspace(node, names)
        )
    try:
        value: Any = names.value(node)
    except UnreadableError:
        values = _assigned(node, function) if isinstance(node, ast.Name) else []
        return len(values) == 1 and isinstance(values[0], ast.Call) and _is_own_client(values[0], names, function)
    return any(cls.__name__ in _CLIENTS for cls in type(value).__mro__) or _OF_WORKSPACE in str(
        quietly(operator.attrgetter("base_url"), value)
    )


def _is_at_workspace(made: ast.Call, names: Several) -> bool:
    """Return whether a client gets the address of a workspace's endpoints, and no key that only the function knows."""
    options = {each.arg: each.value for each in made.keywords}
    return (
        "base_url" in options
        and _OF_WORKSPACE in ast.unparse(options["base_url"])
        and not ("api_key" in options and names.binds(options["api_key"]))
    )


def _assigned(name: ast.Name, function: ast.AST) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name.id]
    ]


def _name(node: ast.expr, names: Several) -> str:
    value = quietly(names.value, node)
    is_named = issubclass(type(value), (type, types.FunctionType))  # a proxy fails even when it is asked for its class
    return value.__name__ if is_named else names.imported_name(node)


def _completed(call: ast.Call, names: Several) -> ast.Call:
    """Return a call with the keywords that ``**options`` and `functools.partial` stand for, where they can be read."""
    made = quietly(names.value, call.func)
    func, keywords = call.func, [each for each in call.keywords if each.arg is not None]
    for each in (each for each in call.keywords if each.arg is None):
        options = quietly(names.value, each.value)
        if type(options) is not dict or not all(type(value) in (str, int, float, bool) for value in options.values()):
            return call
        keywords += [ast.keyword(arg=key, value=ast.Constant(value=value)) for key, value in options.items()]
    if type(made) is functools.partial and issubclass(type(made.func), type):
        func = ast.Name(id=made.func.__name__, ctx=ast.Load())
        keywords += [ast.keyword(arg=key, value=ast.Constant(value=value)) for key, value in made.keywords.items()]
    return call if func is call.func and len(keywords) == len(call.keywords) else ast.Call(func, call.args, keywords)


def _named_by(call: ast.Call, arguments: tuple[str, ...], names: Several, each: _Call) -> Iterator[Endpoint]:
    written = next((keyword.value for keyword in call.keywords if keyword.arg in arguments), None)
    if written is None and call.args and ast.unparse(call.func).endswith(_BY_POSITION):
        written = call.args[0]
    try:
        values = names.values(written) if written is not None else []
    except UnreadableError:
        values = []
    for value in dict.fromkeys(value for value in values if issubclass(type(value), str)) or [None]:
        yield Endpoint(name=value, place=each.place, call=_shortened(each.call))


def _shortened(call: ast.Call) -> str:
    text = ast.unparse(call)
    return text if len(text) <= 60 else f"{text[:57]}..."


def resource(name: str) -> list[Any]:
    """Return the MLflow resource of an endpoint in a list; an empty list for a Unity Catalog model, whose name has dots."""
    from mlflow.models import resources

    if name.startswith(_OF_APPS):
        return [getattr(resources, KINDS["databricks_app"].mlflow_classes[0])(name.removeprefix(_OF_APPS))]
    return [] if "." in name else [getattr(resources, KINDS["serving_endpoint"].mlflow_classes[0])(name)]
