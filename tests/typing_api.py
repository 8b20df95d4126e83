# pyright: strict, reportMissingTypeStubs=false
"""What type checkers see. Read by mypy and pyright, both strict, and never run; a line that must fail carries its ignore
comments, and an ignore comment that is not needed is an error itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import tenacity
from databricks.sdk import WorkspaceClient
from databricks.vector_search.client import VectorSearchClient
from mlflow.models.auth_policy import AuthPolicy
from mlflow.models.model import ModelInfo
from typing_extensions import assert_type

import obo_kit
from obo_kit import (
    INJECTED,
    AvailableTools,
    Denial,
    DenialReason,
    UserSession,
    available_tools,
    optional_tool,
    propagate,
    requires_scopes,
    user_session,
    user_tool,
    with_user_client,
)


class OpenAILike:
    """Stands for `DatabricksOpenAI`, which comes with an extra."""

    @property
    def chat(self) -> object: ...
    @property
    def responses(self) -> object: ...


# --- with_user_client: the client first -----------------------------------------------------------------------------------


@with_user_client
def plain(client: WorkspaceClient, question: str, limit: int = 3) -> str:
    return question


assert_type(plain("x"), str)
assert_type(plain(question="x", limit=1), str)
plain()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain(WorkspaceClient(), "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@with_user_client
async def coroutine(client: WorkspaceClient, question: str) -> int:
    return 1


made: Callable[[str], Coroutine[Any, Any, int]] = coroutine


@with_user_client
def generator(client: WorkspaceClient, question: str) -> Iterator[bytes]:
    yield b""


assert_type(generator("x"), Iterator[bytes])


@with_user_client
async def async_generator(client: WorkspaceClient, question: str) -> AsyncIterator[bytes]:
    yield b""


assert_type(async_generator("x"), AsyncIterator[bytes])


@with_user_client
def search(client: VectorSearchClient, question: str) -> list[str]:
    return [question]


# The client comes without types: mypy knows no more than that `search` can be called.
assert_type(search("x"), list[str])  # type: ignore[assert-type,no-untyped-call]


@with_user_client
def ask(client: OpenAILike, question: str) -> str:
    return question


assert_type(ask("x"), str)


@with_user_client
def with_session(session: UserSession, question: str) -> str:
    return question


assert_type(with_session("x"), str)


@with_user_client(param="w")
def named(w: WorkspaceClient, question: str) -> str:
    return question


assert_type(named("x"), str)


class Tools:
    @with_user_client
    def method(self, client: WorkspaceClient, question: str) -> str:
        return question

    @classmethod
    @with_user_client
    def of_class(cls, client: WorkspaceClient, question: str) -> str:
        return question

    @staticmethod
    @with_user_client
    def static(client: WorkspaceClient, question: str) -> str:
        return question


assert_type(Tools().method("x"), str)
assert_type(Tools.of_class("x"), str)
assert_type(Tools.static("x"), str)
Tools().method()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Kinds:
    @with_user_client
    async def coroutine(self, client: WorkspaceClient, question: str) -> int:
        return 1

    @with_user_client
    def generator(self, client: WorkspaceClient, question: str) -> Iterator[bytes]:
        yield b""

    @with_user_client
    async def async_generator(self, client: WorkspaceClient, question: str) -> AsyncIterator[bytes]:
        yield b""

    @classmethod
    @with_user_client
    async def coroutine_of_class(cls, client: WorkspaceClient, question: str) -> int:
        return 1

    @staticmethod
    @with_user_client
    def static_generator(client: WorkspaceClient, question: str) -> Iterator[bytes]:
        yield b""

    @optional_tool
    @requires_scopes("sql")
    @with_user_client
    def decorated(self, client: WorkspaceClient, question: str, *, limit: int = 3) -> list[str]:
        return [question]

    @user_session
    @with_user_client
    def entry_point(self, client: WorkspaceClient, question: str) -> Iterator[str]:
        yield question


async def of_every_kind() -> None:
    kinds = Kinds()
    assert_type(await kinds.coroutine("x"), int)
    assert_type(kinds.generator("x"), Iterator[bytes])
    assert_type(kinds.async_generator("x"), AsyncIterator[bytes])
    assert_type(await Kinds.coroutine_of_class("x"), int)
    assert_type(Kinds.static_generator("x"), Iterator[bytes])
    assert_type(kinds.decorated("x", limit=1), list[str])
    assert_type(kinds.entry_point("x"), Iterator[str])
    await kinds.coroutine(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kinds.generator(WorkspaceClient(), "x")  # type: ignore[arg-type,call-arg]  # pyright: ignore[reportCallIssue]
    kinds.async_generator("x", "y")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await Kinds.coroutine_of_class()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Kinds.static_generator(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    kinds.decorated("x", limit="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- with_user_client: the client elsewhere, with a default that lets callers leave it out ---------------------------------


@with_user_client
def keyword_only(question: str, *, client: WorkspaceClient = INJECTED, limit: int = 3) -> str:
    return question


@with_user_client
async def late(question: str, limit: int = 3, client: WorkspaceClient = INJECTED) -> int:
    return 1


@with_user_client
def late_generator(question: str, *, session: UserSession = INJECTED) -> Iterator[int]:
    yield 1


class Late:
    @with_user_client
    def method(self, question: str, *, client: WorkspaceClient = INJECTED) -> str:
        return question

    @classmethod
    @with_user_client
    def of_class(cls, question: str, *, client: WorkspaceClient = INJECTED) -> str:
        return question


async def elsewhere() -> None:
    assert_type(keyword_only("x", limit=1), str)
    assert_type(await late("x"), int)
    assert_type(late_generator("x"), Iterator[int])
    assert_type(Late().method("x"), str)
    assert_type(Late.of_class("x"), str)
    keyword_only(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    late_generator()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Late().method("x", question="y")  # type: ignore[misc]  # pyright: ignore[reportCallIssue]


with with_user_client() as client:
    assert_type(client, WorkspaceClient)


async def in_a_coroutine() -> None:
    async with with_user_client() as client:
        assert_type(client, WorkspaceClient)


# --- the three together ---------------------------------------------------------------------------------------------------


@optional_tool(fallback="no", on={DenialReason.ACCESS_DENIED})
@requires_scopes("sql")
@with_user_client
def tool(client: WorkspaceClient, question: str) -> str:
    return question


assert_type(tool("x"), str)
tool()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@optional_tool
@requires_scopes("sql", allow_unknown=True)
async def bare(question: str) -> str:
    return question


bare(1)  # type: ignore[arg-type,unused-coroutine]  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]


@optional_tool(retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(2)), idempotent=True)
def repeated(question: str) -> str:
    return question


assert_type(repeated("x"), str)
optional_tool(retry="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
optional_tool(fallbak="no")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
obo_kit.system_resources("sql")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
requires_scopes(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

with optional_tool("docs") as attempt:
    pass
assert_type(attempt.denial, Denial | None)
assert_type(bool(attempt), bool)


with obo_kit.capture_events() as events:
    assert_type(events, list[obo_kit.ToolEvent])
assert_type(obo_kit.on_event(events.append), Callable[[], None])
obo_kit.on_event(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(obo_kit.preflight("agent.py"), obo_kit.Preflight)
assert_type(obo_kit.preflight(obo_kit.auth_policy()).problems, tuple[str, ...])
obo_kit.preflight(agent_or_policy="agent.py")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
obo_kit.rewrite_denials(lambda denial: denial)
obo_kit.rewrite_denials(lambda denial: "text")  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]
events[0].tool = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


# --- tool objects ---------------------------------------------------------------------------------------------------------


class RetrieverLike:
    """Stands for a `VectorSearchRetrieverTool` of LangChain, which comes with an extra."""

    args_schema: type[object]


class ToolkitLike:
    """Stands for a toolkit of an MCP server."""

    async def get_tools(self, name: str | None = None) -> list[RetrieverLike]:
        return []


assert_type(with_user_client(RetrieverLike()), RetrieverLike)
assert_type(with_user_client(ToolkitLike()), ToolkitLike)
assert_type(optional_tool(requires_scopes("genie")(RetrieverLike())), RetrieverLike)
assert_type(optional_tool(fallback="x")(ToolkitLike()), ToolkitLike)
assert_type(user_tool(RetrieverLike()), RetrieverLike)
assert_type(user_tool([RetrieverLike()]), list[RetrieverLike])
assert_type(user_tool("genie", fallback="x")(ToolkitLike()), ToolkitLike)


@user_tool("sql", fallback="no")
def in_one(client: WorkspaceClient, question: str) -> str:
    return question


@user_tool
def in_one_bare(client: WorkspaceClient, question: str) -> str:
    return question


assert_type(in_one("x"), str)
assert_type(in_one_bare("x"), str)
in_one()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
user_tool(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
with_user_client(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
requires_scopes("genie")(3)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


# --- sessions -------------------------------------------------------------------------------------------------------------


@user_session
def predict(request: str) -> str:
    return request


assert_type(predict("x"), str)


@user_session(required=False)
def predict_stream(request: str) -> Iterator[int]:
    yield 1


assert_type(predict_stream("x"), Iterator[int])


@user_session
class Agent:
    def predict(self, request: str) -> str:
        return request


assert_type(Agent().predict("x"), str)

with user_session(headers={"x-forwarded-access-token": "t"}) as session:
    assert_type(session, UserSession)
    assert_type(session.client, WorkspaceClient)
    assert_type(session.get(WorkspaceClient), WorkspaceClient)
    session.closed = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

assert_type(propagate(predict)("x"), str)
user_session(tokn="t")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


# --- the rest -------------------------------------------------------------------------------------------------------------

assert_type(obo_kit.explain(ValueError()), Denial | None)
assert_type(obo_kit.auth_policy("agent.py"), AuthPolicy)
assert_type(obo_kit.app_config("agent.py"), dict[str, Any])
assert_type(obo_kit.log_model(name="agent", python_model="agent.py", code_paths=["lib"]), ModelInfo)
obo_kit.log_model(nmae="agent")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
obo_kit.log_model(code_paths=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def factory(client: WorkspaceClient) -> list[Any]:
    return [client]


assert_type(available_tools(factory), AvailableTools)
obo_kit.auth_policy("agent.py", target="lambda")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
