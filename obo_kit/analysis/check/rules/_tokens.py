"""OBO108: the user's token goes where others can find it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final, cast

from obo_kit.analysis.check._agent import Agent
from obo_kit.analysis.check._clients import is_header
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._options import entries_of
from obo_kit.analysis.check._scopes import Function, parameters
from obo_kit.analysis.check._vocabulary import CLIENTS, TOKEN, Value, argument, arguments, last
from obo_kit.analysis.check.rules._table import Hit, rule, text_of

__all__: list[str] = []

_LOGS: Final = frozenset(
    {
        "bind",
        "bind_contextvars",
        "critical",
        "debug",
        "error",
        "exception",
        "info",
        "log",
        "success",
        "trace",
        "warning",
    }
)
_LOGGERS: Final = frozenset({"_log", "_logger", "log", "logger"})
_RUNS: Final = frozenset({"ainvoke", "astream", "astream_events", "invoke", "stream"})
_SHOWS: Final = frozenset(
    {
        "caption",
        "code",
        "error",
        "exception",
        "header",
        "html",
        "info",
        "json",
        "markdown",
        "metric",
        "subheader",
        "success",
    }
    | {"table", "text", "text_area", "text_input", "title", "toast", "warning", "write"}
)
_WRITE_METHODS: Final = frozenset({"write_bytes", "write_text", "writelines"})
_RESPONSES: Final = frozenset(
    {"HTMLResponse", "JSONResponse", "ORJSONResponse", "PlainTextResponse", "RedirectResponse", "Response"}
    | {"TemplateResponse", "json_response", "jsonify", "make_response", "redirect", "render_template"}
)
_TRACES: Final = frozenset(
    {"log_param", "log_params", "log_text", "set_attribute", "set_attributes", "set_inputs", "set_outputs", "set_tag"}
    | {"set_tags", "update_current_trace"}
)
_STATES_OF_USERS: Final = ("chainlit.User", "chainlit.user.User")
_STATE: Final = "into the state of the page"
# Where calls put their arguments, for people: by the whole name of a function, by its last name, by the name of a method.
_BY_NAME: Final = {
    **dict.fromkeys(("builtins.print", "click.echo", "pprint.pprint", "rich.inspect", "rich.print"), "into the log"),
    **dict.fromkeys(("sys.stderr.write", "sys.stdout.write", "typer.echo", "warnings.warn"), "into the log"),
    "chainlit.Message": "into the page",
    **dict.fromkeys(_STATES_OF_USERS, _STATE),
    **dict.fromkeys(("json.dump", "pickle.dump", "toml.dump", "yaml.dump", "yaml.safe_dump"), "into a file"),
}
_BY_LAST_NAME: Final = {
    **dict.fromkeys(_RESPONSES, "into the answer"),
    **dict.fromkeys(("AIMessage", "HumanMessage", "SystemMessage", "ToolMessage"), "into a prompt"),
}
_BY_METHOD: Final = {
    "set_cookie": "into the browser",
    **dict.fromkeys(("send_bytes", "send_json", "send_text"), "into the answer"),  # of a web socket
    **dict.fromkeys(_TRACES, "into a trace"),
}
_TRACERS: Final = frozenset({"langfuse.observe", "langsmith.traceable", "mlflow.trace", "mlflow.tracing.trace"})
# Where a call of a model, or of an agent, has its texts.
_PROMPTS: Final = frozenset({"input", "instructions", "messages", "prompt", "system_prompt"})
_MAKE_GRAPHS: Final = frozenset({"create_agent", "create_deep_agent", "create_react_agent"})
_STREAMS: Final = frozenset({"EventSourceResponse", "StreamingResponse"})
# What gives all of what it is given.
_WHOLE: Final = frozenset(
    {
        "builtins.dict",
        "builtins.repr",
        "builtins.str",
        "builtins.vars",
        "dataclasses.asdict",
        "json.dumps",
        "pprint.pformat",
    }
)
_DUMPS: Final = frozenset({"_asdict", "dict", "json", "model_dump", "model_dump_json"})
_HEADERS: Final = frozenset({"flask.request.headers", "streamlit.context.headers"})
_REQUESTS: Final = frozenset({"HTTPConnection", "Request", "WebSocket"})
_STATES: Final = ("flask.session", "nicegui.app.storage", "streamlit.session_state")
_COMPONENTS: Final = ("dash.dcc.", "dash.html.", "dash_bootstrap_components.", "gradio.")
# Methods that decide on a record's text, and fields that are left out of it.
_TEXTS: Final = frozenset({"__repr__", "__str__", "model_dump"})
_HIDES: Final = re.compile(r"Secret|repr=False|exclude=True")
_RECORDS: Final = frozenset({"BaseModel", "NamedTuple", "TypedDict", "dataclass"})
_LISTENERS: Final = frozenset({"change", "click", "input", "load", "select", "submit", "then"})
_ROUTES: Final = frozenset({"callback", "delete", "get", "patch", "post", "put", "route"})
_OF_SERVER: Final = frozenset({"prompt", "resource", "tool"})  # decorators of an MCP server
_TOOLS: Final = frozenset({"function_tool", "tool"})


@rule(
    "OBO108",
    "The user's token leaves the request",
    why="Until the token expires, anybody who finds it can act as the user: in a log, in a page, in a session's state or in an "
    "answer. Everything that the model receives is also written to traces.",
    fix="Name the user (`current_session().identity.principal`), never the token. If a client needs the token, pass the client "
    "on.",
)
def _token_leaves(agent: Agent) -> Iterator[Hit]:
    module = agent.module
    for call in module.calls:
        yield from _handed(agent, call)
        yield from _kept_by_method(agent, call)
    for store in module.stores:
        if where := _kept_in(agent, store.target):
            yield from _in_state(agent, store.target, [store.value], where)
    for error in (node.exc or node for node in module.of(ast.Raise)):
        if isinstance(error, ast.Call) and any(_token(agent, item) for item in arguments(error)):
            yield Hit(node=error, message=f"`{text_of(error)}` puts the user's token into an error.")
    for text in (node.msg for node in module.of(ast.Assert)):
        if text is not None and _token(agent, text):
            yield Hit(node=text, message=f"`{text_of(text)}` puts the user's token into an error.")
    yield from _traced(agent)
    yield from _answered(agent)


def _handed(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """Find calls that put their arguments where others see them."""
    where = _sink(agent, call)
    passed = arguments(call) if where else []
    if any(_token(agent, part) for part in passed):
        yield Hit(node=call, message=f"`{text_of(call)}` puts the user's token {where}.")
    elif any(_headers(agent, part) for part in passed):
        yield Hit(node=call, message=f"`{text_of(call)}` puts all headers {where}, with the user's token.")
    elif any(item.arg in _PROMPTS and _token(agent, item.value) for item in call.keywords):
        yield Hit(node=call, message=f"`{text_of(call)}` puts the user's token into a prompt.")


def _traced(agent: Agent) -> Iterator[Hit]:
    """Find ``@mlflow.trace`` on a function that receives or returns the token."""
    for function in agent.module.functions:
        for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
            if _traces(agent.module, decorator) and _is_traced(agent, function):
                yield Hit(node=decorator, message=f"`{text_of(decorator)}` puts the user's token into a trace.")


def _traces(module: Module, decorator: ast.expr) -> bool:
    """Return whether a decorator writes down what a function receives and returns."""
    return module.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator) in _TRACERS


def _is_traced(agent: Agent, function: Function) -> bool:
    """Return whether a function receives the user's token by a parameter, or returns it."""
    module = agent.module
    received = (value for item in parameters(function) for value in agent.reader.values(module, item))
    return _has_token(received) or any(_token(agent, answer) for answer in module.returns(function))


def _answered(agent: Agent) -> Iterator[Hit]:
    """Find routes, tools and listeners that return the token."""
    listeners = _listeners(agent)
    for function in agent.module.functions:
        if function in listeners or _answers_somebody(agent, function):
            steps = [step.value for step in agent.module.yields(function) if step.value is not None]
            for answer in (*agent.module.returns(function), *steps):
                name = agent.reader.facts(agent.module, function).name
                if _token(agent, answer):
                    yield Hit(node=answer, message=f"'{name}' answers with the user's token.")
                elif _headers(agent, answer):
                    yield Hit(node=answer, message=f"'{name}' answers with all headers, with the user's token.")


def _sink(agent: Agent, call: ast.Call) -> str:
    """Return where a call puts its arguments, for people."""
    dotted = agent.module.dotted(call.func)
    where = (
        _BY_NAME.get(dotted)
        or _BY_LAST_NAME.get(last(dotted))
        or ("into a file" if _writes(agent.module, call) else "")
    )
    if where or not isinstance(call.func, ast.Attribute):
        return where
    name = call.func.attr
    if name in _LOGS and (
        dotted.startswith(("logging.", "loguru.", "structlog.")) or _is_logger(agent, call.func.value)
    ):
        return "into the log"
    return "into the page" if name in _SHOWS and dotted.startswith("streamlit.") else _BY_METHOD.get(name, "")


def _writes(module: Module, call: ast.Call) -> bool:
    """Return whether a call is a method that writes into a file."""
    if not isinstance(call.func, ast.Attribute):
        return False
    bindings = module.bindings(call.func.value)[1] if isinstance(call.func.value, ast.Name) else []
    opened = [binding.value.func for binding in bindings if isinstance(binding.value, ast.Call)]
    opens = any(last(module.dotted(func)) == "open" or getattr(func, "attr", "") == "open" for func in opened)
    return call.func.attr in _WRITE_METHODS or (call.func.attr == "write" and opens)


def _runs_graph(module: Module, call: ast.Call) -> bool:
    """Return whether a call runs a graph of LangGraph's, which writes its state to checkpoints and traces."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in _RUNS:
        return False
    match module.origin(call.func.value):
        case (home, ast.Call(func=ast.Attribute(attr="compile"))):
            return any(dotted.partition(".")[0] == "langgraph" for dotted in home.imports)
        case (home, ast.Call(func=func)):
            return last(home.dotted(func)) in _MAKE_GRAPHS
        case _:
            return False


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
            pass
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            parts = [left, right]
        case ast.Call(func=ast.Attribute(value=ast.Name() as record, attr=name)) if name in _DUMPS:
            return _in_records(agent, record)
        case ast.Call(func=func) if agent.module.dotted(func) in _WHOLE:
            parts = arguments(node)
        case ast.Call() if (shown := _shown(agent.module, node)) is not None:
            parts = shown
        case _:
            return _is_token(agent, node)
    return any(_token(agent, part) for part in parts)


def _is_token(agent: Agent, node: ast.expr) -> bool:
    """Return whether the token is what an expression stands for, or in what a name stands for."""
    values = [*agent.reader.values(agent.module, node)]
    if values and _is_masked(agent, node):
        return False
    named: list[ast.expr] = []
    if isinstance(node, ast.Name):
        values += agent.reader.rest_of(agent.module, node)
        named = [part for part in entries_of(agent.module, node) if part is not node]
        if _in_records(agent, node):
            return True
    return _has_token(values) or any(_token(agent, part) for part in named)


def _is_masked(agent: Agent, node: ast.expr) -> bool:
    """Return whether the text of a value hides the token: ``SecretStr(token)``, or a record's field of that type."""
    if isinstance(node, ast.Attribute) and (made := agent.reader.made_of(agent.module, node.value)) is not None:
        return bool(_HIDES.search(_fields(made[1]).get(node.attr, "")))
    meant = [(home, part) for home, part, _ in agent.reader.meanings(agent.module, node, {})]
    masks = [isinstance(part, ast.Call) and last(home.dotted(part.func)) == "SecretStr" for home, part in meant]
    return bool(masks) and all(masks)


def _in_records(agent: Agent, name: ast.Name) -> bool:
    """Return whether a name stands for a record with the token, whose text has all of its fields."""
    return any(
        _has_token(agent.reader.values(home, part, env))
        for home, made, env in agent.reader.meanings(agent.module, name, {})
        if isinstance(made, ast.Call)
        for part in _shown(home, made) or ()
    )


def _has_token(values: Iterable[Value]) -> bool:
    return any(value.who == "user" and value.what == TOKEN and not value.path for value in values)


def _shown(module: Module, call: ast.Call) -> list[ast.expr] | None:
    """Return what the text of a part of a page, or of a record, has of its arguments; `None` for any other call."""
    match module.origin(call.func):
        case str(dotted) if dotted.startswith(_COMPONENTS):
            return arguments(call)
        case (home, ast.ClassDef() as made) if not _TEXTS & home.body[made].names.keys():
            marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in made.decorator_list]
            if any(last(home.dotted(mark)) in _RECORDS for mark in (*marks, *made.bases)):
                hidden = {name for name, field in _fields(made).items() if _HIDES.search(field)}
                fields = dict(zip(_fields(made), call.args, strict=False))
                fields |= {keyword.arg or "": keyword.value for keyword in call.keywords}
                return [value for name, value in fields.items() if name not in hidden]
    return None


def _fields(record: ast.ClassDef) -> dict[str, str]:
    """Return the fields of a record, each with its type and its default as text."""
    return {
        ast.unparse(
            statement.target
        ): f"{ast.unparse(statement.annotation)} {ast.unparse(statement.value or ast.Pass())}"
        for statement in record.body
        if isinstance(statement, ast.AnnAssign)
    }


def _headers(agent: Agent, node: ast.expr) -> bool:
    """Return whether all headers of a request are in a value, the user's token among them."""
    module = agent.module
    match node:
        case ast.Call(func=func) if last(module.dotted(func)) == "get_request_headers":
            return True
        case ast.Attribute(value=request, attr="headers"):
            return (
                module.dotted(node) in _HEADERS or _is_request(agent, module, request) or _hold_the_token(module, node)
            )
        case ast.Name():
            bindings = module.bindings(node)[1]
            if len(bindings) != 1 or _changed(module, node):
                return False
            value = bindings[0].value if bindings[0].how == "value" else None
            return (isinstance(value, ast.expr) and _headers(agent, value)) or _hold_the_token(module, node)
        case _:
            return any(_headers(agent, part) for part in _wholes(module, node))


def _hold_the_token(module: Module, node: ast.expr) -> bool:
    """Return whether the function takes the user's token from these headers."""
    function, text = module.function_of(node), ast.unparse(node)
    reads: list[tuple[ast.expr, ast.expr]] = [
        (call.func.value, call.args[0])
        for call in module.inside(function, ast.Call)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "get" and call.args
    ]
    reads += [(item.value, item.slice) for item in module.inside(function, ast.Subscript)]
    return any(
        isinstance(key, ast.Constant) and is_header(str(key.value)) and ast.unparse(place) == text
        for place, key in reads
    )


def _wholes(module: Module, node: ast.expr) -> list[ast.expr]:
    """Return the expressions whose whole value is in another."""
    match node:
        case ast.Dict(values=parts) | ast.List(elts=parts) | ast.Tuple(elts=parts):
            return parts
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [left, right]
        case ast.DictComp(key=ast.Name(id=key), value=ast.Name(id=item), generators=[loop]) if not loop.ifs:
            return [loop.iter] if ast.unparse(loop.target) == f"({key}, {item})" else []
        case ast.JoinedStr(values=parts):
            return [part.value for part in parts if isinstance(part, ast.FormattedValue)]
        case ast.Call(func=ast.Attribute(value=inner, attr="items" | "copy"), args=[]):
            return [inner]
        case ast.Call(func=func, args=[inner, *_]) if module.dotted(func) in _WHOLE:
            return [inner]
        case _:
            return []


def _changed(module: Module, name: ast.Name) -> bool:
    """Return whether something is put into, or taken out of, what a name stands for: the token may be gone."""
    function = module.function_of(name)
    touched = [store.target for store in module.stores if module.function_of(store.target) is function]
    touched += [target for statement in module.inside(function, ast.Delete) for target in statement.targets]
    touched += [call.func for call in module.inside(function, ast.Call)]
    return any(
        isinstance(node, (ast.Subscript, ast.Attribute))
        and isinstance(node.value, ast.Name)
        and node.value.id == name.id
        for node in touched
        if not isinstance(node, ast.Attribute) or node.attr in ("pop", "update", "clear", "__delitem__")
    )


def _is_request(agent: Agent, module: Module, node: ast.expr, depth: int = 0) -> bool:
    """Return whether it is a parameter for the request: by its type, in a middleware, or as its callers pass it."""
    for binding in module.bindings(node)[1] if isinstance(node, ast.Name) else ():
        item = binding.node
        if not isinstance(item, ast.arg):
            continue
        if item.annotation is not None:
            return last(module.dotted(item.annotation)) in _REQUESTS
        beside = [other.arg for other in parameters(cast("Function", module.parent[item]))]
        passed = list(agent.reader.handed(module, item, binding.value)) if depth < 2 else []
        if beside[-2:] == [item.arg, "call_next"] or any(_is_request(agent, *each, depth + 1) for each in passed):
            return True
    return False


def _client(agent: Agent, node: ast.expr) -> bool:
    values = agent.reader.values(agent.module, node)
    return any(value.who == "user" and value.what in (*CLIENTS, "Connection") and not value.path for value in values)


# --- the state of a page --------------------------------------------------------------------------------------------------


def _in_state(agent: Agent, place: ast.expr, values: list[ast.expr], where: str) -> Iterator[Hit]:
    for value in values:
        if _token(agent, value) or _client(agent, value):
            what = "token" if _token(agent, value) else "client"
            yield Hit(node=place, message=f"`{text_of(place)}` puts the user's {what} {where}.")
            return


def _kept_by_method(agent: Agent, call: ast.Call) -> Iterator[Hit]:
    """Find ``st.session_state.setdefault("token", token)`` and ``cl.user_session.set("token", token)``."""
    func = call.func
    if _runs_graph(agent.module, call):
        if any(_token(agent, passed) for passed in call.args[:1]):
            yield Hit(node=call, message=f"`{text_of(call)}` puts the user's token into the state of the graph.")
        elif any(_token(agent, part) for part in _metadata_of(agent, call)):
            yield Hit(
                node=call, message=f"`{text_of(call)}` puts the user's token into what is kept of the graph's run."
            )
    if isinstance(func, ast.Attribute) and func.attr in ("set", "setdefault", "update"):
        chainlit = agent.module.dotted(func.value) == "chainlit.user_session"
        if where := _STATE if chainlit else _kept_in(agent, func.value):
            values = [
                part
                for passed in arguments(call)
                for part in (passed.values if isinstance(passed, ast.Dict) else [passed])
            ]
            yield from _in_state(agent, call, values, where)


def _metadata_of(agent: Agent, call: ast.Call) -> Iterator[ast.expr]:
    """Yield what a run of a graph is labelled with: ``config={"metadata": …, "tags": …}``, and what LangGraph adds to it."""
    config = argument(call, 1, "config")
    for home, meant, _ in agent.reader.meanings(agent.module, config, {}):
        shown = isinstance(meant, ast.Dict) and home is agent.module
        for key, value in zip(meant.keys, meant.values, strict=True) if isinstance(meant, ast.Dict) and shown else ():
            if isinstance(key, ast.Constant) and key.value in ("configurable", "metadata", "tags"):
                yield value


def _kept_in(agent: Agent, place: ast.expr) -> str:
    """Return where others see what is put into a place, for people: a page's state, its user's record, an answer's headers."""
    if _is_state(agent, place):
        return _STATE
    base = place
    while isinstance(base, (ast.Attribute, ast.Subscript)):
        name, base = getattr(base, "attr", ""), base.value
        if name == "metadata" and _made_by(agent.module, base) in _STATES_OF_USERS:
            return _STATE
        if name == "headers" and last(_made_by(agent.module, base)) in (*_RESPONSES, "call_next"):
            return "into the answer"
    return ""


def _made_by(module: Module, node: ast.expr) -> str:
    """Return the class, or the function, that made what an expression stands for; a parameter's type counts."""
    bindings = module.bindings(node)[1] if isinstance(node, ast.Name) else []
    for binding in bindings:
        made = binding.value.value if isinstance(binding.value, ast.Await) else binding.value
        if isinstance(binding.node, ast.arg) and binding.node.annotation is not None:
            return module.dotted(binding.node.annotation)
        if isinstance(made, ast.Call):
            return module.dotted(made.func) or getattr(made.func, "id", "")
    return ""


def _is_state(agent: Agent, place: ast.expr) -> bool:
    """Return whether a place is in the state of a page, or in a session that its browser holds."""
    while isinstance(place, (ast.Attribute, ast.Call, ast.Name, ast.Subscript)):
        if agent.module.dotted(place) in _STATES:
            return True
        if isinstance(place, ast.Call):  # ``session.setdefault("user", {})["token"]``
            if not isinstance(place.func, ast.Attribute) or place.func.attr not in ("get", "setdefault"):
                return False
            place = place.func.value
            continue
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
        if isinstance(called, ast.Attribute) and called.attr in _OF_SERVER:
            return True
        if isinstance(decorator, ast.Call) and isinstance(called, ast.Attribute) and called.attr in _ROUTES:
            return True
    return False


def _listeners(agent: Agent) -> set[Function]:
    """Return the functions whose answers Gradio shows, a response streams, or LangGraph keeps in a graph's state."""
    module = agent.module
    roots = {dotted.partition(".")[0] for dotted in module.imports}
    handed: list[ast.expr] = [
        part
        for call in module.calls
        if _listens(module, call, roots)
        for part in arguments(call)
        if isinstance(part, (ast.Name, ast.Attribute, ast.Lambda))
    ]
    streams = [call.args[0] for call in module.calls if call.args and last(module.dotted(call.func)) in _STREAMS]
    handed += [part.func for part in streams if isinstance(part, ast.Call)]
    called = [agent.reader.called(module, part) for part in handed]
    return {item[1] for item in called if item is not None and item[0] is module}


def _listens(module: Module, call: ast.Call, roots: set[str]) -> bool:
    """Return whether a call is handed functions whose answers are shown, or written down."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if "langgraph" in roots and name == "add_node":
        return True
    return "gradio" in roots and (name in _LISTENERS or module.dotted(call.func).startswith("gradio."))
