"""Model serving in the local workspace (design 6), by each client of it: alice may query all, bob one, carol nothing."""

from __future__ import annotations

import contextvars
import threading
import time
import warnings

import httpx
import openai
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound, PermissionDenied, ResourceDoesNotExist
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole

from obo_kit.testing import LocalWorkspace

pytestmark = pytest.mark.usefixtures("no_traces")

SERVING = ["model-serving"]
ASK_TOOL = {
    "type": "function",
    "function": {"name": "ask", "description": "Asks", "parameters": {"type": "object", "properties": {}}},
}
SAY = [{"role": "user", "content": "one two"}]
CALLS = {
    "content": "Let me see. ",
    "tool_calls": [
        {"id": "call_1", "function": {"name": "ask", "arguments": {"question": "how many tickets are there?"}}},
        {"id": "call_2", "function": {"name": "ask", "arguments": {}}},
    ],
}


def echo(body):
    """Says what it was told; calls the first tool that it is given, until there is a result of one."""
    last = body["messages"][-1]
    if body.get("tools") and last["role"] == "user":
        return CALLS
    return f"You said: {last['content']}"


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_endpoint("llm", echo)
        workspace.add_endpoint("other", echo)
        workspace.add_embedding_endpoint("gte")
        for endpoint in ("llm", "other", "gte"):
            workspace.grant("alice", "CAN QUERY", endpoint)
        workspace.grant("bob", "CAN QUERY", "llm")
        yield workspace


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    return shared


@pytest.fixture
def serve(workspace):
    """Serves a model of the test's own, which alice may query, until the test ends."""
    names = []

    def add(model, name="own"):
        workspace.add_endpoint(name, model)
        names.append(name)
        workspace.grant("alice", "CAN QUERY", name)
        return name

    yield add
    for name in names:
        workspace._serving.remove(name)


def sdk(workspace, user, scopes=("all-apis",)):
    token = workspace.token(user, scopes=scopes)
    config = Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2, http_timeout_seconds=10)
    return WorkspaceClient(config=config)


def open_ai(workspace, user, scopes=("all-apis",), *, kind="DatabricksOpenAI", **settings):
    module = pytest.importorskip("databricks_openai", reason="databricks_openai is an optional extra")
    return getattr(module, kind)(workspace_client=sdk(workspace, user, scopes), max_retries=0, **settings)


def from_sdk(workspace, user, scopes=("all-apis",)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still what many agents call
        return sdk(workspace, user, scopes).serving_endpoints.get_open_ai_client(max_retries=0)


def chat(workspace, user, scopes=("all-apis",), **settings):
    module = pytest.importorskip("databricks_langchain", reason="databricks_langchain is an optional extra")
    return module.ChatDatabricks(model="llm", workspace_client=sdk(workspace, user, scopes), max_retries=0, **settings)


def seen(workspace):
    return [
        (record.user, record.status, record.decision)
        for record in workspace.log
        if not record.path.startswith("/.well")
    ]


# ---------------------------------------------------------------------------------------------- databricks-sdk


def test_the_sdk_queries_chat_completions_and_embeddings_as_its_user(workspace):
    endpoints = sdk(workspace, "alice", SERVING).serving_endpoints
    message = ChatMessage(role=ChatMessageRole.USER, content="one two")
    answer = endpoints.query("llm", messages=[message])
    assert answer.choices[0].message.content == "You said: one two"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (2, 4, 6)
    assert answer.served_model_name == "llm"
    assert endpoints.query("llm", prompt="three").choices[0].text == "You said: three"
    vectors = [element.embedding for element in endpoints.query("gte", input=["a refund", "refunds"]).data]
    assert [len(vector) for vector in vectors] == [256, 256]
    assert seen(workspace) == [("alice", 200, "allowed")] * 3


def test_the_sdk_is_refused_as_its_user(workspace):
    message = ChatMessage(role=ChatMessageRole.USER, content="one")
    with pytest.raises(PermissionDenied, match="User does not have permission 'View' on Endpoint other"):
        sdk(workspace, "bob").serving_endpoints.query("other", messages=[message])
    with pytest.raises(PermissionDenied, match="does not have required scopes: "):
        sdk(workspace, "alice", ["sql"]).serving_endpoints.query("llm", messages=[message])
    with pytest.raises(NotFound, match=r"Endpoint with name '.*' does not exist") as absent:
        sdk(workspace, "alice").serving_endpoints.query("gone", messages=[message])
    assert absent.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert seen(workspace) == [
        ("bob", 403, "missing grant"),
        ("alice", 403, "missing scope"),
        ("alice", 404, "not found"),
    ]


def test_endpoints_are_listed_and_described_to_those_who_may_query_them(workspace):
    names = {
        user: [e.name for e in sdk(workspace, user).serving_endpoints.list()] for user in ("alice", "bob", "carol")
    }
    assert {"gte", "llm", "other"} <= set(names["alice"])
    assert (names["bob"], names["carol"]) == (["llm"], [])
    assert sdk(workspace, "bob").serving_endpoints.get("llm").task == "llm/v1/chat"
    (entity,) = sdk(workspace, "bob").serving_endpoints.get("llm").config.served_entities  # documented
    assert entity.name == "llm"
    assert sdk(workspace, "alice").serving_endpoints.get("gte").task == "llm/v1/embeddings"
    with pytest.raises(PermissionDenied, match="permission 'View' on Endpoint llm"):
        sdk(workspace, "carol").serving_endpoints.get("llm")
    with pytest.raises(ResourceDoesNotExist, match="Endpoint with name 'gone' does not exist"):
        sdk(workspace, "carol").serving_endpoints.get("gone")
    with pytest.raises(PermissionDenied, match="required scopes"):
        list(sdk(workspace, "alice", ["genie"]).serving_endpoints.list())


# ---------------------------------------------------------------------------------------------- OpenAI clients


@pytest.mark.parametrize("client", [open_ai, from_sdk])
def test_the_openai_clients_chat_as_their_user(workspace, client):
    with client(workspace, "bob", SERVING) as model:
        answer = model.chat.completions.create(model="llm", messages=SAY)
        assert answer.choices[0].message.content == "You said: one two"
        assert (answer.choices[0].finish_reason, answer.usage.total_tokens) == ("stop", 6)
        assert model.completions.create(model="llm", prompt="x").choices[0].text == "You said: x"
        pieces = list(model.chat.completions.create(model="llm", messages=SAY, stream=True))
    assert [piece.choices[0].delta.content for piece in pieces] == ["", "You ", "said: ", "one ", "two", None]
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert pieces[-1].usage.total_tokens == 6
    assert seen(workspace) == [("bob", 200, "allowed")] * 3


@pytest.mark.parametrize("client", [open_ai, from_sdk])
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_clients_are_refused_as_their_user(workspace, client, stream):
    with (
        client(workspace, "carol") as model,
        pytest.raises(openai.PermissionDeniedError, match="permission 'View'"),
    ):
        model.chat.completions.create(model="llm", messages=SAY, stream=stream)
    with client(workspace, "bob", ["sql"]) as model, pytest.raises(openai.PermissionDeniedError) as scope:
        model.chat.completions.create(model="llm", messages=SAY, stream=stream)
    assert "does not have required scopes: " in scope.value.body["message"]
    with (
        client(workspace, "bob") as model,
        pytest.raises(openai.NotFoundError, match=r"Endpoint with name '.*' does not exist"),
    ):
        model.chat.completions.create(model="gone", messages=SAY, stream=stream)
    assert seen(workspace) == [
        ("carol", 403, "missing grant"),
        ("bob", 403, "missing scope"),
        ("bob", 404, "not found"),
    ]


def test_tool_calls_come_whole_and_in_fragments(workspace):
    with open_ai(workspace, "bob") as model:
        choice = model.chat.completions.create(model="llm", messages=SAY, tools=[ASK_TOOL]).choices[0]
        streamed = list(model.chat.completions.create(model="llm", messages=SAY, tools=[ASK_TOOL], stream=True))
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see. ")
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("call_1", "ask", '{"question": "how many tickets are there?"}'), ("call_2", "ask", "{}")]

    deltas = [delta for piece in streamed for delta in piece.choices[0].delta.tool_calls or ()]
    assert len([delta for delta in deltas if delta.index == 0]) > 2
    assert [delta.id for delta in deltas if delta.id] == ["call_1", "call_2"]
    for index, (_, _, arguments) in enumerate(calls):
        assert "".join(delta.function.arguments for delta in deltas if delta.index == index) == arguments
    assert streamed[-1].choices[0].finish_reason == "tool_calls"


def test_a_message_of_tool_calls_alone_has_no_content(workspace, serve):
    serve(lambda _body: {"tool_calls": CALLS["tool_calls"][:1]})
    with open_ai(workspace, "alice") as model:
        assert model.chat.completions.create(model="own", messages=SAY).choices[0].message.content is None


def test_responses_come_whole_as_their_user(workspace):
    with open_ai(workspace, "bob", ["model-serving", "ai-gateway"]) as model:
        answer = model.responses.create(model="llm", input="one two")
        assert (answer.output_text, answer.status, answer.model) == ("You said: one two", "completed", "llm")
        assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (2, 4, 6)
        tool = {"type": "function", **ASK_TOOL["function"]}
        asked = model.responses.create(model="llm", input=SAY, instructions="Be kind", tools=[tool])
    assert [item.type for item in asked.output] == ["message", "function_call", "function_call"]
    call = asked.output[1]
    assert (call.call_id, call.name, call.arguments) == ("call_1", "ask", '{"question": "how many tickets are there?"}')
    assert asked.instructions == "Be kind"
    assert asked.tools[0].name == "ask"
    assert seen(workspace) == [("bob", 200, "allowed")] * 2


def test_responses_stream_every_event_of_their_items(workspace):
    with open_ai(workspace, "bob") as model:
        tool = {"type": "function", **ASK_TOOL["function"]}
        events = list(model.responses.create(model="llm", input=SAY, tools=[tool], stream=True))
    names = [event.type.removeprefix("response.") for event in events]
    assert names[:3] == ["created", "output_item.added", "content_part.added"]
    assert names[-1] == "completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Let me see. "
    fragments = [event for event in events if event.type == "response.function_call_arguments.delta"]
    first = events[names.index("function_call_arguments.done")]
    assert "".join(event.delta for event in fragments if event.item_id == first.item_id) == first.arguments
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.type for item in done] == ["message", "function_call", "function_call"]
    final = events[-1].response
    assert (final.output, final.usage.total_tokens > 2) == (done, True)


def test_responses_need_two_scopes_and_one_refusal_misleads(workspace):
    with (
        open_ai(workspace, "bob", SERVING) as model,
        pytest.raises(openai.PermissionDeniedError, match="Invalid Token"),
    ):
        model.responses.create(model="llm", input="x")
    assert seen(workspace) == [("bob", 403, "missing scope")]
    assert workspace.log.entries[-1].scopes_missing == ("ai-gateway",)
    with (
        open_ai(workspace, "bob", ["sql"]) as model,
        pytest.raises(openai.PermissionDeniedError, match="required scopes"),
    ):
        model.responses.create(model="llm", input="x")
    with (
        open_ai(workspace, "carol") as model,
        pytest.raises(openai.PermissionDeniedError, match="permission 'View'"),
    ):
        model.responses.create(model="llm", input="x", stream=True)


def test_a_model_sees_a_responses_request_as_a_chat(workspace, serve):
    bodies = []
    serve(lambda body: bodies.append(body) or "ok")
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "How "}, {"type": "input_text", "text": "many?"}]},
        {"type": "reasoning", "id": "r1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "ask", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
    ]
    tools = [{"type": "function", "name": "ask", "parameters": {}}, {"type": "web_search"}]
    with open_ai(workspace, "alice") as model:
        model.responses.create(model="own", input=items, instructions="Be kind", tools=tools)
    called = {"id": "c1", "type": "function", "function": {"name": "ask", "arguments": "{}"}}
    assert bodies[0]["messages"] == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    assert bodies[0]["tools"] == [{"type": "function", "function": {"name": "ask", "parameters": {}}}, tools[1]]


async def test_the_async_client_chats_and_responds(workspace):
    async with open_ai(workspace, "bob", kind="AsyncDatabricksOpenAI") as model:
        answer = await model.chat.completions.create(model="llm", messages=SAY)
        assert answer.choices[0].message.content == "You said: one two"
        pieces = [piece async for piece in await model.chat.completions.create(model="llm", messages=SAY, stream=True)]
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "You said: one two"
        assert (await model.responses.create(model="llm", input="x")).output_text == "You said: x"
        events = [event async for event in await model.responses.create(model="llm", input="x", stream=True)]
        assert events[-1].response.output_text == "You said: x"
        with pytest.raises(openai.PermissionDeniedError):
            await model.chat.completions.create(model="other", messages=SAY)
    assert seen(workspace) == [("bob", 200, "allowed")] * 4 + [("bob", 403, "missing grant")]


@pytest.mark.parametrize("route", ["use_ai_gateway", "use_ai_gateway_native_api"])
def test_the_gateway_leads_to_the_same_endpoints(workspace, route):
    with open_ai(workspace, "bob", ["ai-gateway"], **{route: True}) as model:
        assert (
            model.chat.completions.create(model="llm", messages=SAY).choices[0].message.content == "You said: one two"
        )
        assert model.responses.create(model="llm", input="x").output_text == "You said: x"
    assert {record.path.split("/")[1] for record in workspace.log if record.user} == {"ai-gateway"}
    with (
        open_ai(workspace, "bob", SERVING, **{route: True}) as model,
        pytest.raises(openai.PermissionDeniedError, match="required scopes: ai-gateway"),
    ):
        model.chat.completions.create(model="llm", messages=SAY)


def test_the_openai_client_embeds_as_its_user(workspace):
    with open_ai(workspace, "alice") as model:
        answer = model.embeddings.create(model="gte", input=["a refund", "x"])
        assert ([len(one.embedding) for one in answer.data], answer.usage.total_tokens) == ([256, 256], 3)
    with (
        open_ai(workspace, "bob") as model,
        pytest.raises(openai.PermissionDeniedError, match="permission 'View'"),
    ):
        model.embeddings.create(model="gte", input="x")
    assert seen(workspace) == [("alice", 200, "allowed"), ("bob", 403, "missing grant")]


# ---------------------------------------------------------------------------------------------- LangChain clients


def test_chat_databricks_asks_streams_and_calls_tools_as_its_user(workspace):
    model = chat(workspace, "bob", SERVING)
    answer = model.invoke("one two")
    assert (answer.content, answer.usage_metadata["total_tokens"]) == ("You said: one two", 6)
    assert "".join(piece.content for piece in model.stream("one two")) == "You said: one two"

    def ask(question: str = "") -> str:
        """Asks."""
        return question

    bound = model.bind_tools([ask])
    calls = bound.invoke("x").tool_calls
    assert [(call["id"], call["args"]) for call in calls] == [
        ("call_1", {"question": "how many tickets are there?"}),
        ("call_2", {}),
    ]
    whole = None
    for piece in bound.stream("x"):
        whole = piece if whole is None else whole + piece
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [
        (call["name"], call["args"]) for call in calls
    ]
    assert seen(workspace) == [("bob", 200, "allowed")] * 4


async def test_chat_databricks_asks_and_streams_without_waiting(workspace):
    model, refused = chat(workspace, "bob"), chat(workspace, "carol")
    # It does not close its client itself.
    async with model.async_client, refused.async_client:
        assert (await model.ainvoke("one two")).content == "You said: one two"
        assert "".join([piece.content async for piece in model.astream("one two")]) == "You said: one two"
        with pytest.raises(openai.PermissionDeniedError, match="permission 'View'"):
            await refused.ainvoke("x")
    assert seen(workspace) == [("bob", 200, "allowed")] * 2 + [("carol", 403, "missing grant")]


def test_an_agent_of_langchain_calls_its_tool_and_answers(workspace, serve):
    """The whole loop, with a model that is a script: what was asked of the tool, and what the model was told."""
    agents = pytest.importorskip("langchain.agents", reason="langchain is an optional extra")
    module = pytest.importorskip("databricks_langchain", reason="databricks_langchain is an optional extra")
    told = []

    def count(question: str) -> str:
        """Counts."""
        told.append(question)
        return "three"

    arguments = {"function": {"name": "count", "arguments": {"question": "tickets"}}}
    serve([{"tool_calls": [arguments]}, "There are three."])
    model = module.ChatDatabricks(model="own", workspace_client=sdk(workspace, "alice"))
    agent = agents.create_agent(model, [count])
    messages = agent.invoke({"messages": [("user", "How many?")]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert (told, messages[-1].content) == (["tickets"], "There are three.")
    assert seen(workspace) == [("alice", 200, "allowed")] * 2


def test_chat_databricks_speaks_responses(workspace):
    model = chat(workspace, "bob", use_responses_api=True)
    answer = model.invoke("one two")
    assert answer.content[0]["text"] == "You said: one two"
    assert answer.usage_metadata["total_tokens"] == 6
    streamed = "".join(part["text"] for piece in model.stream("one two") for part in piece.content or ())
    assert streamed == "You said: one two"


def test_chat_databricks_is_refused_as_its_user(workspace):
    for user, scopes, text in (("carol", ["all-apis"], "permission 'View'"), ("bob", ["genie"], "required scopes")):
        with pytest.raises(openai.PermissionDeniedError, match=text):
            chat(workspace, user, scopes).invoke("x")
        with pytest.raises(openai.PermissionDeniedError, match=text):
            list(chat(workspace, user, scopes).stream("x"))
    assert seen(workspace) == [("carol", 403, "missing grant")] * 2 + [("bob", 403, "missing scope")] * 2


def test_databricks_embeddings_are_the_developers(workspace):
    module = pytest.importorskip("databricks_langchain", reason="databricks_langchain is an optional extra")
    with workspace.as_notebook("alice"):
        embeddings = module.DatabricksEmbeddings(endpoint="gte")
        near, far = embeddings.embed_documents(["how refunds work", "shipping times"])
        question = embeddings.embed_query("a refund")
        assert sum(a * b for a, b in zip(question, near, strict=True)) > sum(
            a * b for a, b in zip(question, far, strict=True)
        )
    with workspace.as_notebook("bob"), pytest.raises(requests.HTTPError, match="permission 'View' on Endpoint gte"):
        module.DatabricksEmbeddings(endpoint="gte").embed_query("a refund")
    assert [entry for entry in seen(workspace) if entry[0]] == [("alice", 200, "allowed")] * 2 + [
        ("bob", 403, "missing grant")
    ]


# ---------------------------------------------------------------------------------------------- models


def ask(workspace, name="own", **arguments):
    with open_ai(workspace, "alice") as model:
        return model.chat.completions.create(model=name, messages=SAY, **arguments)


def test_a_generator_streams_as_it_makes_its_pieces(workspace, serve):
    heard = threading.Event()

    def model(_body):
        yield "first "
        # Only a client that has the first piece lets the second one be made.
        assert heard.wait(60)
        yield "second"
        yield {"tool_calls": CALLS["tool_calls"][:1]}

    serve(model)
    with open_ai(workspace, "alice") as client:
        texts = []
        for piece in client.chat.completions.create(model="own", messages=SAY, stream=True):
            texts.append(piece.choices[0].delta.content)
            if texts[-1] == "first ":
                heard.set()
    assert [text for text in texts if text] == ["first ", "second"]
    whole = ask(workspace).choices[0]
    assert (whole.message.content, whole.finish_reason) == ("first second", "tool_calls")


def test_responses_and_completions_stream_as_the_pieces_are_made(workspace, serve):
    heard = threading.Event()

    def model(_body):
        yield "first "
        assert heard.wait(60)
        yield "second"

    serve(model)
    with open_ai(workspace, "alice") as client:
        for event in client.responses.create(model="own", input="x", stream=True):
            if event.type == "response.output_text.delta":
                heard.set()
        assert event.response.output_text == "first second"
        heard.clear()
        texts = []
        for piece in client.completions.create(model="own", prompt="x", stream=True):
            texts.append(piece.choices[0].text)
            heard.set()
    assert texts == ["first ", "second", ""]
    assert piece.usage.total_tokens == 3


def test_a_script_gives_its_answers_in_turn(workspace, serve):
    serve(["one", CALLS, iter(["two ", "three"]), ValueError("as asked")])
    assert ask(workspace).choices[0].message.content == "one"
    assert ask(workspace).choices[0].finish_reason == "tool_calls"
    assert ask(workspace).choices[0].message.content == "two three"
    with pytest.raises(openai.BadRequestError, match="The model raised ValueError: as asked"):
        ask(workspace)
    with pytest.raises(openai.BadRequestError, match="script of this endpoint has no answer left"):
        ask(workspace, stream=True)
    assert seen(workspace)[-1] == ("alice", 400, "model error")


def test_a_generator_that_fails_at_once_is_refused_and_later_ends_the_stream(workspace, serve):
    def at_once(_body):
        raise LookupError("at once")
        yield

    def later(_body):
        yield "first"
        raise LookupError("later")

    serve(at_once)
    serve(later, "later")
    with pytest.raises(openai.BadRequestError, match="LookupError: at once"):
        ask(workspace, stream=True)
    with open_ai(workspace, "alice") as client, pytest.raises(openai.APIError, match="LookupError: later"):
        list(client.chat.completions.create(model="later", messages=SAY, stream=True))
    with pytest.raises(openai.BadRequestError, match="LookupError: later"):
        ask(workspace, "later")


def test_a_stream_left_unread_closes_its_generator(workspace, serve):
    closed = threading.Event()

    def model(_body):
        try:
            for _ in range(100_000):
                yield "more " * 1000
        finally:
            closed.set()

    serve(model)
    with open_ai(workspace, "alice") as client:
        stream = client.chat.completions.create(model="own", messages=SAY, stream=True)
        next(iter(stream))
        stream.close()
    assert closed.wait(60)


def test_a_generator_keeps_its_context_from_step_to_step_and_to_itself(workspace, serve):
    mark = contextvars.ContextVar("mark", default="none")

    def model(body):
        yield mark.get() + " "
        mark.set(body["messages"][-1]["content"])
        for _ in range(20):
            time.sleep(0.001)
            yield mark.get() + " "

    serve(model)
    for _ in range(2):
        said = ask(workspace).choices[0].message.content.split()
        assert said[0] == "none"
        assert set(said[1:]) == {"one", "two"}


def test_a_workspace_stops_while_a_model_is_still_speaking():
    going_on, begun = threading.Event(), threading.Event()

    def model(_body):
        yield "first "
        begun.set()
        going_on.wait(60)
        yield "second"

    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_endpoint("own", model)
        workspace.grant("alice", "CAN QUERY", "own")
        with open_ai(workspace, "alice") as client:
            stream = client.chat.completions.create(model="own", messages=SAY, stream=True)
            assert begun.wait(60)
            started = time.monotonic()
            workspace.stop()
            assert time.monotonic() - started < 5
            # `openai` wraps it from version 3 on.
            with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
                list(stream)
    going_on.set()


@pytest.mark.parametrize("answer", [None, 7, {"content": ["x"]}, {"tool_calls": [{"function": {}}]}, iter([7])])
def test_nonsense_from_a_model_is_a_bad_request(workspace, serve, answer):
    serve(lambda _body: answer)
    with pytest.raises(openai.BadRequestError, match=r"The model raised (TypeError|KeyError)"):
        ask(workspace)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": []}, "messages must be a list of at least one chat message"),
        ({"messages": ["x"]}, "messages must be a list"),
        ({}, "messages must be a list"),
        ({"prompt": ["a", "b"]}, "prompt must be one text"),
        ({"input": []}, "input must be a text, or a list"),
        ({"input": ["x"]}, "input must be a text, or a list"),
        ({"input": "x", "tools": ["y"]}, "tools must be a list of objects"),
        ({"messages": SAY, "n": 2}, "n must be 1"),
    ],
)
def test_a_bad_request_is_refused_with_the_reason(workspace, body, text):
    with pytest.raises(InvalidParameterValue, match=text):
        sdk(workspace, "alice").api_client.do("POST", "/serving-endpoints/llm/invocations", body=body)


def test_an_embedding_model_of_ones_own(workspace):
    workspace.add_embedding_endpoint("lengths", lambda texts: [[len(text), 1] for text in texts])
    workspace.add_embedding_endpoint("short", lambda texts: [[1.0]])
    for name in ("lengths", "short"):
        workspace.grant("alice", "CAN QUERY", name)
    endpoints = sdk(workspace, "alice").serving_endpoints
    assert [one.embedding for one in endpoints.query("lengths", input=["a", "bc"]).data] == [[1.0, 1.0], [2.0, 1.0]]
    with pytest.raises(BadRequest, match="a vector per text, not 1 for 2"):
        endpoints.query("short", input=["a", "b"])
    with pytest.raises(InvalidParameterValue, match="input must be a text"):
        endpoints.query("short", input=[1])


def test_a_model_is_a_function_or_a_list(workspace):
    with pytest.raises(ValueError, match="must be callable, or a list of answers, not str"):
        workspace.add_endpoint("bad", "Hello")
    with pytest.raises(ValueError, match="must be callable, not int"):
        workspace.add_embedding_endpoint("bad", 7)
