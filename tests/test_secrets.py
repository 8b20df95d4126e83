"""The token is in nothing that is printed, logged, raised, pickled or copied: rule 8, with a canary."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import copy
import logging
import pickle
import traceback

import cloudpickle
import pytest
from databricks.ai_search.client import VectorSearchClient
from support import INDEX, as_user, black_hole, calls, frames_of, me

import obo_kit
from obo_kit import (
    IdentityMismatchError,
    Limits,
    NoUserIdentityError,
    OboError,
    SessionClosedError,
    UserIdentity,
    current_session,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.identity import REQUEST_HEADERS, Hidden

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
    from obo_kit.testing._runtimes import invoker

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
    reset = REQUEST_HEADERS.set(Hidden({"x-forwarded-access-token": f"{CANARY} x"}))
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
    from obo_kit.testing._runtimes import invoker

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


def test_an_outage_s_message_holds_no_token():
    """Rule 8: the text and the plain traceback; what hangs on the library's own error is the library's."""
    with black_hole() as host:
        limits = Limits(connect=0.2, retry=0.2)
        with user_session(host=host, token=CANARY, limits=limits) as session, pytest.raises(TimeoutError) as caught:
            me(session.client)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_lease_cannot_be_pickled(workspace):
    """Rule 8: it is what every client of a session holds, so that no way through their insides is left."""
    with as_user(workspace, "alice") as session:
        for copied in (pickle.dumps, cloudpickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="credential"):
                copied(session._lease)
