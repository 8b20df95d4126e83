"""`with_user_client`: pass the user's client to the code, and hide it from its signature (rules 12 and 13)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from obo_kit.context._scope import Scope
from obo_kit.session._opening import session_for_tool
from obo_kit.tools._adapters import on_copy
from obo_kit.tools._signature import injection_of, read
from obo_kit.tools._spec import Injection
from obo_kit.tools._wrapper import amend

if TYPE_CHECKING:
    from types import FrameType
    from typing import Protocol

    from databricks.sdk import WorkspaceClient

    from obo_kit.session._session import UserSession
    from obo_kit.tools._adapters import Decorated
    from obo_kit.tools._spec import ToolSpec

    # By structure: these clients have no types, so naming their classes would tell a type checker nothing.
    class _SearchClient(Protocol):
        def get_index(self, *args: Any, **kwargs: Any) -> Any: ...

    class _SqlConnection(Protocol):
        def cursor(self, *args: Any, **kwargs: Any) -> Any: ...

    class _OpenAIClient(Protocol):
        @property
        def chat(self) -> Any: ...
        @property
        def responses(self) -> Any: ...


__all__ = ["INJECTED", "with_user_client"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
C = TypeVar("C", bound="WorkspaceClient | UserSession | _SearchClient | _OpenAIClient | _SqlConnection")
F = TypeVar("F", bound="Decorated")


class _Injected:
    """Stands for a client that ``@with_user_client`` fills in."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "INJECTED"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"INJECTED stands for the user's client and has no '{name}': is @with_user_client missing?"
        )


INJECTED: Any = _Injected()
"""A default for a client that is not the first parameter, so that type checkers let callers omit it::

    @with_user_client
    def ask_sales(question: str, *, client: WorkspaceClient = INJECTED) -> str: ...
"""
_NO_PARAMETER = Injection(slots=(), names=frozenset())


class ClientScope(Scope["WorkspaceClient", None]):
    """Returned by ``with_user_client()``: a decorator, and a sync and async context manager."""

    __slots__ = ("_param",)
    in_use = "this block is already in use: write `with with_user_client() as client:` at each place"

    def __init__(self, param: str | None) -> None:
        super().__init__()
        self._param = param

    def begin(self, block: FrameType) -> tuple[WorkspaceClient, Callable[[BaseException | None], None]]:
        """Return the session's client, or the client of a session that the block opens."""
        if self._param is not None:
            raise TypeError("with_user_client(param=…) is a decorator: the context manager takes no param")
        session, owned = session_for_tool("with_user_client block")

        def leave(_: BaseException | None) -> None:
            if owned:
                session.close()

        try:
            return session.client, leave
        except BaseException:
            leave(None)
            raise

    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[S, C, P], R], /) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __call__(self, target: F, /) -> F: ...
    def __call__(self, target: Any, /) -> Any:
        """Decorate a function, or a tool object."""
        return _decorated(target, self._param)


def _decorated(target: Any, param: str | None) -> Any:
    def change(spec: ToolSpec) -> ToolSpec:
        if spec.injection is not None:
            raise TypeError(f"@with_user_client is applied twice to {spec.name}()")
        if spec.owner is not None and spec.owner.copy_for is not None:
            if param is not None:
                raise TypeError(
                    f"with_user_client(param=…): the tool '{spec.name}' holds a client, and has no parameter for one"
                )
            return spec.having(fn=on_copy(spec.fn, spec.owner.copy_for), injection=_NO_PARAMETER)
        reading = read(spec.fn)
        injection = injection_of(reading, param)
        return spec.having(injection=injection, reading=reading.without(injection.names))

    return amend(target, "with_user_client", change)


@overload
def with_user_client(target: Callable[Concatenate[C, P], R], /) -> Callable[P, R]: ...
@overload
def with_user_client(target: Callable[Concatenate[S, C, P], R], /) -> Callable[Concatenate[S, P], R]: ...
@overload
def with_user_client(target: F, /) -> F: ...
@overload
def with_user_client(*, param: str | None = ...) -> ClientScope: ...
def with_user_client(target: Any = None, /, *, param: str | None = None) -> Any:
    """Give a function the client of the user who asks.

    As a decorator, it fills every parameter that is annotated with a client type it knows (``WorkspaceClient``,
    ``VectorSearchClient`` or ``AISearchClient``, ``DatabricksOpenAI``, ``AsyncDatabricksOpenAI``, ``UserSession``), else the
    parameter named ``client``. It removes them from the signature, the annotations and the docstring: no schema made from
    the function shows them, and a caller's value for one is refused. Put the client first: only that can be expressed to
    type checkers. As a context manager: ``with with_user_client() as client:``.

    A tool object that holds a client itself is decorated in place: the retriever tools of ``databricks_langchain`` and
    ``databricks_openai``, ``McpServerToolkit``, ``DatabricksMultiServerMCPClient``, ``McpServer``. In each session, a copy
    with the user's client takes its place, made at the session's first call. Its own client is no longer used for calls.

    The client lives as long as the session, and is the same for every tool of a request. Outside of any session, each call
    has a session of its own, unless the process declares an entry point with ``@user_session`` (rule 7).

    Args:
        target: The function or tool object, if the decorator takes no arguments.
        param: The parameter to fill, if neither its annotation nor its name tells.

    Raises:
        TypeError: At decoration: there is nothing to fill, or the target is not a function and holds no client. At the call:
            the caller passed a value for the client.
        NoUserIdentityError: At the call: there is no user to act for.
        NoUserSessionError: At the call: no session is open, and an entry point is declared.
    """
    return ClientScope(param) if target is None else _decorated(target, param)
