"""The edges of a session: who acts where none is in sight, what may join one, and what a request inside another one is."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import multiprocessing
import pickle
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import on_a_cluster
import pytest
import spawned
from support import as_user, callers, extra, me

from obo_kit import (
    IdentityMismatchError,
    NoUserIdentityError,
    NoUserSessionError,
    OboError,
    SessionClosedError,
    TokenExpiredError,
    UserIdentity,
    current_session,
    register_identity_source,
    user_session,
    with_user_client,
)
from obo_kit.identity import Hidden
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders
from obo_kit.testing import reset_process_state

TOKEN_HEADER = "X-Forwarded-Access-Token"


@with_user_client
def whoami(client) -> str:
    return me(client)


@user_session
def predict() -> str:
    return whoami()


@user_session
def predict_stream():
    yield whoami()
    yield whoami()


@user_session
async def apredict() -> str:
    return whoami()


@pytest.fixture
def machine(workspace, monkeypatch):
    """The credentials of a service principal in the environment, as a container or a CI runner has them."""
    with contextlib.suppress(ValueError):  # another test of the worker has added it
        workspace.add_service_principal("agent")
    principal = workspace.service_principal("agent")
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", principal.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", principal.client_secret)
    return principal


@pytest.fixture
def person(workspace, monkeypatch):
    """A developer's own token in the environment, as on a laptop."""
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token("carol"))


def headers_of(workspace, name, **settings):
    return {TOKEN_HEADER: workspace.token(name, **settings)}


def in_a_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


# --- who lost the session is nobody ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ambient", ["machine", "person"])
@pytest.mark.parametrize("form", ["with", "async with", "headers"])
def test_a_tool_that_lost_the_session_is_refused(workspace, request, ambient, form):
    """Rule 7: no entry point is declared, and a `with` block opened the session."""
    request.getfixturevalue(ambient)

    async def asynchronous():
        async with as_user(workspace, "alice"):
            return await asyncio.get_running_loop().run_in_executor(None, whoami)

    def synchronous():
        scope = (
            as_user(workspace, "alice")
            if form == "with"
            else user_session(headers=headers_of(workspace, "alice"), host=workspace.host)
        )
        with scope:
            assert whoami() == "alice"
            return in_a_thread(whoami)

    with pytest.raises(NoUserSessionError, match=r"open elsewhere in this process[\s\S]*propagate"):
        asyncio.run(asynchronous()) if form == "async with" else synchronous()
    assert set(callers(workspace)) <= {"alice"}


def test_one_token_per_process_is_not_captured_anew_in_a_pool(workspace):
    """Rule 4: the block is alice's, and the process's token is bob's by now."""
    with workspace.as_model_serving(token_source="process") as runtime, contextlib.ExitStack() as stack:
        with runtime.user("alice"):
            stack.enter_context(user_session())
        with runtime.user("bob"), pytest.raises(NoUserSessionError):
            in_a_thread(whoami)
        assert callers(workspace) == []


@pytest.mark.parametrize("ambient", ["machine", "person"])
@pytest.mark.parametrize(
    "where", ["pool", "executor", "helper thread", "stream after it", "next call", "fresh context"]
)
def test_once_a_user_was_named_an_entry_point_acts_as_nobody_else(workspace, request, ambient, where):
    """Rule 1: not even as the developer."""
    request.getfixturevalue(ambient)

    def run():
        with as_user(workspace, "alice"):
            if where == "pool":
                return in_a_thread(predict)
            if where == "executor":

                async def go():
                    return await asyncio.get_running_loop().run_in_executor(None, predict)

                return asyncio.run(go())
            if where == "helper thread":
                return in_a_thread(lambda: asyncio.run(apredict()))
            if where == "fresh context":
                return contextvars.Context().run(predict)
            stream = predict_stream()
        return list(stream) if where == "stream after it" else predict()

    with pytest.raises(NoUserIdentityError, match="acts only for users who were named"):
        run()
    assert callers(workspace) == []


def in_a_process(method):
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    process = context.Process(target=spawned.answer, args=(answers,))
    with pytest.MonkeyPatch.context() as patch:
        # A page that another test ran may stand in its place, and the new process would run it.
        patch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
        process.start()
    try:
        return answers.get(timeout=60)
    finally:
        process.join(60)


@pytest.mark.long
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_a_request_starts_acts_as_nobody_else(workspace, person, method):
    """Rule 1: it inherits no memory, and has the developer's credentials in its environment."""
    with as_user(workspace, "alice"):
        assert "acts only for users who were named" in in_a_process(method)
    assert callers(workspace) == []
    reset_process_state()
    assert in_a_process(method) == "carol"  # nobody was named


def test_a_source_s_user_counts_as_named(workspace, person):
    class Source:
        name = "elsewhere"
        present = True

        def capture(self):
            token = workspace.token("alice")
            return UserIdentity.from_token(host=workspace.host, token=token) if self.present else None

    register_identity_source(Source())
    assert predict() == "alice"
    Source.present = False
    with pytest.raises(NoUserIdentityError):
        predict()


# --- machines --------------------------------------------------------------------------------------------------------------


def test_a_machine_is_no_developer(workspace, machine):
    """Rule 2."""
    with (
        user_session() as session,
        pytest.raises(NoUserIdentityError, match=r"a machine's[\s\S]*OBO_KIT_DEVELOPER=machine"),
    ):
        me(session.client)
    assert set(callers(workspace)) <= {None}  # where to sign in was looked up, and nobody did
    assert [call.path for call in workspace.log if call.path.endswith("/token")] == []


def test_a_machine_s_token_is_no_developer_s(workspace, machine, monkeypatch):
    """Rule 2: the credentials may come as a token, too."""
    from databricks.sdk.core import Config

    token = Config().authenticate()["Authorization"].removeprefix("Bearer ")
    monkeypatch.delenv("DATABRICKS_CLIENT_ID")
    monkeypatch.delenv("DATABRICKS_CLIENT_SECRET")
    monkeypatch.setenv("DATABRICKS_TOKEN", token)
    workspace.log.clear()
    with user_session() as session, pytest.raises(NoUserIdentityError, match="a machine's"):
        me(session.client)
    assert callers(workspace) == []


@pytest.mark.parametrize("how", ["variable", "argument"])
def test_a_ci_runner_asks_for_its_machine(workspace, machine, monkeypatch, how):
    """Rule 2."""
    if how == "variable":
        monkeypatch.setenv("OBO_KIT_DEVELOPER", "machine")
    with user_session(developer="machine") if how == "argument" else user_session() as session:
        assert session.client.current_user.me().user_name == machine.client_id


def test_a_word_that_asks_for_nothing_is_refused(person, monkeypatch):
    monkeypatch.setenv("OBO_KIT_DEVELOPER", "yes please")
    with pytest.raises(NoUserIdentityError, match="neither 'person' nor 'machine'"):
        predict()


# --- an app on a laptop ----------------------------------------------------------------------------------------------------


def test_an_app_on_a_laptop_acts_as_the_developer_where_that_is_asked_for(workspace, person, monkeypatch):
    with pytest.raises(NoUserIdentityError), user_session(headers={}):
        pass
    monkeypatch.setenv("OBO_KIT_DEVELOPER", "person")
    with user_session(headers={"Accept": "*/*"}):
        assert whoami() == "carol"
    with user_session(headers=headers_of(workspace, "alice")):
        assert whoami() == "alice"


@pytest.mark.parametrize(
    "variable",
    [
        "DATABRICKS_APP_NAME",
        "DATABRICKS_APP_PORT",
        "IS_IN_DB_MODEL_SERVING_ENV",
        "KUBERNETES_SERVICE_HOST",
        "CONTAINER_APP_NAME",
    ],
)
@pytest.mark.parametrize("how", ["variable", "argument"])
def test_nowhere_deployed_is_a_laptop(workspace, person, monkeypatch, variable, how):
    monkeypatch.setenv(variable, "1")
    if how == "variable":
        monkeypatch.setenv("OBO_KIT_DEVELOPER", "person")
    argument = {"developer": "person"} if how == "argument" else {}
    with pytest.raises(NoUserIdentityError), user_session(headers={}, **argument):
        pass
    with pytest.raises(NoUserIdentityError), user_session(**argument):
        pass
    assert callers(workspace) == []


# --- the request's own user ------------------------------------------------------------------------------------------------


async def serve(app, headers):
    """One request, in the context of whoever sends it."""
    from obo_kit.integrations.asgi import UserHeadersMiddleware

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def unused(*_):
        raise AssertionError

    answer = []

    async def inner(scope, receive, send):
        try:
            answer.append(app())
        except OboError as error:
            answer.append(type(error).__name__)

    await UserHeadersMiddleware(inner)({"type": "http", "headers": raw}, unused, unused)
    return answer[0]


def test_a_token_in_the_request_is_its_user_outside_of_apps_too(workspace, machine):
    """Rule 1."""
    assert asyncio.run(serve(predict, headers_of(workspace, "alice"))) == "alice"
    assert asyncio.run(serve(predict, {})) == "NoUserIdentityError"
    assert callers(workspace) == ["alice"]


@pytest.mark.parametrize("value", ["1", "yes", "TRUE ", "t", "on"])
@pytest.mark.parametrize("name", ["IS_IN_DB_MODEL_SERVING_ENV", "IS_IN_DATABRICKS_MODEL_SERVING_ENV"])
def test_any_truthy_spelling_is_serving(workspace, machine, monkeypatch, name, value):
    """Rule 1."""
    monkeypatch.setenv(name, value)
    with pytest.raises(NoUserIdentityError):
        predict()
    assert callers(workspace) == []


def test_a_request_inside_a_session_opens_its_own(workspace, machine):
    """Rule 6: an in-process call from agent to agent."""

    async def run():
        async with as_user(workspace, "alice"):
            inner = await serve(predict, headers_of(workspace, "bob"))
            return inner, whoami()

    assert asyncio.run(run()) == ("bob", "alice")


def test_a_request_inside_a_session_is_not_in_it(workspace, machine):
    """Rule 6: where the request opens no session, it has none."""

    def session_in_force():
        try:
            return current_session()
        except NoUserSessionError as error:
            return type(error)

    async def run():
        async with as_user(workspace, "alice"):
            return await serve(session_in_force, headers_of(workspace, "bob"))

    assert asyncio.run(run()) is NoUserSessionError


def as_agent_server_s(headers, function):
    """Run a function as MLflow's agent server runs one: it sets a request's headers in the context of the request."""
    set_request_headers = extra("mlflow.genai.agent_server.utils", "set_request_headers")
    context = contextvars.copy_context()
    context.run(set_request_headers, {name.lower(): value for name, value in headers.items()})
    return context.run(function)


def test_the_agent_server_s_request_opens_its_own_session_in_whatever_context(workspace, machine):
    """Rules 1 and 6: what opens one acts as the request's user, what only uses one is refused."""
    bob = headers_of(workspace, "bob")

    def as_bob_named():
        with user_session(headers=bob):
            return whoami()

    assert as_agent_server_s(bob, predict) == "bob"
    with as_user(workspace, "alice"):
        for function in (predict, lambda: asyncio.run(apredict()), lambda: next(predict_stream()), as_bob_named):
            assert as_agent_server_s(bob, function) == "bob"
        for function in (whoami, current_session):
            with pytest.raises(IdentityMismatchError, match="belongs neither to the request being served"):
                as_agent_server_s(bob, function)
            with pytest.raises(IdentityMismatchError):
                as_agent_server_s({"Accept": "*/*"}, function)
        with pytest.raises(NoUserIdentityError, match="no X-Forwarded-Access-Token"):
            as_agent_server_s({"Accept": "*/*"}, predict)
        assert whoami() == "alice"
    assert set(callers(workspace)) == {"alice", "bob"}


def test_a_request_inside_another_server_s_request_is_its_own_user_s(workspace, machine):
    """Rule 6: from the agent server to the kit's middleware, and the other way round."""
    alice, bob = headers_of(workspace, "alice"), headers_of(workspace, "bob")

    @user_session
    def outer(inner):
        return whoami(), inner(), whoami()

    def to_the_agent_server():
        return outer(lambda: as_agent_server_s(bob, predict))

    def to_the_middleware():
        return outer(lambda: in_a_thread(lambda: contextvars.copy_context().run(asyncio.run, serve(predict, bob))))

    assert asyncio.run(serve(to_the_agent_server, alice)) == ("alice", "bob", "alice")
    assert asyncio.run(serve(lambda: as_agent_server_s(bob, predict), alice)) == "bob"
    assert as_agent_server_s(alice, to_the_middleware) == ("alice", "bob", "alice")


def test_a_stream_that_sends_a_request_is_not_the_request_s_user(workspace, machine):
    """Rule 6: the stream's block is on the stack while it waits for the answer."""

    async def stream():
        async with as_user(workspace, "alice"):
            yield await serve(predict, headers_of(workspace, "bob"))
            yield await serve(whoami, headers_of(workspace, "bob"))
            yield whoami()

    async def run():
        return [answer async for answer in stream()]

    assert asyncio.run(run()) == ["bob", "NoUserSessionError", "alice"]


# --- functions of the call's own arguments ---------------------------------------------------------------------------------


def test_headers_are_asked_for_with_the_call_s_own_arguments(workspace, monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", workspace.host)

    @user_session(headers=lambda request: request)
    def by_name(question, request):
        return question, whoami()

    @user_session(headers=lambda question, given: given)
    def by_place(question, request):
        yield whoami()
        yield whoami()

    @user_session(token=lambda **values: values["token"])
    async def by_all(*, token):
        return whoami()

    headers = headers_of(workspace, "alice")
    assert by_name("q", request=headers) == ("q", "alice")
    assert list(by_place("q", headers)) == ["alice", "alice"]
    assert asyncio.run(by_all(token=workspace.token("bob"))) == "bob"


def test_a_function_of_arguments_that_are_not_there_is_refused_at_decoration():
    with pytest.raises(TypeError, match="takes no such arguments"):

        @user_session(headers=lambda request: request.headers)
        def chat():
            pass

    with pytest.raises(TypeError, match="a `with` block has none"), user_session(headers=lambda request: request):
        pass


# --- blocks held across a yield --------------------------------------------------------------------------------------------


def held(workspace, name="alice"):
    with user_session(headers=headers_of(workspace, name), host=workspace.host):
        for _ in range(3):
            yield whoami()


async def aheld(workspace, name="alice"):
    async with user_session(headers=headers_of(workspace, name), host=workspace.host):
        for _ in range(3):
            yield whoami()


def test_a_stream_s_block_holds_where_each_step_has_a_context_of_its_own(workspace, machine):
    stream, done = held(workspace), object()
    steps = [contextvars.copy_context().run(in_a_thread, lambda: next(stream, done)) for _ in range(4)]
    assert steps == ["alice", "alice", "alice", done]

    async def tasks():
        stream = aheld(workspace)
        return [await asyncio.create_task(anext_of(stream)) for _ in range(3)]

    assert asyncio.run(tasks()) == ["alice", "alice", "alice"]


async def anext_of(stream):
    return await stream.__anext__()


def test_a_suspended_stream_s_block_is_in_force_for_nobody_else(workspace, machine):
    alice = held(workspace)
    next(alice)
    with pytest.raises(NoUserSessionError):
        whoami()
    bob = held(workspace, "bob")
    assert [next(bob), next(alice), next(bob), next(alice)] == ["bob", "alice", "bob", "alice"]
    alice.close()
    bob.close()


@pytest.mark.parametrize("waited_for", [False, True], ids=["worker", "waited for"])
def test_a_worker_that_a_request_started_is_told_of_and_has_no_user_afterwards(workspace, machine, caplog, waited_for):
    """Rules 6 and 7: while the request lasts its context is all that can be seen; then the worker is refused, and named."""

    async def lazy_worker(jobs):
        while (answer := await jobs.get()) is not None:
            try:
                answer.set_result(whoami())
            except OboError as error:
                answer.set_result(type(error).__name__)

    async def request(name, jobs, workers):
        async with as_user(workspace, name):
            if not workers:
                workers.append(asyncio.create_task(lazy_worker(jobs)))
            answer = asyncio.get_running_loop().create_future()
            await jobs.put(answer)
            said = await answer
            if waited_for:
                await jobs.put(None)
                await workers.pop()
            return said

    async def run():
        jobs, workers = asyncio.Queue(), []
        answers = [await request(name, jobs, workers) for name in ("alice", "bob")]
        await jobs.put(None)
        await asyncio.gather(*workers)
        return answers

    assert asyncio.run(run()) == ["alice", "bob" if waited_for else "NoUserSessionError"]
    said = [record.getMessage() for record in caplog.records if record.name == "obo_kit.session._session"]
    assert len(said) == (not waited_for)
    assert all("lazy_worker' was started in a request" in line for line in said)


async def _next(jobs):
    return await jobs.get()


async def _next_in_time(jobs):
    return await asyncio.wait_for(jobs.get(), 30)


async def _next_in_a_task(jobs):
    return await asyncio.create_task(jobs.get())


async def _next_polled(jobs):
    while jobs.empty():
        await asyncio.sleep(0.001)
    return jobs.get_nowait()


async def _in_a_thread(work):
    return await asyncio.to_thread(work)


async def _in_a_task(work):
    async def task():
        return work()

    return await asyncio.create_task(task())


async def _here(work):
    return work()


@pytest.mark.parametrize(
    ("take", "run"),
    [(_next, _in_a_thread), (_next_in_time, _here), (_next_in_a_task, _in_a_task), (_next_polled, _here)],
)
def test_a_worker_is_nobody_for_what_another_request_put_into_its_queue(workspace, machine, take, run):
    """Rules 6 and 7: what a task takes from a queue belongs to the request that put it there, whoever started the task."""

    async def worker(jobs):
        while True:
            work, answer = await take(jobs)
            try:
                answer.set_result(await run(work))
            except OboError as error:
                answer.set_result(type(error).__name__)

    async def ask(jobs, work):
        answer = asyncio.get_running_loop().create_future()
        await jobs.put((work, answer))
        return await answer

    async def alice(jobs, begun, bob_is_done):
        REQUEST_HEADERS.set(RequestHeaders({TOKEN_HEADER: workspace.token("alice")}))  # as the middleware keeps them
        async with as_user(workspace, "alice"):
            client = current_session().client
            kept.append(lambda: me(client))
            started = asyncio.create_task(worker(jobs))
            answers = [await ask(jobs, whoami)]
            begun.set()
            await bob_is_done.wait()
            answers.append(await ask(jobs, whoami))
            started.cancel()
            return answers

    async def bob(jobs, begun, bob_is_done):
        await begun.wait()
        async with as_user(workspace, "bob"):
            works = (whoami, kept[0], predict)
            answers = [await ask(jobs, work) for work in works]
        bob_is_done.set()
        return answers

    async def both():
        shared = asyncio.Queue(), asyncio.Event(), asyncio.Event()
        return await asyncio.gather(alice(*shared), bob(*shared))

    kept = []
    refused = ["NoUserSessionError", "IdentityMismatchError", "NoUserIdentityError"]
    assert asyncio.run(both()) == [["alice", "alice"], refused]
    assert callers(workspace) == ["alice", "alice"]


def test_what_is_no_work_in_a_queue_takes_no_session_away(workspace, machine):
    """Rule 6: a resource that comes back to its pool belongs to nobody, and a request may take what another one sends it."""

    class Browser:
        pass

    async def tool(pool):
        browser = await pool.get()
        await asyncio.sleep(0.001)
        pool.put_nowait(browser)
        return await asyncio.create_task(_here(whoami))

    async def request(name, pool, tokens, mine, others):
        async with as_user(workspace, name):
            await others.put(f"from {name}")
            answers = await asyncio.gather(*(tool(pool) for _ in range(4)), *(tool(tokens) for _ in range(4)))
            return {*answers, *(whoami() for _ in [await mine.get()])}

    async def both():
        pool, tokens, alice, bob = (asyncio.Queue() for _ in range(4))
        pool.put_nowait(Browser())
        tokens.put_nowait(None)
        return await asyncio.gather(
            request("alice", pool, tokens, alice, bob), request("bob", pool, tokens, bob, alice)
        )

    assert asyncio.run(both()) == [{"alice"}, {"bob"}]


def test_a_context_manager_of_a_generator_is_for_whoever_enters_it(workspace, machine):
    @contextlib.contextmanager
    def as_alice():
        with as_user(workspace, "alice") as session:
            yield session

    with as_alice():
        assert whoami() == "alice"


# --- expired, closed, cached, pickled --------------------------------------------------------------------------------------


def test_an_expired_token_is_refused_at_entry_with_a_leeway_for_clocks(workspace):
    for expired in (-60, -3600):
        with pytest.raises(TokenExpiredError, match="reload the page"), as_user_with(workspace, expires_in=expired):
            pass
    assert callers(workspace) == []
    with as_user_with(workspace, expires_in=-5) as session:
        assert not session.closed


def as_user_with(workspace, **settings):
    return user_session(host=workspace.host, token=workspace.token("alice", **settings))


def test_a_key_for_caches_is_the_user_s_where_the_platform_vouches(workspace):
    with workspace.as_app() as app:
        keys = []
        for name in ("alice", "alice", "bob"):
            with user_session(headers=app.headers(name)) as session:
                assert session.identity.verified
                keys.append(session.cache_key)
        assert keys[0] == keys[1] != keys[2]
        assert not any("alice" in key for key in keys)


def test_a_key_for_caches_is_the_token_s_where_nobody_vouches(workspace):
    keys = []
    for token in (workspace.token("alice"), workspace.token("alice", scopes=["sql"])):
        for _ in range(2):
            with user_session(host=workspace.host, token=token) as session:
                assert not session.identity.verified
                keys.append(session.cache_key)
        assert token not in keys
    assert keys[0] == keys[1] != keys[2] == keys[3]


HANDED_OUT = {
    "session": lambda session: session,
    "identity": lambda session: session.identity,
    "client": lambda session: session.client,
    "configuration": lambda session: session.client.config,
    "vector search": lambda session: session.get_named("VectorSearchClient"),
    "in a list": lambda session: ["q", session.client],
}


@pytest.mark.parametrize("handed_out", HANDED_OUT.values(), ids=HANDED_OUT)
def test_streamlit_s_cache_tells_users_apart(workspace, handed_out):
    """It would advise a leading underscore for what it cannot hash, and the key would hold no user."""
    caching = pytest.importorskip("streamlit.runtime.caching.hashing", reason="streamlit is no extra")
    hasher = caching._CacheFuncHasher(caching.CacheType.DATA)

    def key_of(name, runtime):
        with user_session(headers=runtime.headers(name)) as session:
            return hasher.to_bytes(handed_out(session))

    with workspace.as_app() as runtime:
        if handed_out is not HANDED_OUT["identity"]:  # has a field that says when its token expires
            assert key_of("alice", runtime) == key_of("alice", runtime)
        assert key_of("alice", runtime) != key_of("bob", runtime)


def test_what_a_session_hands_out_reduces_to_its_user_s_key(workspace):
    """Caches that make keys of it tell users apart; and nothing is rebuilt of it."""
    with as_user(workspace, "alice") as session:
        for leased in (session, session.client, session.client.config, session.get_named("VectorSearchClient")):
            assert leased.__reduce__() == (str, (session.cache_key,))
        assert session.identity.cache_key == session.cache_key
    with pytest.raises(SessionClosedError):
        session.__reduce__()


def test_no_memoizer_makes_one_key_for_all(workspace):
    """`joblib` goes on after a TypeError, with a key that holds nothing of the user."""
    joblib = pytest.importorskip("joblib", reason="joblib comes with scikit-learn")
    with as_user(workspace, "alice") as session:
        for argument in (session, session.client, session.client.genie, {"client": [session.client]}, session.identity):
            with pytest.raises((TypeError, pickle.PicklingError), match="cannot be pickled"):
                joblib.hash({"argument": argument, "question": "q"})


def test_what_holds_a_token_refuses_to_be_pickled_and_copied(workspace):
    token = workspace.token("alice")
    scope = user_session(host=workspace.host, token=token)
    identity = UserIdentity.from_token(host=workspace.host, token=token)
    for secret in (Hidden(token), identity, identity._credential):
        for refused in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                refused(secret)
    with pytest.raises(TypeError):
        pickle.dumps(scope)


@pytest.mark.parametrize("value", [["x"], {"a": 1}, 7, object()])
def test_headers_that_are_no_text_are_refused(workspace, value):
    with pytest.raises(TypeError, match="as text or bytes"), user_session(headers={TOKEN_HEADER: value}):
        pass


def test_a_name_that_is_no_text_is_refused(workspace):
    with pytest.raises(TypeError, match="principal= takes the user's name"):
        user_session(host=workspace.host, token=workspace.token("alice"), principal=3)  # type: ignore[call-overload]


def test_a_token_too_long_to_be_one_is_refused(workspace):
    with pytest.raises(NoUserIdentityError, match="longer than 16 kB"):
        UserIdentity.from_token(host=workspace.host, token="x" * 20_000)


def test_a_test_starts_afresh(workspace, person):
    with as_user(workspace, "alice"):
        assert whoami() == "alice"
    with pytest.raises(NoUserIdentityError):
        predict()
    reset_process_state()
    assert predict() == "carol"


@pytest.mark.parametrize(
    ("server", "in_loop"), [("uvicorn", False), ("uvicorn", True), ("aiohttp.web", True), ("http.server", False)]
)
def test_a_cluster_that_serves_is_no_laptop(workspace, person, monkeypatch, server, in_loop):
    """Rule 1: a thread or a task of the process runs a server. Who is asked for by its endpoint is nobody."""
    pytest.importorskip(server)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "16.4")
    context = multiprocessing.get_context("spawn")  # a process of its own: here, other tests' servers may still end
    answers = context.Queue()
    process = context.Process(target=on_a_cluster.answer, args=(answers, server, in_loop))
    process.start()
    in_a_notebook, in_a_request = answers.get(timeout=60)
    process.join(60)
    assert in_a_notebook == "carol"
    assert "a cluster that serves requests" in in_a_request
    assert callers(workspace) == ["carol"]
