"""`optional_tool`: tools that step aside, with a reason, if the user may not use them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, TypeVar, overload

from obo_kit._upstream.errors import is_failure
from obo_kit.context._calls import ToolCall
from obo_kit.context._frame import FRAME, Frame, open_session
from obo_kit.context._scope import Scope
from obo_kit.denials import explain_in
from obo_kit.exceptions import Denial, DenialReason
from obo_kit.instrumentation._events import watch
from obo_kit.session._session import UserSession
from obo_kit.tools._fallback import FORGIVEN, UNSET, Fallback, check_fallback, report
from obo_kit.tools._retry import retry_of
from obo_kit.tools._wrapper import amend

if TYPE_CHECKING:
    from types import FrameType

    import tenacity

    from obo_kit.instrumentation._events import Watch
    from obo_kit.tools._adapters import Decorated
    from obo_kit.tools._retry import Retry
    from obo_kit.tools._spec import ToolSpec

__all__ = ["Attempt", "optional_tool"]

F = TypeVar("F", bound="Decorated")


class Attempt:
    """The outcome of an optional block: ``attempt.denial``. It is true if nothing was denied."""

    __slots__ = ("_call", "_name", "_on", "_token", "_watch", "denial")
    _call: ToolCall
    _watch: Watch | None

    def __init__(self, name: str, on: frozenset[DenialReason]) -> None:
        self.denial: Denial | None = None
        self._name = name
        self._on = on
        self._token: Any = None

    def __bool__(self) -> bool:
        return self.denial is None

    def __repr__(self) -> str:
        return f"<Attempt {self._name!r}: {self.denial.reason.value if self.denial else 'nothing denied'}>"

    def enter(self) -> None:
        """Begin to record refusals."""
        frame = FRAME.get()
        outer = frame.call if frame is not None else None
        # A block inside a tool is part of the tool's call: as narrow as it, and evidence for it if the block does not forgive.
        self._call = ToolCall(self._name, outer.declared if outer is not None else None, outer)
        self._watch = self._call.observer = watch(self._call)
        self._token = FRAME.set(Frame(frame.session if frame is not None else None, self._call))

    def exit(self, error: BaseException | None) -> bool:
        """Return whether the error is forgiven."""
        # A stream may leave the block in another context than it entered it in. Then there is nothing to reset.
        with contextlib.suppress(ValueError):
            FRAME.reset(self._token)
        session, denial, watched = open_session(UserSession), None, self._watch
        if is_failure(error):
            denial = explain_in(error, self._call, session)
        if watched is not None:
            watched.denial, watched.error = denial, error
            watched.end()
        if denial is None or denial.reason not in self._on:
            if denial is not None and denial.reason is DenialReason.POLICY:
                report(denial, session)
            return False
        self.denial = denial
        report(denial, session)
        return True


class OptionalScope(Scope[Attempt, bool]):
    """Returned by ``optional_tool(…)``: a decorator, and a sync and async context manager."""

    __slots__ = ("_fallback", "_label", "_name", "_on", "_retry")
    in_use = "this block is already in use: write `with optional_tool('name'):` at each place"

    def __init__(
        self, name: str | None, fallback: Any, on: AbstractSet[DenialReason], retry: Retry | None, label: str | None
    ) -> None:
        super().__init__()
        if on is not FORGIVEN and (
            isinstance(on, (str, DenialReason)) or not all(isinstance(reason, DenialReason) for reason in on)
        ):
            raise TypeError("optional_tool(on=…) takes a set of DenialReason")
        if not on:
            raise TypeError("optional_tool(on=…) is empty, so it would forgive nothing")
        check_fallback(fallback)
        if label is not None and (not isinstance(label, str) or not label.strip()):
            raise TypeError("optional_tool(name=…) takes the tool's name")
        self._name = name
        self._label = label
        self._fallback = fallback
        self._on = frozenset(on)
        self._retry = retry

    def begin(self, block: FrameType) -> tuple[Attempt, Callable[[BaseException | None], bool]]:
        """Begin to record refusals."""
        if self._fallback is not UNSET:
            raise TypeError("optional_tool(fallback=…) is a decorator: a block has no value to replace")
        if self._retry is not None:
            raise TypeError("optional_tool(retry=…) is a decorator: a block cannot run again")
        if self._label is not None:
            raise TypeError("optional_tool(name=…) is a decorator: name a block with optional_tool('name')")
        attempt = Attempt(self._name or "optional block", self._on)
        attempt.enter()
        return attempt, attempt.exit

    def __call__(self, target: F, /) -> F:
        """Decorate a tool."""
        if self._name is not None:
            raise TypeError(
                "optional_tool('name') is a context manager; the decorator takes the function's own name, or name='…'"
            )

        def change(spec: ToolSpec) -> ToolSpec:
            if spec.fallback is not None:
                raise TypeError(f"@optional_tool is applied twice to {spec.name}()")
            fallback = Fallback(value=self._fallback, on=self._on, retry=self._retry)
            return spec.having(fallback=fallback, label=self._label)

        decorated: F = amend(target, "optional_tool", change)
        return decorated


@overload
def optional_tool(target: F, /) -> F: ...
@overload
def optional_tool(
    block: str | None = ...,
    /,
    *,
    name: str | None = ...,
    fallback: Any = ...,
    on: AbstractSet[DenialReason] = ...,
    retry: bool | int | tenacity.Retrying = ...,
    idempotent: bool = ...,
) -> OptionalScope: ...
def optional_tool(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    fallback: Any = UNSET,
    on: AbstractSet[DenialReason] = FORGIVEN,
    retry: bool | int | tenacity.Retrying = False,
    idempotent: bool = False,
) -> Any:
    """Turn a denial, and nothing else, into a fallback.

    As a decorator: a denied tool returns the fallback. A denied stream ends with it, after the items that were already sent.
    As a context manager, it replaces ``try``/``except`` around code that builds a tool::

        with optional_tool("docs") as attempt:
            tools.append(VectorSearchRetrieverTool(index_name=…, workspace_client=session.client))
        if attempt.denial: ...

    Bugs, bad arguments, rate limits and outages are raised unchanged. Denials are on ``session.denials`` and in the log: at
    INFO; or at ERROR, once per tool, if the deployer or an admin must fix it (``MISSING_SCOPE``, ``NO_IDENTITY``,
    ``POLICY``).

    Args:
        target: The function, if the decorator takes no arguments; or the name of the block.
        name: The tool's name in the log, in denials and for frameworks, for tools that are made in a loop. By default the
            framework's name, or the function's ``__name__`` when it is called.
        fallback: The value to return, of which each call gets its own copy, or a function that makes it from the `Denial`.
            Without one, the tool returns ``denial.user_message``.
        on: The reasons to forgive; by default all but ``POLICY``, which refuses every caller and which only an admin can fix.
        retry: Whether to try again after a passing failure (429, 503, no connection, no answer in time) that the kit's
            clients saw on the wire. ``True`` makes up to 3 attempts; an int sets the number of attempts. In both cases, no
            attempt begins that would end more than 10 seconds after the first one began. Or pass a ``tenacity.Retrying``
            with its own ``stop`` and ``wait``; its ``retry`` may only narrow what is repeated. ``Retry-After`` is honored
            up to 60 seconds; if it asks for more, there is no further attempt. These are
            never repeated: a denial, a stream that has given an item, an attempt that sent a request which may have had an
            effect, and a failure outside the kit's clients.
        idempotent: Whether running the tool twice does no harm. It is then repeated even if it wrote, or used other clients.

    Raises:
        TypeError: At decoration: the arguments do not go together, the fallback cannot be copied, or the target is not a
            function.
        ValueError: At decoration: ``retry`` is fewer than 2 attempts, or would never end.
    """
    again = retry_of(retry, idempotent=idempotent)
    if target is None or isinstance(target, str):
        return OptionalScope(target, fallback, on, again, name)
    return OptionalScope(None, fallback, on, again, name)(target)
