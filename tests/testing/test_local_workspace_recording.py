"""The local workspace in the words and forms of a recording: what real clients are answered, and what the log says of it."""

from __future__ import annotations

import json

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied

from obo_kit import DenialReason, NoUserIdentityError, explain, user_session
from obo_kit.scopes._recording import Answer, Detail, Recording, RecordingError, dump
from obo_kit.testing import ConfigError, LocalWorkspace

ENDPOINTS = "GET /api/2.0/serving-endpoints"
STATEMENTS = "/api/2.0/sql/statements"


def answer(claim, case, **fields):
    request = claim.partition(":")[2] if claim.startswith("route:GET ") else "GET /api/2.0/serving-endpoints/{name}"
    return Answer(claim=claim, request=request, case=case, **{"form": "json", "status": 403, **fields})


def recording(*answers, **fields):
    return Recording(
        **{"recorded": "2026-12-01", "kit": "0.1.0", "cloud": "aws", "answers": answers, **fields}
    ).signed()


def missing(claim, *named, scopes=(), **fields):
    words = f"Your token needs the scopes: {', '.join(f'<scope:{name}>' for name in named)} [ReqId: <id>]"
    return answer(
        claim,
        "missing_scope",
        **{"wording": words, "code": "403", "required_scopes": named, "scopes": scopes, **fields},
    )


@pytest.fixture
def start():
    opened = []

    def started(*answers, **fields):
        workspace = LocalWorkspace(recording=recording(*answers, **fields))
        workspace.add_user("alice")
        workspace.add_user("bob")
        workspace.add_endpoint("llm", lambda body: "hello")
        workspace.add_warehouse("a1b2c3")
        workspace.add_table("main.shop.orders", [{"id": 1}])
        workspace.grant("alice", "CAN QUERY", "llm")
        workspace.grant("alice", "CAN USE", "a1b2c3")
        opened.append(workspace.start())
        return workspace

    yield started
    for workspace in opened:
        workspace.stop()


def ask(workspace, method, path, user="alice", scopes=("all-apis",), **options):
    headers = {"Authorization": f"Bearer {workspace.token(user, scopes=scopes, **options)}"}
    return requests.request(method, workspace.host + path, headers=headers, timeout=60, allow_redirects=False)


def client(workspace, user="alice", scopes=("all-apis",)):
    token = workspace.token(user, scopes=scopes)
    return WorkspaceClient(config=Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2))


# ---------------------------------------------------------------------------------------------- words and forms


def test_a_refusal_comes_in_the_recorded_words_with_the_names_of_this_workspace(start):
    workspace = start(
        answer(
            "refusal:serving_missing",
            "absent",
            status=404,
            code="NOT_FOUND",
            wording="No endpoint '<name>' is found for <mail> on <host> [ReqId: <id>]",
        )
    )
    with pytest.raises(NotFound) as refused:
        client(workspace).serving_endpoints.get("no-such")
    words = str(refused.value)
    host = workspace.host.removeprefix("http://")
    assert words.startswith(f"No endpoint 'no-such' is found for alice@example.com on {host} [ReqId: ")
    assert "<" not in words
    assert refused.value.error_code == "NOT_FOUND"
    seen = workspace.log.entries[-1]
    assert (seen.status, seen.decision, seen.recorded) == (404, "not found", True)
    assert "not found (recorded)" in str(workspace.log)
    assert seen.as_dict()["recorded"] is True


def test_what_was_not_recorded_is_answered_as_before(start):
    workspace = start(
        answer("refusal:index_missing", "absent", status=404, code="NOT_FOUND", wording="No index '<name>'.")
    )
    with pytest.raises(NotFound, match="Endpoint with name 'no-such' does not exist"):
        client(workspace).serving_endpoints.get("no-such")
    assert workspace.log.entries[-1].recorded is False
    assert client(workspace).serving_endpoints.get("llm").name == "llm"
    assert workspace.log.entries[-1].recorded is False


@pytest.mark.parametrize(
    ("form", "content_type", "body"),
    [
        ("text", "text/plain", "No llm for you"),
        ("html", "text/html", "No llm for you"),
        ("empty", None, ""),
        ("json", "application/scim+json", {"error_code": "FORBIDDEN", "message": "No llm for you"}),
    ],
)
def test_a_refusal_comes_in_the_recorded_form(start, form, content_type, body):
    workspace = start(
        answer(
            "refusal:serving_denied",
            "no_permission",
            status=401,
            form=form,
            content_type=content_type,
            code="FORBIDDEN",
            wording="No <name> for you",
        )
    )
    refused = ask(workspace, "GET", "/api/2.0/serving-endpoints/llm", "bob")
    assert refused.status_code == 401
    assert (refused.json() if form == "json" else refused.text) == body
    if content_type:
        assert refused.headers["content-type"].startswith(content_type)


def test_headers_come_by_name_and_those_that_were_not_seen_do_not(start):
    workspace = start(
        answer("refusal:no_credential_at_all", "no_credential", status=401),
        answer(
            "refusal:invalid_token",
            "invalid_token",
            status=401,
            code="401",
            wording="Token unknown",
            headers=(
                "content-type",
                "retry-after",
                "server",
                "www-authenticate",
                "x-databricks-error-code",
                "x-request-id",
            ),
        ),
    )
    refused = requests.get(
        workspace.host + "/api/2.0/serving-endpoints", headers={"Authorization": "Bearer x"}, timeout=60
    )
    assert {"retry-after", "www-authenticate", "x-databricks-error-code", "x-request-id"} <= {
        *map(str.lower, refused.headers)
    }
    assert "X-Databricks-Reason-Phrase" not in refused.headers  # the declared one has it
    assert refused.json() == {"error_code": 401, "message": "Token unknown"}
    assert workspace.log.entries[-1].decision == "invalid token"


def test_details_come_by_type_and_keys(start):
    detail = Detail(type="ErrorInfo", reason="MISSING_PRIVILEGE", domain="<host>", keys=("privilege", "resource"))
    workspace = start(
        answer(
            "refusal:serving_denied",
            "no_permission",
            code="PERMISSION_DENIED",
            wording="No",
            details=(detail, Detail(type="RequestInfo")),
        )
    )
    error, request = ask(workspace, "GET", "/api/2.0/serving-endpoints/llm", "bob").json()["details"]
    assert error["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (error["reason"], error["metadata"]["resource"]) == ("MISSING_PRIVILEGE", "llm")
    assert error["domain"] == workspace.host.removeprefix("http://")
    assert request["request_id"]


def test_what_the_workspace_said_on_a_route_counts_before_what_it_said_elsewhere(start):
    elsewhere = answer("refusal:serving_missing", "absent", status=404, code="NOT_FOUND", wording="Not found: <name>")
    workspace = start(
        elsewhere.model_copy(update={"request": "POST /serving-endpoints/{name}/invocations"}),
        answer("route:GET /api/2.0/serving-endpoints", "absent", status=410, code="NOT_FOUND", wording="Gone: <name>"),
    )
    here = ask(workspace, "GET", "/api/2.0/serving-endpoints/x")
    assert (here.status_code, here.json()["message"]) == (410, "Gone: x")
    there = requests.post(
        workspace.host + "/serving-endpoints/x/invocations",
        headers={"Authorization": f"Bearer {workspace.token('alice')}"},
        json={"prompt": "x"},
        timeout=60,
    )
    assert (there.status_code, there.json()["message"]) == (404, "Not found: x")


def test_an_expired_token_and_none_at_all_are_refused_as_recorded(start):
    workspace = start(
        answer("refusal:expired_token", "expired", status=401, code="TOKEN_EXPIRED", wording="The token is expired"),
        answer("refusal:credential_missing", "no_credential", status=401, code="401", form="text", wording="No token"),
    )
    assert ask(workspace, "GET", "/api/2.0/serving-endpoints", expires_in=-5).json()["error_code"] == "TOKEN_EXPIRED"
    assert workspace.log.entries[-1].user == "alice"
    assert requests.get(workspace.host + "/api/2.0/serving-endpoints", timeout=60).text == "No token"
    assert [entry.recorded for entry in workspace.log] == [True, True]


def test_a_route_that_was_not_there_is_not_there(start):
    workspace = start(
        answer(
            "route:GET /api/2.0/serving-endpoints", "no_api", status=404, form="text", wording="No API found for <name>"
        )
    )
    assert ask(workspace, "GET", "/api/2.0/serving-endpoints").text.startswith("No API found for ")
    assert (workspace.log.entries[-1].decision, workspace.log.entries[-1].recorded) == ("not found", True)
    assert ask(workspace, "GET", "/api/2.0/serving-endpoints/llm").status_code == 404
    assert client(workspace).serving_endpoints.query("llm", prompt="x")  # another route


def test_what_is_not_there_asks_for_no_scope_unless_it_was_seen_to(start):
    gone = answer(f"route:{ENDPOINTS}", "no_api", status=404, code="ENDPOINT_NOT_FOUND", wording="No API found")
    assert ask(start(gone), "GET", "/api/2.0/serving-endpoints", scopes=["sql"]).status_code == 404
    asks = start(gone, missing(f"route:{ENDPOINTS}", "model-serving"))
    assert ask(asks, "GET", "/api/2.0/serving-endpoints", scopes=["sql"]).status_code == 403


def test_an_api_that_only_the_recorded_workspace_has_answers_without_content(start):
    claim = "route:/api/2.0/lakeview"
    workspace = start(
        answer(claim, "allowed", status=200, content_type="application/json"), missing(claim, "dashboards")
    )
    answered = ask(workspace, "GET", "/api/2.0/lakeview/dashboards")
    assert (answered.status_code, answered.json(), workspace.log.entries[-1].recorded) == (200, {}, True)
    assert client(workspace).lakeview.get("x").display_name is None
    assert ask(workspace, "GET", "/api/2.0/lakeview/dashboards", scopes=["sql"]).status_code == 403
    assert ask(workspace, "GET", "/api/2.0/repos").json()["error_code"] == "ENDPOINT_NOT_FOUND"
    # What the local workspace serves, it serves itself.
    served = start(answer(f"route:{ENDPOINTS}", "allowed", status=200))
    assert [endpoint.name for endpoint in client(served).serving_endpoints.list()] == ["llm"]
    assert served.log.entries[-1].recorded is False


def test_without_on_behalf_of_user_authorization_tokens_lack_what_the_app_is_configured_with(start):
    for obo, expected in (("on", True), ("unknown", True), ("off", False)):
        workspace = start(obo=obo)
        workspace.add_app("shop", user_api_scopes=["sql"])
        workspace.grant("alice", "CAN USE", "shop")
        assert ("sql" in client(workspace).apps.get("shop").effective_user_api_scopes) == expected
        (listed,) = client(workspace).apps.list()
        assert ("sql" in listed.effective_user_api_scopes) == expected
        with workspace.as_app() as runtime, runtime.user("alice", scopes=["sql"]), user_session() as session:
            assert ("sql" in session.identity.scopes) == expected
            if not expected:
                with pytest.raises(PermissionDenied, match="required scopes: sql"):
                    list(session.client.warehouses.list())


# ---------------------------------------------------------------------------------------------- refusals as data


def test_a_statement_fails_in_the_recorded_words(start):
    workspace = start(
        answer(
            "refusal:sql_missing",
            "absent",
            status=200,
            code="NOT_FOUND",
            wording="[TABLE_OR_VIEW_NOT_FOUND] `<name>` is not found. SQLSTATE: 42P01",
        ),
        # What the route refuses with is no answer to what a statement reads.
        answer(f"route:{STATEMENTS}", "absent", status=404, code="NOT_FOUND", wording="No warehouse <name>"),
    )
    result = client(workspace).statement_execution.execute_statement("SELECT * FROM main.shop.none", "a1b2c3")
    assert result.status.error.message == "[TABLE_OR_VIEW_NOT_FOUND] `main.shop.none` is not found. SQLSTATE: 42P01"
    assert result.status.error.error_code.value == "NOT_FOUND"
    assert (workspace.log.entries[-1].decision, workspace.log.entries[-1].recorded) == ("not found", True)
    with pytest.raises(NotFound, match="No warehouse nope"):
        client(workspace).statement_execution.execute_statement("SELECT 1", "nope")


def test_a_statement_that_is_polled_is_in_the_recorded_words_too(start):
    workspace = start(
        answer(
            "refusal:sql_missing",
            "absent",
            status=200,
            code="BAD_REQUEST",
            wording="Not found: <name>. SQLSTATE: 42P01",
        )
    )
    api = client(workspace).statement_execution
    statement = api.execute_statement("SELECT * FROM main.shop.none", "a1b2c3", wait_timeout="0s")
    for _ in range(100):
        result = api.get_statement(statement.statement_id)
        if result.status.state.value == "FAILED":
            break
    assert result.status.error.message == "Not found: main.shop.none. SQLSTATE: 42P01"
    assert workspace.log.entries[-1].recorded is True


# ---------------------------------------------------------------------------------------------- scopes


def test_a_route_asks_for_the_scope_that_the_refusal_named(start):
    workspace = start(missing(f"route:{STATEMENTS}", "sql.query-execution"))
    refused = ask(workspace, "GET", f"{STATEMENTS}/1", scopes=["sql"])
    assert refused.json()["message"].startswith("Your token needs the scopes: sql.query-execution [ReqId: ")
    seen = workspace.log.entries[-1]
    assert (seen.scopes_needed, seen.scopes_missing) == (("sql.query-execution",), ("sql.query-execution",))
    assert (
        ask(workspace, "GET", f"{STATEMENTS}/1", scopes=["sql.query-execution"], allow_unknown=True).status_code == 404
    )
    assert ask(workspace, "GET", f"{STATEMENTS}/1").status_code == 404  # all-apis


def test_a_scope_that_was_refused_opens_nothing_and_one_that_passed_does(start):
    workspace = start(
        missing(f"route:{ENDPOINTS}", "model-serving", scopes=("serving.serving-endpoints",)),
        answer(f"route:{ENDPOINTS}", "allowed", status=200, scopes=("files", "offline_access")),
    )
    status = {
        scope: ask(workspace, "GET", "/api/2.0/serving-endpoints", scopes=[scope]).status_code
        for scope in ("model-serving", "serving.serving-endpoints", "files", "sql")
    }
    assert status == {"model-serving": 200, "serving.serving-endpoints": 403, "files": 200, "sql": 403}


def test_the_other_spellings_stay_where_the_refusal_names_one_of_them(start):
    workspace = start(missing(f"route:{ENDPOINTS}", "model-serving"))
    for scope in ("model-serving", "serving.serving-endpoints"):
        assert ask(workspace, "GET", "/api/2.0/serving-endpoints", scopes=[scope]).status_code == 200


def test_a_general_refusal_names_the_scopes_that_this_token_lacks(start):
    workspace = start(missing("refusal:missing_scope", "genie"))
    refused = ask(workspace, "GET", "/api/2.0/sql/warehouses", scopes=["genie"])
    assert refused.json()["message"].startswith("Your token needs the scopes: sql [ReqId: ")


def test_all_apis_can_be_refused(start):
    workspace = start(missing(f"route:{ENDPOINTS}", "model-serving", scopes=("all-apis",)))
    assert ask(workspace, "GET", "/api/2.0/serving-endpoints").status_code == 403
    assert ask(workspace, "GET", "/api/2.0/serving-endpoints", scopes=["model-serving"]).status_code == 200


def test_the_kit_explains_what_was_recorded(start):
    workspace = start(missing(f"route:{ENDPOINTS}", "model-serving", form="text", wording="Invalid scope"))
    with user_session(host=workspace.host, token=workspace.token("alice", scopes=["files"])) as session:
        with pytest.raises(PermissionDenied) as refused:
            list(session.client.serving_endpoints.list())
        denial = explain(refused.value)
    assert (denial.reason, denial.scopes) == (DenialReason.MISSING_SCOPE, ("model-serving",))


# ---------------------------------------------------------------------------------------------- where it comes from


def test_a_configuration_names_the_file_beside_it(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    dump(recording(answer("refusal:invalid_token", "invalid_token", wording="Token unknown")), folder / "seen.json")
    (folder / "shop.yaml").write_text("recording: seen.json\nusers: [alice]\n")
    with LocalWorkspace.from_config(folder / "shop.yaml") as workspace:
        assert workspace.notice.endswith("Recorded refusals are those of a workspace on 2026-12-01.")
        refused = requests.get(workspace.host + "/api/2.0/apps", headers={"Authorization": "Bearer x"}, timeout=60)
        assert refused.json()["message"] == "Token unknown"
        workspace.recording = None
        refused = requests.get(workspace.host + "/api/2.0/apps", headers={"Authorization": "Bearer x"}, timeout=60)
        assert refused.json()["message"].startswith("Invalid access token.")


def _damaged(text):
    data = json.loads(text)
    data["answers"][0]["wording"] = "Changed"
    return json.dumps(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_damaged, "its digest differs"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "of schema 2; this kit reads schema 1"),
        (lambda text: text[:-20], "is not JSON"),
        (lambda text: "[]", "not a recording"),
        (None, "cannot be read"),
    ],
)
def test_a_recording_that_cannot_be_used_is_refused_at_the_start(tmp_path, change, words):
    file = tmp_path / "seen.json"
    dump(recording(answer("refusal:invalid_token", "invalid_token", wording="Token unknown")), file)
    if change is None:
        file.unlink()
    else:
        file.write_text(change(file.read_text()))
    with pytest.raises(RecordingError, match=words):
        LocalWorkspace(recording=file)
    (tmp_path / "shop.yaml").write_text("users: [alice]\nrecording: seen.json\n")
    with pytest.raises(ConfigError, match=rf"shop\.yaml:2: recording: .*{words}"):
        LocalWorkspace.from_config(tmp_path / "shop.yaml")


def test_an_api_that_the_local_workspace_lacks_takes_each_spelling_that_the_catalogue_knows(start):
    claim = "route:/api/2.0/sql/alerts"
    workspace = start(answer(claim, "allowed", status=200), missing(claim, "alerts"))
    status = {
        scope: ask(workspace, "GET", "/api/2.0/sql/alerts", scopes=[scope]).status_code
        for scope in ("alerts", "sql", "sql.alerts", "genie")
    }
    assert status == {"alerts": 200, "sql": 200, "sql.alerts": 200, "genie": 403}


def test_of_several_refusals_on_a_route_each_comes_in_its_own_words(start):
    workspace = start(
        answer("refusal:statement_missing", "absent", status=404, code="NOT_FOUND", wording="No statement <id>"),
        answer("refusal:session_missing", "absent", status=404, code="NOT_FOUND", wording="No session <id>"),
        answer(f"route:{STATEMENTS}", "absent", status=404, code="NOT_FOUND", wording="No statement <id>"),
    )
    api = client(workspace).statement_execution
    with pytest.raises(NotFound, match="No statement 7"):
        api.get_statement("7")
    refused = requests.post(
        workspace.host + STATEMENTS,
        headers={"Authorization": f"Bearer {workspace.token('alice')}"},
        json={"statement": "SELECT 1", "warehouse_id": "a1b2c3", "session_id": "8"},
        timeout=60,
    )
    assert refused.json()["message"] == "No session 8"


def test_a_route_words_it_by_what_the_token_lacks(start):
    claim = "route:POST /api/2.0/external-function"
    workspace = start(
        missing(claim, "catalog.connections", "model-serving", scopes=("sql",)),
        missing(claim, scopes=("catalog.connections",), form="text", wording="Invalid token", code=None),
    )
    both = ask(workspace, "POST", "/api/2.0/external-function", scopes=["genie"])
    assert both.json()["message"].startswith("Your token needs the scopes: catalog.connections, model-serving [ReqId: ")
    assert ask(workspace, "POST", "/api/2.0/external-function", scopes=["catalog.connections"]).text == "Invalid token"


def test_what_is_wrong_with_a_request_is_said_of_this_request(start):
    workspace = start(
        answer("refusal:invalid_parameter", "bad_request", status=400, code="BAD_REQUEST", wording="<name> is missing")
    )
    with pytest.raises(BadRequest, match="wait_timeout must be 0s, or between 5s and 50s") as refused:
        client(workspace).statement_execution.execute_statement("SELECT 1", "a1b2c3", wait_timeout="2s")
    assert refused.value.error_code == "BAD_REQUEST"


def test_a_request_has_its_own_answer_where_its_route_has_another(start):
    own = answer("refusal:directory_missing", "absent", status=404, code="NOT_FOUND", wording="The directory is gone")
    workspace = start(
        own.model_copy(update={"request": "GET /api/2.0/fs/directories/Volumes/{volume}/{name}"}),
        answer("route:GET /api/2.0/fs/", "absent", status=404, code="NOT_FOUND", wording="Volume <name> is not there"),
    )
    workspace.add_volume("main.shop.files", {"a.txt": "a"})
    workspace.grant("alice", "READ VOLUME", "main.shop.files")
    absent = ask(workspace, "GET", "/api/2.0/fs/directories/Volumes/main/shop/files/x")
    assert absent.json()["message"] == "The directory is gone"


def test_without_obo_on_model_serving_no_token_arrives(start):
    workspace = start(obo_model_serving="off")
    with (
        workspace.as_model_serving() as runtime,
        runtime.user("alice"),
        pytest.raises(NoUserIdentityError),
        user_session(),
    ):
        pass
    assert workspace.recording.obo == "unknown"
