"""Tell whose client a call makes: of an official class, a connection, or a method that returns another client."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol, TypeAlias

from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._options import options_of
from obo_kit.analysis.check._vocabulary import (
    BUILT_ON,
    CARRY_NO_USER,
    CLIENTS,
    SEARCH,
    SESSION,
    TOKEN,
    Value,
    argument,
    arguments,
    built_class,
    is_nothing,
    last,
    unpacks,
)

__all__ = ["Env", "Values", "is_header", "of_class", "of_library", "of_method", "of_strategy", "user"]

Env: TypeAlias = Mapping[ast.arg, "tuple[Value, ...]"]

_HEADER: Final = "x-forwarded-access-token"
ENVIRONMENT: Final = "DATABRICKS_TOKEN"
_STRATEGIES: Final = ("ModelServingUserCredentials", "MODEL_SERVING_USER_CREDENTIALS")
GIVEN_TO: Final[Mapping[str, tuple[str, ...]]] = {
    "WorkspaceClient": ("config", "credentials_strategy", "credentials_provider", "token"),
    "Config": ("credentials_strategy", "credentials_provider", "token"),
    "VectorSearchClient": ("credential_strategy", "personal_access_token"),
    "AISearchClient": ("credential_strategy", "personal_access_token"),
}
# The arguments that decide as whom `databricks.sql.connect` connects.
CREDENTIALS: Final = ("access_token", "credentials_provider")
# Arguments that do not decide who acts.
NEUTRAL: Final = frozenset(
    {
        "auth_type",
        "cluster_id",
        "custom_headers",
        "debug_headers",
        "debug_truncate_bytes",
        "disable_notice",
        "host",
        "product",
        "product_version",
        "workspace_id",
        "workspace_url",
    }
)
_TEXT_METHODS: Final = frozenset(
    {"decode", "encode", "get_secret_value", "lstrip", "partition", "removeprefix", "replace", "rpartition", "rsplit"}
    | {"rstrip", "split", "strip"}
)
# Methods of a configuration that give its token, alone or as the headers of a request.
GIVE_TOKEN: Final = frozenset({"authenticate", "oauth_token"})
ENTERS: Final = frozenset({"enter_async_context", "enter_context"})
_OF_TEXT: Final = frozenset(
    {"base64.b64encode", "base64.urlsafe_b64encode", "builtins.repr", "builtins.str", "copy.copy", "html.escape"}
    | {"pydantic.SecretStr", "typing.cast", "urllib.parse.quote", "urllib.parse.quote_plus"}
)


class Values(Protocol):
    """The possible values of expressions."""

    def values(self, module: Module, node: ast.AST | None, env: Env | None = None) -> tuple[Value, ...]:
        """Return the clients and tokens that an expression may be."""
        ...

    def provided(self, module: Module, node: ast.expr, env: Env | None = None) -> tuple[Value, ...]:
        """Return what an expression may be, or what it returns if it is a function."""
        ...


def user(what: str, *path: str) -> tuple[Value, ...]:
    """Return a value that is the user's."""
    return (Value("user", what, path),)


def is_header(text: str | None) -> bool:
    """Return whether this is the name of the header that brings the user's token, or of a parameter for it."""
    return text is not None and text.lower().replace("_", "-").removeprefix("http-") == _HEADER


# Names of an object that holds a process's settings, and of the function that returns it.
_SETTINGS: Final = re.compile(r"(?:config|configuration|conf|cfg|env|settings)$", re.IGNORECASE)


def of_strategy(dotted: str) -> tuple[Value, ...]:
    """Return the platform's recipe for acting as the user, if a name stands for one."""
    return user("strategy") if last(dotted) in _STRATEGIES else ()


def of_environment(module: Module, node: ast.expr) -> tuple[Value, ...]:
    """Return the token of the process, if an expression reads it from the environment."""
    match node:
        case ast.Subscript(value=base, slice=key):
            reads = module.dotted(base) == "os.environ"
        case ast.Call(func=func, args=[key, *_]):
            reads = module.dotted(func) in ("os.environ.get", "os.getenv")
        case _:
            return ()
    return (Value("agent", TOKEN),) if reads and module.text_of(key) == ENVIRONMENT else ()


def of_setting(node: ast.Attribute) -> tuple[Value, ...]:
    """Return the token of the process, if an attribute is the setting that is read from its variable."""
    settings = ast.unparse(node.value.func if isinstance(node.value, ast.Call) else node.value)
    of_process = node.attr.upper() == ENVIRONMENT and _SETTINGS.search(settings) is not None
    return (Value("agent", TOKEN),) if of_process else ()


def of_class(reader: Values, module: Module, node: ast.Call, env: Env) -> tuple[Value, ...]:
    """Return what a call of an official class makes."""
    name = built_class(module, node.func)
    if name in GIVEN_TO:
        return (_made(reader, module, node, name, env),)
    if name in BUILT_ON:
        return (_built(reader, module, node, name, env),)
    if name == "DefaultCredentials":
        return (Value("agent", "strategy"),)
    return (Value("agent", name),) if name in CARRY_NO_USER else ()


def of_library(reader: Values, module: Module, node: ast.Call, env: Env) -> tuple[Value, ...]:
    """Return what a call of another library's function returns: connections, toolkits, texts."""
    dotted = module.dotted(node.func)
    name = last(dotted)
    if dotted == "databricks.sql.connect":
        return _connection(reader, module, node, env)
    if name == "create_engine":
        made = argument(node, None, "creator")
        creates = [ast.copy_location(ast.Call(func=made, args=[], keywords=[]), made)] if made is not None else []
        return _on_user(reader, module, [*node.args[:1], *creates], env, "Connection")
    if name == "MultiServerMCPClient":
        inside = [inner for part in arguments(node) for inner in ast.walk(part) if isinstance(inner, ast.Call)]
        return _on_user(reader, module, inside, env, name)
    if name == "fetch_obo_token":
        return user(TOKEN)
    if name == "oauth_service_principal":
        return (Value("agent", "strategy"),)
    if (dotted in _OF_TEXT or name == "SecretStr") and node.args:
        return reader.values(module, node.args[-1], env)
    return of_strategy(dotted) or of_environment(module, node)


def _on_user(reader: Values, module: Module, nodes: Iterable[ast.expr], env: Env, what: str) -> tuple[Value, ...]:
    """Return a value of the user's, if one of the expressions is the user's."""
    return (
        user(what) if any(value.who == "user" for part in nodes for value in reader.values(module, part, env)) else ()
    )


def _connection(reader: Values, module: Module, node: ast.Call, env: Env) -> tuple[Value, ...]:
    """Return whose connection the SQL connector makes: by its token, or by its provider."""
    passed = {keyword.arg: [keyword.value] for keyword in node.keywords}
    for options in options_of(module, node) or ():
        for key, value in options.keywords.items():
            passed.setdefault(key, []).append(value)
    whose = {
        value.who
        for name in CREDENTIALS
        for part in passed.get(name, ())
        for value in reader.provided(module, part, env)
    }
    if "user" in whose:
        return user("Connection")
    return (Value("agent", "Connection"),) if whose == {"agent"} else ()


def of_method(reader: Values, module: Module, node: ast.Call, env: Env) -> tuple[Value, ...]:
    """Return what a method returns: a header, or a client that another client hands on."""
    if not isinstance(node.func, ast.Attribute):
        return ()
    name = node.func.attr
    key = module.text_of(node.args[0]) if name == "get" and node.args else None
    if is_header(key):
        return (*user(TOKEN), *(item for part in node.args[1:] for item in reader.values(module, part, env)))
    if key == "Authorization":
        return tuple(value for value in reader.values(module, node.func.value, env) if value.what == TOKEN)
    if name in ENTERS and node.args:
        return tuple(entered(value) for value in reader.values(module, node.args[0], env))
    values: list[Value] = []
    for entry in reader.values(module, node.func.value, env):
        values += _handed_on(module, entry, name, node)
    return tuple(values)


def _handed_on(module: Module, owner: Value, name: str, node: ast.Call) -> Iterable[Value]:
    if owner.what == TOKEN:
        return [owner] if name in _TEXT_METHODS else []
    if owner.what == SESSION:
        wanted = last(module.dotted(node.args[0])) if name == "get" and node.args else ""
        return [Value(owner.who, wanted)] if wanted in CLIENTS else []
    gives = _GIVES.get((owner.what if not owner.path else ".".join(owner.path), name))
    if gives is not None:
        return [Value(owner.who, gives)]
    return [owner] if name in ("with_options", "copy") and owner.what.endswith("DatabricksOpenAI") else []


# What the methods of a client, of a connection, or of an engine of SQLAlchemy's return.
_GIVES: Final = {
    ("Connection", "begin"): "Connection",
    ("Connection", "connect"): "Connection",
    ("Connection", "cursor"): "Cursor",
    ("Connection", "execute"): "Cursor",
    ("Connection", "raw_connection"): "Connection",
    ("serving_endpoints", "get_langchain_chat_open_ai_client"): "ChatDatabricks",
    ("serving_endpoints", "get_open_ai_client"): "DatabricksOpenAI",
    **{
        (server, "get_tools"): "tools" for server in ("DatabricksMCPServer", "McpServerToolkit", "MultiServerMCPClient")
    },
    **{(config, name): TOKEN for config in ("config", "strategy") for name in (*GIVE_TOKEN, "as_dict")},
} | {(client, name): "VectorSearchIndex" for client in SEARCH for name in ("get_index", "get_async_index")}


def entered(value: Value) -> Value:
    """Return what ``with … as`` binds for a value."""
    if value.what == "with_user_client":
        return Value(value.who, "WorkspaceClient")
    return Value(value.who, SESSION) if value.what == "user_session" else value


def _made(reader: Values, module: Module, call: ast.Call, name: str, env: Env) -> Value:
    what = "strategy" if name == "Config" else name
    deciding = _deciding(module, call, name)
    if any(value.who == "user" for part in deciding for value in reader.values(module, part, env)):
        return Value("user", what)
    ambient = not deciding and _is_neutral(module, call, positions=name in SEARCH)
    return Value("agent" if ambient or _on_own_config(reader, module, call, env) else "given", what)


def _deciding(module: Module, call: ast.Call, name: str) -> list[ast.expr]:
    """Return the arguments that decide who acts, unpacked ones included."""
    named = [(keyword.arg, keyword.value) for keyword in call.keywords]
    named += [item for options in options_of(module, call) or () for item in options.keywords.items()]
    deciding = [value for key, value in named if key in GIVEN_TO[name] and not is_nothing(value)]
    return deciding + (call.args[1:2] if name in SEARCH else [])


def _is_neutral(module: Module, call: ast.Call, positions: int) -> bool:
    """Return whether no argument of a client decides who acts."""
    options = options_of(module, call)
    if options is None or len(call.args) > positions:
        return False
    passed = {keyword.arg for keyword in call.keywords if keyword.arg is not None and not is_nothing(keyword.value)}
    return {*passed, *(key for item in options for key in item.keywords)} <= NEUTRAL


def _on_own_config(reader: Values, module: Module, call: ast.Call, env: Env) -> bool:
    """Return whether a client is made only of a configuration that is the agent's own."""
    config = argument(call, None, "config")
    values = reader.values(module, config, env)
    return len(call.keywords) == 1 and not call.args and bool(values) and all(value.who == "agent" for value in values)


def _built(reader: Values, module: Module, call: ast.Call, name: str, env: Env) -> Value:
    position, keyword = BUILT_ON[name]
    on = argument(call, position if last(module.dotted(call.func)) == name else None, keyword)
    if on is None or is_nothing(on):
        return Value("given" if unpacks(call) or _own_transport(call) else "agent", name)
    owners = {value.who for value in reader.values(module, on, env)}
    who: Literal["user", "agent", "given"] = "user" if "user" in owners else "agent" if owners == {"agent"} else "given"
    return Value(who, name)


def _own_transport(call: ast.Call) -> bool:
    """Return whether a client gets its authentication by other means."""
    return any(
        keyword.arg in ("api_key", "client_args", "headers", "http_client", "params") for keyword in call.keywords
    )
