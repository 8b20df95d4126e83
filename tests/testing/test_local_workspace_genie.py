"""Genie in the local workspace (design 6), by each client of it: alice may see all, bob not every table, carol nothing."""

from __future__ import annotations

import datetime

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import InvalidParameterValue, OperationFailed, PermissionDenied, ResourceDoesNotExist
from databricks.sdk.service.dashboards import MessageStatus
from databricks.sdk.service.sql import StatementState
from databricks_ai_bridge.genie import Genie

from obo_kit.testing import GenieAnswer, LocalWorkspace

pytestmark = pytest.mark.usefixtures("no_traces")

TICKETS, PAY, SPACE, OPEN = "main.support.tickets", "hr.pay.salaries", "space1", "space2"
COUNT = f"SELECT count(*) AS n FROM {TICKETS}"
EARN = f"SELECT sum(amount) AS total FROM {PAY}"
ANSWERS = {
    "How many tickets are there?": COUNT,
    "What do we earn?": EARN,
    "Is it broken?": f"SELECT nothing FROM {TICKETS}",
    "Who asks?": "SELECT current_user() AS me",
    "And in words?": GenieAnswer(sql=COUNT, text="There are two.", suggested_questions=["What do we earn?"]),
    "Just talk": GenieAnswer(text="Hello."),
    "Fail": GenieAnswer(status="FAILED", error="The model is tired"),
    "Stop": GenieAnswer(sql=COUNT, status="CANCELLED"),
    "Too late": GenieAnswer(sql=COUNT, status="QUERY_RESULT_EXPIRED"),
}


@pytest.fixture(scope="module")
def shared():
    with LocalWorkspace() as workspace:
        for user in ("alice", "bob", "carol"):
            workspace.add_user(user)
        workspace.add_warehouse("wh1")
        workspace.add_table(TICKETS, [{"id": 1}, {"id": 2}])
        workspace.add_table(PAY, [{"amount": 7}])
        workspace.add_genie_space(SPACE, warehouse_id="wh1", tables=[TICKETS, PAY], answers=ANSWERS, title="Support")
        workspace.add_genie_space(OPEN, warehouse_id="wh1", tables=[], answers=answer, hidden=False)
        for user in ("alice", "bob"):
            workspace.grant(user, "CAN USE", "wh1")
            workspace.grant(user, "CAN RUN", SPACE)
            workspace.grant(user, "SELECT", TICKETS)
        workspace.grant("alice", "SELECT", PAY)
        workspace.grant("alice", "CAN MANAGE", OPEN)
        yield workspace


def answer(question):
    if question == "raise":
        raise LookupError("asked to fail")
    return {"one": "SELECT 1 AS one"}.get(question)


@pytest.fixture
def workspace(shared):
    shared.log.clear()
    yield shared
    shared.genie_polls = 0


def sdk(workspace, user, scopes=("all-apis",)):
    token = workspace.token(user, scopes=scopes)
    config = Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2, http_timeout_seconds=10)
    return WorkspaceClient(config=config)


def genie(workspace, user, scopes=("all-apis",)):
    return sdk(workspace, user, scopes).genie


def asked(workspace, user, question, space=SPACE):
    """The message that a question ends as, without the SDK's own waiting, which loses the reason of a failure."""
    started = genie(workspace, user).start_conversation(space, question)
    return genie(workspace, user).get_message(space, started.conversation_id, started.message_id)


def where(message):
    return message.space_id, message.conversation_id, message.message_id


def seen(workspace):
    return [(record.user, record.status, record.decision) for record in workspace.log.filter(path="/api/2.0/genie")]


# ---------------------------------------------------------------------------------------------- databricks-sdk


def test_the_sdk_asks_again_in_the_same_conversation(workspace):
    client = genie(workspace, "bob", ["genie"])
    first = client.start_conversation_and_wait(SPACE, "how many tickets are there")
    again = client.create_message_and_wait(SPACE, first.conversation_id, "Who asks?")
    assert again.conversation_id == first.conversation_id
    assert again.message_id != first.message_id
    result = client.get_message_attachment_query_result(*where(again), again.attachments[0].attachment_id)
    assert result.statement_response.result.data_array == [["bob@example.com"]]
    assert set(seen(workspace)) == {("bob", 200, "allowed")}


def test_a_result_is_had_by_old_and_new_routes(workspace):
    client = genie(workspace, "alice")
    message = client.start_conversation_and_wait(SPACE, "What do we earn?")
    attachment = message.attachments[0]
    assert attachment.query.query == EARN
    assert attachment.query.query_result_metadata.row_count == 1
    for result in (
        client.get_message_query_result(*where(message)),
        client.get_message_query_result_by_attachment(*where(message), attachment.attachment_id),
        client.get_message_attachment_query_result(*where(message), attachment.attachment_id),
        client.execute_message_query(*where(message)),
        client.execute_message_attachment_query(*where(message), attachment.attachment_id),
    ):
        assert result.statement_response.status.state is StatementState.SUCCEEDED
        assert result.statement_response.result.data_array == [["7"]]
    for act in (client.get_message_attachment_query_result, client.execute_message_attachment_query):
        with pytest.raises(ResourceDoesNotExist):
            act(*where(message), "nothing")


def test_an_answer_may_have_text_and_suggestions_beside_its_query(workspace):
    message = asked(workspace, "alice", "And in words?")
    query, text, questions = message.attachments
    assert query.query.query == COUNT
    assert text.text.content == "There are two."
    assert questions.suggested_questions.questions == ["What do we earn?"]
    assert len({attachment.attachment_id for attachment in message.attachments}) == 3


def test_an_answer_of_text_alone_has_no_result(workspace):
    message = asked(workspace, "alice", "Just talk")
    assert [attachment.text.content for attachment in message.attachments] == ["Hello."]
    for act in (genie(workspace, "alice").get_message_query_result, genie(workspace, "alice").execute_message_query):
        with pytest.raises(ResourceDoesNotExist):
            act(*where(message))


def test_polls_pass_through_the_states_in_between(workspace):
    workspace.genie_polls = 3
    client = genie(workspace, "alice")
    started = client.start_conversation(SPACE, "How many tickets are there?")
    assert started.response.message.status is MessageStatus.SUBMITTED
    place = (SPACE, started.conversation_id, started.message_id)
    states = [client.get_message(*place) for _ in range(4)]
    assert [message.status.value for message in states] == [
        "ASKING_AI",
        "PENDING_WAREHOUSE",
        "EXECUTING_QUERY",
        "COMPLETED",
    ]
    assert [bool(message.attachments) for message in states] == [False, False, False, True]
    workspace.genie_polls = 7
    started = client.start_conversation(SPACE, "How many tickets are there?")
    first = [client.get_message(SPACE, started.conversation_id, started.message_id).status for _ in range(4)]
    assert first == [MessageStatus.FETCHING_METADATA] * 3 + [MessageStatus.FILTERING_CONTEXT]


def test_a_refusal_is_in_the_log_when_the_message_says_it(workspace):
    workspace.genie_polls = 1
    client = genie(workspace, "bob")
    started = client.start_conversation(SPACE, "What do we earn?")
    for _ in range(2):
        message = client.get_message(SPACE, started.conversation_id, started.message_id)
    assert message.status is MessageStatus.FAILED
    assert seen(workspace)[1:] == [("bob", 200, "allowed"), ("bob", 200, "missing grant")]


def test_the_select_grants_of_the_asker_apply_to_the_answer(workspace):
    assert asked(workspace, "alice", "What do we earn?").status is MessageStatus.COMPLETED
    refused = asked(workspace, "bob", "What do we earn?")
    assert refused.status is MessageStatus.FAILED
    assert refused.error.error == f"PERMISSION_DENIED: No access to '{PAY}'. User must have SELECT"
    assert refused.error.type.value == "GENERIC_SQL_EXEC_API_CALL_EXCEPTION"
    assert not refused.attachments
    assert seen(workspace)[-1] == ("bob", 200, "missing grant")
    with pytest.raises(OperationFailed):
        genie(workspace, "bob").start_conversation_and_wait(SPACE, "What do we earn?")
    with pytest.raises(ResourceDoesNotExist):
        genie(workspace, "bob").get_message_query_result(*where(refused))


def test_a_query_that_is_executed_again_needs_its_grants_again(workspace):
    message = asked(workspace, "alice", "What do we earn?")
    workspace.revoke("alice", "SELECT", PAY)
    try:
        again = genie(workspace, "alice").execute_message_query(*where(message)).statement_response
    finally:
        workspace.grant("alice", "SELECT", PAY)
    assert again.status.state is StatementState.FAILED
    assert "INSUFFICIENT_PERMISSIONS" in again.status.error.message
    assert seen(workspace)[-1] == ("alice", 200, "missing grant")


@pytest.mark.parametrize(
    ("question", "space", "status", "error"),
    [
        ("Is it broken?", SPACE, "FAILED", "[UNRESOLVED_COLUMN]"),
        ("Fail", SPACE, "FAILED", "The model is tired"),
        ("raise", OPEN, "FAILED", "The answers raised LookupError: asked to fail"),
        ("Stop", SPACE, "CANCELLED", ""),
        ("Too late", SPACE, "QUERY_RESULT_EXPIRED", ""),
        ("Who are you?", SPACE, "COMPLETED", ""),
    ],
)
def test_a_message_ends_as_the_author_says(workspace, question, space, status, error):
    message = asked(workspace, "alice", question, space)
    assert message.status.value == status
    assert (message.error.error if message.error else "").startswith(error)
    assert (message.error is None) == (not error)


def test_an_expired_result_is_executed_again(workspace):
    client = genie(workspace, "alice")
    message = asked(workspace, "alice", "Too late")
    attachment = message.attachments[0].attachment_id
    with pytest.raises(ResourceDoesNotExist):
        client.get_message_attachment_query_result(*where(message), attachment)
    client.execute_message_attachment_query(*where(message), attachment)
    assert client.get_message(*where(message)).status is MessageStatus.COMPLETED
    result = client.get_message_attachment_query_result(*where(message), attachment)
    assert result.statement_response.result.data_array == [["2"]]


# ---------------------------------------------------------------------------------------------- who may see what


ACTS = [
    lambda client, space: client.get_space(space),
    lambda client, space: client.start_conversation(space, "one"),
    lambda client, space: client.create_message(space, "c", "one"),
    lambda client, space: client.get_message(space, "c", "m"),
    lambda client, space: client.list_conversations(space),
    lambda client, space: client.list_conversation_messages(space, "c"),
    lambda client, space: client.get_message_query_result(space, "c", "m"),
    lambda client, space: client.execute_message_query(space, "c", "m"),
]


@pytest.mark.parametrize("act", ACTS)
def test_a_space_hides_itself_or_refuses(workspace, act):
    with pytest.raises(ResourceDoesNotExist, match=rf"Unable to get space \[{SPACE}\]"):
        act(genie(workspace, "carol"), SPACE)
    with pytest.raises(PermissionDenied, match='You need "Can View" permission to perform this action') as refused:
        act(genie(workspace, "carol"), OPEN)
    assert refused.value.error_code == "PERMISSION_DENIED"
    with pytest.raises(PermissionDenied, match="does not have required scopes: "):
        act(genie(workspace, "alice", ["sql"]), SPACE)
    assert seen(workspace) == [
        ("carol", 404, "missing grant"),
        ("carol", 403, "missing grant"),
        ("alice", 403, "missing scope"),
    ]


def test_spaces_are_listed_to_those_who_may_run_them_page_by_page(workspace):
    listed = [space.space_id for space in genie(workspace, "alice").list_spaces().spaces]
    assert listed[:2] == [SPACE, OPEN]  # other tests add more
    assert [space.space_id for space in genie(workspace, "bob").list_spaces().spaces] == [SPACE]
    assert not genie(workspace, "carol").list_spaces().spaces
    pages, token = [], None
    while token is not None or not pages:
        page = genie(workspace, "alice").list_spaces(page_size=1, page_token=token)
        pages.append([space.space_id for space in page.spaces])
        token = page.next_page_token
    assert pages == [[space] for space in listed]


def test_conversations_and_messages_are_listed_to_whose_they_are(workspace):
    client = genie(workspace, "alice")
    first = client.start_conversation_and_wait(OPEN, "one")
    client.create_message_and_wait(OPEN, first.conversation_id, "two")
    second = client.start_conversation_and_wait(OPEN, "three")
    listed = client.list_conversations(OPEN, page_size=2).conversations
    assert [(entry.conversation_id, entry.title) for entry in listed] == [
        (second.conversation_id, "three"),
        (first.conversation_id, "one"),
    ]
    messages = client.list_conversation_messages(OPEN, first.conversation_id).messages
    assert [(message.content, message.status.value) for message in messages] == [
        ("one", "COMPLETED"),
        ("two", "COMPLETED"),
    ]
    workspace.grant("bob", "CAN RUN", OPEN)
    try:
        bob = genie(workspace, "bob")
        assert not bob.list_conversations(OPEN).conversations
        with pytest.raises(PermissionDenied, match='You need "Can Manage" permission'):
            bob.list_conversations(OPEN, include_all=True)
        for act in (
            lambda: bob.list_conversation_messages(OPEN, first.conversation_id),
            lambda: bob.get_message(*where(first)),
            lambda: bob.create_message(OPEN, first.conversation_id, "one"),
            lambda: bob.execute_message_query(*where(first)),
        ):
            with pytest.raises(ResourceDoesNotExist):
                act()
        own = bob.start_conversation(OPEN, "mine").conversation_id
    finally:
        workspace.revoke("bob", "CAN RUN", OPEN)
    everybodys = client.list_conversations(OPEN, include_all=True).conversations
    assert {own, first.conversation_id} <= {entry.conversation_id for entry in everybodys}
    with pytest.raises(ResourceDoesNotExist):
        client.get_message(SPACE, first.conversation_id, first.message_id)


@pytest.mark.parametrize("settings", [{"page_size": 0}, {"page_size": "x"}, {"page_token": "x"}])
def test_a_bad_page_is_refused(workspace, settings):
    with pytest.raises(InvalidParameterValue, match="page_size must be a number from 1 on"):
        genie(workspace, "alice").list_spaces(**settings)


def test_what_is_not_there_is_not_found(workspace):
    client = genie(workspace, "alice")
    message = asked(workspace, "alice", "Just talk")
    for act in (
        lambda: client.get_space("space9"),
        lambda: client.get_message(SPACE, message.conversation_id, "m"),
        lambda: client.create_message(SPACE, "c", "one"),
    ):
        with pytest.raises(ResourceDoesNotExist):
            act()
        assert seen(workspace)[-1] == ("alice", 404, "not found")


def test_the_oldest_conversation_is_forgotten_first(workspace, monkeypatch):
    monkeypatch.setattr(workspace._genie, "kept", 1)
    first, second = (asked(workspace, "alice", "Just talk") for _ in range(2))
    assert genie(workspace, "alice").get_message(*where(second)).status is MessageStatus.COMPLETED
    with pytest.raises(ResourceDoesNotExist):
        genie(workspace, "alice").get_message(*where(first))


# ---------------------------------------------------------------------------------------------- the bridge and LangChain


def test_the_bridge_asks_as_its_user(workspace):
    space = Genie(SPACE, client=sdk(workspace, "alice", ["genie"]), return_pandas=True)
    assert space.description == f"Tables: {TICKETS}, {PAY}"
    first = space.ask_question("And in words?")
    assert first.result["n"].tolist() == [2]
    assert (first.query, first.text_attachment_content) == (COUNT, "There are two.")
    assert first.suggested_questions == ["What do we earn?"]
    again = space.ask_question("Just talk", conversation_id=first.conversation_id)
    assert (again.result, again.conversation_id) == ("Hello.", first.conversation_id)
    assert set(seen(workspace)) == {("alice", 200, "allowed")}


def test_the_bridge_waits_for_the_answer(workspace, monkeypatch):
    monkeypatch.setattr("databricks_ai_bridge.genie.ITERATION_FREQUENCY", 0.01)
    workspace.genie_polls = 5
    assert "|   2 |" in Genie(SPACE, client=sdk(workspace, "bob")).ask_question("How many tickets are there?").result
    assert len(workspace.log.filter(path=f"/api/2.0/genie/spaces/{SPACE}/conversations")) == 5 + 2


def test_the_bridge_hands_failures_over_as_text(workspace):
    space = Genie(SPACE, client=sdk(workspace, "bob"))
    refused = space.ask_question("What do we earn?").result
    assert refused.startswith("Genie query failed with error: {")
    assert f"No access to '{PAY}'. User must have SELECT" in refused
    assert space.ask_question("Stop").result == "Genie query cancelled."
    assert space.ask_question("Too late").result == "Genie query query_result_expired."


def test_the_bridge_is_refused_as_its_user(workspace):
    with pytest.raises(ResourceDoesNotExist):
        Genie(SPACE, client=sdk(workspace, "carol"))
    with pytest.raises(PermissionDenied, match="Can View"):
        Genie(OPEN, client=sdk(workspace, "carol"))
    with pytest.raises(PermissionDenied, match="required scopes"):
        Genie(SPACE, client=sdk(workspace, "alice", ["vector-search"]))
    assert [who for who, *_ in seen(workspace)] == ["carol", "carol", "alice"]


def test_the_bridge_reads_values_of_all_kinds(workspace):
    workspace.add_table(
        "main.s.kinds",
        [
            {
                "day": datetime.date(2026, 1, 2),
                "at": datetime.datetime(2026, 1, 2, 3, 4),
                "ok": True,
                "x": 1.5,
                "none": "",
            }
        ],
    )
    workspace.grant("alice", "SELECT", "main.s.kinds")
    workspace.add_genie_space(
        "kinds", warehouse_id="wh1", tables=["main.s.kinds"], answers=lambda _: "SELECT * FROM main.s.kinds"
    )
    workspace.grant("alice", "CAN RUN", "kinds")
    frame = Genie("kinds", client=sdk(workspace, "alice"), return_pandas=True).ask_question("all").result
    row = frame.iloc[0].to_dict()
    assert (row["day"], row["ok"], row["x"]) == (datetime.date(2026, 1, 2), True, 1.5)
    assert row["at"].isoformat() == "2026-01-02T03:04:00"


def agent(workspace, user, scopes=("all-apis",), **settings):
    module = pytest.importorskip("databricks_langchain", reason="databricks_langchain is an optional extra")
    return module.GenieAgent(SPACE, client=sdk(workspace, user, scopes), **settings)


def test_the_genie_agent_asks_as_its_user(workspace):
    chat = {
        "messages": [{"role": "user", "content": "Hello"}, {"role": "user", "content": "How many tickets are there?"}]
    }
    first = agent(workspace, "bob", ["genie"], include_context=True).invoke(chat)
    assert "|   2 |" in first["messages"][-1].content
    assert first["messages"][1].content == COUNT
    follow_up = {"messages": [{"role": "user", "content": "Who asks?"}], "conversation_id": first["conversation_id"]}
    again = agent(workspace, "bob").invoke(follow_up)
    assert again["conversation_id"] == first["conversation_id"]
    assert "bob@example.com" in again["messages"][-1].content
    assert set(seen(workspace)) == {("bob", 200, "allowed")}


def test_the_genie_agent_is_refused_as_its_user(workspace):
    refused = agent(workspace, "bob").invoke({"messages": [{"role": "user", "content": "What do we earn?"}]})
    assert "User must have SELECT" in refused["messages"][-1].content
    with pytest.raises(ResourceDoesNotExist):
        agent(workspace, "carol")
    with pytest.raises(PermissionDenied, match="required scopes"):
        agent(workspace, "bob", ["sql"])


# ---------------------------------------------------------------------------------------------- what an author hands over


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "needs sql= or text="),
        ({"sql": "SELECT 1", "status": "DONE"}, "not 'DONE'"),
        ({"sql": "SELECT 1", "error": "x"}, "error= if its status is FAILED, and only then"),
        ({"status": "FAILED"}, "error= if its status is FAILED"),
        ({"text": "x", "status": "QUERY_RESULT_EXPIRED"}, "needs sql= for its result to expire"),
    ],
)
def test_an_answer_whose_fields_contradict_is_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        GenieAnswer(**fields)


@pytest.mark.parametrize(
    ("space_id", "settings", "text"),
    [
        ("a/b", {}, "consists of letters, digits, - and _"),
        ("s", {"tables": TICKETS}, "not the single string"),
        ("s", {"tables": ["main.s.gone"]}, "There is no table 'main.s.gone'"),
        ("s", {"warehouse_id": "gone"}, "There is no warehouse 'gone'"),
        (SPACE, {}, "another genie space"),
    ],
)
def test_an_unusable_space_is_refused(workspace, space_id, settings, text):
    with pytest.raises(ValueError, match=text):
        workspace.add_genie_space(space_id, **{"warehouse_id": "wh1", "tables": [], "answers": {}, **settings})
