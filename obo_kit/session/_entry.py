"""`user_session`: the boundary of a request, as decorator and as context manager (rules 1, 2, 6 and 12).

A session lives as long as the request: the call of the decorated function, its stream included, or the ``with`` block.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextvars import Token
from types import FrameType
from typing import Any, TypeVar, cast, overload

from obo_kit._upstream.classes import STARLETTE, is_a
from obo_kit._upstream.servers import refuse_registered
from obo_kit._utils.default import Default
from obo_kit._utils.functions import is_function
from obo_kit._utils.plugins import load
from obo_kit.context._frame import FRAME, Frame
from obo_kit.context._scope import Scope
from obo_kit.context._wrapping import Run, bound
from obo_kit.denials import explain_in, keep_denial
from obo_kit.exceptions import IdentityMismatchError, NoUserIdentityError
from obo_kit.identity._credentials import DEFAULT_LIMITS, Limits
from obo_kit.identity._headers import Headers, from_headers
from obo_kit.identity._process import DRY_RUN, PROCESS, note_user_named
from obo_kit.identity._runtime import DeveloperKind
from obo_kit.identity._sources import capture, in_place_of_a_user
from obo_kit.identity._token import Hidden
from obo_kit.identity._user import UserIdentity, from_hidden
from obo_kit.session._arguments import Getter, getter_for, without_a_call
from obo_kit.session._opening import captured, of_another_request, opened, session_in_force
from obo_kit.session._session import UserSession
from obo_kit.session._streams import StreamFrame, enter_block, generator_of, leave_block

__all__ = ["SessionScope", "user_session"]

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

# Differs from `None`: token=headers.get(…) must be refused if there is no token, not ignored.
_UNSET: Any = Default("<as the runtime says>")
_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class SessionScope(Scope[UserSession, None]):
    """Returned by ``user_session(…)``: a decorator, and a sync and async context manager."""

    __slots__ = (
        "_developer",
        "_headers",
        "_host",
        "_limits",
        "_principal",
        "_required",
        "_token",
    )
    in_use = "user_session(…) can be entered only once: make a new one for each `with` block"
    once = True

    def __init__(
        self,
        *,
        headers: Hidden | None,
        host: str | None,
        token: Hidden | None,
        principal: str | None,
        required: bool,
        limits: Limits,
        developer: DeveloperKind | None,
    ) -> None:
        super().__init__()
        if headers is not None and token is not None:
            raise TypeError("user_session takes headers= or token=, not both")
        if headers is None and token is None and (host is not None or principal is not None):
            raise TypeError("user_session takes host= with token= or headers=, and principal= with token=")
        if headers is not None and principal is not None:
            raise TypeError("user_session takes principal= with token=; with headers=, the headers name the principal")
        if principal is not None and not isinstance(principal, str):
            raise TypeError("principal= takes the user's name, as text")
        if developer not in (None, "person", "machine"):
            raise TypeError("developer= takes 'person' or 'machine'")
        if developer is not None and token is not None:
            raise TypeError("user_session takes token= or developer=, not both")
        self._headers = headers
        self._host = host
        self._token = token
        self._principal = principal
        self._required = required
        self._limits = limits
        self._developer: DeveloperKind | None = developer

    def getters(self, target: Callable[..., Any]) -> dict[str, Getter]:
        """Return how to call the functions in ``headers=`` and ``token=`` with the arguments of the target's call.

        Raises:
            TypeError: They have parameters that the target does not have.
        """
        named = {"headers": self._headers, "token": self._token}
        return {
            name: getter_for(hidden.value, target, name)
            for name, hidden in named.items()
            if hidden is not None and callable(hidden.value)
        }

    def _value_of(self, name: str, hidden: Hidden, call: tuple[dict[str, Getter], _Arguments] | None) -> Hidden:
        if not callable(hidden.value):
            return hidden
        if call is None:
            return Hidden(without_a_call(hidden.value, name))
        getters, arguments = call
        return Hidden(getters[name](*arguments))

    def _named(self, call: tuple[dict[str, Getter], _Arguments] | None) -> UserIdentity | None:
        """Return the user that the author passed, if any."""
        if self._token is not None:
            note_user_named()
            host = self._host or os.environ.get("DATABRICKS_HOST", "")
            return from_hidden(host=host, token=self._value_of("token", self._token, call), principal=self._principal)
        if self._headers is None:
            return None
        headers = self._value_of("headers", self._headers, call)
        if headers.value is None:
            headers = Hidden({})
        return in_place_of_a_user(headers, self._developer) or from_headers(headers, host=self._host)

    def _again(self, call: tuple[dict[str, Getter], _Arguments] | None) -> Callable[[], UserIdentity] | None:
        """Return a function that captures the user again once the token has expired: the runtime, or the author's function."""
        if self._token is not None:
            return None
        if self._headers is None:
            return functools.partial(capture, self._developer)
        if not callable(self._headers.value):
            return None
        return cast("Callable[[], UserIdentity]", functools.partial(self._named, call))

    def open(self, call: tuple[dict[str, Getter], _Arguments] | None = None) -> tuple[UserSession, bool]:
        """Open a session, or join the current one. Return it, and whether it was opened here (rules 1, 2 and 6).

        Args:
            call: How to get the headers or the token, and the arguments of the call; `None` for a ``with`` block.
        """
        PROCESS.sessions_opened = True
        required = self._required and not DRY_RUN.get()
        named = self._named(call)
        session = session_in_force()
        if session is None or of_another_request(session):
            try:
                identity = named or captured(self._developer)
                alone = named is not None and named.source != "developer"
                return opened(identity, self._limits, self._again(call), alone=alone), True
            except NoUserIdentityError as error:
                if required or named is not None:
                    raise
                session = opened(None, self._limits)
                session._lease.nobody = (error.message, error.remedy)
                return session, True
        if named is not None and not session._lease.has_token_of(named) and not _same_developer(session, named):
            raise IdentityMismatchError(
                "The code names another user, or another token, inside a session that is pinned to its own.",
                remedy="Open one session per request and user. Leave out headers=, host= and token= in the inner one.",
            )
        if required:
            _ = session.identity
        return session, False

    def begin(self, block: FrameType) -> tuple[UserSession, Callable[[BaseException | None], None]]:
        """Open a session, or join the current one."""
        session, owned = self.open()
        frame, generator = FRAME.get(), generator_of(block) if owned else None
        if generator is not None:
            token = FRAME.set(StreamFrame(session, None, generator))
            enter_block(generator, session)
        else:
            token = FRAME.set(Frame(session, frame.call if frame is not None and not owned else None))
        return session, functools.partial(_leave, session if owned else None, token, generator)

    @overload
    def __call__(self, target: C, /) -> C: ...
    @overload
    def __call__(self, target: F, /) -> F: ...
    def __call__(self, target: Any, /) -> Any:
        """Decorate an entry point: a function, a method, an agent class or an ASGI application."""
        if isinstance(target, type):
            decorated: Any = _decorated_class(self, target)
        elif is_a(target, STARLETTE):
            decorated = self._decorated_app(target)
        else:
            decorated = _decorated(self, target)
        PROCESS.entry_point_declared = True
        return decorated

    def _decorated_app(self, app: Any) -> Any:
        """Return the application, wrapped so that each request is served in the session of its user."""
        if self._headers is not None or self._token is not None:
            raise TypeError(
                "@user_session on an application takes the user from each request: leave out headers= and token="
            )
        if self._required is not True:
            raise TypeError(
                "@user_session on an application always serves requests without a user: leave out required="
            )
        answering = [each for each in app.user_middleware if getattr(each.cls, "answers_refusals", False)]
        app.add_middleware(load("asgi").UserSessionMiddleware, limits=self._limits, developer=self._developer)
        # What the session refuses is answered too, whichever of the two was asked for first.
        app.user_middleware[:] = [*answering, *(each for each in app.user_middleware if each not in answering)]
        return app


def _leave(
    opened_here: UserSession | None,
    token: Token[Frame | None],
    generator: FrameType | None,
    error: BaseException | None,
) -> None:
    """End a block, and its session too if the block opened it."""
    if error is not None:
        _explained(error, opened_here)
    if generator is not None:
        leave_block(generator)
    try:
        FRAME.reset(token)
    except (ValueError, RuntimeError):
        # A stream may leave the block in another context than it entered it in. Then there is nothing to reset.
        pass
    finally:
        if opened_here is not None:
            opened_here.close()


def _explained(error: BaseException, ending: UserSession | None) -> None:
    """Keep the explanation of an error that ends a session; what stops or cancels it is none."""
    if isinstance(error, Exception) and ending is not None and ending._evidence is not None:
        keep_denial(error, explain_in(error, None, ending), ending._evidence)


def _same_developer(session: UserSession, named: UserIdentity) -> bool:
    """Return whether both are the developer who runs this process."""
    identity = session._lease.identity
    return named.source == "developer" and identity is not None and identity.source == "developer"


class _SessionRun(Run):
    __slots__ = ("_getters", "_owned", "_scope", "_session")

    def __init__(self, scope: SessionScope, getters: dict[str, Getter]) -> None:
        super().__init__()
        self._scope = scope
        self._getters = getters
        self._session: UserSession | None = None
        self._owned = False

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._session, self._owned = self._scope.open((self._getters, (args, kwargs)))
        self._session._ends_with_call |= self._owned
        frame = FRAME.get()
        self.frame = Frame(self._session, frame.call if frame is not None and not self._owned else None)
        return args, kwargs

    def recover(self, error: BaseException) -> Any:
        _explained(error, self._session if self._owned else None)
        return super().recover(error)

    def end(self) -> None:
        if self._owned and self._session is not None:
            self._session.close()


def _decorated(scope: SessionScope, fn: Any) -> Any:
    if isinstance(fn, (staticmethod, classmethod)):
        return type(fn)(_decorated(scope, fn.__func__))
    if not is_function(fn):
        raise TypeError(
            f"@user_session goes on a function, a method, an agent class or an app, not on a {type(fn).__name__}. "
            "Fix: put it below the decorator that makes an object of the function, or use `with user_session():` inside"
        )
    refuse_registered(fn, "user_session")
    getters = scope.getters(fn)
    return functools.wraps(fn)(bound(fn, lambda: _SessionRun(scope, getters)))


_ENTRY_POINTS = ("predict", "predict_stream")


def _decorated_class(scope: SessionScope, cls: type) -> type:
    # Methods that a base class of MLflow leaves unimplemented stay: MLflow reads from them what an agent can do.
    names = [
        name
        for name in _ENTRY_POINTS
        if callable(entry := getattr(cls, name, None))
        and not str(getattr(entry, "__module__", "")).startswith("mlflow.")
    ]
    if not names:
        raise TypeError(
            f"@user_session on a class wraps {' and '.join(_ENTRY_POINTS)}, and {cls.__name__} has neither; "
            "decorate its entry point itself"
        )
    for name in names:
        setattr(cls, name, _decorated(scope, inspect.getattr_static(cls, name)))
    return cls


@overload
def user_session(target: C, /) -> C: ...
@overload
def user_session(target: F, /) -> F: ...
@overload
def user_session(
    *,
    headers: Headers | Callable[..., Headers | None] | None = ...,
    host: str | None = ...,
    token: str | Callable[..., str | None] | None = ...,
    principal: str | None = ...,
    required: bool = ...,
    limits: Limits = ...,
    developer: DeveloperKind | None = ...,
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
    developer: DeveloperKind | None = None,
) -> Any:
    """Open the boundary of a request: capture the user once, and pin everything inside to that user.

    Use it as a decorator on an entry point: a function, method, generator, coroutine function, async generator, or a whole
    agent class, whose ``predict`` and ``predict_stream`` it wraps. Or use it as a context manager, sync or async. On a
    FastAPI or Starlette application (``app = user_session(server.app)``) it covers every request, streams included. There, a
    request without a user is served as with ``required=False``, since health checks have no user.

    The user is captured when the function is called. Coroutine functions and generators start later, so they capture the
    user at their first step. The session closes when the function returns, or when its stream ends, is closed or is dropped.
    Inside an open session, it joins that one.

    Around a ``yield``, use the decorator. A ``with`` block that spans a ``yield`` covers only the code that the generator
    itself runs, and what its first step started.

    Args:
        target: The function, class or application to decorate, if the decorator takes no arguments.
        headers: The request's headers, as a mapping or pairs, for servers that the kit cannot see into: Streamlit, Gradio,
            Flask. The token is in ``X-Forwarded-Access-Token``. A function that returns the headers may take nothing, or
            some of the decorated function's own parameters by name
            (``@user_session(headers=lambda request: request.headers)``).
        host: The workspace of the token or the headers; by default ``DATABRICKS_HOST``.
        token: The user's token, or a function that returns it, as with ``headers``.
        principal: The user's name, if the token does not state it.
        required: With ``False``, a request without a user opens a session without one. Calls that act for the user are
            denied with ``NO_IDENTITY``, and everything else runs. If a user is named but their token is missing, the request
            is still refused.
        limits: How long the session's clients wait.
        developer: Whose default credentials act if no user is known: ``"person"`` for an app on a laptop, which is refused
            wherever agents are deployed, or ``"machine"`` for a CI runner. By default the value of ``OBO_KIT_DEVELOPER``;
            else a person's, if no user was ever named in this process.

    Raises:
        NoUserIdentityError: There is no user to act for. Nothing falls back to a service principal.
        IdentityMismatchError: Another user, or another token, is named inside an open session, or by the request being
            served.
        TokenExpiredError: The user's token has expired. A difference of half a minute between the clocks is tolerated.
        TypeError: The arguments do not go together, or the target cannot be decorated.
    """
    headers = None if headers is _UNSET else Hidden(headers)
    token = None if token is _UNSET else Hidden(token)
    scope = SessionScope(
        headers=headers,
        host=host,
        token=token,
        principal=principal,
        required=required,
        limits=limits,
        developer=developer,
    )
    return scope if target is None else scope(target)
