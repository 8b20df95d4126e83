"""Strands runs a tool that is not async in a thread: `make test-frameworks`."""

from __future__ import annotations

import asyncio
import json

import pytest
from databricks.sdk import WorkspaceClient
from frameworks import MODEL
from support import SPACE, as_user, calls, me

from obo_kit import optional_tool, requires_scopes, with_user_client

strands = pytest.importorskip("strands")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_traces"),
    pytest.mark.filterwarnings("ignore"),  # the framework's own
]
DENIED = "What this tool uses does not exist, or you do not have access to it. Trying again will not help."


@strands.tool
@optional_tool
@requires_scopes("genie")
@with_user_client
def find(client: WorkspaceClient, question: str) -> str:
    """Find things."""
    return f"{question} for {me(client)} in {client.genie.get_space(SPACE).title}"


def test_a_denial_of_a_tool_with_a_name_in_its_module_is_an_error_of_strands(agents_world, workspace):
    from strands.models.openai import OpenAIModel

    def status(user):
        model = OpenAIModel(client_args={"base_url": agents_world.url, "api_key": agents_world.key}, model_id=MODEL)
        agent = strands.Agent(model=model, tools=[find], callback_handler=None)
        with as_user(workspace, user):
            asyncio.run(agent.invoke_async(json.dumps({"question": "x"})))
        (told,) = (part["toolResult"] for each in agent.messages for part in each["content"] if "toolResult" in part)
        return told["status"], told["content"][0]["text"]

    assert status("alice") == ("success", f"x for alice in {SPACE}")
    assert status("carol") == ("error", DENIED)
    assert {record.user for record in calls(workspace) if "genie" in record.path} == {"alice", "carol"}


def test_a_thread_of_the_author_s_own_gets_the_text(workspace):
    """The function itself, without Strands, in a thread: nothing of Strands calls it there."""
    with as_user(workspace, "carol"):
        assert asyncio.run(asyncio.to_thread(find, question="x")) == {"status": "error", "content": [{"text": DENIED}]}
