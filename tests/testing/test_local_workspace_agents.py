"""What an agent meets in the local workspace: models, Genie, the runtimes, and its own deployment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    BadRequest,
    InvalidParameterValue,
    NotFound,
    OperationFailed,
    PermissionDenied,
    ResourceDoesNotExist,
)
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from databricks_ai_bridge import ModelServingUserCredentials

from obo_kit.testing import InvocationError, LocalWorkspace

with warnings.catch_warnings():
    # MLflow warns about its own type hints, and its database layer about itself, when they are first loaded.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.types.responses

TICKETS = [{"id": 1, "subject": "Refund"}, {"id": 2, "subject": "Parcel"}]
COUNT = "SELECT count(*) AS n FROM main.support.tickets"
WHOAMI = """
import os
import threading

import mlflow
from databricks.sdk import WorkspaceClient
from databricks_ai_bridge import ModelServingUserCredentials
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent


class Whoami(ResponsesAgent):
    def __init__(self):
        self.together = None

    def who(self):
        if "IS_IN_DB_MODEL_SERVING_ENV" not in os.environ:
            return "nobody"
        return WorkspaceClient(credentials_strategy=ModelServingUserCredentials()).current_user.me().user_name

    def answer(self, text):
        if text == "fail":
            raise LookupError("asked to fail")
        if text == "meet":
            # Two requests that wait for each other: served one by one, they would never end.
            MEETING.wait(timeout=60)
        if text == "system":
            return str([e.name for e in WorkspaceClient().serving_endpoints.list()])
        if text == "user":
            w = WorkspaceClient(credentials_strategy=ModelServingUserCredentials())
            return str([e.name for e in w.serving_endpoints.list()])
        return self.who()

    def predict(self, request):
        text = self.answer(request.input[-1].content)
        return ResponsesAgentResponse(output=[self.create_text_output_item(text, "m1")])

    def predict_stream(self, request):
        for _ in range(3):
            text = self.answer(request.input[-1].content)
            yield ResponsesAgentStreamEvent(**self.create_text_delta(text, "m1"))
        if request.input[-1].content == "fail late":
            raise LookupError("asked to fail late")


MEETING = threading.Barrier(2)
mlflow.models.set_model(Whoami())
"""


@pytest.fixture
def workspace():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        workspace.add_table("main.support.tickets", TICKETS)
        workspace.add_table("hr.pay.salaries", [{"amount": 1}])
        workspace.add_genie_space(
            "space1",
            warehouse_id="wh1",
            tables=["main.support.tickets"],
            answers={
                "How many tickets are there?": COUNT,
                "What do we earn?": "SELECT amount FROM hr.pay.salaries",
                "Is it broken?": "SELECT nothing FROM main.support.tickets",
            },
            title="Support",
        )
        workspace.add_endpoint("llm", echo)
        for privilege, securable in (
            ("SELECT", "main.support.tickets"),
            ("CAN USE", "wh1"),
            ("CAN RUN", "space1"),
            ("CAN QUERY", "llm"),
        ):
            workspace.grant("alice", privilege, securable)
        yield workspace


def echo(body):
    if body.get("tools"):
        name = body["tools"][0]["function"]["name"]
        return {"tool_calls": [{"id": "call_1", "function": {"name": name, "arguments": {"question": "x"}}}]}
    if body["messages"][-1]["content"] == "fail":
        raise LookupError("asked to fail")
    return "You said: " + body["messages"][-1]["content"]


def client(workspace, user, *, scopes=("all-apis",)):
    token = workspace.token(user, scopes=scopes)
    config = Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2, http_timeout_seconds=10)
    return WorkspaceClient(config=config)


def say(text):
    return [ChatMessage(role=ChatMessageRole.USER, content=text)]


def last(workspace):
    return workspace.log.entries[-1]


# ---------------------------------------------------------------------------------------------- models


def test_a_model_answers_whoever_may_query_it(workspace):
    answer = client(workspace, "alice").serving_endpoints.query("llm", messages=say("Hello"))
    assert answer.choices[0].message.content == "You said: Hello"
    with pytest.raises(PermissionDenied, match="User does not have permission 'View' on Endpoint llm") as caught:
        client(workspace, "bob").serving_endpoints.query("llm", messages=say("Hello"))
    assert caught.value.error_code == "PERMISSION_DENIED"
    assert (last(workspace).user, last(workspace).status, last(workspace).decision) == ("bob", 403, "missing grant")
    with pytest.raises(NotFound, match=r"Endpoint with name '.*' does not exist"):
        client(workspace, "alice").serving_endpoints.query("nothing", messages=say("Hello"))


def test_a_list_of_endpoints_leaves_out_what_the_user_may_not_query(workspace):
    assert [endpoint.name for endpoint in client(workspace, "alice").serving_endpoints.list()] == ["llm"]
    assert list(client(workspace, "bob").serving_endpoints.list()) == []
    assert client(workspace, "alice").serving_endpoints.get("llm").task == "llm/v1/chat"
    workspace.grant("bob", "CAN VIEW", "llm")
    assert client(workspace, "bob").serving_endpoints.get("llm").name == "llm"
    with pytest.raises(PermissionDenied):
        client(workspace, "bob").serving_endpoints.query("llm", messages=say("Hello"))


def test_what_a_model_raises_is_a_bad_request(workspace):
    with pytest.raises(BadRequest, match="LookupError: asked to fail"):
        client(workspace, "alice").serving_endpoints.query("llm", messages=say("fail"))
    assert last(workspace).decision == "model error"


@pytest.mark.parametrize("answer", [None, 7, {"tool_calls": [{}]}, {"tool_calls": 7}, {"content": object()}])
def test_a_model_that_answers_nonsense_is_a_bad_request(workspace, answer):
    workspace.add_endpoint("odd", lambda _body: answer)
    workspace.grant("alice", "CAN QUERY", "odd")
    with pytest.raises(BadRequest, match="The model raised"):
        client(workspace, "alice").serving_endpoints.query("odd", messages=say("Hello"))


def test_openai_clients_chat_stream_and_call_tools(workspace):
    module = pytest.importorskip("databricks_openai", reason="databricks_openai is an optional extra")
    tool = {"type": "function", "function": {"name": "ask", "parameters": {"type": "object", "properties": {}}}}
    messages = [{"role": "user", "content": "one two"}]
    with module.DatabricksOpenAI(workspace_client=client(workspace, "alice")) as openai:
        answer = openai.chat.completions.create(model="llm", messages=messages)
        assert answer.choices[0].message.content == "You said: one two"
        pieces = list(openai.chat.completions.create(model="llm", messages=messages, stream=True))
        assert len(pieces) > 4
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "You said: one two"
        called = openai.chat.completions.create(model="llm", messages=messages, tools=[tool])
        assert called.choices[0].finish_reason == "tool_calls"
        function = called.choices[0].message.tool_calls[0].function
        assert (function.name, function.arguments) == ("ask", '{"question": "x"}')
        streamed = list(openai.chat.completions.create(model="llm", messages=messages, tools=[tool], stream=True))
        calls = [piece.choices[0].delta.tool_calls for piece in streamed if piece.choices[0].delta.tool_calls]
        assert calls[0][0].function.name == "ask"
    import openai as package

    with (
        module.DatabricksOpenAI(workspace_client=client(workspace, "bob")) as openai,
        pytest.raises(package.PermissionDeniedError, match="permission 'View' on Endpoint"),
    ):
        openai.chat.completions.create(model="llm", messages=messages)


def test_chat_databricks_works(workspace):
    module = pytest.importorskip("databricks_langchain", reason="databricks_langchain is an optional extra")
    chat = module.ChatDatabricks(model="llm", workspace_client=client(workspace, "alice"))
    assert chat.invoke("Hello").content == "You said: Hello"
    assert "".join(piece.content for piece in chat.stream("Hello")) == "You said: Hello"


# ---------------------------------------------------------------------------------------------- Genie


def test_genie_answers_with_the_data_of_the_asker(workspace):
    genie = client(workspace, "alice").genie
    message = genie.start_conversation_and_wait("space1", "how many tickets are there")
    assert message.attachments[0].query.query == COUNT
    where = (message.space_id, message.conversation_id, message.message_id)
    for result in (
        genie.get_message_attachment_query_result(*where, message.attachments[0].attachment_id),
        genie.get_message_query_result(*where),
        genie.get_message_query_result_by_attachment(*where, message.attachments[0].attachment_id),
    ):
        assert result.statement_response.result.data_array == [["2"]]
    again = genie.create_message_and_wait("space1", message.conversation_id, "How many tickets are there?")
    assert (again.conversation_id, again.status.value) == (message.conversation_id, "COMPLETED")
    assert genie.get_space("space1").title == "Support"


def test_genie_says_so_where_it_has_no_answer(workspace):
    message = client(workspace, "alice").genie.start_conversation_and_wait("space1", "What is love?")
    assert "no answer" in message.attachments[0].text.content


def test_genie_is_polled_as_often_as_asked(workspace):
    workspace.genie_polls = 1
    message = client(workspace, "alice").genie.start_conversation_and_wait("space1", "How many tickets are there?")
    assert message.status.value == "COMPLETED"
    polls = workspace.log.filter(path=f"/api/2.0/genie/spaces/space1/conversations/{message.conversation_id}/messages")
    assert len(polls) == 2


def test_genie_hides_the_space_from_those_who_may_not_run_it(workspace):
    with pytest.raises(ResourceDoesNotExist, match=r"Unable to get space \[space1\]") as hidden:
        client(workspace, "carol").genie.start_conversation_and_wait("space1", "How many tickets are there?")
    assert (last(workspace).user, last(workspace).status, last(workspace).decision) == ("carol", 404, "missing grant")
    with pytest.raises(ResourceDoesNotExist) as absent:
        client(workspace, "carol").genie.get_space("space9")
    assert str(absent.value) == str(hidden.value).replace("space1", "space9")
    assert last(workspace).decision == "not found"
    assert client(workspace, "carol").genie.list_spaces().spaces in (None, [])


@pytest.mark.parametrize(
    ("grants", "text"),
    [
        ([], "is not authorized to use or monitor this SQL Endpoint"),
        ([("CAN USE", "wh1")], "No access to 'main.support.tickets'. User must have SELECT"),
    ],
)
def test_genie_fails_as_data_where_a_grant_below_it_is_missing(workspace, grants, text):
    workspace.grant("bob", "CAN RUN", "space1")
    for privilege, securable in grants:
        workspace.grant("bob", privilege, securable)
    bob = client(workspace, "bob").genie
    with pytest.raises(OperationFailed, match=r"failed to reach COMPLETED, got MessageStatus\.FAILED"):
        bob.start_conversation_and_wait("space1", "How many tickets are there?")
    assert (last(workspace).user, last(workspace).status, last(workspace).decision) == ("bob", 200, "missing grant")
    started = bob.start_conversation("space1", "How many tickets are there?")
    message = bob.get_message("space1", started.conversation_id, started.message_id)
    assert message.error.error.startswith("PERMISSION_DENIED: ")
    assert text in message.error.error


def test_genie_fails_as_data_where_the_sql_does(workspace):
    alice = client(workspace, "alice").genie
    started = alice.start_conversation("space1", "Is it broken?")
    message = alice.get_message("space1", started.conversation_id, started.message_id)
    assert message.status.value == "FAILED"
    assert "UNRESOLVED_COLUMN" in message.error.error


def test_a_conversation_is_its_users_own(workspace):
    for privilege, securable in (("CAN RUN", "space1"), ("CAN USE", "wh1"), ("SELECT", "main.support.tickets")):
        workspace.grant("bob", privilege, securable)
    message = client(workspace, "alice").genie.start_conversation_and_wait("space1", "How many tickets are there?")
    bob = client(workspace, "bob").genie
    with pytest.raises(ResourceDoesNotExist):
        bob.get_message("space1", message.conversation_id, message.message_id)
    with pytest.raises(ResourceDoesNotExist):
        bob.get_message_query_result("space1", message.conversation_id, message.message_id)
    with pytest.raises(ResourceDoesNotExist):
        bob.create_message("space1", message.conversation_id, "How many tickets are there?")


def test_the_bridges_genie_gets_table_or_failure(workspace, empty_store, monkeypatch):
    from databricks_ai_bridge.genie import Genie

    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store)
    answer = Genie("space1", client=client(workspace, "alice"), return_pandas=True).ask_question(
        "How many tickets are there?"
    )
    assert answer.result["n"].tolist() == [2]
    assert answer.query == COUNT
    workspace.grant("bob", "CAN RUN", "space1")
    failed = Genie("space1", client=client(workspace, "bob")).ask_question("How many tickets are there?")
    assert failed.result.startswith("Genie query failed with error: {")
    assert "is not authorized to use or monitor" in failed.result


# ---------------------------------------------------------------------------------------------- runtimes


@pytest.fixture
def state():
    """What a runtime may touch, before and after."""

    def snapshot():
        modules = {name: module for name, module in sys.modules.items() if name.startswith("mlflowserving")}
        # Pytest and MLflow's telemetry keep notes of their own in the environment.
        environment = {name: os.environ[name] for name in os.environ if not name.startswith(("PYTEST_", "_MLFLOW_"))}
        return environment, modules, dict(threading.main_thread().__dict__)

    before = snapshot()
    yield
    for was, now in zip(before, snapshot(), strict=True):
        assert {name: now.get(name) for name in {*was, *now} if was.get(name) != now.get(name)} == {}


@contextlib.contextmanager
def lent(**variables):
    """Credentials in the developer's own environment: set inside the test, so that ``state`` sees them gone again."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
        assert {name: os.environ.get(name) for name in variables} == variables


def me():
    return WorkspaceClient(credentials_strategy=ModelServingUserCredentials()).current_user.me().user_name


@pytest.mark.parametrize("source", ["request", "process"])
@pytest.mark.usefixtures("state")
def test_model_serving_has_an_invoker_per_request_and_a_service_principal(workspace, source):
    with (
        lent(DATABRICKS_TOKEN="the-developers-own", DATABRICKS_AUTH_TYPE="pat"),
        workspace.as_model_serving(token_source=source) as serving,
    ):
        with serving.user("alice"):
            assert me() == "alice@example.com"
            with serving.user("bob", scopes=["iam.current-user:read"]):
                assert me() == "bob@example.com"
                assert last(workspace).scopes_held == {"iam.current-user:read"}
            assert me() == "alice@example.com"
        with pytest.raises(ValueError, match="Unable to detect credentials for user authorization"):
            me()
        assert WorkspaceClient().current_user.me().user_name == serving.service_principal.client_id
        assert last(workspace).user == "agent"
        if source == "process":
            with pytest.raises(ImportError):
                import mlflowserving  # noqa: F401


@pytest.mark.usefixtures("state")
def test_an_invoker_belongs_to_its_thread_and_task(workspace):
    with workspace.as_model_serving() as serving:

        def in_thread(user):
            with serving.user(user):
                return [me() for _ in range(5)]

        with ThreadPoolExecutor(2) as pool:
            assert [set(names) for names in pool.map(in_thread, ["alice", "bob"])] == [
                {"alice@example.com"},
                {"bob@example.com"},
            ]

        async def in_task(user):
            with serving.user(user):
                return await asyncio.to_thread(me)

        async def both():
            return await asyncio.gather(in_task("alice"), in_task("bob"))

        assert asyncio.run(both()) == ["alice@example.com", "bob@example.com"]


@pytest.mark.usefixtures("state")
def test_an_app_has_headers_and_its_own_identity(workspace):
    with workspace.as_app() as app:
        assert os.environ["DATABRICKS_APP_NAME"] == "local-app"
        assert "IS_IN_DB_MODEL_SERVING_ENV" not in os.environ
        assert WorkspaceClient().current_user.me().user_name == app.service_principal.client_id
        headers = app.headers("bob", scopes=["sql"])
        assert headers["X-Forwarded-Email"] == "bob@example.com"
        assert headers["X-Forwarded-User"].endswith("@" + workspace.workspace_id)
        user = WorkspaceClient(token=headers["X-Forwarded-Access-Token"], auth_type="pat")
        assert user.current_user.me().user_name == "bob@example.com"
        assert {"sql", "iam.current-user:read", "iam.access-control:read"} <= last(workspace).scopes_held


@pytest.mark.usefixtures("state")
def test_a_notebook_is_its_developer_and_nothing_else(workspace):
    with lent(DATABRICKS_CLIENT_ID="someone", DATABRICKS_CLIENT_SECRET="else"), workspace.as_notebook("alice"):
        assert WorkspaceClient().current_user.me().user_name == "alice@example.com"
        assert "DATABRICKS_CLIENT_ID" not in os.environ


@pytest.mark.usefixtures("state")
def test_runtimes_nest_and_are_undone_after_an_exception(workspace):
    def nest():
        with workspace.as_model_serving() as serving, serving.user("alice"):
            with workspace.as_app():
                assert "IS_IN_DB_MODEL_SERVING_ENV" not in os.environ
                assert "mlflowserving" not in sys.modules
            assert me() == "alice@example.com"
            with workspace.as_model_serving(token_source="process") as inner, inner.user("bob"):
                assert me() == "bob@example.com"
            assert me() == "alice@example.com"
            msg = "out"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="out"):
        nest()


def test_a_user_cannot_be_a_service_principal(workspace):
    with pytest.raises(ValueError, match="'alice' is a user, not a service principal"):
        workspace.as_model_serving(service_principal="alice")
    with pytest.raises(ValueError, match="token_source must be 'request' or 'process'"):
        workspace.as_model_serving(token_source="both").__enter__()


# ---------------------------------------------------------------------------------------------- deployment


@pytest.fixture(scope="module")
def logged(tmp_path_factory, new_store):
    """Two logged models: one whose policy is good, one that asks for a scope Model Serving refuses."""
    from mlflow.models.auth_policy import AuthPolicy, SystemAuthPolicy, UserAuthPolicy
    from mlflow.models.resources import DatabricksServingEndpoint

    home = tmp_path_factory.mktemp("mlflow")
    (home / "agent.py").write_text(WHOAMI)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(new_store(home))
    experiment = mlflow.create_experiment("agents", artifact_location=(home / "artifacts").as_uri())

    def log(name, scopes):
        policy = AuthPolicy(
            user_auth_policy=UserAuthPolicy(api_scopes=scopes) if scopes else None,
            system_auth_policy=SystemAuthPolicy(resources=[DatabricksServingEndpoint("llm")]),
        )
        with mlflow.start_run(experiment_id=experiment):
            return mlflow.pyfunc.log_model(
                name=name, python_model=str(home / "agent.py"), pip_requirements=[], auth_policy=policy
            ).model_uri

    yield {
        "good": log("good", ["iam.current-user:read"]),
        "bad": log("bad", ["sql", "postgres", "files"]),
        "none": log("none", None),
    }
    mlflow.set_tracking_uri(before)


def payload(text):
    return {"input": [{"role": "user", "content": text}]}


def text_of(answer):
    return answer["output"][0]["content"][0]["text"]


@pytest.fixture
def deployed(workspace, logged):
    with workspace.deploy(logged["good"], endpoint="support-agent") as deployment:
        workspace.grant("alice", "CAN QUERY", "support-agent")
        workspace.grant("bob", "CAN QUERY", "support-agent")
        workspace.log.clear()
        yield deployment


def ask_token(workspace, user):
    return workspace.token(user, scopes=["model-serving"])


def test_a_deployed_agent_acts_as_whoever_asks(workspace, deployed):
    for user in ("alice", "bob"):
        assert text_of(deployed.invoke(ask_token(workspace, user), payload("who"))) == f"{user}@example.com"
    outer, _, inner = workspace.log.entries[:3]
    assert (outer.path, outer.user, outer.scopes_held) == (
        "/serving-endpoints/support-agent/invocations",
        "alice",
        {"model-serving"},
    )
    # The agent sees a token of the same user, with the scopes of its policy and no others.
    assert (inner.user, inner.scopes_held) == ("alice", {"iam.current-user:read"})


def test_a_deployed_agent_says_its_policy(workspace, deployed):
    assert deployed.auth_policy["user_auth_policy"] == {"api_scopes": ["iam.current-user:read"]}
    answer = requests.get(
        f"{workspace.host}/api/2.0/serving-endpoints/support-agent",
        headers={"Authorization": f"Bearer {workspace.token('alice')}"},
    )
    assert answer.json()["auth_policy"] == deployed.auth_policy
    assert workspace.token("alice") not in repr(deployed)


def test_a_deployed_agent_streams_as_whoever_asks(workspace, deployed):
    events = list(deployed.stream(ask_token(workspace, "bob"), payload("who")))
    assert [event["delta"] for event in events] == ["bob@example.com"] * 3
    raw = requests.post(
        deployed.url,
        json={**payload("who"), "stream": True},
        headers={"Authorization": f"Bearer {ask_token(workspace, 'bob')}"},
    )
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.text.startswith("data: {")
    assert raw.text.endswith("}\n\ndata: [DONE]\n\n")


def test_a_deployed_agent_is_asked_by_the_openai_client(workspace, deployed):
    module = pytest.importorskip("databricks_openai", reason="databricks_openai is an optional extra")
    messages = payload("who")["input"]
    with module.DatabricksOpenAI(workspace_client=client(workspace, "bob")) as openai:
        answer = openai.responses.create(model="support-agent", input=messages)
        assert answer.output[0].content[0].text == "bob@example.com"
        events = list(openai.responses.create(model="support-agent", input=messages, stream=True))
        assert [event.delta for event in events] == ["bob@example.com"] * 3
        with pytest.raises(Exception, match="LookupError: asked to fail late"):
            list(openai.responses.create(model="support-agent", input=payload("fail late")["input"], stream=True))


def test_requests_of_different_users_run_at_the_same_time(workspace, deployed):
    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(
            lambda user: text_of(deployed.invoke(ask_token(workspace, user), payload("meet"))), ["alice", "bob"]
        )
        assert list(answers) == ["alice@example.com", "bob@example.com"]


def test_many_requests_never_mix_users(workspace, deployed):
    tokens = {user: ask_token(workspace, user) for user in ("alice", "bob")}

    def one(number):
        user = ("alice", "bob")[number % 2]
        if number % 3:
            return user, {text_of(deployed.invoke(tokens[user], payload("who")))}
        return user, {event["delta"] for event in deployed.stream(tokens[user], payload("who"))}

    with ThreadPoolExecutor(24) as pool:
        for user, names in pool.map(one, range(72)):
            assert names == {f"{user}@example.com"}


def test_the_agents_own_identity_has_what_the_system_policy_lists_and_nothing_else(workspace, deployed):
    assert text_of(deployed.invoke(ask_token(workspace, "alice"), payload("system"))) == "['llm']"
    assert workspace.log.filter(path="/api/2.0/serving-endpoints")[-1].user == "support-agent"
    workspace.add_endpoint("other", echo)
    assert text_of(deployed.invoke(ask_token(workspace, "alice"), payload("system"))) == "['llm']"


def test_the_agent_cannot_leave_the_scopes_of_its_policy(workspace, deployed):
    with pytest.raises(InvocationError, match="PermissionDenied: Provided OAuth token does not have required scopes"):
        deployed.invoke(ask_token(workspace, "alice"), payload("user"))


def test_a_caller_needs_the_grant_and_the_scope(workspace, deployed):
    for token, status, code, text in (
        (ask_token(workspace, "carol"), 403, "PERMISSION_DENIED", "does not have permission 'View' on Endpoint"),
        (workspace.token("alice", scopes=["sql"]), 403, 403, "required scopes: model-serving"),
        (workspace.token("alice", expires_in=-1), 403, 403, "Invalid access token"),
        ("garbage", 403, 403, "Invalid access token"),
    ):
        with pytest.raises(InvocationError, match=text) as caught:
            deployed.invoke(token, payload("who"))
        assert (caught.value.status, caught.value.error_code) == (status, code)
        with pytest.raises(InvocationError, match=text):
            list(deployed.stream(token, payload("who")))


def test_what_the_agent_raises_reaches_the_caller_as_an_error(workspace, deployed):
    token = ask_token(workspace, "alice")
    with pytest.raises(InvocationError, match="LookupError: asked to fail") as caught:
        deployed.invoke(token, payload("fail"))
    assert (caught.value.status, caught.value.error_code) == (400, "BAD_REQUEST")
    assert workspace.log.entries[-1].decision == "model error"
    with pytest.raises(InvocationError, match="400 BAD_REQUEST: The model raised MlflowException"):
        deployed.invoke(token, {"input": 7})
    events = deployed.stream(token, payload("fail late"))
    assert [next(events)["delta"] for _ in range(3)] == ["alice@example.com"] * 3
    with pytest.raises(InvocationError, match="LookupError: asked to fail late") as late:
        next(events)
    assert late.value.status == 200


def test_a_stream_left_unread_is_closed(workspace, logged):
    with workspace.deploy(logged["good"], endpoint="support-agent") as deployed:
        workspace.grant("alice", "CAN QUERY", "support-agent")
        events = deployed.stream(ask_token(workspace, "alice"), payload("who"))
        next(events)
        events.close()


@pytest.mark.usefixtures("state")
def test_a_refused_scope_is_refused_at_deployment(workspace, logged):
    with pytest.raises(InvalidParameterValue) as caught, workspace.deploy(logged["bad"], endpoint="agent"):
        pass
    text = str(caught.value)
    assert text.startswith("Invalid user API scope(s) specified for model: ")
    assert "Invalid scopes: postgres, files. Allowed scopes are: ai-gateway," in text
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_without_a_user_policy_there_is_no_user_token(workspace, logged):
    with workspace.deploy(logged["none"], endpoint="agent") as deployed:
        workspace.grant("alice", "CAN QUERY", "agent")
        with pytest.raises(InvocationError, match="Unable to detect credentials for user authorization"):
            deployed.invoke(ask_token(workspace, "alice"), payload("who"))
        assert text_of(deployed.invoke(ask_token(workspace, "alice"), payload("system"))) == "['llm']"


@pytest.mark.usefixtures("state")
def test_a_deployment_leaves_nothing_behind(workspace, logged):
    for _ in range(2):
        with workspace.deploy(logged["good"], endpoint="agent") as deployed:
            workspace.grant("alice", "CAN QUERY", "agent")
            assert text_of(deployed.invoke(ask_token(workspace, "alice"), payload("who"))) == "alice@example.com"
    with pytest.raises(InvocationError, match=r"Endpoint with name '.*' does not exist"):
        deployed.invoke(ask_token(workspace, "alice"), payload("who"))
    with pytest.raises(ValueError, match="No principal 'agent'"):
        workspace.token("agent")
    with pytest.raises(ValueError, match="No securable named 'agent'"):
        workspace.grant("alice", "CAN QUERY", "agent")
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("obo-kit-agent")]


@pytest.mark.usefixtures("state")
def test_a_resource_the_workspace_lacks_stops_the_deployment(logged):
    with LocalWorkspace() as bare:
        bare.add_user("alice")
        with (
            pytest.raises(ValueError, match="No serving endpoint named 'llm'"),
            bare.deploy(logged["good"], endpoint="a"),
        ):
            pass
        with pytest.raises(ValueError, match="No principal 'a'"):
            bare.token("a")
