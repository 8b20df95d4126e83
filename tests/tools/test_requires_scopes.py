"""`requires_scopes`: declared, checked before the call, and the client narrowed to it. Rules 20 to 23 of the design."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import sys
import weakref

import pytest
from databricks.ai_search.client import AISearchClient
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import (
    DatabricksApp,
    DatabricksFunction,
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksTable,
    DatabricksUCConnection,
    DatabricksVectorSearchIndex,
)
from support import INDEX, SPACE, as_user, callers, calls, me

from obo_kit import (
    MissingScopeError,
    PolicyError,
    ScopeViolationError,
    UnknownScopeError,
    requires_scopes,
    system_resources,
    user_session,
    with_user_client,
)
from obo_kit.scopes import SCOPES, kind_of
from obo_kit.tools._spec import Requirement, Requirements

pytestmark = pytest.mark.usefixtures("registry")


def with_scopes(workspace, *scopes, user="alice"):
    return user_session(host=workspace.host, token=workspace.token(user, scopes=scopes, allow_unknown=True))


# --- what may be declared -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_every_scope_of_the_catalogue_in_either_vocabulary(scope):
    """Rules 20 and 21."""
    assert callable(requires_scopes(scope)(lambda: None))


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("vector_search", "vector-search"), ("gennie", "genie"), ("Genie", "genie"), ("sql.warehouse", "sql.warehouses")],
)
def test_an_unknown_scope_is_refused_with_the_nearest_name(given, nearest):
    """Rule 20: at decoration."""
    with pytest.raises(UnknownScopeError) as caught:
        requires_scopes(given)
    assert (caught.value.scope, caught.value.nearest) == (given, nearest)
    assert repr(nearest) in caught.value.remedy
    assert "allow_unknown=True" in caught.value.remedy


def test_an_unknown_scope_may_be_declared_as_written(registry):
    """Rule 20."""
    requires_scopes("quite-new", allow_unknown=True)(lambda: None)
    assert [item.scope for declaration in registry for item in declaration.requirements] == ["quite-new"]


@pytest.mark.parametrize("options", [{}, {"allow_unknown": True}])
@pytest.mark.parametrize("given", ["", "  ", None, 3, b"sql", ["sql"], {"sql"}])
def test_what_is_no_scope_and_no_resource_is_refused(given, options):
    """Rule 20: at decoration."""
    with pytest.raises((UnknownScopeError, PolicyError)):
        requires_scopes(given, **options)


def test_nothing_declared_is_refused():
    """Rule 20: an empty declaration is a mistake, and not 'everything'."""
    with pytest.raises(PolicyError, match="declares nothing") as caught:
        requires_scopes()
    assert "Name the scopes" in caught.value.remedy


def test_bare_use_is_refused_with_the_way_to_write_it():
    with pytest.raises(PolicyError, match="without saying") as caught:

        @requires_scopes
        def tool(): ...

    assert "@requires_scopes('genie')" in caught.value.remedy


def test_a_resource_s_class_is_refused():
    """Which one?"""
    with pytest.raises(PolicyError, match="is a class"):
        requires_scopes(DatabricksGenieSpace)


@pytest.mark.parametrize("target", [object(), type, 3])
def test_only_functions_can_declare(target):
    with pytest.raises(TypeError, match="goes on a function"):
        requires_scopes("sql")(target)


@pytest.mark.parametrize(
    "resource",
    [
        DatabricksGenieSpace("s"),
        DatabricksServingEndpoint("e"),
        DatabricksVectorSearchIndex("a.b.c"),
        DatabricksSQLWarehouse("w"),
        DatabricksUCConnection("c"),
        DatabricksFunction("a.b.f"),
        DatabricksTable("a.b.t"),
        DatabricksApp("a"),
    ],
    ids=lambda resource: type(resource).__name__,
)
def test_a_resource_implies_scopes(resource):
    """Rule 21: in any one spelling, held in full."""
    requirements = Requirements(items=(Requirement(resource=resource, kind=kind_of(resource)),))
    assert requirements.resources == ((kind_of(resource), resource.name),)
    for target in ("model-serving", "apps"):
        for naming in (kind_of(resource).current, kind_of(resource).granular):
            assert requirements.items[0].missing(frozenset(naming[target])) == ()
    assert requirements.items[0].missing(frozenset({"files"}))


# --- the check before the call --------------------------------------------------------------------------------------------


@requires_scopes("genie", "sql")
@with_user_client
def needs_two(client: WorkspaceClient) -> str:
    return me(client)


def test_all_missing_scopes_are_named_before_anything_is_sent(workspace):
    """Rule 21: one deployment mends everything."""
    with with_scopes(workspace, "files"):
        with pytest.raises(MissingScopeError) as caught:
            needs_two()
    assert caught.value.scopes == ("genie", "sql")
    assert "'needs_two' declares: genie, sql" in caught.value.message
    assert "obo_kit.log_model" in caught.value.remedy
    assert calls(workspace) == []


def test_on_apps_the_remedy_names_the_app_s_scopes(workspace):
    """Rule 17."""
    with workspace.as_app() as app, user_session(headers=app.headers("alice")):
        with pytest.raises(MissingScopeError) as caught:
            needs_two()
    assert "user_api_scopes" in caught.value.remedy


def test_the_check_needs_no_client(workspace):
    """On a tool that builds its own."""
    with with_scopes(workspace, "files"), pytest.raises(MissingScopeError):
        requires_scopes("sql")(lambda: None)()


@pytest.mark.parametrize(
    "scopes", [["genie", "sql"], ["dashboards.genie", "sql"], ["all-apis"], ["genie", "sql", "files"]]
)
def test_a_token_that_holds_them_in_any_spelling_passes(workspace, scopes):
    """Rule 21."""
    with with_scopes(workspace, *scopes, "iam.current-user:read"):
        assert needs_two() == "alice"


def test_a_token_with_a_spelling_that_nobody_knows_is_left_to_the_platform(workspace):
    """Rule 20: three-valued."""
    with with_scopes(workspace, "quite-new"):
        requires_scopes("sql")(lambda: None)()


def test_a_token_that_does_not_say_passes(workspace):
    """Rule 21: a personal access token is opaque."""
    with user_session(host=workspace.host, token="dapi0123456789"):
        assert requires_scopes("sql")(lambda: "ran")() == "ran"


@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
async def test_every_kind_is_checked_at_its_first_step(workspace, kind):
    """Rules 4 and 12."""
    seen = []

    async def coroutine():
        seen.append(1)

    def generator():
        seen.append(1)
        yield

    async def async_generator():
        seen.append(1)
        yield

    tool = requires_scopes("sql")({"coroutine": coroutine, "generator": generator}.get(kind, async_generator))
    with with_scopes(workspace, "files"):
        made = tool()
        with pytest.raises(MissingScopeError):
            await (
                made
                if inspect.iscoroutine(made)
                else asyncio.to_thread(next, made)
                if inspect.isgenerator(made)
                else anext(made)
            )
    assert seen == []


# --- the client is narrowed -----------------------------------------------------------------------------------------------


@requires_scopes(DatabricksGenieSpace(SPACE))
@with_user_client
def strays(client: WorkspaceClient) -> list[str]:
    return [one.id for one in client.warehouses.list()]


def test_a_call_outside_the_declaration_is_stopped(workspace):
    """Rule 23: though the token would do."""
    with as_user(workspace, "alice"):
        with pytest.raises(ScopeViolationError) as caught:
            strays()
    assert caught.value.scopes[0] == "sql"
    assert "'strays' called GET /api/2.0/sql/warehouses" in caught.value.message
    assert calls(workspace) == []


def test_a_call_inside_the_declaration_passes(workspace):
    """Rule 23: in every spelling of the declared scope."""
    for declared in (DatabricksGenieSpace(SPACE), "genie", "dashboards.genie"):
        tool = requires_scopes(declared)(with_user_client(lambda client: client.genie.get_space(SPACE).title))
        with as_user(workspace, "alice"):
            assert tool() == SPACE


@pytest.mark.parametrize(
    ("runtime", "setting", "stopped"),
    [
        ("none", None, True),
        ("model serving", None, False),
        ("app", None, False),
        ("none", "warn", False),
        ("none", "off", False),
        ("model serving", "raise", True),
        ("app", "off", False),
        ("none", "RAISE", True),
        ("none", "nonsense", True),
    ],
)
def test_the_guard_s_modes(workspace, monkeypatch, caplog, runtime, setting, stopped):
    """Rule 23: raise everywhere, but warn where an agent is deployed; a word that is none of the modes is no way out."""
    import contextlib

    if setting is not None:
        monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", setting)
    with contextlib.ExitStack() as stack:
        if runtime == "model serving":
            stack.enter_context(stack.enter_context(workspace.as_model_serving()).user("alice"))
        elif runtime == "app":
            headers = stack.enter_context(workspace.as_app()).headers("alice", scopes=["all-apis"])
            stack.enter_context(user_session(headers=headers))
        else:
            stack.enter_context(as_user(workspace, "alice"))
        if setting is not None:
            monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", setting)
        if stopped:
            with pytest.raises(ScopeViolationError):
                strays()
        else:
            assert strays() == strays() == ["wh1"]
    warned = [record for record in caplog.records if record.name == "obo_kit.clients._pipeline"]
    warns = not stopped and setting != "off"
    assert [record.levelno for record in warned] == ([logging.WARNING] if warns else [])  # once


def test_the_vector_search_client_is_narrowed_too(workspace):
    """Rule 23: every client that the session hands out."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: AISearchClient):
        return client.get_index(index_name=INDEX).describe()

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError):
        tool()
    assert callers(workspace) == []


@pytest.mark.parametrize("path", ["/api/2.0/nobody/knows", "/api/2.1/sql/statements", "/graphql"])
def test_a_route_that_the_catalogue_does_not_know_is_outside(workspace, path):
    """Rule 23: an older version of an API is one, too."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.api_client.do("GET", path)

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError, match="does not know this path"):
        tool()
    assert callers(workspace) == []


@pytest.mark.parametrize("scopes", [("all-apis",), ("genie", "quite-new")])
def test_a_scope_that_may_open_what_the_catalogue_does_not_know_lets_it_through(workspace, scopes):
    """Rule 23: the platform is the judge."""

    @requires_scopes(*scopes, allow_unknown=True)
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.api_client.do("GET", "/api/2.0/nobody/knows")

    with as_user(workspace, "alice"), pytest.raises(Exception, match="No API found"):
        tool()
    assert callers(workspace) == ["alice"]


def test_a_tool_that_declares_nothing_is_not_narrowed(workspace):
    """Rule 23."""
    tool = with_user_client(lambda client: [one.id for one in client.warehouses.list()])
    with as_user(workspace, "alice") as session:
        assert tool() == ["wh1"]
        assert [one.id for one in session.client.warehouses.list()] == ["wh1"]


def test_each_tool_is_narrowed_to_its_own_declaration(workspace):
    """Rule 23: though they share a client, and one calls the other."""
    warehouses = requires_scopes("sql")(with_user_client(lambda client: [one.id for one in client.warehouses.list()]))

    @requires_scopes("genie")
    @with_user_client
    def outer(client: WorkspaceClient):
        return warehouses(), client.genie.get_space(SPACE).title

    with as_user(workspace, "alice"):
        assert outer() == (["wh1"], SPACE)
        with pytest.raises(ScopeViolationError):
            strays()
        assert warehouses() == ["wh1"]


def test_a_stream_is_narrowed_in_each_step_and_its_consumer_never(workspace):
    """Rules 6 and 23."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient):
        yield client.genie.get_space(SPACE).title
        yield [one.id for one in client.warehouses.list()]

    with as_user(workspace, "alice") as session:
        stream = tool()
        assert next(stream) == SPACE
        assert [one.id for one in session.client.warehouses.list()] == ["wh1"]
        with pytest.raises(ScopeViolationError):
            next(stream)


def test_a_function_that_is_handed_its_client_is_narrowed(workspace):
    """Rule 13: a factory."""

    @requires_scopes("genie")
    def build(client: WorkspaceClient):
        return [one.id for one in client.warehouses.list()]

    with as_user(workspace, "alice") as session:
        assert list(inspect.signature(build).parameters) == ["client"]
        with pytest.raises(ScopeViolationError):
            build(session.client)


def test_threads_that_inherit_the_context_are_narrowed(workspace):
    """Rule 23."""

    @requires_scopes("genie")
    @with_user_client
    async def tool(client: WorkspaceClient):
        return await asyncio.to_thread(lambda: list(client.warehouses.list()))

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError):
        asyncio.run(tool())


# --- the registry ---------------------------------------------------------------------------------------------------------


def test_a_tool_is_registered_where_it_is_declared(registry):
    """Rule 22: also inside a class or a function."""

    class Shop:
        @requires_scopes("sql")
        def method(self): ...

        @staticmethod
        @requires_scopes("genie")
        def static(): ...

    def make(number):
        @requires_scopes("files")
        def made():
            return number

        return made

    make(1), make(2)
    here = test_a_tool_is_registered_where_it_is_declared.__qualname__ + ".<locals>."
    assert [(one.tool.removeprefix(here), one.requirements[0].scope, one.module) for one in registry] == [
        ("Shop.method", "sql", __name__),
        ("Shop.static", "genie", __name__),
        ("make.<locals>.made", "files", __name__),
    ]


def test_tools_of_one_name_in_one_function_all_count(registry):
    """Rule 22: no less than what is declared."""
    tools = [requires_scopes(scope)(lambda: None) for scope in ("sql", "genie")]
    tools.append(requires_scopes("files")(lambda: 1))
    assert {item.scope for one in registry for item in one.requirements} == {"sql", "genie", "files"}


def test_a_cell_run_again_takes_the_place_of_its_former_self(registry):
    """Rule 22: no more than what is declared."""
    cell = "@requires_scopes({!r})\ndef tool(): ..."
    for scope in ("sql", "genie"):
        exec(cell.format(scope), {"__name__": "__main__", "requires_scopes": requires_scopes})
    assert [item.scope for one in registry for item in one.requirements] == ["genie"]


def test_what_is_made_for_each_request_is_not_kept(registry):
    """Nothing is kept between requests."""

    def request():
        @requires_scopes(DatabricksGenieSpace("s"))
        def tool(): ...

        return weakref.ref(tool)

    kept = [request() for _ in range(20)]
    gc.collect()
    assert [one() for one in kept] == [None] * 20
    assert len(list(registry)) == 1


def test_declaring_twice_adds_up(registry):
    tool = requires_scopes("sql")(requires_scopes("genie", "sql")(lambda: None))
    assert tool() is None
    assert {item.scope for one in registry for item in one.requirements} == {"sql", "genie"}


# --- system_resources -----------------------------------------------------------------------------------------------------


def test_system_resources_are_registered_once_and_given_back(registry):
    endpoint = DatabricksServingEndpoint("e")
    for _ in range(2):
        assert system_resources(endpoint) == (endpoint,)
    (declared,) = registry
    assert (declared.system, declared.module) == ((endpoint,), __name__)


@pytest.mark.parametrize("given", [[], ["sql"], [object()], [DatabricksGenieSpace], [[DatabricksGenieSpace("s")]]])
def test_what_is_no_resource_is_refused(given):
    with pytest.raises(PolicyError):
        system_resources(*given)


def test_system_resources_without_mlflow_are_refused(monkeypatch):
    """Rule 24: nothing is imported to find that out."""
    monkeypatch.delitem(sys.modules, "mlflow.models.resources")
    with pytest.raises(PolicyError):
        system_resources("sql")
