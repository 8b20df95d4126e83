"""Hold one request's user, and the clients that act for that user (rules 4, 5 and 8)."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
import weakref
from _thread import RLock  # `threading.RLock` is a function that calls it
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from obo_kit._utils.html import html_table
from obo_kit.context._calls import Evidence
from obo_kit.context._frame import FRAME, Frame, SessionUser, current_call
from obo_kit.exceptions import Denial
from obo_kit.identity._credentials import DEFAULT_LIMITS, Lease, Leased, Limits
from obo_kit.identity._headers import request_served
from obo_kit.identity._process import OPEN_SESSIONS
from obo_kit.identity._runtime import in_apps
from obo_kit.identity._token import Hidden
from obo_kit.identity._user import UserIdentity

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from obo_kit.context._calls import ToolCall
    from obo_kit.scopes._model import Target

__all__ = ["UserSession"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Clients that always act with the agent's own credentials, and what to use instead.
_QUERY = (
    "it takes no user, and would act with the agent's own credentials: embed with "
    "session.client.serving_endpoints.query(name, input=[…]), or with the session's DatabricksOpenAI"
)
RUN_FUNCTIONS = (
    "it replaces the client that it is given with one of its own: run the function with "
    "session.client.statement_execution.execute_statement('SELECT catalog.schema.function(…)', warehouse_id), or through "
    "the workspace's MCP server for functions"
)
_CARRY_NO_USER = {
    "DatabricksEmbeddings": _QUERY,
    "DatabricksFunctionClient": RUN_FUNCTIONS,
    "UCFunctionToolkit": RUN_FUNCTIONS,
}


_NO_REQUEST = Hidden(None)
_said: set[str] = set()
_MOST_SAID = 256


def running_task() -> Any:
    """Return the running task; `None` outside an event loop."""
    asyncio: Any = sys.modules.get("asyncio")
    # This runs in every session, mostly outside loops, where asking asyncio for the task costs an exception.
    if asyncio is None or (loop := asyncio._get_running_loop()) is None:
        return None
    return asyncio.current_task(loop)


def _target() -> Target:
    return "apps" if in_apps() else "model-serving"


class _StandIn:
    """The session's replacement for an object. It holds the object, so that no other one gets its id."""

    __slots__ = ("built", "lock", "target")

    def __init__(self, target: object) -> None:
        self.target = target
        self.built: tuple[Any, ...] = ()
        self.lock = threading.RLock()  # reentrant: a finalizer may ask again on the same thread


class _Denials(tuple[Denial, ...]):
    """The refusals of a session, in order. A notebook shows a table."""

    __slots__ = ()

    def table(self, title: str = "") -> str:
        """Return an HTML table of the refusals, with the fix of each."""
        rows = [(denial.reason.value, denial.tool, denial.resource, denial.detail, denial.remedy) for denial in self]
        return html_table(("reason", "tool", "resource", "detail", "fix"), rows, title=title)

    def _repr_html_(self) -> str:
        return self.table()


class UserSession(Leased):
    """One request's user, and the clients that act for that user. Ends with the request.

    Open one with `user_session`. Safe to use from several threads. Cannot be pickled or copied.
    """

    __slots__ = (
        "__weakref__",
        "_clients",
        "_denials",
        "_ends_with_call",
        "_evidence",
        "_latest",
        "_lease",
        "_lock",
        "_request",
        "_stand_ins",
        "_task",
        "_tasks",
    )

    def __init__(
        self,
        identity: UserIdentity | None,
        limits: Limits = DEFAULT_LIMITS,
        again: Callable[[], UserIdentity] | None = None,
    ) -> None:
        self._lease = Lease(identity, limits, again)
        self._clients: dict[object, Any] = {}  # by type, and by tool where a tool declares its scopes
        self._stand_ins: dict[object, _StandIn] = {}
        self._denials: list[Denial] = []
        self._evidence: Evidence | None = None
        self._lock = RLock()
        request = request_served()  # that the session was opened in, if a server knows it
        self._request = Hidden(request) if request is not None else _NO_REQUEST
        task = running_task()
        self._task = weakref.ref(task) if task is not None else None
        self._tasks: weakref.WeakSet[Any] | None = None
        self._latest = 0
        # A call's own end closes it, however late the collector finishes a dropped stream.
        self._ends_with_call = False
        OPEN_SESSIONS.add(id(self))

    @property
    def identity(self) -> UserIdentity:
        """Return the user. A renewed token changes what is known of the user, never who it is.

        Raises:
            NoUserIdentityError: The session was opened with ``required=False`` for a request without a user.
        """
        identity = self._lease.identity
        if identity is not None:
            return identity
        self._lease.credentials()  # raises: there is no user
        return cast("UserIdentity", self._lease.identity)

    @property
    def user(self) -> SessionUser | None:
        """Return what explanations need to know of the user, as the current token describes them."""
        identity = self._lease.identity
        if identity is None:
            return None
        return SessionUser(
            principal=identity.principal,
            host=identity.host,
            scopes=identity.scopes,
            runs_in=_target,
        )

    @property
    def evidence(self) -> Evidence:
        """Return what the session's clients saw on the wire outside any tool call."""
        if self._evidence is None:
            with self._lock:
                self._evidence = self._evidence or Evidence()
        return self._evidence

    def _note_task(self) -> None:
        """Remember a task that uses the session and did not open it."""
        if self._task is None:
            return  # opened outside any event loop, like most sessions in threads
        task = running_task()
        if task is None or id(task) == self._latest or self._task() is task:
            return
        self._latest = id(task)
        if self._tasks is None:
            self._tasks = weakref.WeakSet()
        self._tasks.add(task)

    def _say_who_goes_on(self) -> None:
        """Warn of tasks that outlive the session: a worker task would do other requests' work as this user."""
        here = running_task()
        for task in self._tasks or ():
            name = getattr(task.get_coro(), "__qualname__", "")
            ends = task is here or task.done() or getattr(task, "cancelling", int)()
            if ends or name in _said or len(_said) >= _MOST_SAID:
                continue
            _said.add(name)
            logger.warning(
                "The task '%s' was started in a request, acted as its user, and goes on after it. If it does other "
                "requests' work, it did that as this user, too. Start workers when the server starts, outside any request.",
                name,
            )

    def _owns(self, lease: object) -> bool:
        """Return whether a lease is this session's, or of the very same token. Only then may its clients be used here."""
        if lease is self._lease or getattr(lease, "session_lease", None) is self._lease:
            return True
        other = lease.identity if isinstance(lease, Lease) else None
        return other is not None and self._lease.has_token_of(other)

    @property
    def cache_key(self) -> str:
        """Return a key for caches of answers that stands for the user. Holds no secret.

        Pass it to any function that remembers answers: ``ask(session.cache_key, question)``. If the platform vouches for the
        user (Model Serving, Databricks Apps), the key is the same in each of the user's requests. Elsewhere it changes with
        the user's token: a name that only a token claims must not open another user's answers.

        Raises:
            NoUserIdentityError: There is no user, or a developer has no credentials.
            SessionClosedError: The session has ended.
        """
        return self._lease.cache_key()

    @property
    def client(self) -> WorkspaceClient:
        """Return the user's `WorkspaceClient`. It is built on first use, one per session, and refuses once the session closes.

        Raises:
            NoUserIdentityError: There is no user, or a developer has no credentials.
            TokenExpiredError: The user's token has expired, and the runtime has no new one of the same user.
            SessionClosedError: The session has ended.
        """
        return cast("WorkspaceClient", self.get_named("WorkspaceClient", current_call()))

    def get(self, client_type: type[T]) -> T:
        """Return the user's client of a type that `with_user_client` knows. It is built on first use, one per session.

        Raises:
            TypeError: The kit cannot build this type.
            NoUserIdentityError: There is no user, or a developer has no credentials.
            SessionClosedError: The session has ended.
        """
        return cast("T", self.get_named(client_type.__name__, current_call()))

    def get_named(self, name: str, call: ToolCall | None = None) -> Any:
        """Return what `get` returns, by the type's name: annotations may be strings that cannot be evaluated.

        Args:
            name: The name of the type.
            call: The tool call that the client is for. The client stays narrowed to what that tool declares.
        """
        if self._lease.closed:
            self._lease.check()  # raises
        declared = call.declared if call is not None else None
        key = name if call is None or declared is None else (name, call.tool, id(declared))
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
            token = FRAME.set(Frame(self, call))  # opening a SQL connection needs the tool's declaration
            try:
                return self._connection()
            finally:
                FRAME.reset(token)
        with self._lock:
            if key not in self._clients:
                lease = self._lease.narrowed(call) if declared is not None else self._lease
                self._clients[key] = build(name, lease, lambda other: self.get_named(other, call))
            return self._clients[key]

    def _connection(self) -> Any:
        """Return this thread's SQL connection to the warehouse that the tool declares: threads may not share one."""
        from obo_kit.clients import build, warehouse

        key = ("Connection", warehouse(), threading.get_ident())
        with self._lock:
            stand_in = self._stand_ins.setdefault(key, _StandIn(None))
        with stand_in.lock:  # a lock of its own: a warehouse may start slowly
            if not stand_in.built:
                stand_in.built = (build("Connection", self._lease, self.get_named),)
            return stand_in.built[0]

    def once(self, target: object, build: Callable[[], T]) -> T:
        """Return an object's replacement in this session. It is built on first use and dropped when the session ends.

        Raises:
            SessionClosedError: The session has ended.
        """
        self._lease.check()
        with self._lock:
            stand_in = self._stand_ins.setdefault(id(target), _StandIn(target))
        with stand_in.lock:  # a lock of its own: other tools need not wait while this one asks the workspace
            if not stand_in.built:
                stand_in.built = (build(),)
            return cast("T", stand_in.built[0])

    def adopt(self, made: T) -> T:
        """Put the vector-search tools in ``made`` behind this session's fence.

        `VectorSearchRetrieverTool` copies the user's token when it is built. Once adopted, it asks the session for the token
        at every query, ends with the session, and shares its connections. `available_tools` and the decorators adopt the
        tools that they return. Call this for tools that you build in another way.

        Args:
            made: A tool, or several in a list or tuple. Tools that were not built from this session's client stay as they are.

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
        """Return the refusals so far, in order."""
        return _Denials(self._denials)

    def note_denial(self, denial: Denial) -> None:
        """Record a refusal on the session."""
        self._denials.append(denial)

    @property
    def closed(self) -> bool:
        """Return whether the request has ended. True also in a process that was forked since the session was opened."""
        return self._lease.closed

    def close(self) -> None:
        """End the session: its clients raise `SessionClosedError` from now on. Closing twice does nothing."""
        OPEN_SESSIONS.discard(id(self))
        if not self._lease.closed:
            if self._tasks:
                self._say_who_goes_on()
            if self._stand_ins:
                self._end_connections()
        self._lease.close()
        self._request.value = None
        self._clients.clear()
        self._stand_ins.clear()

    def _end_connections(self) -> None:
        """Close the SQL connections: the server keeps a session for each."""
        for stand_in in list(self._stand_ins.values()):
            for built in stand_in.built:
                if hasattr(type(built), "obo_end"):
                    built.obo_end()

    def __del__(self) -> None:
        # Nobody can close the session any more, but its clients may live on: fence them now (rule 5).
        if not self._lease.closed:
            self._tasks = None
            self._stand_ins.clear()  # a finalizer must not send requests to close connections
            self.close()
            if self._ends_with_call:
                return
            warnings.warn(f"a user's session was never closed: {self!r}", ResourceWarning, stacklevel=1, source=self)

    def __repr__(self) -> str:
        return f"<UserSession of {self._lease.identity!r}{', closed' if self.closed else ''}>"

    def _repr_html_(self) -> str:
        return _Denials(self._denials).table(title=repr(self))
