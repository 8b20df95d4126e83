"""Whatever else could lend an identity: the user, or nobody and no request. Rules 2, 9 and 10, on what the server saw."""

from __future__ import annotations

import itertools

import pytest
from official import OFFICIAL, OWN, genie, genie_agent, langchain_tool, mcp_client, openai_tool, workspace_client
from support import ASK, LLM, as_user, callers, extra, me, recording_proxy

from obo_kit import Limits, NoUserIdentityError, user_session

pytestmark = pytest.mark.usefixtures("no_traces")


def ambient_token(workspace, here, folder):
    here.setenv("DATABRICKS_TOKEN", workspace.token("bob"))
    here.setenv("DATABRICKS_HOST", workspace.host)


def service_principal(workspace, here, folder):
    principal = workspace._credentials("agent")
    here.setenv("DATABRICKS_HOST", workspace.host)
    here.setenv("DATABRICKS_CLIENT_ID", principal.client_id)
    here.setenv("DATABRICKS_CLIENT_SECRET", principal.client_secret)


def oauth_forced(workspace, here, folder):
    here.setenv("DATABRICKS_AUTH_TYPE", "oauth-m2m")


def pat_forced(workspace, here, folder):
    here.setenv("DATABRICKS_AUTH_TYPE", "pat")


def default_profile(workspace, here, folder):
    """In ``~/.databrickscfg``, where the SDK looks unasked."""
    here.delenv("DATABRICKS_CONFIG_FILE", raising=False)
    here.setenv("HOME", str(folder))
    here.setenv("USERPROFILE", str(folder))
    text = f"[DEFAULT]\nhost = {workspace.host}\ntoken = {workspace.token('bob')}\n"
    (folder / ".databrickscfg").write_text(f"{text}[other]\n{text.partition(chr(10))[2]}")


def named_profile(workspace, here, folder):
    default_profile(workspace, here, folder)
    here.setenv("DATABRICKS_CONFIG_PROFILE", "other")


def missing_profile(workspace, here, folder):
    default_profile(workspace, here, folder)
    here.setenv("DATABRICKS_CONFIG_PROFILE", "nowhere")


def netrc(workspace, here, folder):
    """`requests` prefers its entry to the token it was given."""
    file = folder / "netrc"
    file.write_text("machine 127.0.0.1 login bob password secret\n")
    file.chmod(0o600)
    here.setenv("NETRC", str(file))


def dead_proxy(workspace, here, folder):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        here.setenv(name, "http://127.0.0.1:9")
    here.setenv("NO_PROXY", "127.0.0.1")
    here.setenv("no_proxy", "127.0.0.1")


def another_workspace(workspace, here, folder):
    here.setenv("DATABRICKS_WORKSPACE_ID", "1")
    here.setenv("DATABRICKS_ACCOUNT_ID", "2")
    here.setenv("DATABRICKS_CLUSTER_ID", "c")


_CHOICES = (
    (None, ambient_token),
    (None, service_principal),
    (None, oauth_forced, pat_forced),
    (None, default_profile, named_profile, missing_profile),
    (None, netrc),
    (None, dead_proxy),
    (None, another_workspace),
)
MIXTURES = [[one for one in chosen if one is not None] for chosen in itertools.product(*_CHOICES)]
"""Every mixture of them: 384."""
ALONE = [mixture for mixture in MIXTURES if len(mixture) == 1]
EVERYTHING = [mixture for mixture in MIXTURES if len(mixture) == len(_CHOICES)]


def described(mixture):
    return ", ".join(one.__name__ for one in mixture)


# Their constructors speak through a session of `requests` that the kit does not see: documented in docs/identity.md.
_READ_NETRC = (langchain_tool, openai_tool)


@pytest.mark.parametrize("build", OFFICIAL, ids=lambda f: f.__name__)
def test_every_official_client_is_the_user(workspace, monkeypatch, tmp_path, build):
    """Rules 2 and 9: one client serves them all, in each of the surroundings alone and in all of them together."""
    for mixture in ALONE + EVERYTHING:
        if build in _READ_NETRC and netrc in mixture:
            continue
        with as_user(workspace, "alice") as session, monkeypatch.context() as here:
            for one in mixture:
                one(workspace, here, tmp_path)
            build(session)()
        assert set(callers(workspace)) == {"alice"}, described(mixture)
        workspace.log.clear()


@pytest.mark.parametrize("build", [OWN[0], OWN[2], OWN[4]], ids=lambda f: f.__name__)
def test_the_kit_s_clients_are_the_user_in_any_mixture(workspace, monkeypatch, tmp_path, build):
    """Rule 2."""
    for mixture in MIXTURES:
        with monkeypatch.context() as here:
            for one in mixture:
                one(workspace, here, tmp_path)
            with as_user(workspace, "alice") as session:
                build(session)()
        assert set(callers(workspace)) == {"alice"}, described(mixture)
        workspace.log.clear()


@pytest.mark.parametrize("runtime", ["model serving", "process slot", "app"])
def test_without_a_user_nothing_is_sent_in_any_mixture(workspace, monkeypatch, tmp_path, runtime, caplog):
    """Rule 2: `NoUserIdentityError` and no request at all."""
    caplog.set_level("CRITICAL")  # the official class writes a traceback for each
    runtimes = {
        "model serving": workspace.as_model_serving,
        "process slot": lambda: workspace.as_model_serving(token_source="process"),
        "app": workspace.as_app,
    }
    for mixture in MIXTURES:
        with runtimes[runtime](), monkeypatch.context() as here:
            for one in mixture:
                one(workspace, here, tmp_path)
            with pytest.raises(NoUserIdentityError), user_session() as session:
                workspace_client(session)()
        assert len(workspace.log) == 0, described(mixture)


@pytest.mark.parametrize("runtime", ["model serving", "process slot", "app"])
def test_a_session_without_a_user_builds_no_client_in_any_mixture(workspace, monkeypatch, tmp_path, runtime, caplog):
    """Rule 2: what is opened with ``required=False`` has nobody to act for, and borrows nobody."""
    caplog.set_level("CRITICAL")
    runtimes = {
        "model serving": workspace.as_model_serving,
        "process slot": lambda: workspace.as_model_serving(token_source="process"),
        "app": workspace.as_app,
    }
    for mixture in ALONE + EVERYTHING:
        with runtimes[runtime](), monkeypatch.context() as here:
            for one in mixture:
                one(workspace, here, tmp_path)
            with user_session(required=False) as session:
                for build in (*OWN, genie, genie_agent, mcp_client):
                    with pytest.raises(NoUserIdentityError):
                        build(session)
        assert len(workspace.log) == 0, described(mixture)


def test_a_proxy_of_the_environment_is_used(workspace, monkeypatch):
    """Rule 10: proxies are resolved once, not ignored; the clients of this host go through it."""
    client_type = extra("databricks_openai", "DatabricksOpenAI")
    with recording_proxy() as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        with user_session(
            host="https://workspace.invalid", token="dapi123", limits=Limits(connect=1, retry=1)
        ) as session:
            for ask in (
                session.client.current_user.me,
                lambda: session.get(client_type).chat.completions.create(model=LLM, messages=ASK),
            ):
                asked.clear()
                with pytest.raises(Exception, match=r"(?i)connection|proxy|ssl|timed out"):  # the proxy speaks no TLS
                    ask()
                assert {head.split(b" ")[1] for head in asked} == {b"workspace.invalid:443"}
                assert not any(b"dapi123" in head for head in asked)


def test_an_mcp_server_on_databricks_apps_is_given_an_oauth_token(workspace, monkeypatch):
    """Rule 9: its client asks the configuration for one, and refuses those that have none."""
    build = extra("databricks_mcp", "DatabricksMCPClient")
    monkeypatch.setenv("OBO_KIT_APPS", "https://my-app-123.aws.databricksapps.com")
    with as_user(workspace, "alice") as session:
        client = build("https://my-app-123.aws.databricksapps.com/mcp", workspace_client=session.client)
        assert client.client.config.host == workspace.host
        assert me(client.client) == "alice"
    assert callers(workspace) == ["alice"]
