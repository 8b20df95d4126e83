"""Where the user comes from: rules 1 to 3 of the design, on what the server saw."""

# ruff: noqa: SIM117 - what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from support import as_user, callers, calls, me

from obo_kit import (
    IdentityMismatchError,
    NoUserIdentityError,
    UserIdentity,
    current_session,
    register_identity_source,
    user_session,
)
from obo_kit.identity import _token

MALFORMED = {
    "empty": "",
    "newline": "abcdef\n",
    "carriage return": "abc\rdef",
    "NUL": "abc\x00def",
    "not latin-1": "abc\u0142def",
    "latin-1": "abc\xe9def",
    "space": "abc def",
    "tab": "\tabc",
    "scheme": "Bearer abcdef",
    "blank": "   ",
}
malformed = pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED.keys())
HOST = "https://example.cloud.databricks.com"


# --- Model Serving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["request", "process"])
def test_model_serving_acts_as_the_invoker(workspace, source):
    """Rule 1: through the official credentials class, wherever the platform puts the token."""
    with workspace.as_model_serving(token_source=source) as runtime, runtime.user("alice"), user_session() as session:
        assert session.identity.source == "model-serving"
        assert session.identity.principal == "alice@example.com"
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


@pytest.mark.parametrize("source", ["request", "process"])
def test_model_serving_without_a_token_refuses_and_sends_nothing(workspace, source):
    """Rule 2: never the service principal, whose id and secret are in the environment."""
    with workspace.as_model_serving(token_source=source), pytest.raises(NoUserIdentityError, match="log_model"):
        with user_session():
            pass
    assert len(workspace.log) == 0


@malformed
@pytest.mark.parametrize("source", ["request", "process"])
def test_model_serving_with_a_malformed_token_refuses(workspace, monkeypatch, token, source):
    """Rule 3: what the platform hands over is checked, too."""
    from obo_kit.testing.runtimes import invoker

    with workspace.as_model_serving(token_source=source), invoker(token, source):
        with pytest.raises(NoUserIdentityError) as refused, user_session():
            pass
    assert not token.strip() or token.strip() not in str(refused.value)
    assert len(workspace.log) == 0


def test_a_source_that_fails_inside_model_serving_refuses(workspace):
    """Rule 2: an error of the platform's is no reason to act as somebody else."""
    with workspace.as_model_serving():
        module = sys.modules["mlflowserving.scoring_server.agent_utils"]
        module.fetch_obo_token = lambda: 1 / 0
        with pytest.raises(NoUserIdentityError, match=r"ValueError|ZeroDivisionError"), user_session():
            pass
    assert len(workspace.log) == 0


@pytest.mark.parametrize("name", ["IS_IN_DB_MODEL_SERVING_ENV", "IS_IN_DATABRICKS_MODEL_SERVING_ENV"])
@pytest.mark.parametrize("value", ["True", "TRUE", " true"])
def test_model_serving_is_recognised_in_any_case_of_letters(workspace, monkeypatch, name, value):
    """Rule 1: the official class takes the variable in lower case only, and would hand out the service principal."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"), monkeypatch.context() as here:
        here.delenv("IS_IN_DB_MODEL_SERVING_ENV")
        here.setenv(name, value)
        with pytest.raises(NoUserIdentityError, match="lower case"), user_session():
            pass
    assert len(workspace.log) == 0


def test_mlflow_s_own_serving_variable_is_no_sign_of_serving(workspace, monkeypatch):
    """Rule 1."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with workspace.as_notebook("bob"), user_session() as session:
        assert session.identity.source == "developer"


def test_model_serving_without_a_host_refuses(workspace, monkeypatch):
    """Rule 2: a token without a workspace is nobody's."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"), monkeypatch.context() as here:
        for name in ("DATABRICKS_MODEL_SERVING_HOST_URL", "DATABRICKS_HOST"):
            here.delenv(name)
        with pytest.raises(NoUserIdentityError, match="host"), user_session():
            pass
    assert len(workspace.log) == 0


# --- Databricks Apps -----------------------------------------------------------------------------------------------------


def test_an_app_without_a_request_refuses_and_sends_nothing(workspace):
    """Rule 2: background work in an app has no user, and is not the app."""
    with workspace.as_app(), pytest.raises(NoUserIdentityError, match="headers") as refused, user_session():
        pass
    assert "background" in str(refused.value).lower()
    assert len(workspace.log) == 0


def test_an_app_acts_as_the_user_of_the_forwarded_headers(workspace):
    """Rule 1."""
    with workspace.as_app() as app, user_session(headers=app.headers("alice")) as session:
        assert session.identity.source == "apps"
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


def test_an_app_whose_request_has_no_token_refuses(workspace):
    """Rule 2."""
    with workspace.as_app() as app:
        headers = {k: v for k, v in app.headers("alice").items() if k != "X-Forwarded-Access-Token"}
        with pytest.raises(NoUserIdentityError, match="X-Forwarded-Access-Token"), user_session(headers=headers):
            pass
    assert len(workspace.log) == 0


# --- headers= ------------------------------------------------------------------------------------------------------------


def shapes(token: str):
    name = "X-Forwarded-Access-Token"
    return {
        "mapping": {name: token},
        "lower case": {name.lower(): token},
        "upper case": {name.upper(): token},
        "pairs": [(name, token)],
        "bytes": {name.encode(): token.encode()},
        "pairs of bytes": [(name.lower().encode(), token.encode())],
        "once only": iter([("Accept", "*/*"), (name, token)]),
        "twice the same": [(name, token), (name.lower(), token)],
        "a function": lambda: {name: token},
    }


@pytest.mark.parametrize("shape", shapes(""))
def test_headers_are_taken_in_every_shape_servers_keep_them_in(workspace, shape):
    """Rule 1."""
    headers = shapes(workspace.token("alice"))[shape]
    with user_session(headers=headers, host=workspace.host) as session:
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        [],
        {"Accept": "*/*"},
        {"X-Forwarded-Access-Token": ""},
        {"X-Forwarded-Access-Token": None},
        {"X_Forwarded_Access_Token": "abc"},
        {"X-Forwarded-Access-To\N{KELVIN SIGN}en": "abc"},
        lambda: None,
        lambda: {},
    ],
    ids=[
        "None",
        "empty",
        "no pairs",
        "absent",
        "empty token",
        "no token",
        "underscores",
        "another K",
        "returns None",
        "returns none",
    ],
)
def test_headers_without_a_user_are_refused_where_a_developer_could_step_in(workspace, headers):
    """Rule 2: explicit headers that hold no user are refused everywhere, and never ignored."""
    with workspace.as_notebook("bob"):
        with pytest.raises(NoUserIdentityError), user_session(headers=headers):
            pass
        with pytest.raises(NoUserIdentityError), user_session(headers=headers, required=False):
            pass
    assert len(workspace.log) == 0


def test_two_different_tokens_in_the_headers_are_refused(workspace):
    """Rule 2: in doubt about who it is, nobody."""
    name = "X-Forwarded-Access-Token"
    headers = [(name, workspace.token("alice")), (name.lower(), workspace.token("bob"))]
    with pytest.raises(NoUserIdentityError, match="two different"), user_session(headers=headers, host=workspace.host):
        pass
    assert len(workspace.log) == 0


@pytest.mark.parametrize("headers", [42, ["abc"], [("a", "b", "c")], [1]])
def test_headers_that_are_none_are_a_type_error(headers):
    """Rule 2."""
    with pytest.raises(TypeError, match="headers"), user_session(headers=headers, host=HOST):
        pass


def test_the_header_s_email_names_the_user_of_an_opaque_token_only():
    """Rule 1: the token speaks first."""
    opaque = {"X-Forwarded-Access-Token": "dapi123", "X-Forwarded-Email": "dora@example.com"}
    with user_session(headers=opaque, host=HOST) as session:
        assert session.identity.principal == "dora@example.com"
    spoken = {**opaque, "X-Forwarded-Access-Token": jwt({"sub": "alice@example.com"})}
    with user_session(headers=spoken, host=HOST) as session:
        assert session.identity.principal == "alice@example.com"


# --- token= --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", 7, b"abc"])
@pytest.mark.parametrize("required", [True, False])
def test_a_missing_token_is_refused_where_others_could_step_in(workspace, token, required):
    """Rule 2: ``token=headers.get(…)`` without a header must not become the runtime's user, or the developer."""
    with workspace.as_notebook("bob"):
        with pytest.raises(NoUserIdentityError), user_session(host=workspace.host, token=token, required=required):
            pass
    with workspace.as_model_serving() as runtime, runtime.user("bob"):
        with pytest.raises(NoUserIdentityError), user_session(host=workspace.host, token=token, required=required):
            pass
    assert len(workspace.log) == 0


@malformed
def test_a_malformed_token_is_refused_and_not_repeated(token):
    """Rule 3."""
    with pytest.raises(NoUserIdentityError) as refused, user_session(host=HOST, token=token):
        pass
    assert not token.strip() or token.strip() not in f"{refused.value!s}{refused.value!r}{refused.value.__dict__}"


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "  ",
        "ftp://example.com",
        "https://",
        "https://a b",
        "https://u:p@example.com",
        "https://[",
        "https://a:b",
    ],
)
def test_a_token_without_a_usable_host_is_refused(host):
    """Rule 2."""
    with pytest.raises(NoUserIdentityError, match="host"), user_session(host=host, token="dapi123"):
        pass


@pytest.mark.parametrize(
    "host", ["example.com", "https://example.com/", "https://example.com/?o=7", " https://example.com"]
)
def test_a_host_is_taken_as_people_write_it(host):
    """Rule 1: with or without a scheme, a path or the ``?o=`` of a browser's address."""
    assert UserIdentity.from_token(host=host, token="dapi123").host == "https://example.com"


def test_arguments_that_do_not_go_together_are_a_type_error():
    """Rule 1: it must be plain which user is meant."""
    for wrong in (
        {"headers": {}, "token": "x"},
        {"host": HOST},
        {"principal": "alice"},
        {"headers": {}, "principal": "alice"},
    ):
        with pytest.raises(TypeError):
            user_session(**wrong)


def test_an_explicit_user_comes_before_the_runtime_s(workspace):
    """Rule 1: capture order."""
    with workspace.as_model_serving() as runtime, runtime.user("bob"), as_user(workspace, "alice") as session:
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


def test_an_open_session_comes_before_the_runtime_s(workspace):
    """Rule 1: capture order."""
    with as_user(workspace, "alice"), workspace.as_model_serving() as runtime, runtime.user("bob"):
        with user_session() as session:
            assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


# --- what a token says ---------------------------------------------------------------------------------------------------


def jwt(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{body}.c2ln"


def test_the_claims_of_a_jwt_describe_the_identity():
    """Rule 1."""
    token = jwt({"sub": "alice@example.com", "scope": "sql genie", "exp": 1800000000})
    identity = UserIdentity.from_token(host=HOST, token=token)
    assert identity.principal == "alice@example.com"
    assert identity.scopes == {"sql", "genie"}
    assert identity.expires_at == datetime.fromtimestamp(1800000000, timezone.utc)


@pytest.mark.parametrize(
    "token",
    [
        "dapi0123",
        "a.b.c",
        "a..c",
        jwt([1]),
        jwt({"sub": 7, "scope": 7, "exp": "soon"}),
        jwt({"exp": 1e30}),
        jwt({"exp": None, "scope": None}),
        "a." + base64.urlsafe_b64encode(b"[" * 10_000).decode().rstrip("=") + ".c",
        "a.\u007e\u007e.c",
    ],
    ids=["opaque", "no base64", "empty", "a list", "wrong types", "never", "nothing", "deep", "no alphabet"],
)
def test_a_token_whose_claims_say_nothing_still_acts(token):
    """Rule 1: claims explain, the workspace decides."""
    identity = UserIdentity.from_token(host=HOST, token=token)
    assert (identity.principal, identity.scopes, identity.expires_at) == (None, None, None)


def test_what_tokens_say_is_read_once_each_and_the_tokens_are_not_kept():
    """Rules 1 and 8: a user's requests bring the same token until it expires."""
    token = jwt({"sub": "alice@example.com", "scope": "sql"})
    first, second = (UserIdentity.from_token(host=HOST, token=token) for _ in range(2))
    assert first.scopes is second.scopes
    kept = _token._stated
    for number in range(2 * _token._MOST_STATED):
        other = UserIdentity.from_token(host=HOST, token=jwt({"sub": f"user{number}", "scope": "genie"}))
        assert (other.principal, other.scopes) == (f"user{number}", {"genie"})
    assert len(kept) <= _token._MOST_STATED
    assert token.split(".")[1] not in repr(kept)


# --- the developer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("terminal", "level"), [(True, "INFO"), (False, "WARNING")])
def test_outside_any_runtime_the_developer_acts_and_it_is_said_once(workspace, caplog, monkeypatch, terminal, level):
    """Rule 1: at WARNING where nobody sits in front of it."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    with workspace.as_notebook("bob"), caplog.at_level(logging.INFO, "obo_kit"):
        for _ in range(2):
            with user_session() as session:
                assert session.identity.source == "developer"
                assert me(session.client) == "bob"
    said = [record for record in caplog.records if "developer" in record.getMessage()]
    assert [record.levelname for record in said] == [level]
    assert callers(workspace) == ["bob", "bob"]


def test_the_developer_is_resolved_on_first_use_only(workspace):
    """Rule 1: MLflow runs predict while it logs a model."""
    with workspace.as_notebook("bob"), user_session() as session:
        assert session.identity.principal is None
    assert len(workspace.log) == 0


def test_a_session_opens_without_any_configuration_and_a_client_is_refused(tmp_path):
    """Rule 1: a CI runner without any Databricks configuration can log a model."""
    program = (
        "from obo_kit import user_session, NoUserIdentityError\n"
        "with user_session() as session:\n"
        "    print('opened')\n"
        "    try: session.client\n"
        "    except NoUserIdentityError as error: print(error.remedy)\n"
    )
    clean = {"PATH": str(tmp_path), "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "SYSTEMROOT": "C:\\Windows"}
    done = subprocess.run([sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("opened\n")
    assert "databricks auth login" in done.stdout


# --- other runtimes, and none --------------------------------------------------------------------------------------------


class Elsewhere:
    name = "elsewhere"

    def __init__(self, answer):
        self.answer = answer

    def capture(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_registered_source_is_asked_before_the_built_in_ones(workspace):
    """Rule 1."""
    token = workspace.token("alice")
    register_identity_source(Elsewhere(UserIdentity.from_token(host=workspace.host, token=token, source="elsewhere")))
    with workspace.as_model_serving() as runtime, runtime.user("bob"), user_session() as session:
        assert session.identity.source == "elsewhere"
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


def test_a_registered_source_whose_runtime_is_absent_leaves_the_rest_to_the_others(workspace):
    """Rule 1."""
    register_identity_source(Elsewhere(None))
    with workspace.as_model_serving() as runtime, runtime.user("bob"), user_session() as session:
        assert session.identity.source == "model-serving"


@pytest.mark.parametrize("answer", ["a token", {"token": "x"}, 0, False])
def test_a_source_that_returns_anything_else_refuses(workspace, answer):
    """Rule 2."""
    register_identity_source(Elsewhere(answer))
    with workspace.as_notebook("bob"), pytest.raises(NoUserIdentityError, match="elsewhere"), user_session():
        pass
    assert len(workspace.log) == 0


def test_a_source_that_fails_is_not_passed_over(workspace):
    """Rule 2."""
    register_identity_source(Elsewhere(OSError("the metadata service is away")))
    with workspace.as_notebook("bob"), pytest.raises(OSError, match="metadata"), user_session():
        pass
    assert len(workspace.log) == 0


def test_what_is_no_source_cannot_be_registered():
    """Rule 1."""
    for wrong in (object(), None, "model-serving", type("Half", (), {"name": "x"})()):
        with pytest.raises(TypeError, match="capture"):
            register_identity_source(wrong)


def test_a_session_that_requires_no_user_opens_without_one(workspace):
    """Rule 2: what acts for the user is refused, everything else runs."""
    with workspace.as_model_serving(), user_session(required=False) as session:
        assert current_session() is session
        for use in (lambda: session.identity, lambda: session.client):
            with pytest.raises(NoUserIdentityError, match="no user token for this request"):
                use()
    assert len(workspace.log) == 0


def test_a_session_that_requires_no_user_has_one_where_there_is_one(workspace):
    """Rule 2."""
    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session(required=False) as session:
        assert me(session.client) == "alice"
    assert callers(workspace) == ["alice"]


def test_a_strict_boundary_inside_one_without_a_user_refuses(workspace):
    """Rule 2: strict at entry, also where it joins."""
    with workspace.as_model_serving() as runtime, user_session(required=False):
        with pytest.raises(NoUserIdentityError), user_session():
            pass
        with runtime.user("bob"), pytest.raises(IdentityMismatchError), as_user(workspace, "bob"):
            pass
    assert calls(workspace) == []
