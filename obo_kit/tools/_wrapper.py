"""Build one wrapper per tool, whatever the order of the decorators (rules 12 and 13).

Each decorator adds its part to the tool's `ToolSpec`, and the wrapper is built anew over the author's own function. `_ToolRun`
is the one place that says what happens in a call: fallback outermost, then the requirement, then the client.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any, cast

from obo_kit._upstream.servers import refuse_registered
from obo_kit._utils.functions import is_function
from obo_kit.context._calls import ToolCall
from obo_kit.context._frame import FRAME, Frame, open_session
from obo_kit.context._wrapping import RERAISE, Run, bound
from obo_kit.denials import explain_in, keep_denial
from obo_kit.instrumentation._events import watch
from obo_kit.session._opening import session_for_tool
from obo_kit.session._session import UserSession
from obo_kit.tools._adapters import decorate_later, methods_of, tool_object
from obo_kit.tools._frameworks import answer_framework
from obo_kit.tools._resumed import INTERRUPTED, check_resumed, note_interrupt
from obo_kit.tools._retry import retrying, tell_what_was_tried
from obo_kit.tools._signature import plain, read
from obo_kit.tools._spec import SPEC_ATTRIBUTE, ToolSpec, inner_spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.exceptions import Denial
    from obo_kit.instrumentation._events import Watch
    from obo_kit.tools._fallback import Fallback
    from obo_kit.tools._spec import ToolObject

__all__: list[str] = []

_ANSWER = "__obo_answer__"
_CACHED = type(functools.cache(len))


def _function(target: Any, decorator: str) -> Callable[..., Any]:
    """Return a function that a decorator can be put on.

    Raises:
        TypeError: The target is not a function.
    """
    if isinstance(target, _CACHED):
        raise TypeError(
            f"@{decorator} is above a cache, which would keep one user's answers for the next. Fix: remove the cache, or "
            "cache below the tool, in a function that takes current_session().cache_key"
        )
    if not is_function(target):
        raise TypeError(
            f"@{decorator} goes on a function or a method, not on {_described(target)}. Fix: put it below the decorator "
            "that makes a tool object of the function. For an object with a client of its own, decorate a function that takes "
            "the user's client and builds the object with it"
        )
    function: Callable[..., Any] = target
    return function


def _described(target: Any) -> str:
    return f"the class {target.__name__}" if isinstance(target, type) else f"a {type(target).__name__}"


def amend(target: Any, decorator: str, change: Callable[[ToolSpec], ToolSpec]) -> Any:
    """Add one decorator's part to a tool, and wrap it anew."""
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(amend(target.__func__, decorator, change))
    owner = tool_object(target) if type(target) is not types.FunctionType else None
    if owner is not None:
        return _amend_object(owner, decorator, change)
    return _wrapped(*_amended(target, decorator, change))


def _amended(
    target: Any, decorator: str, change: Callable[[ToolSpec], ToolSpec], **settings: Any
) -> tuple[ToolSpec, Any, ToolSpec | None]:
    """Return a tool's spec with one decorator's part, its function so far, and its spec so far."""
    refuse_registered(target, decorator)
    below = inner_spec_of(target)
    if below is not None and below.wrappers[0] is target:
        # Tools that a loop makes get their names after they are decorated.
        spec = below if below.name == target.__name__ else below.having(name=target.__name__)
    else:
        fn = target if type(target) is types.FunctionType else _function(target, decorator)
        # Declarations below a foreign decorator also apply above it.
        spec = (
            ToolSpec(fn=fn, name=_name_of(fn))
            if below is None
            else below.having(fn=fn, name=_name_of(fn), injection=None, below=below)
        )
    return change(spec.having(**settings) if settings else spec), target, below


def _amend_object(owner: ToolObject, decorator: str, change: Callable[[ToolSpec], ToolSpec]) -> Any:
    """Decorate a framework's object in place: every function that the framework calls on it (rule 14)."""
    gives_client = decorator == "with_user_client"
    if gives_client and not owner.takes_clients and owner.copy_for is None:
        raise TypeError(
            f"@with_user_client cannot give a client to '{owner.name}', {_described(owner.target)}: {owner.instead}"
        )
    # Check all of them before any is replaced, so that no object is left half decorated.
    amended = [
        _amended(entry.fn, decorator, change, name=owner.name, owner=owner, shape=entry.shape)
        for entry in owner.entries
    ]
    for item in owner.items:
        amend(item, decorator, change)
    for entry, (spec, previous, below) in zip(owner.entries, amended, strict=True):
        entry.install(_wrapped(spec, previous, below))
        owner.finish(spec)
    if owner.makes_tools and not gives_client:  # tools that it makes already have its client
        decorate_later(owner.target, lambda item: amend(item, decorator, change))
    session = open_session(UserSession)
    return owner.target if session is None else session.adopt(owner.target)


def acts_as_user(target: object) -> bool:
    """Check whether an object that holds a client was decorated to act with the user's client instead."""
    specs = [inner_spec_of(method) for method in methods_of(target).values()]
    return any(
        spec.injection is not None and spec.owner is not None and spec.owner.copy_for is not None
        for spec in specs
        if spec is not None
    )


def _name_of(fn: Any) -> str:
    return str(getattr(fn, "__name__", None) or getattr(plain(fn), "__name__", type(fn).__name__))


def _wrapped(spec: ToolSpec, previous: Any, below: ToolSpec | None) -> Any:
    injection, fallback = spec.injection, spec.fallback
    retry = fallback.retry if fallback is not None else None
    wrapper = bound(spec.fn, functools.partial(_ToolRun, spec), retrying(spec.fn, retry) if retry is not None else None)
    # Copy from the wrapper below, not from the author's function: its name or docstring may have been set since.
    source = plain(previous) if isinstance(previous, functools.partial) else previous
    functools.update_wrapper(wrapper, source)
    if spec.label is not None:
        wrapper.__name__ = spec.label
    wrapper.__dict__.update({"__wrapped__": spec.fn, SPEC_ATTRIBUTE: spec})
    spec.wrappers.append(wrapper)
    hidden = injection.names if injection is not None else _NOTHING_HIDDEN
    reading = spec.reading
    if reading is None or reading.fn is not spec.fn or reading.hidden != hidden:
        reading = read(spec.fn).without(hidden)
        object.__setattr__(spec, "reading", reading)  # the spec is new: nobody else has it yet
    public: Any = wrapper
    # Evaluated, because frameworks would evaluate text in this module's globals.
    public.__annotations__ = dict(reading.hints)
    public.__signature__ = reading.signature
    if injection is not None and source.__doc__ and (below is None or below.injection is not injection):
        public.__doc__ = injection.without_entries(source.__doc__)
    return wrapper


_NOTHING_HIDDEN: frozenset[str] = frozenset()


class _Call(ToolCall):
    """A tool's call that knows its spec."""

    __slots__ = ("spec",)
    spec: ToolSpec


def _call_of(spec: ToolSpec, outer: ToolCall | None) -> ToolCall:
    if type(outer) is _Call and (outer.spec.below is spec or _of_same_object(outer.spec, spec)):
        return outer  # the same tool, below a foreign decorator
    call = _Call(spec.called, spec.requirements, outer)
    call.spec = spec
    return call


def _of_same_object(spec: ToolSpec, other: ToolSpec) -> bool:
    return spec.owner is not None and other.owner is not None and spec.owner.target is other.owner.target


class _ToolRun(Run):
    __slots__ = ("_args", "_call", "_left", "_owned", "_session", "_spec", "_watch")

    def __init__(self, spec: ToolSpec) -> None:
        self.frame = None
        self._spec = spec
        self._session: UserSession | None = None
        self._owned = False
        self._call: ToolCall | None = None
        self._watch: Watch | None = None
        self._left = False  # whether the denial was left to the run around it

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        self._args = args
        spec = self._spec
        frame = FRAME.get()
        outer = frame.call if frame is not None else None
        call = self._call = _call_of(spec, outer)
        if call is not outer:
            self._watch = call.observer = watch(call)
        else:
            self._left = outer is not None and _of_same_object(cast("_Call", outer).spec, spec)
        injection, requirements = spec.injection, spec.requirements
        if injection is None and requirements is None:
            self._session = frame.session_as(UserSession) if frame is not None else None
            self.frame = Frame(self._session, call)
            return args, kwargs
        if injection is not None and kwargs:
            injection.refuse_supplied(call.tool, kwargs)
        lasting = spec.owner is not None and injection is not None and spec.owner.needs_session
        session, self._owned = session_for_tool(call.tool, opens=not lasting)
        if self._owned:
            session._ends_with_call = True
        self._session = session
        self.frame = Frame(session, call)
        if INTERRUPTED:
            check_resumed(call.tool, session)
        if requirements is not None:
            requirements.check(call.tool, session.identity)
        if injection is not None:
            return injection.place(session, call, args, kwargs)
        return args, kwargs

    def recover(self, error: BaseException) -> Any:
        if self._left or getattr(error, _ANSWER, None) == id(self._call):
            return RERAISE
        denial = explain_in(error, self._call, self._session)
        self._record(denial, error)
        keep_denial(error, denial, self._call.noted if self._call is not None else None)
        fallback = self._spec.fallback
        if denial is not None and fallback is not None:
            if denial.reason in fallback.on:
                return self._answer(denial, fallback)
            fallback.leave(denial, self._session)
        if denial is None and self._call is not None:
            note_interrupt(error, self._call.tool, self._session)
            tell_what_was_tried(self._call, error)
        return RERAISE

    def interrupted(self, error: BaseException) -> None:
        if not isinstance(error, GeneratorExit):  # closing a stream early is not a refusal
            self._record(None, error)

    def inspect(self, value: Any) -> Any:
        if type(value) is not str and self._spec.injection is not None and self._session is not None:
            self._session.adopt(value)
        fallback = self._spec.fallback
        if fallback is None or self._left:
            return value
        if isinstance(value, BaseException):  # it was returned, not raised
            return value
        denial = explain_in(value, self._call, self._session)
        if denial is None:
            return value
        self._record(denial, None)
        if denial.reason in fallback.on:
            return self._answer(denial, fallback)
        fallback.leave(denial, self._session)
        return value

    def _answer(self, denial: Denial, fallback: Fallback) -> Any:
        try:
            value = fallback.instead_of(denial, self._session)
            if self._spec.shape is not None:
                return self._spec.shape(value)
            return answer_framework(value, self._spec.fn, self._args, self._is_called, denial.error)
        except Exception as answer:
            setattr(answer, _ANSWER, id(self._call))  # so that it is not explained again on its way out
            raise

    def _is_called(self, thing: Any) -> bool:
        spec = inner_spec_of(thing)
        while spec is not None and spec is not self._spec:
            spec = spec.below
        return spec is not None

    def _record(self, denial: Denial | None, error: BaseException | None) -> None:
        if self._watch is not None:
            self._watch.denial, self._watch.error = denial, error

    def end(self) -> None:
        if self._watch is not None:
            self._watch.end()
        if self._owned and self._session is not None:
            self._session.close()
