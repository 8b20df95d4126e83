"""One wrapper per tool, whatever the order of the decorators (rules 12 and 13).

Each decorator adds its part to the tool's `ToolSpec`, and the wrapper is built anew over the author's own function. What
then happens in a call is written once, in `_ToolRun`: fallback outermost, then the requirement, then the client.
"""

from __future__ import annotations

import functools
import inspect
import typing
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from obo_kit.context._calls import ToolCall
from obo_kit.context._frame import FRAME, Frame, open_session
from obo_kit.context._wrapping import RERAISE, Run, bound
from obo_kit.denials import explain_in
from obo_kit.instrumentation._events import watch
from obo_kit.session._entry import UserSession, session_for_tool
from obo_kit.tools._adapters import ToolObject, decorate_later, held, methods_of
from obo_kit.tools._frameworks import handed_up, refuse_registered
from obo_kit.tools._retry import retrying, tell_what_was_tried

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.exceptions import Denial
    from obo_kit.instrumentation._events import Watch
    from obo_kit.tools._optional import Fallback
    from obo_kit.tools._requires import Requirements
    from obo_kit.tools._with_client import Injection

__all__: list[str] = []

_ATTRIBUTE = "__obo_tool__"
_ANSWER = "__obo_answer__"


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """What the kit knows of a tool."""

    fn: Callable[..., Any]
    name: str
    injection: Injection | None = None
    requirements: Requirements | None = None
    fallback: Fallback | None = None
    below: ToolSpec | None = None  # the same tool's spec, where a foreign decorator stands between the kit's
    held: ToolObject | None = None  # what it is a function of, where a framework's object was decorated
    says: Callable[[Any], Any] | None = None  # what the framework makes of an answer in place of a denial
    wrappers: list[Any] = field(default_factory=list)


def spec_of(target: object) -> ToolSpec | None:
    """The spec of a tool; `None` for a function that the kit did not wrap itself.

    A foreign wrapper copies the attributes of what it wraps, this one among them.
    """
    spec = getattr(target, _ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) and spec.wrappers[0] is target else None


def inner_spec_of(target: object) -> ToolSpec | None:
    """The spec of a tool, also below foreign wrappers that keep the attributes of what they wrap."""
    spec = getattr(target, _ATTRIBUTE, None)
    return spec if isinstance(spec, ToolSpec) else None


def function_below(target: Any, decorator: str) -> Callable[..., Any]:
    """The author's own function below the kit's decorators.

    Raises:
        TypeError: The target is no function.
    """
    spec = spec_of(target)
    if spec is not None:
        return spec.fn
    if isinstance(target, type) or not (inspect.isroutine(target) or isinstance(target, functools.partial)):
        raise TypeError(
            f"@{decorator} goes on a function or a method, not on {_described(target)}; put it below the decorator that "
            "makes a tool object of the function"
        )
    return typing.cast("Callable[..., Any]", target)


def _described(target: Any) -> str:
    return f"the class {target.__name__}" if isinstance(target, type) else f"a {type(target).__name__}"


def amend(target: Any, decorator: str, change: Callable[[ToolSpec], ToolSpec]) -> Any:
    """Add one decorator's part to a tool, and wrap it anew."""
    if isinstance(target, (staticmethod, classmethod)):
        return type(target)(amend(target.__func__, decorator, change))
    found = held(target)
    return (
        _amend_object(found, decorator, change) if found is not None else _wrapped(*_amended(target, decorator, change))
    )


def _amended(target: Any, decorator: str, change: Callable[[ToolSpec], ToolSpec], **known: Any) -> tuple[ToolSpec, Any]:
    fn = function_below(target, decorator)
    refuse_registered(target, decorator)
    below = inner_spec_of(target)
    if below is None:
        spec = ToolSpec(fn=fn, name=_name_of(fn))
    elif below.wrappers[0] is target:
        spec = replace(below, name=_name_of(target))
    else:
        # What is declared below a foreign decorator holds above it too.
        spec = replace(below, fn=fn, name=_name_of(fn), injection=None, below=below)
    return replace(change(replace(spec, **known)), wrappers=[]), target


def _amend_object(found: ToolObject, decorator: str, change: Callable[[ToolSpec], ToolSpec]) -> Any:
    """Decorate a framework's object in its place: every function that the framework calls on it (rule 14)."""
    gives_client = decorator == "with_user_client"
    if gives_client and not found.takes_clients and found.twin is None:
        raise TypeError(
            f"@with_user_client cannot give a client to '{found.name}', {_described(found.target)}: {found.instead}"
        )
    # All of them are looked at before any is put in place: an object is never left half decorated.
    amended = [
        _amended(entry.fn, decorator, change, name=found.name, held=found, says=entry.says) for entry in found.entries
    ]
    for item in found.items:
        amend(item, decorator, change)
    for entry, (spec, previous) in zip(found.entries, amended, strict=True):
        entry.put(_wrapped(spec, previous))
        found.settle(spec)
    if found.makes_tools and not gives_client:  # what it makes has the client of what made it
        decorate_later(found.target, lambda item: amend(item, decorator, change))
    session = open_session(UserSession)
    return found.target if session is None else session.adopt(found.target)


def acts_as_user(target: object) -> bool:
    """Whether an object that holds a client was decorated to act with the user's in its place."""
    specs = [inner_spec_of(one) for one in methods_of(target).values()]
    return any(
        spec.injection is not None and spec.held is not None and spec.held.twin is not None
        for spec in specs
        if spec is not None
    )


def _plain(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _name_of(fn: Any) -> str:
    return str(getattr(_plain(fn), "__name__", type(fn).__name__))


def _wrapped(spec: ToolSpec, previous: Any) -> Any:
    retry = spec.fallback.retry if spec.fallback is not None else None
    wrapper = bound(spec.fn, functools.partial(_ToolRun, spec), retrying(spec.fn, retry) if retry is not None else None)
    # From the wrapper below and not from the author's function: its name or docstring may have been set since.
    source = _plain(previous)
    functools.update_wrapper(wrapper, source)
    wrapper.__dict__["__wrapped__"] = spec.fn
    hidden = spec.injection.names if spec.injection is not None else frozenset[str]()
    # Evaluated, because frameworks evaluate what is left as text in this module's globals.
    hints = evaluated_hints(spec.fn, hidden)
    signature = inspect.signature(spec.fn)
    public: Any = wrapper
    public.__annotations__ = hints
    public.__signature__ = signature.replace(
        parameters=[
            parameter.replace(annotation=hints.get(name, parameter.annotation))
            for name, parameter in signature.parameters.items()
            if name not in hidden
        ],
        return_annotation=hints.get("return", signature.return_annotation),
    )
    if spec.injection is not None:
        public.__doc__ = spec.injection.without_entries(source.__doc__)
    setattr(wrapper, _ATTRIBUTE, spec)
    spec.wrappers.append(wrapper)
    return wrapper


def evaluated_hints(fn: Any, hidden: frozenset[str]) -> dict[str, Any]:
    """Annotations, evaluated name by name; one that cannot be stays as it is, and fails where it would have anyway."""
    fn = _plain(fn)
    hints: dict[str, Any] = {}
    for name, annotation in getattr(fn, "__annotations__", {}).items():
        if name in hidden:
            continue
        hints[name] = evaluated(annotation, fn)
    return hints


def evaluated(annotation: Any, fn: Any) -> Any:
    """One annotation of a function, evaluated where that is possible."""
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    try:
        closure = inspect.getclosurevars(fn).nonlocals if inspect.isfunction(fn) else {}
        return typing.get_type_hints(holder, getattr(fn, "__globals__", {}), dict(closure), include_extras=True)["it"]
    except Exception:
        return annotation


class _Call(ToolCall):
    """A tool's call, which knows the spec that it is for."""

    __slots__ = ("spec",)

    def __init__(self, spec: ToolSpec, outer: ToolCall | None) -> None:
        super().__init__(spec.name, spec.requirements, outer)
        self.spec = spec


def _call_of(spec: ToolSpec, outer: ToolCall | None) -> ToolCall:
    if isinstance(outer, _Call) and (outer.spec.below is spec or _of_one_object(outer.spec, spec)):
        return outer  # the same tool, below a foreign decorator
    return _Call(spec, outer)


def _of_one_object(one: ToolSpec, other: ToolSpec) -> bool:
    return one.held is not None and other.held is not None and one.held.target is other.held.target


class _ToolRun(Run):
    __slots__ = ("_call", "_left", "_owned", "_session", "_spec", "_watch")

    def __init__(self, spec: ToolSpec) -> None:
        self.frame = None
        self._spec = spec
        self._session: UserSession | None = None
        self._owned = False
        self._call: ToolCall | None = None
        self._watch: Watch | None = None
        self._left = False  # to the run around it

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        spec = self._spec
        frame = FRAME.get()
        outer = frame.call if frame is not None else None
        call = self._call = _call_of(spec, outer)
        if call is not outer:
            self._watch = call.observer = watch(call)
        else:
            self._left = outer is not None and _of_one_object(cast("_Call", outer).spec, spec)
        injection, requirements = spec.injection, spec.requirements
        if injection is None and requirements is None:
            self._session = frame.session_as(UserSession) if frame is not None else None
            self.frame = Frame(self._session, call)
            return args, kwargs
        if injection is not None:
            injection.refuse_supplied(spec.name, kwargs)
        lasting = spec.injection is not None and spec.held is not None and spec.held.needs_session
        session, self._owned = session_for_tool(spec.name, opens=not lasting)
        self._session = session
        self.frame = Frame(session, call)
        if requirements is not None:
            requirements.check(spec.name, session.identity)
        if injection is not None:
            return injection.place(session, args, kwargs)
        return args, kwargs

    def recover(self, error: BaseException) -> Any:
        if self._left or getattr(error, _ANSWER, None) == id(self._call):
            return RERAISE
        denial = explain_in(error, self._call, self._session)
        self._note(denial, error)
        fallback = self._spec.fallback
        if denial is not None and fallback is not None and denial.reason in fallback.on:
            return self._answer(denial, fallback)
        if denial is None and self._call is not None:
            tell_what_was_tried(self._call, error)
        return RERAISE

    def interrupted(self, error: BaseException) -> None:
        if not isinstance(error, GeneratorExit):  # who has had enough of a stream was not refused
            self._note(None, error)

    def inspect(self, value: Any) -> Any:
        if self._spec.injection is not None and self._session is not None:
            self._session.adopt(value)
        fallback = self._spec.fallback
        if fallback is None or self._left:
            return value
        if isinstance(value, BaseException):  # it was returned, and not raised
            return value
        denial = explain_in(value, self._call, self._session)
        if denial is None:
            return value
        self._note(denial, None)
        return self._answer(denial, fallback) if denial.reason in fallback.on else value

    def _answer(self, denial: Denial, fallback: Fallback) -> Any:
        try:
            value = fallback.instead_of(denial, self._session)
            if self._spec.says is not None:
                return self._spec.says(value)
            return handed_up(value, self._spec.fn, self._is_called, denial.error)
        except Exception as answer:
            setattr(answer, _ANSWER, id(self._call))  # not to be explained again on its way out
            raise

    def _is_called(self, thing: Any) -> bool:
        spec = inner_spec_of(thing)
        while spec is not None and spec is not self._spec:
            spec = spec.below
        return spec is not None

    def _note(self, denial: Denial | None, error: BaseException | None) -> None:
        if self._watch is not None:
            self._watch.denial, self._watch.error = denial, error

    def end(self) -> None:
        if self._watch is not None:
            self._watch.end()
        if self._owned and self._session is not None:
            self._session.close()
