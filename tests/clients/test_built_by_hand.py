"""Clients and tools that the author builds of a session's client: fenced and narrowed like the client (docs/identity.md)."""

from __future__ import annotations

import contextvars
import copy
import pickle

import pytest
import requests
from databricks.ai_search.client import AISearchClient
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from support import INDEX, LLM, as_user, callers, calls, me

from obo_kit import IdentityMismatchError, ScopeViolationError, SessionClosedError, requires_scopes, with_user_client

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
def test_a_retriever_tool_built_by_hand_is_adopted_and_ends_with_its_session(workspace, no_traces, package):
    """Rule 5: it copies the token when it is built, and the token still says whose it is."""
    with as_user(workspace, "alice") as session:
        kept = retriever(package, session.client)
        ask(kept)
    assert set(callers(workspace)) == {"alice"}
    workspace.log.clear()
    with as_user(workspace, "bob"), pytest.raises(SessionClosedError):
        ask(kept)
    assert len(workspace.log) == 0


@packages
def test_a_retriever_tool_built_in_a_tool_is_narrowed_to_it(workspace, no_traces, package):
    """Rule 23."""

    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient):
        ask(retriever(package, client))

    with as_user(workspace, "alice"), pytest.raises(ScopeViolationError):
        tool()
    assert calls(workspace) == []


def test_a_vector_search_client_built_with_the_token_is_adopted(workspace):
    """Rule 5."""
    with as_user(workspace, "alice") as session:
        config = session.client.config
        made = AISearchClient(workspace_url=config.host, personal_access_token=config.token, disable_notice=True)
        index = made.get_index(index_name=INDEX)
    workspace.log.clear()
    for use in (index.describe, lambda: made.get_index(index_name=INDEX)):
        with pytest.raises(SessionClosedError):
            use()
    assert len(workspace.log) == 0


@packages
def test_retriever_tools_built_by_hand_share_no_cookies(workspace, no_traces, package):
    """Rule 10: their package keeps one `requests` session per thread for whoever comes."""
    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            ask(retriever(package, session.client))
    assert {record.cookies.get("local_user") for record in calls(workspace) if record.user == "bob"} <= {None, "bob"}


@packages
def test_retriever_tools_built_by_hand_read_no_netrc(workspace, no_traces, monkeypatch, tmp_path, package):
    """Rule 2: `requests` puts its entry in the token's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login carol password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with as_user(workspace, "alice") as session:
        ask(retriever(package, session.client))
    assert set(callers(workspace)) == {"alice"}


def test_the_token_that_a_package_copies_is_a_text(workspace):
    with as_user(workspace, "alice") as session:
        token = session.client.config.token
        assert type(copy.deepcopy(token)) is type(pickle.loads(pickle.dumps(token))) is str


WRITTEN = {
    "f-string": lambda token: f"Bearer {token}",
    "format": "Bearer {}".format,
    "percent": lambda token: "Bearer %s" % token,  # noqa: UP031 - what libraries write
    "sum": lambda token: "Bearer " + token,
    "bytes": lambda token: token.encode(),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_token_that_is_kept_is_written_into_no_other_request(workspace, way):
    """Rule 5: what keeps the token writes it into each request's headers."""
    write = WRITTEN[way]
    with as_user(workspace, "alice") as session:
        kept = session.client.config.token
        plain = copy.deepcopy(kept)
        assert write(kept) == write(plain)

        def in_bob_s():
            with as_user(workspace, "bob"):
                write(kept)

        with pytest.raises(IdentityMismatchError):
            contextvars.Context().run(in_bob_s)
    with pytest.raises(SessionClosedError):
        write(kept)


def test_a_plain_openai_client_that_is_kept_sends_nothing(workspace):
    """Rule 5."""
    openai = pytest.importorskip("openai", reason="openai is an extra")
    with as_user(workspace, "alice") as session:
        config = session.client.config
        kept = openai.OpenAI(api_key=config.token, base_url=f"{config.host}/serving-endpoints", max_retries=0)
        kept.chat.completions.create(model=LLM, messages=ASK)
    assert set(callers(workspace)) == {"alice"}
    workspace.log.clear()
    with kept, as_user(workspace, "bob"), pytest.raises(SessionClosedError):
        kept.chat.completions.create(model=LLM, messages=ASK)
    assert len(workspace.log) == 0


def test_settings_that_are_copied_are_the_user_s_and_nobody_else_s(workspace, monkeypatch):
    """Rule 2: a configuration made of them takes no credentials of the environment in their place."""
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("bob"))
    with as_user(workspace, "alice") as session:
        config = session.client.config
        settings = config.as_dict()
        assert str.__str__(config.token) not in repr(settings)
        made = WorkspaceClient(config=Config(**settings))
        assert me(made) == "alice"
    workspace.log.clear()
    with pytest.raises(SessionClosedError):
        me(made)
    assert calls(workspace) == []


def test_settings_tell_sessions_apart(workspace):
    """Rule 4: `databricks-connect` keeps a Spark session for each dictionary of settings, for whoever asks with the same."""
    keys = []
    for name in ("alice", "bob", "alice"):
        with as_user(workspace, name) as session:
            settings = session.client.config.as_dict()
            assert settings == session.client.config.as_dict()
            keys.append(tuple(sorted((key, str.__str__(str(value))) for key, value in settings.items())))
    assert len(set(keys)) == len(keys)


def test_a_configuration_built_by_hand_reads_the_token_again(workspace):
    """Rule 5: the SDK keeps the header that it makes of a token, and other packages ask the configuration for it."""
    with as_user(workspace, "alice") as session:
        config = session.client.config
        made = [Config(host=config.host, token=config.token, auth_type="pat"), Config(**config.as_dict())]
        for each in made:
            assert each.authenticate() == config.authenticate()

        def in_bob_s():
            with as_user(workspace, "bob"):
                made[0].authenticate()

        with pytest.raises(IdentityMismatchError):
            contextvars.Context().run(in_bob_s)
    for each in made:
        with pytest.raises(SessionClosedError):
            each.authenticate()
    own = Config(host=workspace.host, token="agent", auth_type="pat")
    assert own.authenticate() == {"Authorization": "Bearer agent"}


KEPT = {
    "headers": lambda config: config.authenticate()["Authorization"],
    "oauth token": lambda config: config.oauth_token().access_token,
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_a_configuration_hands_out_ends_with_its_session(workspace, kind):
    """Rule 5: packages keep it, and write it into each request."""
    with as_user(workspace, "alice") as session:
        kept = KEPT[kind](session.client.config)
        assert kept.endswith(str.__str__(session.client.config.token))
        assert kept.encode().decode() == kept
        assert type(pickle.loads(pickle.dumps(kept))) is str
    with pytest.raises(SessionClosedError):
        kept.encode()


def test_headers_that_a_session_of_requests_keeps_are_sent_by_nobody_else(workspace):
    """Rule 5."""
    address = f"{workspace.host}/api/2.0/preview/scim/v2/Me"
    with requests.Session() as kept:
        with as_user(workspace, "alice") as session:
            kept.headers.update(session.client.config.authenticate())
            assert kept.get(address, timeout=60).json()["userName"] == "alice@example.com"
        workspace.log.clear()
        with as_user(workspace, "bob"), pytest.raises(SessionClosedError):
            kept.get(address, timeout=60)
    assert calls(workspace) == []
