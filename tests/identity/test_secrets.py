"""The token is in nothing that is printed, logged, raised, pickled or copied: rule 8, with a canary."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import gc
import json
import logging
import operator
import pickle
import socket
import threading
import traceback
import types
import warnings
from collections.abc import Mapping

import cloudpickle
import official
import pytest
from databricks.ai_search.client import VectorSearchClient
from databricks.sdk import WorkspaceClient
from official import OFFICIAL, OWN, SYNC, async_openai_client, langchain_tool
from support import INDEX, LLM, as_user, black_hole, callers, calls, frames_of, me, whole_request

import obo_kit
from obo_kit import (
    IdentityMismatchError,
    Limits,
    NoUserIdentityError,
    OboError,
    SessionClosedError,
    UserIdentity,
    current_session,
    explain,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders

pytestmark = pytest.mark.usefixtures("no_traces")
CANARY = "canary0123456789"
HOST = "https://example.cloud.databricks.com"


@pytest.fixture
def handed_out(workspace):
    """What a session hands out, and the token that is in none of it."""
    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        vectors = session.get(VectorSearchClient)
        things = {
            "session": session,
            "identity": session.identity,
            "scope": user_session(host=workspace.host, token=token),
            "client": session.client,
            "config": session.client.config,
            "api client": session.client.api_client,
            "service object": session.client.current_user,
            "vector search client": vectors,
            "index": vectors.get_index(index_name=INDEX),
            "async index": vectors.get_async_index(index_name=INDEX),
        }
        try:
            import databricks_openai
        except ImportError:
            pass
        else:
            things["openai client"] = session.get(databricks_openai.DatabricksOpenAI)
            things["async openai client"] = session.get(databricks_openai.AsyncDatabricksOpenAI)
        yield things, token


def test_the_token_is_in_no_repr_str_or_format(handed_out):
    """Rule 8: also of what the objects hold directly."""
    things, token = handed_out
    for name, thing in things.items():
        for text in (repr(thing), str(thing), f"{thing}", f"{thing!r:>5}", repr([thing])):
            assert token not in text, name


def test_what_is_handed_out_can_be_neither_pickled_nor_deep_copied(handed_out):
    """Rule 8: a copy would be a working identity outside of its request."""
    things, _ = handed_out
    for name, thing in things.items():
        if name == "scope":
            continue
        for copied in (pickle.dumps, cloudpickle.dumps, copy.deepcopy):
            with pytest.raises(Exception, match=r"pickle|copied|cannot|holds"):  # noqa: PT012
                copied(thing)
                pytest.fail(f"{copied.__module__}: {name}")


def test_a_session_cannot_be_copied_at_all(handed_out):
    """Rule 8."""
    things, _ = handed_out
    with pytest.raises(TypeError):
        copy.copy(things["session"])


def test_a_session_is_refused_by_cloudpickle_inside_a_closure(handed_out):
    """Rule 8: as a decorated agent's would be, when its model is logged."""
    things, _ = handed_out
    for thing in things.values():
        with pytest.raises(Exception, match=r"."):
            cloudpickle.dumps(lambda thing=thing: thing)


def test_the_identity_has_no_field_for_the_token(handed_out):
    """Rule 8: `dataclasses.asdict` and the like find none."""
    import dataclasses

    things, token = handed_out
    identity = things["identity"]
    assert token not in repr(dataclasses.asdict(identity))
    assert token not in repr({name: getattr(identity, name) for name in identity.__slots__})


def test_the_clients_keep_no_token_in_their_attributes(handed_out):
    """Rule 8: `vars`, `as_dict` and serialisers that walk them find none; those that ask for it by name are given it."""
    things, token = handed_out
    config, vectors, index = things["config"], things["vector search client"], things["index"]
    for thing in (config, vectors, index):
        assert token not in repr(vars(thing))
    assert token not in repr(config.as_dict())
    assert {config.token, vectors.personal_access_token, index.personal_access_token} == {token}


def test_debug_logs_of_every_logger_hold_no_token(workspace, caplog):
    """Rule 8: of the kit's, the SDK's, urllib3's, httpx's and all others."""
    token = workspace.token("alice")
    with caplog.at_level(logging.DEBUG):
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).setLevel(logging.NOTSET)
        with user_session(host=workspace.host, token=token) as session:
            me(session.client)
            session.get(VectorSearchClient).get_index(index_name=INDEX).describe()
            workspace.add_fault(status=403, path_prefix="/api/2.0/preview")
            with pytest.raises(Exception, match=r"."):
                me(session.client)
            kept = session.client
        with pytest.raises(SessionClosedError):
            me(kept)
    assert len(caplog.records) > 3
    assert token not in caplog.text
    assert not any(token in repr(record.__dict__) for record in caplog.records)


def test_a_refused_model_serving_token_is_in_no_log(workspace, caplog):
    """Rule 8."""
    from obo_kit.testing.runtimes import invoker

    with caplog.at_level(logging.DEBUG), workspace.as_model_serving(), invoker(f"{CANARY}\n", "request"):
        with pytest.raises(NoUserIdentityError), user_session():
            pass
    assert CANARY not in caplog.text


# --- what the kit raises ---------------------------------------------------------------------------------------------------


def malformed_token():
    user_session(host=HOST, token=f"{CANARY}\n").__enter__()


def malformed_token_of_an_identity():
    UserIdentity.from_token(host=HOST, token=f"Bearer {CANARY}")


def malformed_header():
    user_session(host=HOST, headers={"X-Forwarded-Access-Token": f"{CANARY}\x00"}).__enter__()


def two_headers():
    pairs = [("x-forwarded-access-token", CANARY), ("X-Forwarded-Access-Token", f"{CANARY}2")]
    user_session(host=HOST, headers=pairs).__enter__()


def header_without_a_host():
    user_session(headers={"X-Forwarded-Access-Token": CANARY}).__enter__()


def header_under_another_name():
    user_session(host=HOST, headers={"Authorization": f"Bearer {CANARY}"}).__enter__()


def headers_that_are_none():
    user_session(host=HOST, headers=[(CANARY,)]).__enter__()


def token_without_a_host():
    user_session(token=CANARY).__enter__()


def token_and_headers():
    user_session(token=CANARY, headers={"X-Forwarded-Access-Token": CANARY})


def another_user_inside():
    with user_session(host=HOST, token=f"{CANARY}1"):
        user_session(host=HOST, token=f"{CANARY}2").__enter__()


def closed_session():
    with user_session(host=HOST, token=CANARY) as session:
        pass
    _ = session.client


def unknown_client():
    with user_session(host=HOST, token=CANARY) as session:
        session.get(dict)


def request_headers():
    reset = REQUEST_HEADERS.set(RequestHeaders({"x-forwarded-access-token": f"{CANARY} x"}))
    try:
        user_session().__enter__()
    finally:
        REQUEST_HEADERS.reset(reset)


@pytest.mark.parametrize(
    "refused",
    [
        malformed_token,
        malformed_token_of_an_identity,
        malformed_header,
        two_headers,
        header_without_a_host,
        header_under_another_name,
        headers_that_are_none,
        token_without_a_host,
        token_and_headers,
        another_user_inside,
        closed_session,
        unknown_client,
        request_headers,
    ],
    ids=lambda f: f.__name__,
)
def test_no_refusal_shows_the_token_not_even_in_its_tracebacks_locals(monkeypatch, refused):
    """Rule 8: crash reporters print the locals of every frame."""
    if refused is request_headers:
        monkeypatch.setenv("DATABRICKS_APP_NAME", "app")
        monkeypatch.setenv("DATABRICKS_HOST", HOST)
    with pytest.raises((OboError, TypeError)) as caught:
        refused()
    error = caught.value
    shown = [str(error), repr(error), repr(error.args), repr(vars(error)), frames_of(error)]
    shown += traceback.format_exception(error)
    if isinstance(error, OboError):
        assert error.remedy
        shown.append(repr(pickle.loads(pickle.dumps(error)).__dict__))
    assert not [text for text in shown if CANARY in text]


def test_a_refused_model_serving_token_is_in_no_traceback(workspace):
    """Rule 8."""
    from obo_kit.testing.runtimes import invoker

    with workspace.as_model_serving(), invoker(f"{CANARY}\n", "request"):
        with pytest.raises(NoUserIdentityError) as caught:
            user_session().__enter__()
    assert CANARY not in frames_of(caught.value)


@pytest.mark.parametrize("client", ["WorkspaceClient", "VectorSearchClient"])
def test_the_fence_and_the_guard_show_no_token_in_their_locals(workspace, client):
    """Rule 8: the errors pass through frames of the client libraries, which hold the request."""

    @with_user_client
    @requires_scopes("genie")
    def tool(client: obo_kit.UserSession) -> None:
        use(client)

    def use(session):
        if client == "WorkspaceClient":
            session.client.current_user.me()
            session.client.vector_search_indexes.get_index(INDEX)
        else:
            session.get(VectorSearchClient).get_index(index_name=INDEX)

    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token):
        session = current_session()
        kept, vectors = session.client, session.get(VectorSearchClient)
        with pytest.raises(obo_kit.ScopeViolationError) as violation:
            tool()
    with pytest.raises(SessionClosedError) as closed:
        me(kept)
    with pytest.raises(SessionClosedError) as closed_vectors:
        vectors.get_index(index_name=INDEX)
    for caught in (violation, closed, closed_vectors):
        assert token not in frames_of(caught.value)
    assert not [record for record in calls(workspace) if record.path.startswith("/api/2.0/vector-search")]


def test_a_mismatch_names_neither_user_s_token(workspace):
    """Rule 8."""
    with as_user(workspace, "alice"), pytest.raises(IdentityMismatchError) as caught:
        as_user(workspace, "bob").__enter__()
    assert "eyJ" not in frames_of(caught.value)


# --- what errors, traces and callbacks carry away --------------------------------------------------------------------------


def everything_in(thing: object, *, limit: int = 20_000) -> str:
    """What is reachable from an object through attributes, items and causes: what a crash reporter could ship."""
    parts, seen, pending = [], set(), [thing]
    while pending and len(seen) < limit:
        one = pending.pop()
        if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FunctionType, types.BuiltinMethodType)):
            continue
        seen.add(id(one))
        if isinstance(one, (str, bytes, int, float)):
            parts.append(str(one))
        elif isinstance(one, Mapping):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, (list, tuple, set, frozenset)):
            pending += one
        else:
            pending += vars(one).values() if hasattr(one, "__dict__") else ()
            if isinstance(one, BaseException):
                pending += [one.args, one.__cause__, one.__context__]
    return "\n".join(parts)


@pytest.fixture
def answers_and_hangs_up():
    """A host that says who it is, and breaks off every other request."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    if b"well-known" in whole_request(connection):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
@pytest.mark.parametrize("build", OWN, ids=lambda f: f.__name__)
def test_what_a_refusal_holds_is_without_the_token(workspace, build, status):
    """Rule 8: neither its frames nor anything that hangs on it, the request and the answer included."""
    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        use = build(session)
        workspace.add_fault(status=status, times=None)
        with pytest.raises(Exception, match=r".") as caught:
            use()
    assert token not in frames_of(caught.value)
    held = everything_in(caught.value)
    assert len(held) > 20
    assert token not in held


@pytest.mark.parametrize("build", OWN, ids=lambda f: f.__name__)
def test_a_refusal_that_quotes_the_request_s_headers_loses_the_token(workspace, build):
    """Rule 8: a gateway's page for developers shows what it received."""
    token = workspace.token("alice")
    body = json.dumps({"error_code": "PERMISSION_DENIED", "message": f"You sent: authorization: Bearer {token}."})
    with user_session(host=workspace.host, token=token) as session:
        use = build(session)
        workspace.add_fault(status=403, body=body, times=None)
        with pytest.raises(Exception, match=r".") as caught:
            use()
        evidence = repr(session.evidence.refusals)
    told = everything_in(caught.value) + str(explain(caught.value)) + evidence
    assert "You sent" in told
    assert token not in told + frames_of(caught.value)


@pytest.mark.parametrize("build", [*SYNC, async_openai_client], ids=lambda f: f.__name__)
def test_what_a_broken_connection_raises_is_without_the_token(answers_and_hangs_up, build):
    """Rule 8: the libraries' own errors hold the request, and the frames below them its headers."""
    limits = Limits(retry=0.2)
    with user_session(host=answers_and_hangs_up, token=CANARY, limits=limits) as session:
        use = build(session)
        with pytest.raises(Exception, match=r".") as caught:
            use()
    assert CANARY not in frames_of(caught.value)
    assert CANARY not in everything_in(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("build", SYNC, ids=lambda f: f.__name__)
def test_a_host_that_takes_no_connection_leaves_no_token_in_what_is_raised(build):
    """Rule 8."""
    with black_hole() as host:
        limits = Limits(connect=0.2, retry=0.2)
        with user_session(host=host, token=CANARY, limits=limits) as session:
            use = build(session)
            with pytest.raises(Exception, match=r".") as caught:
                use()
    assert CANARY not in frames_of(caught.value)
    assert CANARY not in everything_in(caught.value)


def test_an_answer_holds_a_request_without_the_token(workspace):
    """Rule 8: those who are handed an answer keep it, and its request with it."""
    with as_user(workspace, "alice") as session:
        wire = session.client.api_client._api_client._session
        answer = wire.get(f"{workspace.host}/api/2.0/preview/scim/v2/Me")
    assert answer.status_code == 200
    assert "eyJ" not in repr(dict(answer.request.headers))


def test_no_warning_holds_the_token(workspace):
    """Rule 8."""
    token = workspace.token("alice")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with user_session(host=workspace.host, token=token) as session:
            for build in OFFICIAL:
                build(session)()
            session_left_open = user_session(host=workspace.host, token=token)
            contextvars.Context().run(session_left_open.__enter__)
            del session_left_open
            gc.collect()
    assert not [entry for entry in caught if token in str(entry.message) or token in repr(entry.source)]


@pytest.fixture
def spans(tmp_path, monkeypatch):
    """Every span that MLflow records, as it is exported."""
    import mlflow

    before, seen = mlflow.get_tracking_uri(), []
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    mlflow.tracing.reset()
    mlflow.tracing.enable()
    mlflow.tracing.configure(span_processors=[lambda span: seen.append(json.dumps(span.to_dict(), default=repr))])
    yield seen
    mlflow.tracing.reset()
    mlflow.tracing.disable()
    mlflow.set_tracking_uri(before)


@pytest.mark.filterwarnings("ignore")  # MLflow gives up a span at the first warning
def test_no_trace_holds_the_token(workspace, spans):
    """Rule 8: also where the traced function is below the kit's decorator, and is handed the client."""
    import mlflow

    @mlflow.trace
    @with_user_client
    def above(client, question):
        return me(client)

    @with_user_client
    @mlflow.trace
    def below(client, question):
        return client

    @mlflow.trace
    def handed(session, client, config, identity):
        return session, client, config, identity

    @mlflow.trace
    @with_user_client
    @requires_scopes("genie")
    def refused(client, question):
        return client.vector_search_indexes.get_index(INDEX)

    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        above("who?")
        below("who?")
        handed(session, session.client, session.client.config, session.identity)
        with pytest.raises(obo_kit.ScopeViolationError):
            refused("who?")
        langchain_tool(session)()
    mlflow.flush_trace_async_logging()
    assert len(spans) >= 5
    assert not [span for span in spans if token in span]


def test_no_langchain_callback_sees_the_token(workspace):
    """Rule 8: tracers take whatever a callback is handed."""
    langchain = pytest.importorskip("langchain_core.callbacks", reason="langchain is an extra")
    from langchain_core.load import dumps
    from langchain_core.tools import tool

    heard = []

    class Listener(langchain.BaseCallbackHandler):
        def __getattribute__(self, name):
            if not name.startswith("on_"):
                return super().__getattribute__(name)
            return lambda *args, **kwargs: heard.append(f"{name} {args!r} {kwargs!r} {everything_in([args, kwargs])}")

    @tool
    @with_user_client
    def ask(client: WorkspaceClient, question: str) -> str:
        """Answer."""
        return me(client)

    token = workspace.token("alice")
    with user_session(host=workspace.host, token=token) as session:
        (retriever,) = obo_kit.available_tools(lambda client: official.retriever("databricks_langchain", client))
        settings = {"callbacks": [Listener()]}
        assert ask.invoke({"question": "who?"}, config=settings) == "alice"
        assert retriever.invoke("refund", config=settings)
        official.extra("databricks_langchain", "ChatDatabricks")(model=LLM, workspace_client=session.client).invoke(
            "hello", config=settings
        )
        workspace.add_fault(status=403, times=None)
        for denied in (ask.invoke, retriever.invoke):
            with pytest.raises(Exception, match=r"."):
                denied({"question": "who?", "query": "refund"}, config=settings)
        for one in (ask, retriever):
            shown = [repr(one), str(one), dumps(one), repr(one.model_dump()), repr(one.args)]
            assert not [text for text in shown if token in text]
    assert any("on_tool_end" in one for one in heard)
    assert any("on_tool_error" in one for one in heard)
    assert any("on_chat_model_start" in one for one in heard)
    assert not [one for one in heard if token in one]


def test_no_hook_or_trace_of_the_agents_sdk_sees_the_token(workspace):
    """Rule 8."""
    agents = pytest.importorskip("agents", reason="openai-agents is an extra")
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    exported, heard = [], []

    class Processor(agents.TracingProcessor):
        def on_span_end(self, span):
            exported.append(json.dumps(span.export(), default=repr))

        def on_trace_end(self, trace):
            exported.append(json.dumps(trace.export(), default=repr))

        def on_span_start(self, span): ...
        def on_trace_start(self, trace): ...
        def shutdown(self): ...
        def force_flush(self): ...

    class Hooks(agents.RunHooks):
        async def on_tool_start(self, *args):
            heard.append(f"{args!r}")

        async def on_tool_end(self, *args):
            heard.append(f"{args!r}")

    class Model(agents.Model):
        async def get_response(self, system_instructions, input, *args, **kwargs):
            given = input
            heard.append(f"{given!r} {args!r} {kwargs!r}")
            asked = isinstance(given, list) and any("output" in item for item in given)
            call = ResponseFunctionToolCall(
                arguments='{"question": "x"}', call_id="1", name="ask", type="function_call"
            )
            text = ResponseOutputText(text="done", annotations=[], type="output_text")
            message = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
            return agents.ModelResponse(output=[message if asked else call], usage=agents.Usage(), response_id=None)

        def stream_response(self, *args, **kwargs):
            raise NotImplementedError

    @agents.function_tool
    @with_user_client
    def ask(client: WorkspaceClient, question: str) -> str:
        """Answer."""
        return me(client)

    token = workspace.token("alice")
    agents.set_trace_processors([Processor()])
    agents.set_tracing_disabled(False)  # for the process; an agent's file may have turned it off
    try:
        with user_session(host=workspace.host, token=token):
            agent = agents.Agent(name="a", model=Model(), tools=[ask])
            done = asyncio.run(agents.Runner.run(agent, "who?", hooks=Hooks()))
            shown = repr(done) + repr(done.to_input_list()) + repr(agent)
    finally:
        agents.set_trace_processors([])
    assert callers(workspace) == ["alice"]
    assert len(exported) >= 3
    assert len(heard) >= 4
    assert not [text for text in (*exported, *heard, shown) if token in text]


def test_a_lease_cannot_be_pickled(workspace):
    """Rule 8: it is what every client of a session holds, so that no way through their insides is left."""
    with as_user(workspace, "alice") as session:
        for copied in (
            pickle.dumps,
            cloudpickle.dumps,
            copy.copy,
            copy.deepcopy,
            operator.methodcaller("__getstate__"),
        ):
            for holder in (session._lease, session.identity._credential):
                with pytest.raises(TypeError, match="credential"):
                    copied(holder)
