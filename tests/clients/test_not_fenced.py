"""What docs/identity.md says of clients that the kit did not build: limits, kept honest by running them."""

from __future__ import annotations

import pytest
from support import INDEX, LLM, as_user, callers, calls

from obo_kit import SessionClosedError

ASK = [{"role": "user", "content": "hello"}]
packages = pytest.mark.parametrize("package", ["databricks_langchain", "databricks_openai"])


def retriever(package: str, client):
    module = pytest.importorskip(package, reason=f"{package} is an extra")
    return module.VectorSearchRetrieverTool(index_name=INDEX, workspace_client=client)


def ask(tool) -> None:
    tool.invoke("refund") if hasattr(tool, "invoke") else tool.execute(query="refund")


def test_an_openai_client_built_by_hand_is_fenced_and_may_wrap_the_error(workspace):
    """Rule 5: nothing is sent; before its version 3 `openai` calls it a connection error, and keeps the cause."""
    databricks_openai = pytest.importorskip("databricks_openai", reason="databricks_openai is an extra")
    import openai

    with as_user(workspace, "alice") as session:
        kept = databricks_openai.DatabricksOpenAI(workspace_client=session.client, max_retries=0)
        kept.chat.completions.create(model=LLM, messages=ASK)
    workspace.log.clear()
    with kept, pytest.raises((SessionClosedError, openai.APIConnectionError)) as refused:
        kept.chat.completions.create(model=LLM, messages=ASK)
    assert isinstance(refused.value, SessionClosedError) or isinstance(refused.value.__cause__, SessionClosedError)
    assert len(workspace.log) == 0


@packages
def test_a_retriever_tool_built_by_hand_goes_on_as_its_user_after_the_request(workspace, no_traces, package):
    """Rule 5: it has copied the token. Never another user's, but not fenced."""
    with as_user(workspace, "alice") as session:
        kept = retriever(package, session.client)
    workspace.log.clear()
    with as_user(workspace, "bob"):
        ask(kept)
    assert set(callers(workspace)) == {"alice"}


@packages
def test_retriever_tools_built_by_hand_share_cookies_between_users(workspace, no_traces, package):
    """Rule 10 holds for what the kit builds; these keep one `requests` session per thread."""
    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            ask(retriever(package, session.client))
    assert ("bob", "alice") in {(record.user, record.cookies.get("local_user")) for record in calls(workspace)}


@packages
def test_retriever_tools_built_by_hand_prefer_a_netrc_entry_to_the_token(
    workspace, no_traces, monkeypatch, tmp_path, package
):
    """Rule 2 holds for what the kit builds; here `requests` puts the entry in the token's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login carol password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with as_user(workspace, "alice") as session, pytest.raises(Exception, match="401"):
        retriever(package, session.client)
    assert callers(workspace) == [None]
