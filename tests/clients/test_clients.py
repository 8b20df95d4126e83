"""The clients of one user: rules 2 and 9 to 11 of the design, on what the server saw."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import sys
import time
import tracemalloc
import weakref

import pytest
from databricks.ai_search.client import AISearchClient, VectorSearchClient
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from official import OWN, SYNC, openai_client, vector_search_client, workspace_client
from support import ASK, LLM, PROBE, as_user, black_hole, callers, calls, extra, me, recording_proxy

from obo_kit import Limits, ScopeViolationError, SessionClosedError, current_session, requires_scopes, user_session
from obo_kit.clients._pipeline import headers_for

pytestmark = pytest.mark.usefixtures("no_traces")


# --- nothing of another's ------------------------------------------------------------------------------------------------


def test_the_one_client_looks_as_each_library_wants_it(workspace):
    """Rule 9: the vector-search tools read type and token, MCP servers on Apps ask for an OAuth token."""
    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        config = session.client.config
        assert (config.auth_type, config.token, config.oauth_token().access_token) == ("pat", token, token)
        assert config.authenticate() == {"Authorization": f"Bearer {token}"}


def test_nothing_of_the_app_rides_along_in_a_user_s_configuration(workspace, monkeypatch):
    """Rule 10."""
    monkeypatch.setenv("DATABRICKS_CLUSTER_ID", "c")
    with workspace.as_app() as app:
        with user_session(headers=app.headers("alice")) as session:
            held = session.client.config.as_dict()
        secrets = (app.service_principal.client_id, app.service_principal.client_secret)
    assert set(held) <= {
        "host",
        "token",
        "auth_type",
        "workspace_id",
        "account_id",
        "discovery_url",
        "cloud",
        "http_timeout_seconds",
        "retry_timeout_seconds",
    }
    assert not set(secrets) & {str(value) for value in held.values()}


def test_what_one_user_s_configuration_is_given_reaches_no_other(workspace):
    """Rule 10: `Config.copy` shares its inner dict."""
    with as_user(workspace, "alice") as session:
        mine = session.client.config
        before = mine.token
        copied = mine.copy()
        mine.warehouse_id = "mine"
        with contextlib.suppress(AttributeError):
            copied._custom_headers["X-Mine"] = "alice"
    with as_user(workspace, "bob") as session:
        theirs = session.client.config
        assert theirs._inner is not mine._inner
        assert theirs.token != before
        assert theirs.warehouse_id is None
        assert me(session.client) == "bob"
    assert callers(workspace) == ["bob"]


@pytest.mark.parametrize("build", OWN, ids=lambda f: f.__name__)
def test_cookies_of_one_user_never_ride_with_another_s_request(workspace, build):
    """Rule 10: connections are shared, sessions of `requests` are not."""
    for name in ("alice", "bob", "alice"):
        with as_user(workspace, name) as session:
            use = build(session)
            use()
            use()
    assert {record.user for record in calls(workspace)} == {"alice", "bob"}
    for record in calls(workspace):
        assert record.cookies.get("local_user") in {None, record.user}


def test_the_workspace_s_id_is_in_every_user_s_configuration(workspace):
    """Rule 10: the SDK sends it with some calls; it is asked for once per host."""
    with as_user(workspace, "alice") as session:
        assert session.client.config.workspace_id == workspace.workspace_id


@pytest.mark.parametrize("build", OWN, ids=lambda f: f.__name__)
def test_the_token_goes_to_the_user_s_workspace_and_no_other_host(workspace, build):
    """Rule 8: wherever an answer sends the client."""
    with recording_proxy() as (elsewhere, asked), as_user(workspace, "alice") as session:
        use = build(session)
        workspace.add_fault(status=307, headers={"Location": f"{elsewhere}/somewhere"})
        with contextlib.suppress(Exception):  # `{}` is no answer to some of them
            use()
    assert len(asked) == 1
    assert b"eyJ" not in asked[0]


@pytest.mark.parametrize(
    "rest", ["0/api", ".example.com/api", "@example.com/api", "%2F@example.com/api", ":1@example.com/"]
)
def test_the_token_does_not_go_to_a_host_whose_name_begins_alike(workspace, rest):
    """Rule 8: nor is the workspace missed, with or without a path."""
    with as_user(workspace, "alice") as session:
        for same in ("", "/", "/api", "?a", "#a"):
            assert "Authorization" in headers_for(session._lease, f"{workspace.host}{same}")
        assert headers_for(session._lease, f"{workspace.host}{rest}") == {}


def test_a_redirect_inside_the_workspace_is_the_user_s(workspace):
    """Rule 8."""
    with as_user(workspace, "alice") as session:
        _ = session.client
        workspace.add_fault(status=307, headers={"Location": "/api/2.0/preview/scim/v2/Me?again"})
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice", "alice"]


def test_a_host_is_the_same_however_it_is_spelled(workspace):
    """Rule 8: the token goes to it, in capitals or with the port that goes without saying."""
    host = workspace.host.replace("http", "HTTP")
    with user_session(host=host, token=workspace.token("alice")) as session:
        for build in SYNC:
            build(session)()
    assert set(callers(workspace)) == {"alice"}


# --- no request of its own, no connection of its own -----------------------------------------------------------------------


def test_a_host_is_asked_once_who_it_is_however_many_users_and_clients(workspace, new_process_state):
    """Rule 10."""
    for name in ("alice", "bob", "carol") * 3:
        with as_user(workspace, name) as session:
            session.get(VectorSearchClient)
            me(session.client)
    assert len(workspace.log.filter(path=PROBE)) == 1
    assert len(calls(workspace)) == 9


def test_opening_and_closing_a_session_costs_no_request(workspace, new_process_state):
    """Rule 10."""
    for _ in range(3):
        with as_user(workspace, "alice"):
            pass
    assert len(workspace.log) == 0


@pytest.mark.parametrize("build", SYNC, ids=lambda f: f.__name__)
def test_a_user_request_opens_no_connection_in_the_steady_state(workspace, build):
    """Rule 10: however many users, one after the other, they share what is open."""
    with as_user(workspace, "alice") as session:
        build(session)()
    warm = {record.connection for record in workspace.log}
    for name in ("bob", "alice") * 4:
        with as_user(workspace, name) as session:
            build(session)()
    assert {record.connection for record in workspace.log} <= warm


def test_async_users_of_one_event_loop_share_its_connections(workspace):
    """Rule 10."""
    client_type = extra("databricks_openai", "AsyncDatabricksOpenAI")

    async def main():
        for name in ("alice", "bob", "alice"):
            async with as_user(workspace, name) as session:
                await session.get(client_type).chat.completions.create(model=LLM, messages=ASK)

    asyncio.run(main())
    assert callers(workspace) == ["alice", "bob", "alice"]
    assert len({record.connection for record in workspace.log}) == 1


def test_clients_are_built_once_per_session(workspace):
    """Rule 9: five tools, one client."""
    with as_user(workspace, "alice") as session:
        assert session.client is session.client is session.get(WorkspaceClient) is current_session().client
        assert session.get(VectorSearchClient) is session.get(AISearchClient) or VectorSearchClient is AISearchClient
        with pytest.raises(TypeError, match="WorkspaceClient"):
            session.get(dict)


def test_the_openai_client_speaks_the_library_that_openai_speaks(workspace):
    """Rule 10: its transport is shared, and `openai` knows its errors and time-outs."""
    openai = pytest.importorskip("openai", reason="openai is an extra")
    client_type = extra("databricks_openai", "DatabricksOpenAI")
    with as_user(workspace, "alice") as session:
        client = session.get(client_type)
        assert isinstance(client._client, openai.DefaultHttpxClient.__base__)
        streamed = client.chat.completions.create(model=LLM, messages=ASK, stream=True)
        assert "hello" in "".join(part.choices[0].delta.content or "" for part in streamed if part.choices)


@pytest.mark.parametrize("name", ["DatabricksOpenAI", "AsyncDatabricksOpenAI"])
def test_a_copy_of_an_openai_client_is_the_same_user_s(workspace, name):
    """Rules 5, 9 and 23: `with_options` is how one call gets a time-out of its own."""
    client_type = extra("databricks_openai", name)

    def asked(client):
        made = client.chat.completions.create(model=LLM, messages=ASK)
        return asyncio.run(made) if inspect.isawaitable(made) else made

    @requires_scopes("genie")
    def elsewhere(client):
        asked(client)

    @requires_scopes("genie")
    def posted(client, url):
        made = client.post(url, cast_to=object, body={})
        return asyncio.run(made) if inspect.isawaitable(made) else made

    with as_user(workspace, "alice") as session:
        client = session.get(client_type)
        copied = client.with_options(timeout=5, max_retries=0).copy(default_headers={"X-Of-Mine": "1"})
        assert isinstance(copied, client_type)
        assert (copied.timeout, copied.max_retries, client.max_retries) == (5, 0, 1)
        asked(copied)
        assert callers(workspace) == ["alice"]
        with pytest.raises(ScopeViolationError):
            elsewhere(copied.with_options(base_url=f"{workspace.host}/ai-gateway/"))
        for spelled in ("/chat/completions", "/chat%2Fcompletions", "/chat/completions?a=b", "chat/completions"):
            with pytest.raises(ScopeViolationError):
                posted(copied, spelled)
        with pytest.raises(TypeError, match="http_client"):
            client.with_options(http_client=type(client._client)())
    with as_user(workspace, "bob"), pytest.raises(SessionClosedError):
        asked(copied)
    assert callers(workspace) == ["alice"]


def test_a_live_session_with_a_client_holds_less_than_30_kb(workspace):
    """Rule 10: bounded memory per live session. Python 3.10 takes more for every instance: there it is 40 KB."""
    scopes = [as_user(workspace, "alice") for _ in range(100)]
    with as_user(workspace, "alice") as session:
        _ = session.client
    gc.collect()
    tracemalloc.start()
    try:
        contexts = [contextvars.Context() for _ in scopes]
        sessions = [context.run(scope.__enter__) for context, scope in zip(contexts, scopes, strict=True)]
        clients = [session.client for session in sessions]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for context, scope in zip(contexts, scopes, strict=True):
        context.run(scope.__exit__, None, None, None)
    assert len(clients) == 100
    assert held / 100 < (30 if sys.version_info >= (3, 11) else 40) * 1024


def test_an_ended_session_leaves_nothing_behind(workspace):
    """Rule 10: nothing is kept between requests but the pool and what hosts say of themselves."""
    gone = []
    for name in ("alice", "bob") * 3:
        with as_user(workspace, name) as session:
            for build in SYNC:
                build(session)()
            gone += [weakref.ref(session), weakref.ref(session.client), weakref.ref(session.get(VectorSearchClient))]
        del session
    gc.collect()
    assert [reference for reference in gone if reference() is not None] == []


# --- limits --------------------------------------------------------------------------------------------------------------


REFUSED = "http://127.0.0.1:9"


@pytest.mark.parametrize("build", SYNC, ids=lambda f: f.__name__)
def test_a_host_that_refuses_connections_is_known_within_10_seconds(build):
    """Rule 11: construction and first call together."""
    started = time.monotonic()
    with user_session(host=REFUSED, token="dapi123") as session, pytest.raises(Exception, match=r"."):
        build(session)()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("build", SYNC, ids=lambda f: f.__name__)
def test_a_host_that_swallows_connections_is_known_within_10_seconds(build):
    """Rule 11."""
    with black_hole() as host:
        started = time.monotonic()
        with user_session(host=host, token="dapi123") as session, pytest.raises(Exception, match=r"."):
            build(session)()
        assert time.monotonic() - started < 10


def test_limits_are_settings_of_the_session():
    """Rule 11."""
    limits = Limits(connect=0.2, retry=0.2)
    with black_hole() as host:
        with user_session(host=host, token="dapi123", limits=limits) as session:
            started = time.monotonic()
            with pytest.raises(Exception, match=r"."):
                me(session.client)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["connect", "read", "retry"])
@pytest.mark.parametrize("value", [0, -1, None, "3", True, float("inf"), float("nan")])
def test_limits_are_positive_numbers_of_seconds(name, value):
    """Rule 11."""
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("build", "error"),
    [(workspace_client, PermissionDenied), (vector_search_client, Exception), (openai_client, Exception)],
)
def test_a_refusal_is_known_at_once_with_one_request(workspace, build, error):
    """Rule 11."""
    with as_user(workspace, "alice") as session:
        _ = session.client
        workspace.add_fault(status=403, path_prefix="/api", times=None)
        workspace.add_fault(status=403, path_prefix="/serving", times=None)
        call = build(session)
        started = time.monotonic()
        with pytest.raises(error):
            call()
    assert time.monotonic() - started < 5
    assert len(calls(workspace)) == 1


@pytest.mark.parametrize("build", SYNC, ids=lambda f: f.__name__)
def test_a_platform_that_asks_for_patience_is_not_waited_for_beyond_the_limits(workspace, build):
    """Rule 11: the clients would sleep for as long as ``Retry-After`` says."""
    with as_user(workspace, "alice", limits=Limits(retry=1.0)) as session:
        _ = session.client
        workspace.add_fault(status=503, headers={"Retry-After": "60"}, times=None)
        started = time.monotonic()
        with pytest.raises(Exception, match=r"."):
            build(session)()
    assert time.monotonic() - started < 5


def test_a_platform_that_asks_for_little_patience_is_given_it(workspace):
    """Rule 11: limits bound retries, they do not forbid them."""
    with as_user(workspace, "alice") as session:
        _ = session.client
        workspace.add_fault(status=503, headers={"Retry-After": "1"}, times=1)
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice", "alice"]


def test_a_host_that_did_not_say_who_it_is_is_not_asked_by_every_user(new_process_state, workspace):
    """Rules 10 and 11: an outage of the description costs one wait, not one per user."""
    workspace.add_fault(status=404, path_prefix=PROBE, times=None)
    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            assert me(session.client) == name
    assert len(workspace.log.filter(path=PROBE)) == 1


if os.name == "posix":

    def test_the_ca_bundle_of_the_environment_counts_over_https(tmp_path, new_process_state, monkeypatch):
        """Rule 10: one TLS context per process, and it still checks who answers."""
        trustme = pytest.importorskip("trustme", reason="certificates for the test")
        from obo_kit.testing import LocalWorkspace

        authority, certificate = trustme.CA(), None
        certificate = authority.issue_cert("127.0.0.1")
        served, bundle = tmp_path / "served.pem", tmp_path / "ca.pem"
        served.write_bytes(
            certificate.private_key_pem.bytes() + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        )
        authority.cert_pem.write_to_path(str(bundle))
        with LocalWorkspace(ssl_certfile=str(served)) as secure:
            secure.add_user("alice")
            with as_user(secure, "alice", limits=Limits(retry=0.5)) as session, pytest.raises(Exception, match=r"."):
                me(session.client)
            assert len(secure.log) == 0
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
            for _ in range(2):
                with as_user(secure, "alice") as session:
                    assert me(session.client) == "alice"
            assert len({record.connection for record in calls(secure)}) == 1
