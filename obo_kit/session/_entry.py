"""Sessions: one request's identity, pinned, with the clients built for it (rules 2, 4 to 8).

A session lives as long as the request: the call of the decorated function, stream included, or the ``with`` block.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from obo_kit._upstream.servers import refuse_registered
from obo_kit.context._calls import Evidence
from obo_kit.context._frame import FRAME, Frame, SessionUser, current_call, ended_session, open_session
from obo_kit.context._wrapping import Run, bound
from obo_kit.exceptions import (
    IdentityMismatchError,
    NoUserIdentityError,
    NoUserSessionError,
    SessionClosedError,
)
from obo_kit.identity._credentials import DEFAULT_LIMITS, Lease, Limits
from obo_kit.identity._sources import (
    Headers,
    Hidden,
    UserIdentity,
    capture,
    from_headers,
    from_hidden,
    from_process_token,
    in_apps,
    same_user,
)

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from obo_kit.context._calls import ToolCall
    from obo_kit.exceptions import Denial

__all__ = ["SessionScope", "UserSession", "current_session", "propagate", "user_session"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

# Clients that act with the agent's own credentials whatever they are given, and what to use instead.
_QUERY = (
    "it takes no user, and would act with the agent's own credentials: embed with "
    "session.client.serving_endpoints.query(name, input=[…]), or with the session's DatabricksOpenAI"
)
RUN_FUNCTIONS = (
    "it leaves the client it is given for one of its own: run the function with "
    "session.client.statement_execution.execute_statement('SELECT catalog.schema.function(…)', warehouse_id), or through "
    "the workspace's MCP server for functions"
)
_CARRY_NO_USER = {
    "DatabricksEmbeddings": _QUERY,
    "DatabricksFunctionClient": RUN_FUNCTIONS,
    "UCFunctionToolkit": RUN_FUNCTIONS,
}


class _StandIn:
    """What stands for an object. It holds the object, so that no other one gets its id."""

    __slots__ = ("built", "lock", "target")

    def __init__(self, target: object) -> None:
        self.target = target
        self.built: tuple[Any, ...] = ()
        self.lock = threading.RLock()  # a finalizer may come back to it on the same thread


class UserSession:
    """One request's user, and the clients that act for that user. Ends with the request.

    Open one with `user_session`. Safe to use from several threads. Cannot be pickled or copied.
    """

    __slots__ = ("__weakref__", "_clients", "_denials", "_evidence", "_lease", "_lock", "_stand_ins")

    def __init__(
        self,
        identity: UserIdentity | None,
        limits: Limits = DEFAULT_LIMITS,
        again: Callable[[], UserIdentity] | None = None,
    ) -> None:
        self._lease = Lease(identity, limits, again)
        self._clients: dict[tuple[str, str, int], Any] = {}
        self._stand_ins: dict[object, _StandIn] = {}
        self._denials: list[Denial] = []
        self._evidence = Evidence()
        self._lock = threading.RLock()

    @property
    def identity(self) -> UserIdentity:
        """Who the user is. Once a token was renewed, with what the new one says; the user stays the same.

        Raises:
            NoUserIdentityError: The session was opened with ``required=False`` for a request without a user.
        """
        identity = self._lease.identity
        if identity is None:
            self._lease.credentials()  # raises: there is nobody to act for
        return cast("UserIdentity", identity)

    @property
    def user(self) -> SessionUser | None:
        """Return what explanations need of the user: as the token in force describes them, renewed or not."""
        identity = self._lease.identity
        if identity is None:
            return None
        return SessionUser(
            principal=identity.principal,
            host=identity.host,
            scopes=identity.scopes,
            target="apps" if in_apps() else "model-serving",
        )

    @property
    def evidence(self) -> Evidence:
        """Return what the session's clients saw on the wire where no tool's call was running."""
        return self._evidence

    @property
    def client(self) -> WorkspaceClient:
        """The user's `WorkspaceClient`: built on first use, one per session, fenced when the session closes.

        Raises:
            NoUserIdentityError: There is no user, or a developer has no credentials.
            TokenExpiredError: The user's token has expired, and there is no new one of the same user's.
            SessionClosedError: The session has ended.
        """
        return cast("WorkspaceClient", self.get_named("WorkspaceClient", current_call()))

    def get(self, client_type: type[T]) -> T:
        """The user's client of a type that `with_user_client` knows: built on first use, one per session.

        Raises:
            TypeError: The kit cannot build this type.
            NoUserIdentityError: There is no user, or a developer has no credentials.
            SessionClosedError: The session has ended.
        """
        return cast("T", self.get_named(client_type.__name__, current_call()))

    def get_named(self, name: str, call: ToolCall | None = None) -> Any:
        """`get`, by the type's name: annotations may be strings that cannot be evaluated.

        Args:
            name: The type's.
            call: The call of the tool that the client is for: it stays narrowed to what that tool declares.
        """
        self._lease.check()
        narrowed = call is not None and call.declared is not None
        key = (name, call.tool, id(call.declared)) if narrowed and call is not None else (name, "", 0)
        client = self._clients.get(key)
        if client is not None:
            return client
        if name == "UserSession":
            return self
        from obo_kit.clients import CLIENT_TYPES, build

        if name not in CLIENT_TYPES:
            way_round = _CARRY_NO_USER.get(name, f"it knows {', '.join(CLIENT_TYPES)} and UserSession")
            raise TypeError(f"obo_kit builds no {name}; {way_round}")
        if name == "Connection":
            return self._connection()
        with self._lock:
            if key not in self._clients:
                lease = self._lease.narrowed(call) if narrowed else self._lease
                self._clients[key] = build(name, lease, lambda other: self.get_named(other, call))
            return self._clients[key]

    def _connection(self) -> Any:
        """The SQL connection of this thread, to the warehouse that the tool declares: threads may not share one."""
        from obo_kit.clients import build, warehouse

        key = ("Connection", warehouse(), threading.get_ident())
        with self._lock:
            stand_in = self._stand_ins.setdefault(key, _StandIn(None))
        with stand_in.lock:  # its own: a warehouse may take its time to start
            if not stand_in.built:
                stand_in.built = (build("Connection", self._lease, self.get_named),)
            return stand_in.built[0]

    def once(self, target: object, build: Callable[[], T]) -> T:
        """What stands for an object in this session: built on first use, and let go when the session ends.

        Raises:
            SessionClosedError: The session has ended.
        """
        self._lease.check()
        with self._lock:
            found = self._stand_ins.setdefault(id(target), _StandIn(target))
        with found.lock:  # its own: another tool's need not wait for what this one asks the workspace
            if not found.built:
                found.built = (build(),)
            return cast("T", found.built[0])

    def adopt(self, made: T) -> T:
        """Put the vector-search tools in ``made`` behind this session's fence.

        `VectorSearchRetrieverTool` copies the user's token when it is built. Adopted, it asks the session for the token
        at every query, ends with the session, and shares its connections. `available_tools` and the decorators adopt
        what they return; call this for tools that are built in another way.

        Args:
            made: A tool, or several in a list or tuple. What was not built from this session's client stays as it is.

        Returns:
            The same object.
        """
        if "databricks.ai_search.index" in sys.modules and not self.closed:
            for item in made if isinstance(made, (list, tuple)) else (made,):
                if type(item).__module__ != "builtins":
                    self._adopt(item)
        return made

    def _adopt(self, item: object) -> None:
        from obo_kit.clients import copied_index

        index = copied_index(item, self._lease)
        if index is not None:
            self.get_named("VectorSearchClient").adopt(index)

    @property
    def denials(self) -> Sequence[Denial]:
        """What was refused so far, in order."""
        return tuple(self._denials)

    def note_denial(self, denial: Denial) -> None:
        """Report a refusal on the session."""
        self._denials.append(denial)

    @property
    def closed(self) -> bool:
        """Has the request ended? Also true in a process forked since."""
        return self._lease.closed

    def close(self) -> None:
        """End the session: its clients raise `SessionClosedError` from now on. Closing twice does nothing."""
        if not self.closed:
            for stand_in in list(self._stand_ins.values()):
                for built in stand_in.built:
                    if hasattr(type(built), "obo_end"):  # a SQL connection, which the server keeps a session for
                        built.obo_end()
        self._lease.close()
        self._clients.clear()
        self._stand_ins.clear()

    def __del__(self) -> None:
        # Nobody can close it any more, and its clients may have been kept: they are fenced now (rule 5).
        if not self.closed:
            self._stand_ins.clear()  # a finalizer asks no server to close anything
            self.close()
            warnings.warn(f"a user's session was never closed: {self!r}", ResourceWarning, stacklevel=1, source=self)

    def __repr__(self) -> str:
        return f"<UserSession of {self._lease.identity!r}{', closed' if self.closed else ''}>"

    def __reduce_ex__(self, protocol: Any, /) -> NoReturn:
        raise TypeError("a UserSession belongs to one request and cannot be pickled or copied")


def current_session() -> UserSession:
    """The session in force.

    Raises:
        NoUserSessionError: None is.
    """
    session = open_session(UserSession)
    if session is None:
        raise _no_session("There is no open session here.")
    return session


def _no_session(message: str) -> NoUserSessionError:
    if ended_session(UserSession) is not None:
        return NoUserSessionError(
            "The request that this work was started in has ended, or is another process's, and so has its session.",
            remedy="Wait for the work before the request ends. Background work has no user: give it what it needs, or "
            "let it act with system authorization.",
        )
    return NoUserSessionError(
        message,
        remedy="Run this inside a function under @user_session; carry the session into a thread of your own with "
        "obo_kit.propagate(fn).",
    )


# --- opening ---------------------------------------------------------------------------------------------------------------


class _ProcessTokenUsers:
    """The open sessions whose token came from the one slot that all requests of a process share (rule 4)."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sessions: weakref.WeakSet[UserSession] = weakref.WeakSet()
        self._warned = False

    def admit(self, session: UserSession) -> None:
        with self._lock:
            overlap = any(not other.closed for other in self._sessions)
            if overlap and os.environ.get("OBO_KIT_PROCESS_TOKEN", "").strip().lower() == "refuse":
                raise NoUserIdentityError(
                    "Two requests overlap, and this runtime keeps the user's token in one place for all of them.",
                    remedy="Serve one request at a time per process, or on a runtime that keeps a token per request.",
                )
            self._sessions.add(session)
            warn = overlap and not self._warned
            self._warned |= warn
        if warn:
            logger.warning(
                "Requests overlap, and this runtime keeps the user's token in one place for all of them: a request may "
                "have been handed another user's token before the kit could see it. Serve one request at a time per "
                "process, or set OBO_KIT_PROCESS_TOKEN=refuse."
            )


_process_token_users = _ProcessTokenUsers()


def _renew() -> None:
    # Its lock may have been held by another thread at the moment of the fork.
    global _process_token_users
    _process_token_users = _ProcessTokenUsers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

_entry_point_declared = False


def session_for_tool(tool: str, *, opens: bool = True) -> tuple[UserSession, bool]:
    """The session a tool runs in, and whether it was opened for this call alone (rule 7).

    Raises:
        NoUserSessionError: No session is open, and this process opens one per request; or the tool was left over by a
            request that has ended; or it has no use for a session of one call.
        NoUserIdentityError: None is open, and the runtime has no user.
    """
    session = open_session(UserSession)
    if session is not None:
        return session, False
    if not opens or _entry_point_declared or ended_session(UserSession) is not None:
        raise _no_session(f"The tool '{tool}' ran outside of any request's session.")
    return _opened(_captured(), DEFAULT_LIMITS, capture), True


def _captured() -> UserIdentity:
    """The runtime's user, unless what runs here was started in another request and may work for anybody by now."""
    identity, ended = capture(), ended_session(UserSession)
    if ended is None:
        return identity
    if ended._lease.foreign:
        raise NoUserIdentityError(
            "This process was forked inside a request, whose user may not be the one that it works for now.",
            remedy="Name the user: user_session(host=…, token=…); or start the pool before the first request.",
        )
    if from_process_token(identity) and not (
        (former := ended._lease.identity) is not None and same_user(identity, former)
    ):
        raise NoUserIdentityError(
            "The request that this work was started in has ended, and the process's one token is another user's by now.",
            remedy="Finish the work before the request ends. Background work has no user.",
        )
    return identity


def _opened(
    identity: UserIdentity | None, limits: Limits, again: Callable[[], UserIdentity] | None = None
) -> UserSession:
    session = UserSession(identity, limits, again)
    if identity is not None and from_process_token(identity):
        try:
            _process_token_users.admit(session)
        except NoUserIdentityError:
            session.close()
            raise
    return session


_UNSET: Any = object()  # told apart from `None`: token=headers.get(…) must be refused where there is none, not ignored


class SessionScope:
    """What ``user_session(…)`` returns: a decorator, and a context manager (sync and async)."""

    __slots__ = ("_entered", "_headers", "_host", "_limits", "_principal", "_required", "_token", "_used")

    def __init__(
        self,
        *,
        headers: Hidden | None,
        host: str | None,
        token: Hidden | None,
        principal: str | None,
        required: bool,
        limits: Limits,
    ) -> None:
        if headers is not None and token is not None:
            raise TypeError("user_session takes headers= or token=, not both")
        if headers is None and token is None and (host is not None or principal is not None):
            raise TypeError("user_session(host=…) goes with token=… or headers=…, and principal=… with token=…")
        if headers is not None and principal is not None:
            raise TypeError("user_session takes the principal from the headers; principal= goes with token=")
        self._headers = headers
        self._host = host
        self._token = token
        self._principal = principal
        self._required = required
        self._limits = limits
        self._entered: tuple[UserSession, bool, Any] | None = None
        self._used = threading.Lock()

    def _named(self) -> UserIdentity | None:
        """The user the author names, if any."""
        if self._token is not None:
            host = self._host or os.environ.get("DATABRICKS_HOST", "")
            return from_hidden(host=host, token=self._token, principal=self._principal)
        return self._in_headers(self._headers) if self._headers is not None else None

    def _in_headers(self, given: Hidden) -> UserIdentity:
        headers = Hidden(given.value() if callable(given.value) else given.value)
        return from_headers(headers if headers.value is not None else Hidden({}), host=self._host)

    def _again(self) -> Callable[[], UserIdentity] | None:
        """Asks for the user again, once the token has expired: the runtime, or the author's own function."""
        if self._token is not None:
            return None
        headers = self._headers
        if headers is None:
            return capture
        return functools.partial(self._in_headers, headers) if callable(headers.value) else None

    def open(self) -> tuple[UserSession, bool]:
        """Open a session, or join the one in force; and whether it was opened here (rules 1, 2 and 6)."""
        named = self._named()
        session = open_session(UserSession)
        if session is None:
            try:
                return _opened(named or _captured(), self._limits, self._again()), True
            except NoUserIdentityError:
                if self._required or named is not None:
                    raise
                return _opened(None, self._limits), True
        has = session._lease.identity
        if named is not None and (has is None or not same_user(named, has)):
            raise IdentityMismatchError(
                "Another user is named inside a session that is pinned to its own.",
                remedy="Open one session per request and user; leave out the inner one's headers=, host= and token=.",
            )
        if self._required:
            _ = session.identity
        return session, False

    def __enter__(self) -> UserSession:
        # One object entered by two requests at once could not tell whose session ends first.
        if not self._used.acquire(blocking=False):
            raise RuntimeError("user_session(…) is entered once: make a new one for each `with` block")
        session, owned = self.open()
        frame = FRAME.get()
        token = FRAME.set(Frame(session, frame.call if frame is not None and not owned else None))
        self._entered = (session, owned, token)
        return session

    def __exit__(self, *exc_info: object) -> None:
        assert self._entered is not None
        session, owned, token = self._entered
        try:
            FRAME.reset(token)
        except ValueError:
            # Left in another context than it was entered in, as a stream may: there is nothing of ours to take back here.
            pass
        finally:
            if owned:
                session.close()

    async def __aenter__(self) -> UserSession:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)

    @overload
    def __call__(self, target: C, /) -> C: ...
    @overload
    def __call__(self, target: F, /) -> F: ...
    def __call__(self, target: Any, /) -> Any:
        """Decorate an entry point: a function, a method or an agent class."""
        global _entry_point_declared
        decorated = _decorated_class(self, target) if isinstance(target, type) else _decorated(self, target)
        _entry_point_declared = True
        return decorated


class _SessionRun(Run):
    __slots__ = ("_owned", "_scope", "_session")

    def __init__(self, scope: SessionScope) -> None:
        super().__init__()
        self._scope = scope
        self._session: UserSession | None = None
        self._owned = False

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._session, self._owned = self._scope.open()
        frame = FRAME.get()
        self.frame = Frame(self._session, frame.call if frame is not None and not self._owned else None)
        return args, kwargs

    def end(self) -> None:
        if self._owned and self._session is not None:
            self._session.close()


def _decorated(scope: SessionScope, fn: Any) -> Any:
    if isinstance(fn, (staticmethod, classmethod)):
        return type(fn)(_decorated(scope, fn.__func__))
    if not callable(fn) or not (inspect.isroutine(fn) or isinstance(fn, functools.partial)):
        raise TypeError(
            f"@user_session goes on a function, a method or an agent class, not on a {type(fn).__name__}; "
            "use `with user_session():` around the call"
        )
    refuse_registered(fn, "user_session")
    return functools.wraps(fn)(bound(fn, lambda: _SessionRun(scope)))


_ENTRY_POINTS = ("predict", "predict_stream")


def _decorated_class(scope: SessionScope, cls: type) -> type:
    # What a base class of MLflow's leaves unimplemented stays as it is: MLflow looks at it to see what an agent can do.
    found = [
        name
        for name in _ENTRY_POINTS
        if callable(entry := getattr(cls, name, None))
        and not str(getattr(entry, "__module__", "")).startswith("mlflow.")
    ]
    if not found:
        raise TypeError(
            f"@user_session on a class wraps {' and '.join(_ENTRY_POINTS)}, and {cls.__name__} has neither; "
            "decorate its entry point itself"
        )
    for name in found:
        setattr(cls, name, _decorated(scope, inspect.getattr_static(cls, name)))
    return cls


@overload
def user_session(target: C, /) -> C: ...
@overload
def user_session(target: F, /) -> F: ...
@overload
def user_session(
    *,
    headers: Headers | Callable[[], Headers] | None = ...,
    host: str | None = ...,
    token: str | None = ...,
    principal: str | None = ...,
    required: bool = ...,
    limits: Limits = ...,
) -> SessionScope: ...
def user_session(
    target: Any = None,
    /,
    *,
    headers: Any = _UNSET,
    host: str | None = None,
    token: Any = _UNSET,
    principal: str | None = None,
    required: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Any:
    """Open the request boundary: capture the user once, and pin everything inside to that user.

    As decorator on an entry point (function, method, generator, coroutine function, async generator, or a whole agent
    class, whose ``predict`` and ``predict_stream`` it wraps), and as context manager, sync and async. The user is captured
    when the function is called; for coroutine functions and generators, which start later, at their first step. The
    session closes when the function returns, or when its stream ends, is closed or is dropped. Inside an open session it
    joins that one.

    Around a ``yield`` use the decorator: a ``with`` block held across a ``yield`` is in force for whoever consumes the
    stream, too.

    Args:
        target: What to decorate, where it is used without arguments.
        headers: The request's headers, as a mapping or pairs, or a function that returns them, for servers the kit cannot
            see into: Streamlit, Gradio, Flask. The token is in ``X-Forwarded-Access-Token``.
        host: The workspace that the token or the headers are for; by default ``DATABRICKS_HOST``.
        token: The user's token.
        principal: The user's name, where the token does not say it.
        required: With ``False``, a request without a user opens a session without one: what acts for the user is denied
            with ``NO_IDENTITY``, everything else runs. A user who is named but not there is refused all the same.
        limits: How long the session's clients wait.

    Raises:
        NoUserIdentityError: There is no user to act for. Nothing falls back to a service principal.
        IdentityMismatchError: Another user is named inside an open session.
        TypeError: The arguments do not go together, or the target cannot be decorated.
    """
    headers = None if headers is _UNSET else Hidden(headers)
    token = None if token is _UNSET else Hidden(token)
    scope = SessionScope(headers=headers, host=host, token=token, principal=principal, required=required, limits=limits)
    return scope if target is None else scope(target)


class _Carried(Run):
    __slots__ = ("_carried",)

    def __init__(self, carried: Frame) -> None:
        super().__init__()
        self._carried = carried

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        session = self._carried.session
        if session is None or session.closed:
            raise SessionClosedError(
                "This work was carried out of a request that has ended.",
                remedy="Wait for it before the request ends; work that outlives a request has no user.",
            )
        self.frame = self._carried
        return args, kwargs


def propagate(fn: F) -> F:
    """Carry the session in force into a thread that does not inherit context.

    ``pool.submit(propagate(search), question)``. Threads of one's own, ``ThreadPoolExecutor`` and ``run_in_executor`` need
    it; ``asyncio.to_thread`` and tasks do not.

    Raises:
        NoUserSessionError: No session is open where `propagate` is called.
        SessionClosedError: When the function runs after the session has ended.
    """
    session = current_session()
    frame = FRAME.get()
    carried = Frame(session, frame.call if frame is not None else None)
    return cast("F", functools.wraps(fn)(bound(fn, lambda: _Carried(carried))))
