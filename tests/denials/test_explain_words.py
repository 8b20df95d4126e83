"""What a `Denial` tells whom: the kit's own refusals, the table of texts, remedies, and the author's words."""

# ruff: noqa: E501, SIM117 - recorded texts keep their lines; what surrounds a call, and what is expected of it, read better apart
from __future__ import annotations

import re
import warnings

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from mlflow.models.resources import DatabricksGenieSpace, DatabricksTable
from support import INDEX, LLM, SPACE, as_user

import obo_kit
from obo_kit import (
    AccessDeniedError,
    Denial,
    IdentityMismatchError,
    MissingScopeError,
    NoUserIdentityError,
    NoUserSessionError,
    ScopeViolationError,
    SessionClosedError,
    TokenExpiredError,
    explain,
    optional_tool,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit._upstream.lost_texts import LOST_TEXTS
from obo_kit._upstream.texts import TEXTS
from obo_kit.context._calls import Refusal
from obo_kit.denials._classify import classify
from obo_kit.denials._remedies import USER_MESSAGES as _USER_MESSAGES
from obo_kit.scopes import KINDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from databricks.ai_search import utils as search_utils
from refusals import CALLS, DENIAL_TEXT, R, denied, look_at_space, raised, sdk_error

# --- the author's own words -----------------------------------------------------------------------------------------------


@pytest.fixture
def own_words():
    yield obo_kit.rewrite_denials
    obo_kit.rewrite_denials(None)


def test_texts_can_be_replaced(own_words):
    """Rule 17: translated, or with the resource named."""
    import dataclasses

    own_words(lambda denial: dataclasses.replace(denial, user_message="Kein Zugriff.", remedy="m"))
    denial = explain(TokenExpiredError("x", remedy="y"))
    assert (denial.user_message, denial.remedy, denial.detail) == ("Kein Zugriff.", "m", "x")
    assert optional_tool(lambda: raised(TokenExpiredError("x", remedy="y")))() is not None
    own_words(None)
    assert explain(TokenExpiredError("x", remedy="y")).user_message == _USER_MESSAGES[R.TOKEN_EXPIRED]


def test_a_reason_cannot_be_rewritten(own_words):
    """Rule 15: words are the author's, facts are not."""
    import dataclasses

    own_words(lambda denial: dataclasses.replace(denial, reason=R.ACCESS_DENIED))
    assert explain(TokenExpiredError("x", remedy="y")).reason is R.TOKEN_EXPIRED


@pytest.mark.parametrize("broken", [lambda denial: 1 / 0, lambda denial: "text"])
def test_words_that_fail_leave_the_kit_s(own_words, caplog, broken):
    """Rule 15: a denial stays one."""
    own_words(broken)
    assert explain(TokenExpiredError("x", remedy="y")).user_message == _USER_MESSAGES[R.TOKEN_EXPIRED]
    assert [record.name for record in caplog.records] == ["obo_kit.denials._explain"]


def test_words_are_a_function(own_words):
    """House rule 3."""
    with pytest.raises(TypeError, match="not a str"):
        own_words("text")


# --- the kit's own --------------------------------------------------------------------------------------------------------

OWN = {
    R.NO_IDENTITY: NoUserIdentityError("x", remedy="y"),
    R.TOKEN_EXPIRED: TokenExpiredError("x", remedy="y"),
    R.MISSING_SCOPE: MissingScopeError("x", remedy="y", scopes=["b", "a"]),
    R.SCOPE_VIOLATION: ScopeViolationError("x", remedy="y", scopes=["b", "a"]),
}


@pytest.mark.parametrize("reason", OWN, ids=str)
def test_the_kit_s_own_refusals(reason):
    """Rule 15: with their remedy and all of their scopes."""
    denial = explain(OWN[reason])
    assert denial is not None
    assert (denial.reason, denial.detail, denial.remedy) == (reason, "x", "y")
    assert denial.scopes == (("a", "b") if hasattr(OWN[reason], "scopes") else ())


@pytest.mark.parametrize("kind", [NoUserSessionError, SessionClosedError, IdentityMismatchError, obo_kit.PolicyError])
def test_mistakes_in_the_program_are_no_denials(kind):
    """Rule 15: not even where a denial caused them."""
    assert explain(raised(kind("x", remedy="y"), cause=sdk_error())) is None


@pytest.mark.parametrize("reason", R, ids=str)
def test_a_denial_raised_is_the_same_denial_again(reason):
    """`raise denial.error()`, for a tool that found it in a value."""
    denial = Denial(reason=reason, resource="r", user_message="u", detail="d", remedy="m", scopes=("a",), status=403)
    again = explain(denial.error())
    assert again is not None
    assert (again.reason, again.detail, again.remedy) == (reason, "d", "m")
    assert isinstance(denial.error(), AccessDeniedError) == (again.resource == "r")


# --- the table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_each_text_decides_its_own_sample(text):
    """House rule 2: no earlier entry takes it away, and each says where it is from."""
    assert text.pattern.search(text.sample)
    assert text.source.startswith(("reported: ", "documented: "))
    for status in text.statuses:
        path = text.path or "/api/2.0/x"
        found = classify(Refusal(status=status, text=text.sample, path=path))
        if text.reason is None:
            assert found is None
            continue
        assert found is not None
        assert found.reason is text.reason
        first = next(
            other
            for other in TEXTS
            if status in other.statuses and path.startswith(other.path) and other.pattern.search(text.sample)
        )
        assert first is text


@pytest.mark.parametrize("text", LOST_TEXTS, ids=lambda text: text.name)
def test_each_text_of_a_client_that_lost_the_refusal_is_known(text):
    """House rule 2. What the clients really say is tried in tests/test_mcp_auth.py and tests/test_matrix.py."""
    assert text.pattern.search(text.sample)
    assert text.source


def test_the_table_s_names_are_its_own():
    """House rule 2."""
    names = [text.name for text in TEXTS]
    assert len(names) == len(set(names))
    assert {text.kind for text in TEXTS if text.kind} <= set(KINDS)


SAMPLES = [
    # Recorded: status, code, sample, reason
    (403, "403", "Provided OAuth token does not have required scopes: unity-catalog [ReqId: 0]", R.MISSING_SCOPE),
    (403, "403", "Provided access token does not have required scopes: all-apis [ReqId: 0]", R.MISSING_SCOPE),
    (403, None, "Provided OAuth token does not have required scopes: model-serving, model-serving-inference", R.MISSING_SCOPE),
    (403, None, "Invalid scope, required scopes: postgres", R.MISSING_SCOPE),
    (403, None, "Invalid scope", R.MISSING_SCOPE),
    (400, "INVALID_PARAMETER_VALUE", "Invalid user API scope(s) specified for model: main.agents.bot. Invalid scopes: postgres", None),
    (400, "INVALID_PARAMETER_VALUE", "The specified scope unity-catalog is not a valid scope.", None),
    (400, None, "user token passthrough not enabled", None),
    (403, "403", "Invalid access token. [ReqId: 00000000-0000-0000-0000-000000000000]", R.TOKEN_EXPIRED),
    (403, None, "Invalid Token", R.TOKEN_EXPIRED),
    (403, None, "Token is expiring within 30 seconds. (token expired)", R.TOKEN_EXPIRED),
    (401, "401", "Credential was not sent or was of an unsupported type for this API. [ReqId: 0]", R.TOKEN_EXPIRED),
    (400, "access_denied", "Scopes 'sql' are not assigned to the client 00000000", R.MISSING_SCOPE),
    (200, "BAD_REQUEST", DENIAL_TEXT, R.ACCESS_DENIED),
    (200, "BAD_REQUEST", "PERMISSION_DENIED: User does not have USE CATALOG on Catalog 'x'", R.ACCESS_DENIED),
    (200, "BAD_REQUEST", "Catalog 'main' is not accessible in current workspace", R.ACCESS_DENIED),
    (200, "BAD_REQUEST", "[TABLE_OR_VIEW_NOT_FOUND] The table or view `a`.`b`.`c` cannot be found. SQLSTATE: 42P01", R.NOT_FOUND_OR_DENIED),
    (403, "PERMISSION_DENIED", "PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have USE CATALOG on Catalog 'x'.", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have USE CONNECTION on Connection 'c'.", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "User does not have SELECT on Table 'a.b.c'.", R.ACCESS_DENIED),
    (404, "TABLE_DOES_NOT_EXIST", "Table 'a.b.c' does not exist.", R.NOT_FOUND_OR_DENIED),
    (403, "PERMISSION_DENIED", "Insufficient permissions for UC entity main.s.idx", R.ACCESS_DENIED),
    (404, "RESOURCE_DOES_NOT_EXIST", "RESOURCE_DOES_NOT_EXIST", R.NOT_FOUND_OR_DENIED),
    (200, None, "PERMISSION_DENIED: No access to 'a.b.c'. User must have SELECT", R.ACCESS_DENIED),
    (403, "PERMISSION_DENIED", "PERMISSION_DENIED: User does not have CAN_QUERY on serving endpoint x", R.ACCESS_DENIED),
    (401, "UNAUTHENTICATED", "Credential for user identity('1') is not found for the connection 'gh'. Please login first to the connection by visiting https://host/explore/connections/gh", R.LOGIN_REQUIRED),
    (403, None, "x is disabled for this workspace. Please use Unity Gateway.", None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "text", "reason"), SAMPLES, ids=lambda it: str(it)[:40])
def test_the_recorded_samples_of_the_facts(status, code, text, reason):
    """Rule 16."""
    found = classify(Refusal(status=status, error_code=code, text=text, path="/api/2.0/x"))
    assert (found.reason if found is not None else None) is reason


# --- what it tells whom ---------------------------------------------------------------------------------------------------


def test_what_the_user_is_told_names_nothing(workspace):
    """Rule 17: no host, no client id, no resource name; safe for the model."""
    told = []
    for user in ("carol", "alice"):
        with as_user(workspace, user):
            for call in CALLS:
                if user == "carol":
                    told.append(denied(call).user_message)
    assert set(told) <= set(_USER_MESSAGES.values())
    assert set(_USER_MESSAGES) == set(R)
    for message in _USER_MESSAGES.values():
        assert not re.search(r"https?:|127\.0|client|scope|token|[{}]", message)


def test_detail_has_the_platform_s_words_without_the_sdk_s_tail(workspace):
    """Rule 17: the tail names the host and the client id."""
    client = WorkspaceClient(
        config=Config(host=workspace.host, token=workspace.token("carol"), auth_type="pat", retry_timeout_seconds=2)
    )
    with pytest.raises(DatabricksError, match="Config: host=") as caught:
        client.serving_endpoints.query(LLM, messages=[ChatMessage(role=ChatMessageRole.USER, content="x")])
    denial = explain(caught.value)
    assert denial is not None
    assert denial.detail == "User does not have permission 'View' on Endpoint llm"
    assert workspace.host not in repr(denial)


@pytest.mark.parametrize(
    ("source", "spelled", "how"),
    [("apps", "vector-search", "user_api_scopes"), ("model-serving", "vector-search", "obo_kit.log_model")],
)
def test_a_missing_scope_is_spelled_for_where_it_runs(workspace, monkeypatch, source, spelled, how):
    """Rule 17: in a spelling that the target can grant."""
    monkeypatch.setattr("obo_kit.tools._spec.Requirements.check", lambda *_: None)
    tool = with_user_client(lambda client: client.vector_search_indexes.get_index(INDEX))
    if source == "apps":
        with workspace.as_app() as app:
            with user_session(headers=app.headers("alice")):
                denial = denied(tool)
    else:
        with workspace.as_model_serving() as runtime, runtime.user("alice", scopes=["files"]), user_session():
            denial = denied(tool)
    assert denial.reason is R.MISSING_SCOPE
    assert f"@requires_scopes('{spelled}')" in denial.remedy
    assert how in denial.remedy


def test_a_scope_that_the_target_cannot_grant_is_said_to_be_out_of_reach(workspace):
    """Rule 17."""
    workspace.add_fault(
        status=403,
        body={"error_code": 403, "message": "Provided OAuth token does not have required scopes: postgres"},
        path_prefix="/api/2.0/genie",
    )
    with workspace.as_model_serving() as runtime, runtime.user("alice"), user_session():
        denial = denied(with_user_client(lambda client: client.genie.get_space(SPACE)))
    assert denial.scopes == ("postgres",)
    assert "cannot grant postgres" in denial.remedy
    assert "system authorization" in denial.remedy


def test_what_is_declared_already_has_to_be_deployed(workspace):
    """Rule 17: declaring it again would not help."""
    workspace.add_fault(status=403, body="Invalid scope")
    with as_user(workspace, "alice"):
        denial = denied(look_at_space)
    assert "already declares genie" in denial.remedy


def test_all_missing_scopes_at_once():
    """Rule 16."""
    denial = explain(
        sdk_error(403, "403", "Provided OAuth token does not have required scopes: sql, genie, files [ReqId: 0]")
    )
    assert denial is not None
    assert denial.scopes == ("files", "genie", "sql")


REMEDIES = [
    ("User does not have SELECT on Table 'a.b.c'.", "Ask the owner of the table 'a.b.c' to grant the user SELECT."),
    (
        "User does not have USE CONNECTION on Connection 'c'.",
        "Ask the owner of the connection 'c' to grant the user USE CONNECTION.",
    ),
    (
        "User does not have CAN_QUERY on serving endpoint x",
        "Ask the owner of the serving endpoint 'x' to grant the user CAN QUERY.",
    ),
    (
        "123 is not authorized to use or monitor this SQL Endpoint",
        "Ask the owner of the SQL warehouse to grant the user CAN USE.",
    ),
    ("No access to 'a.b.c'. User must have SELECT", "Ask the owner of the UC table 'a.b.c' to grant the user SELECT."),
    (
        "no",
        "The answer does not name what the user lacks. Try the same as the user in the workspace, or compare with the grants of a "
        "user who has access.",
    ),
    ("User does not have SELECT on Table '{a}'.", "Ask the owner of the table '{a}' to grant the user SELECT."),
]


@pytest.mark.parametrize(("text", "remedy"), REMEDIES)
def test_the_remedy_names_the_grant(text, remedy):
    """Rule 17."""
    denial = explain(sdk_error(text=text))
    assert denial is not None
    assert denial.remedy == remedy


def test_a_user_s_id_is_not_taken_for_a_warehouse():
    """Rule 17: the text names who asked, not what was asked for."""
    denial = explain(sdk_error(text="PERMISSION_DENIED: 123 is not authorized to use or monitor this SQL Endpoint"))
    assert denial is not None
    assert denial.resource is None


@pytest.mark.parametrize(
    ("origin", "followed"),
    [("{host}", True), ("https://host.example", False), ("{host}@host.example", False), ("{host}.host.example", False)],
)
def test_a_login_is_asked_of_the_user_with_the_workspace_s_own_link(workspace, origin, followed):
    """Rule 17: and with no other."""
    link = f"{origin.format(host=workspace.host)}/oauth/connect?name=gh"
    error = sdk_error(401, "UNAUTHENTICATED", f"Credential for user identity('1') is not found for the connection 'gh'.\nPlease login first to the connection by visiting {link}")  # fmt: skip
    with as_user(workspace, "alice"):
        denial = explain(error)
    assert denial is not None
    assert (denial.reason, denial.resource) == (R.LOGIN_REQUIRED, "gh")
    assert (link in denial.remedy) is followed
    assert f"{workspace.host}/" in denial.remedy
    assert "host.example" not in denial.remedy


def test_a_resource_is_not_guessed_among_several(workspace):
    """Rule 17."""

    @requires_scopes(DatabricksTable("a.b.c"), DatabricksGenieSpace("other"), DatabricksGenieSpace("another"))
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.genie.get_space(SPACE)

    with as_user(workspace, "carol"):
        denial = denied(tool)
    assert denial.resource == SPACE  # which the refusal names
    assert "other" not in denial.remedy


def test_a_resource_is_told_by_its_path(workspace):
    """Rule 17."""

    @requires_scopes(DatabricksGenieSpace("other"), DatabricksGenieSpace(SPACE))
    @with_user_client
    def tool(client: WorkspaceClient):
        return client.genie.get_space(SPACE)

    with as_user(workspace, "carol"):
        assert denied(tool).resource == SPACE


def test_vector_search_errors_without_the_kit_s_client():
    """Rule 16."""
    if not hasattr(search_utils, "exception_for_status"):
        pytest.skip("the errors of this databricks-ai-search hold no code")
    exception_for_status = search_utils.exception_for_status
    error = exception_for_status(403)("[403] Invalid access token.", status_code=403, error_code="403")
    denial = explain(error)
    assert denial is not None
    assert denial.reason is R.TOKEN_EXPIRED
    assert explain(exception_for_status(500)("PERMISSION_DENIED", status_code=500)) is None
