"""A cache above a tool, whose key does not hold the user, is refused before it gives one user's answer to the next."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support import as_user, callers, extra, me

from obo_kit import IdentityMismatchError, current_session, user_session, with_user_client


@with_user_client
def whoami(client, question: str) -> str:
    return me(client)


def streamlit(function, tmp_path):
    return pytest.importorskip("streamlit", reason="streamlit is no extra").cache_data(function)


def resource(function, tmp_path):
    return pytest.importorskip("streamlit", reason="streamlit is no extra").cache_resource(function)


def joblib(function, tmp_path):
    memory = pytest.importorskip("joblib", reason="comes with scikit-learn").Memory(tmp_path, verbose=0)
    return memory.cache(function, ignore=["_client"])


def cachetools(function, tmp_path):
    module = pytest.importorskip("cachetools", reason="comes with mlflow")
    return module.cached(module.LRUCache(8), key=lambda question, user, _client=None: (question, user))(function)


def cachetools_method(function, tmp_path, **options):
    """The method of an object that all requests share, as an agent is."""
    module = pytest.importorskip("cachetools", reason="comes with mlflow")
    stored, method = module.LRUCache(8), lambda self, *args, **kwargs: function(*args, **kwargs)
    method.__name__ = function.__name__

    class Agent:
        ask = module.cachedmethod(
            lambda self: stored, key=lambda self, question, user, _client=None: (question, user), **options
        )(method)

    return Agent().ask


def counted_cachetools_method(function, tmp_path):
    return cachetools_method(function, tmp_path, info=True)


def diskcache(function, tmp_path):
    return pytest.importorskip("diskcache").Cache(str(tmp_path)).memoize(ignore={"_client"})(function)


def stampede(function, tmp_path):
    module = pytest.importorskip("diskcache")
    return module.memoize_stampede(module.Cache(str(tmp_path)), expire=60, ignore={"_client"})(function)


CACHES = [streamlit, resource, joblib, cachetools, cachetools_method, counted_cachetools_method, diskcache, stampede]


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.filterwarnings("ignore")
def test_a_cache_that_does_not_know_the_user_is_refused(workspace, tmp_path, cache):
    def ask(question, user, _client=None):
        return whoami(question) if _client is None else me(_client)

    cached = cache(ask, tmp_path)
    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            with pytest.raises(IdentityMismatchError, match=r"'ask' returns under a key .*\nFix: .*session\.cache_key"):
                cached("q", None)
            with pytest.raises(IdentityMismatchError, match="'ask'"):
                cached("q", "somebody", _client=session.client)
    assert callers(workspace) == []


def test_a_cached_method_of_an_object_of_one_user_answers(workspace):
    """As a helper that is made in each request: what it holds tells users apart, though its key does not."""
    module = pytest.importorskip("cachetools", reason="comes with mlflow")

    class Helper:
        def __init__(self, client):
            self.client, self.stored = client, {}

        @module.cachedmethod(lambda self: self.stored)
        def ask(self, question):
            return me(self.client)

    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            helper = Helper(session.client)
            assert [helper.ask("q"), helper.ask("q")] == [name, name]
    assert callers(workspace) == ["alice", "bob"]


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("user", ["cache_key", "principal", "in a text", "in a list"])
@pytest.mark.filterwarnings("ignore")
def test_a_cache_that_knows_the_user_gives_each_their_own_answer(workspace, tmp_path, cache, user):
    def ask(question, user, _client=None):
        return whoami(question)

    cached = cache(ask, tmp_path)
    tokens = {name: workspace.token(name) for name in ("alice", "bob")}
    for name in ("alice", "bob", "alice"):
        with user_session(host=workspace.host, token=tokens[name]) as session:
            key = {
                "cache_key": session.cache_key,
                "principal": session.identity.principal,
                "in a text": f"chat of {session.cache_key}",
                "in a list": (1, ("x", session.cache_key)),
            }[user]
            assert cached("q", key) == name
    assert sorted(callers(workspace)) == ["alice", "bob"]


@pytest.mark.filterwarnings("ignore")
def test_streamlit_tells_sessions_apart_but_not_where_it_is_told_not_to(workspace, tmp_path):
    st = pytest.importorskip("streamlit", reason="streamlit is no extra")

    @st.cache_data
    def ask(session, question):
        return whoami(question)

    @st.cache_data(hash_funcs={"obo_kit.session._session.UserSession": lambda session: 0})
    def blind(session, question):
        return whoami(question)

    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            assert ask(session, "q") == name
            with pytest.raises(IdentityMismatchError):
                blind(session, "q")


def graph(policy, *, is_async=False):
    pytest.importorskip("langgraph", reason="langchain is an extra")
    from langgraph.cache.memory import InMemoryCache
    from langgraph.graph import START, StateGraph

    def node(state):
        return {"answer": whoami(state["question"])}

    async def anode(state):
        return {"answer": whoami(state["question"])}

    builder = StateGraph(dict)
    builder.add_node("ask", anode if is_async else node, cache_policy=policy)
    builder.add_edge(START, "ask")
    compiled = builder.compile(cache=InMemoryCache())
    return (lambda state: asyncio.run(compiled.ainvoke(state))) if is_async else compiled.invoke


@pytest.mark.parametrize("is_async", [False, True])
def test_langgraph_s_cache_policy_is_refused(workspace, is_async):
    CachePolicy = extra("langgraph.types", "CachePolicy")
    invoke = graph(CachePolicy(), is_async=is_async)
    for name in ("alice", "bob"):
        with as_user(workspace, name) as session:
            with pytest.raises(
                IdentityMismatchError, match="LangGraph's CachePolicy keeps what 'ask' returns"
            ) as refused:
                invoke({"question": "q"})
            assert invoke({"question": f"q of {session.cache_key}"})["answer"] == name
    policy = str(refused.value).partition("key hold the user: ")[2].partition(". Or")[0]
    by_user = graph(eval(policy, {"CachePolicy": CachePolicy, "current_session": current_session}))
    for name in ("alice", "bob", "bob"):
        with as_user(workspace, name):
            assert by_user({"question": "q"})["answer"] == name
    with as_user(workspace, "alice"):
        assert graph(None)({"question": "q"})["answer"] == "alice"


async def test_aiocache_is_refused_until_its_key_holds_the_user(workspace):
    cached = pytest.importorskip("aiocache").cached

    @with_user_client
    async def who(client, question: str) -> str:
        return me(client)

    @cached()
    async def ask(question, user):
        return await who(question)

    for name in ("alice", "bob"):
        async with as_user(workspace, name):
            with pytest.raises(IdentityMismatchError, match="aiocache keeps what 'ask' returns"):
                await ask("q", None)
    for name in ("alice", "bob", "alice"):
        async with as_user(workspace, name):
            assert await ask("q", current_session().identity.principal) == name
    assert callers(workspace) == ["alice", "bob"]


def test_a_developer_is_warned(workspace, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("carol"))
    ask = cachetools(lambda question, user: whoami(question), tmp_path)
    with caplog.at_level(logging.WARNING, "obo_kit"), user_session():
        assert ask("q", None) == "carol"
        assert ask("r", None) == "carol"
    assert [record.getMessage()[:24] for record in caplog.records if "cachetools" in record.getMessage()] == [
        "This is refused for any "
    ]
