"""What the decorators refuse to stand above: registrations, and what is no function (rule 13)."""

from __future__ import annotations

import functools
import warnings

import pytest
from databricks.sdk import WorkspaceClient
from support import extra, mcp_server

from obo_kit import (
    optional_tool,
    requires_scopes,
    user_session,
    user_tool,
    with_user_client,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's about its own type hints
    from mlflow.genai.agent_server import server as agent_server


# --- orders that would do nothing ------------------------------------------------------------------------------------------


def decorators():
    return {
        "with_user_client": with_user_client,
        "requires_scopes": requires_scopes("genie"),
        "optional_tool": optional_tool,
        "user_session": user_session,
    }


def agent_server_invoke(fn):
    agent_server._invoke_function = None
    return agent_server.invoke()(fn)


def agent_server_stream(fn):
    agent_server._stream_function = None
    return agent_server.stream()(fn)


def mcp_tool(fn):
    globals()["named_server"] = mcp_server()
    return globals()["named_server"].tool()(fn)


def fastmcp_tool(fn):
    globals()["named_server"] = extra("fastmcp", "FastMCP")("test")
    return globals()["named_server"].tool(fn)


def fastapi_route(fn):
    globals()["named_server"] = extra("fastapi", "FastAPI")()
    return globals()["named_server"].get("/")(fn)


def fastapi_router(fn):
    globals()["named_server"] = extra("fastapi", "APIRouter")()
    return globals()["named_server"].get("/")(fn)


def flask_route(fn):
    globals()["named_server"] = extra("flask", "Flask")("test")
    return globals()["named_server"].get("/")(fn)


REGISTRATIONS = (
    agent_server_invoke,
    agent_server_stream,
    mcp_tool,
    fastmcp_tool,
    fastapi_route,
    fastapi_router,
    flask_route,
)


@pytest.fixture
def nothing_registered():
    yield
    agent_server._invoke_function = agent_server._stream_function = None
    globals().pop("named_server", None)


@pytest.mark.parametrize("register", REGISTRATIONS, ids=lambda register: register.__name__)
@pytest.mark.parametrize("decorator", decorators())
@pytest.mark.usefixtures("nothing_registered")
def test_a_decorator_above_a_registration_is_refused(register, decorator):
    """It would never be reached, in silence; also through a stranger, and above another one that is well placed."""

    def made():
        def tool(client=None, question: str = "x"):
            """Ask."""

        return tool

    def stranger(fn):
        return functools.wraps(fn)(lambda *args: fn(*args))  # noqa: PLW0108 - a function of its own

    message = rf"@{decorator} is above .*never be reached\. Fix: put @{decorator} below it\."
    with pytest.raises(TypeError, match=message):
        decorators()[decorator](register(made()))
    with pytest.raises(TypeError, match=message):
        decorators()[decorator](stranger(register(made())))
    well_placed = requires_scopes("sql")(made()) if decorator != "requires_scopes" else optional_tool(made())
    with pytest.raises(TypeError, match=message):
        decorators()[decorator](register(well_placed))
    register(decorators()[decorator](made()))  # the documented order


def test_a_server_inside_a_function_is_seen():
    """An app that is made by a function."""
    app = extra("fastapi", "FastAPI")()
    with pytest.raises(TypeError, match="is above the route's decorator"):

        @optional_tool
        @app.get("/")
        def tool(): ...


def test_a_server_that_keeps_its_functions_elsewhere_does_no_harm(monkeypatch):
    """Another version of a framework."""
    app = extra("fastapi", "FastAPI")()
    app.get("/")(unseen := lambda: None)
    monkeypatch.setattr(type(app), "routes", property(lambda self: 1 / 0))
    assert optional_tool(unseen)() is None


def test_another_function_of_a_server_s_module_is_not_refused():
    app = extra("fastapi", "FastAPI")()
    app.get("/")(lambda: None)
    assert optional_tool(lambda: "ours")() == "ours"


# --- what is no function ------------------------------------------------------------------------------------------------------


class ToolObject:
    """As some frameworks make of a function: called like one, and bound to an instance like one."""

    def __init__(self, fn):
        functools.update_wrapper(self, fn)
        self.fn = fn

    def __get__(self, instance, owner=None):
        return self if instance is None else ToolObject(functools.partial(self.fn, instance))

    def __call__(self, *args, **kwargs):
        return self.fn(*args, **kwargs)


def marked(fn):
    """As Semantic Kernel marks a function."""
    fn.__kernel_function__ = True
    return fn


@pytest.mark.parametrize("make", [ToolObject, functools.lru_cache, functools.cache, functools.singledispatch, marked])
@pytest.mark.parametrize(
    "decorator", [with_user_client, requires_scopes("genie"), optional_tool, user_tool("genie"), user_session]
)
def test_what_a_framework_makes_of_a_function_is_refused_at_decoration(make, decorator):
    """Rule 13: above it the kit would do nothing, or be copied away."""

    def find(client: WorkspaceClient, question: str) -> str:
        return "x"

    if make is functools.singledispatch:  # a function of its own, which calls the others
        decorator(make(find))
        return
    cached = make in (functools.lru_cache, functools.cache) and decorator is not user_session
    with pytest.raises(TypeError, match="cache_key" if cached else r"[Pp]ut (it|@\w+) below"):
        decorator(make(find))
