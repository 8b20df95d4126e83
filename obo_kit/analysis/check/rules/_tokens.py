"""OBO108: the user's token goes where others can find it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._scopes import Function
from obo_kit.analysis.check._vocabulary import CLIENTS, TOKEN, arguments, last
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []

_LOGS: Final = frozenset({"critical", "debug", "error", "exception", "info", "log", "success", "trace", "warning"})
_LOGGERS: Final = frozenset({"_log", "_logger", "log", "logger"})
_SHOWS: Final = frozenset({"caption", "code", "html", "json", "markdown", "text", "write"})
_RESPONSES: Final = frozenset(
    {"HTMLResponse", "JSONResponse", "ORJSONResponse", "PlainTextResponse", "RedirectResponse", "Response"}
    | {"TemplateResponse", "jsonify", "make_response", "render_template"}
)
_TRACES: Final = frozenset(
    {"log_param", "log_params", "log_text", "set_attribute", "set_attributes", "set_inputs", "set_outputs", "set_tag"}
    | {"set_tags", "update_current_trace"}
)
_STATES: Final = ("flask.session", "streamlit.session_state")
_LISTENERS: Final = frozenset({"change", "click", "input", "load", "select", "submit", "then"})
_ROUTES: Final = frozenset({"callback", "delete", "get", "patch", "post", "put", "route"})
_TOOLS: Final = frozenset({"function_tool", "tool"})


@rule(
    "OBO108",
    "The user's token leaves the request",
    why="Anybody who finds the token in a log, in a page, in a session's state or in an answer can act as the user until it "
    "expires. What the model receives is also written into traces.",
    fix="Name the user (`current_session().identity.principal`), never the token. If a client needs the token, pass the client "
    "on.",
)
def _token_leaves(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        where = _sink(agent, call)
        if where and any(_token(agent, passed) for passed in arguments(call)):
            yield Hit(node=call, message=f"`{text_of(call)}` puts the user's token {where}.")
        yield from _kept_by_method(agent, call)
    for store in module.stores:
        if _is_state(agent, store.target):
            yield from _in_state(agent, store.target, [store.value])
    for raised in (node.exc for node in module.of(ast.Raise)):
        if isinstance(raised, ast.Call) and any(_token(agent, item) for item in arguments(raised)):
            yield Hit(node=raised, message=f"`{text_of(raised)}` puts the user's token into an error.")
    yield from _answered(agent)


def _answered(agent: Agent) -> Iterator[Hit]:
    """Find routes, tools and listeners that return the token."""
    listeners = _listeners(agent)
    for function in agent.module.functions:
        if function in listeners or _answers_somebody(agent, function):
            for answer in agent.module.returns(function):
                if _token(agent, answer):
                    name = agent.reader.facts(agent.module, function).name
                    yield Hit(node=answer, message=f"'{name}' answers with the user's token.")


def _sink(agent: Agent, call: ast.Call) -> str:
    """Return where a call puts its arguments, for people."""
    dotted = agent.module.dotted(call.func)
    if dotted == "builtins.print":
        return "into the log"
    if last(dotted) in _RESPONSES:
        return "into the answer"
    if not isinstance(call.func, ast.Attribute):
        return ""
    name = call.func.attr
    if name in _LOGS and (dotted.startswith(("logging.", "loguru.")) or _is_logger(agent, call.func.value)):
        return "into the log"
    if name in _SHOWS and dotted.startswith("streamlit."):
        return "into the page"
    if name == "set_cookie":
        return "into the browser"
    return "into a trace" if name in _TRACES else ""


def _is_logger(agent: Agent, node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if name.lower() in _LOGGERS:
        return True
    origin = agent.module.origin(node)
    if not isinstance(origin, tuple):
        return False
    module, made = origin
    return isinstance(made, ast.Call) and last(module.dotted(made.func)) in ("getLogger", "get_logger")


def _token(agent: Agent, node: ast.expr) -> bool:
    """Return whether the token itself is in a value: by its name, in a text, or in a container."""
    match node:
        case ast.Dict(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return any(_token(agent, part) for part in parts)
        case _:
            values = agent.reader.values(agent.module, node)
            return any(value.who == "user" and value.what == TOKEN and not value.path for value in values)


def _client(agent: Agent, node: ast.expr) -> bool:
    values = agent.reader.values(agent.module, node)
    return any(value.who == "user" and value.what in CLIENTS and not value.path for value in values)


# --- the state of a page --------------------------------------------------------------------------------------------------


def _in_state(agent: Agent, place: ast.expr, values: list[ast.expr]) -> Iterator[Hit]:
    for value in values:
        if _token(agent, value) or _client(agent, value):
            what = "token" if _token(agent, value) else "client"
            yield Hit(node=place, message=f"`{text_of(place)}` keeps the user's {what} in the state of the page.")
            return


def _kept_by_method(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """Find ``st.session_state.setdefault("token", token)`` and ``cl.user_session.set("token", token)``."""
    func = call.func
    if isinstance(func, ast.Attribute) and func.attr in ("set", "setdefault", "update"):
        chainlit = agent.module.dotted(func.value) == "chainlit.user_session"
        if chainlit or _is_state(agent, func.value):
            values = [
                part
                for passed in arguments(call)
                for part in (passed.values if isinstance(passed, ast.Dict) else [passed])
            ]
            yield from _in_state(agent, call, values)


def _is_state(agent: Agent, place: ast.expr) -> bool:
    while isinstance(place, (ast.Attribute, ast.Name, ast.Subscript)):
        if agent.module.dotted(place) in _STATES:
            return True
        # Starlette's session is a signed cookie, and everybody who has it can read it.
        if isinstance(place, ast.Attribute) and place.attr == "session" and isinstance(place.value, ast.Name):
            return place.value.id == "request"
        if isinstance(place, ast.Name):
            return False
        place = place.value
    return False


# --- answers --------------------------------------------------------------------------------------------------------------


def _answers_somebody(agent: Agent, function: Function) -> bool:
    """Return whether the model, or a browser, sees what a function returns."""
    if agent.reader.facts(agent.module, function).is_tool:
        return True
    for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if last(agent.module.dotted(called)) in _TOOLS or agent.module.dotted(called) == "dash.callback":
            return True
        if isinstance(decorator, ast.Call) and isinstance(called, ast.Attribute) and called.attr in _ROUTES:
            return True
    return False


def _listeners(agent: Agent) -> set[Function]:
    """Return the functions that Gradio calls, and whose answers it shows."""
    module = agent.module
    if not any(dotted.partition(".")[0] == "gradio" for dotted in module.imports):
        return set()
    handed = [
        part
        for call in module.calls
        if (isinstance(call.func, ast.Attribute) and call.func.attr in _LISTENERS)
        or module.dotted(call.func).startswith("gradio.")
        for part in arguments(call)
        if isinstance(part, (ast.Name, ast.Attribute, ast.Lambda))
    ]
    called = [agent.reader.called(module, part) for part in handed]
    return {item[1] for item in called if item is not None and item[0] is module}
