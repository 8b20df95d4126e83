"""One request's user, and the clients that act for that user (rules 4, 5 and 8)."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from obo_kit._utils.html import html_table
from obo_kit.context._calls import Evidence
from obo_kit.context._frame import SessionUser, current_call
from obo_kit.identity._credentials import DEFAULT_LIMITS, Lease, Leased, Limits
from obo_kit.identity._headers import request_served
from obo_kit.identity._process import OPEN_SESSIONS
from obo_kit.identity._runtime import in_apps
from obo_kit.identity._token import Hidden
from obo_kit.identity._user import UserIdentity

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from obo_kit.context._calls import ToolCall
    from obo_kit.exceptions import Denial

__all__ = ["UserSession"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

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


_said: set[str] = set()
_MOST_SAID = 256


def running_task() -> Any:
    """Return the task that runs here; `None` outside of an event loop."""
    asyncio: Any = sys.modules.get("asyncio")
    # Asked in every session and outside of loops most of all, where asking for the task alone costs an exception.
    if asyncio is None or (loop := asyncio._get_running_loop()) is None:
        return None
    return asyncio.current_task(loop)


class _StandIn:
    """What stands for an object. It holds the object, so that no other one gets its id."""

    __slots__ = ("built", "lock", "target")

    def __init__(self, target: object) -> None:
        self.target = target
        self.built: tuple[Any, ...] = ()
        self.lock = threading.RLock()  # a finalizer may come back to it on the same thread


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
        self._clients: dict[tuple[str, str, int], Any] = {}
        self._stand_ins: dict[object, _StandIn] = {}
        self._denials: list[Denial] = []
        self._evidence = Evidence()
        self._lock = threading.RLock()
        self._request = Hidden(request_served())  # the one that it was opened in, where a server tells
        task = running_task()
        self._task = weakref.ref(task) if task is not None else None
        self._tasks: weakref.WeakSet[Any] | None = None
        self._latest = 0
        # A call's own end closes it, however late the collector finishes a dropped stream.
        self._ends_with_call = False
        OPEN_SESSIONS.add(id(self))

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

    def _note_task(self) -> None:
        """Remember a task, other than the one that opened the session, that uses it."""
        if self._task is None:
            return  # opened outside of any event loop, as most are that run in threads
        task = running_task()
        if task is None or id(task) == self._latest or self._task() is task:
            return
        self._latest = id(task)
        if self._tasks is None:
            self._tasks = weakref.WeakSet()
        self._tasks.add(task)

    def _say_who_goes_on(self) -> None:
        """Say which tasks outlive the session: such a one may be a worker, which did other requests' work as this user."""
        here = running_task()
        for task in self._tasks or ():
            name = getattr(task.get_coro(), "__qualname__", "")
            ends = task is here or task.done() or getattr(task, "cancelling", int)()
            if ends or name in _said or len(_said) >= _MOST_SAID:
                continue
            _said.add(name)
            logger.warning(
                "The task '%s' was started in a request, acted as its user, and goes on after it. If it does other "
                "requests' work, it did that as this user, too. Start workers when the server starts, outside of any request.",
                name,
            )

    def _owns(self, lease: object) -> bool:
        """Is a lease this session's, or of the very same token? Explanations aside, it is what its clients may be used with."""
        if lease is self._lease or getattr(lease, "session_lease", None) is self._lease:
            return True
        other = lease.identity if isinstance(lease, Lease) else None
        return other is not None and self._lease.has_token_of(other)

    @property
    def cache_key(self) -> str:
        """Return what stands for the user in the key of a cache above a tool. Holds no secret.

        Give it to whatever remembers answers: ``ask(session.cache_key, question)``. Where the platform vouches for the
        user (Model Serving, Databricks Apps) it is the same in each of the user's requests; elsewhere it changes with the
        user's token, for a name that only a token claims must open nobody's answers.

        Raises:
            NoUserIdentityError: There is no user, or a developer has no credentials.
            SessionClosedError: The session has ended.
        """
        return self._lease.cache_key()

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
        OPEN_SESSIONS.discard(id(self))
        if not self.closed:
            if self._tasks:
                self._say_who_goes_on()
            for stand_in in list(self._stand_ins.values()):
                for built in stand_in.built:
                    if hasattr(type(built), "obo_end"):  # a SQL connection, which the server keeps a session for
                        built.obo_end()
        self._lease.close()
        self._request.value = None
        self._clients.clear()
        self._stand_ins.clear()

    def __del__(self) -> None:
        # Nobody can close it any more, and its clients may have been kept: they are fenced now (rule 5).
        if not self.closed:
            self._tasks = None
            self._stand_ins.clear()  # a finalizer asks no server to close anything
            self.close()
            if self._ends_with_call:
                return
            warnings.warn(f"a user's session was never closed: {self!r}", ResourceWarning, stacklevel=1, source=self)

    def __repr__(self) -> str:
        return f"<UserSession of {self._lease.identity!r}{', closed' if self.closed else ''}>"

    def _repr_html_(self) -> str:
        rows = [(one.reason.value, one.tool, one.resource, one.detail, one.remedy) for one in self.denials]
        return html_table(("reason", "tool", "resource", "detail", "fix"), rows, title=repr(self))
