"""`with_user_client`: gives the code the user's client, and hides it from whoever reads the signature (rules 12 and 13)."""

from __future__ import annotations

import ast
import inspect
import re
import threading
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload

from obo_kit.session._entry import session_for_tool
from obo_kit.tools._adapters import through_twin
from obo_kit.tools._wrapper import amend, evaluated, function_below

if TYPE_CHECKING:
    from typing import Protocol

    from databricks.sdk import WorkspaceClient

    from obo_kit.session._entry import UserSession
    from obo_kit.tools._adapters import Decorated
    from obo_kit.tools._wrapper import ToolSpec

    # By shape: these clients come without types, so that naming their classes would tell a type checker nothing.
    class _SearchClient(Protocol):
        def get_index(self, *args: Any, **kwargs: Any) -> Any: ...

    class _OpenAIClient(Protocol):
        @property
        def chat(self) -> Any: ...
        @property
        def responses(self) -> Any: ...


__all__ = ["INJECTED", "with_user_client"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
C = TypeVar("C", bound="WorkspaceClient | UserSession | _SearchClient | _OpenAIClient")
F = TypeVar("F", bound="Decorated")

# Recognised by name: importing the classes would cost seconds, and an annotation may be a string that cannot be evaluated.
_KNOWN = frozenset(
    {
        "WorkspaceClient",
        "VectorSearchClient",
        "AISearchClient",
        "DatabricksOpenAI",
        "AsyncDatabricksOpenAI",
        "UserSession",
    }
)


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
"""A default for a client that does not come first, so that type checkers let callers leave it out::

    @with_user_client
    def ask_sales(question: str, *, client: WorkspaceClient = INJECTED) -> str: ...
"""
_DEFAULT_PARAMETER = "client"
_DEFAULT_TYPE = "WorkspaceClient"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Slot:
    name: str
    client_type: str
    index: int | None  # among the positional parameters; None for a keyword-only one
    defaults: tuple[Any, ...] = ()  # of the parameters before it, where it cannot be passed by name


@dataclass(frozen=True, kw_only=True, slots=True)
class Injection:
    """The parameters of a tool that the kit fills."""

    slots: tuple[_Slot, ...]
    names: frozenset[str]

    def refuse_supplied(self, tool: str, kwargs: dict[str, Any]) -> None:
        """A value for an injected parameter never comes from the caller: the caller may be a model.

        Raises:
            TypeError: One was supplied.
        """
        for name in self.names:
            if name in kwargs:
                raise TypeError(f"{tool}() takes no argument '{name}': it is the user's client, which obo_kit provides")

    def place(
        self, session: UserSession, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put the clients where the function expects them, however the others were passed."""
        for slot in self.slots:
            client = session.get_named(slot.client_type)
            unsaid = slot.defaults[len(args) :]
            if unsaid and inspect.Parameter.empty not in unsaid:
                args = (*args, *unsaid)
            if slot.index is not None and slot.index <= len(args):
                args = (*args[: slot.index], client, *args[slot.index :])
            else:
                kwargs = {**kwargs, slot.name: client}
        return args, kwargs

    def without_entries(self, doc: str | None) -> str | None:
        """A docstring without the entries of the injected parameters: frameworks send it to the model."""
        for name in self.names:
            doc = _without_entry(doc, name) if doc else doc
        return doc


_NO_PARAMETER = Injection(slots=(), names=frozenset())


def client_type_of(annotation: Any, fn: Any) -> str | None:
    """The name of the client type that an annotation asks for, if it does."""
    if isinstance(annotation, str):
        found = evaluated(annotation, fn)
        return _type_in_text(annotation) if isinstance(found, str) else client_type_of(found, fn)
    if isinstance(annotation, typing.ForwardRef):
        return _type_in_text(annotation.__forward_arg__)
    if type(annotation).__name__ == "TypeAliasType":
        return client_type_of(annotation.__value__, fn)
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        root = annotation.__module__.split(".")[0]
        return (
            annotation.__name__
            if annotation.__name__ in _KNOWN and root.startswith(("databricks", "obo_kit"))
            else None
        )
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        arguments = typing.get_args(annotation)[: 1 if origin is typing.Annotated else None]
        return next((found for part in arguments if (found := client_type_of(part, fn))), None)
    return None


def _type_in_text(text: str) -> str | None:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return None
    return _type_in_tree(tree)


def _type_in_tree(tree: ast.expr) -> str | None:
    if isinstance(tree, ast.Name):
        return tree.id if tree.id in _KNOWN else None
    if isinstance(tree, ast.Attribute):
        return tree.attr if tree.attr in _KNOWN else None
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return _type_in_text(tree.value)
    if isinstance(tree, ast.BinOp):
        return _type_in_tree(tree.left) or _type_in_tree(tree.right)
    if isinstance(tree, ast.Subscript) and isinstance(tree.value, (ast.Name, ast.Attribute)):
        outer = tree.value.id if isinstance(tree.value, ast.Name) else tree.value.attr
        parts = tree.slice.elts if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        if outer in ("Optional", "Union"):
            return next((found for part in parts if (found := _type_in_tree(part))), None)
        if outer == "Annotated":
            return _type_in_tree(parts[0])
    return None


def injection_of(fn: Callable[..., Any], param: str | None) -> Injection:
    """Find the parameters to fill.

    Raises:
        TypeError: There are none, or one of them cannot be filled.
    """
    name = getattr(fn, "__name__", repr(fn))
    parameters = inspect.signature(fn).parameters
    wanted: dict[str, str] = {}
    for key, parameter in parameters.items():
        if parameter.annotation is not parameter.empty and (found := client_type_of(parameter.annotation, fn)):
            wanted[key] = found
    if param is not None:
        if param not in parameters:
            raise TypeError(f"with_user_client(param={param!r}): {name}() has no such parameter")
        wanted.setdefault(param, _DEFAULT_TYPE)
    elif not wanted:
        by_name = parameters.get(_DEFAULT_PARAMETER)
        if by_name is None:
            raise TypeError(
                f"@with_user_client found no client parameter in {name}(): annotate one with a client type "
                f"({', '.join(sorted(_KNOWN))}), name it 'client', or say which with param=…"
            )
        if evaluated(by_name.annotation, fn) not in (by_name.empty, Any, object):
            raise TypeError(
                f"@with_user_client does not know the type of the parameter 'client' of {name}(): annotate it with "
                f"{_DEFAULT_TYPE}, or say which parameter is meant with param=…"
            )
        wanted[_DEFAULT_PARAMETER] = _DEFAULT_TYPE
    slots: list[_Slot] = []
    for index, (key, parameter) in enumerate(parameters.items()):
        if key not in wanted:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"@with_user_client cannot fill the parameter {parameter} of {name}()")
        positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        before = list(parameters.values())[:index] if parameter.kind is parameter.POSITIONAL_ONLY else ()
        slots.append(
            _Slot(
                name=key,
                client_type=wanted[key],
                index=index if positional else None,
                defaults=tuple(earlier.default for earlier in before),
            )
        )
    return Injection(slots=tuple(slots), names=frozenset(wanted))


_SECTION = re.compile(r"(Args|Arguments|Params|Parameters|Keyword Args|Keyword Arguments|Other Parameters)\s*:?")
_UNDERLINE = re.compile(r"-{3,}|={3,}")


def _without_entry(doc: str, name: str) -> str:
    """Drop a parameter's entry (Google, NumPy or Sphinx style), and the head of its section where nothing else is in it."""
    lines = doc.split("\n")
    word = re.escape(name)
    google = re.compile(rf"\*{{0,2}}`*{word}`*\s*(\(.*\))?\s*:(\s|$)")
    numpy = re.compile(rf"\*{{0,2}}`*{word}`*\s*(:(\s.*)?)?$")
    sphinx = re.compile(rf":(param|parameter|arg|argument|key|keyword|type)\s+([^:]*\s)?{word}\s*:")
    dropped: set[int] = set()
    for number, line in enumerate(lines):
        if sphinx.match(line.strip()):
            dropped.update(range(number, _end_of_entry(lines, number)))
        if not _SECTION.fullmatch(line.strip()):
            continue
        underlined = number + 1 < len(lines) and bool(_UNDERLINE.fullmatch(lines[number + 1].strip()))
        if not underlined and not line.strip().endswith(":"):
            continue
        body = number + 1 + underlined
        end = _end_of_section(lines, number, body, underlined)
        entries = [
            at for at in range(body, end) if lines[at].strip() and _indent(lines[at]) == _indent_of_first(lines, body)
        ]
        found = [at for at in entries if (numpy if underlined else google).match(lines[at].strip())]
        for at in found:
            dropped.update(range(at, min(end, _end_of_entry(lines, at))))
        if found and not any(lines[at].strip() for at in range(body, end) if at not in dropped):
            dropped.update(range(number, end))
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _indent_of_first(lines: list[str], start: int) -> int:
    return next((_indent(line) for line in lines[start:] if line.strip()), 0)


def _end_of_section(lines: list[str], head: int, body: int, underlined: bool) -> int:
    """Where a section's entries end: NumPy's at the next underlined head, Google's where the indent is back."""
    for at in range(body, len(lines)):
        if not lines[at].strip():
            continue
        if underlined:
            if at + 1 < len(lines) and _UNDERLINE.fullmatch(lines[at + 1].strip()):
                return at
            if _indent(lines[at]) < _indent(lines[head]):
                return at
        elif _indent(lines[at]) <= _indent(lines[head]):
            return at
    return len(lines)


def _end_of_entry(lines: list[str], start: int) -> int:
    """Where an entry's own lines end: those that are indented further, and the empty ones between them."""
    end = start + 1
    for at in range(start + 1, len(lines)):
        if lines[at].strip():
            if _indent(lines[at]) <= _indent(lines[start]):
                break
            end = at + 1
    return end


class ClientScope:
    """What ``with_user_client()`` returns: a decorator, and a context manager (sync and async)."""

    __slots__ = ("_entered", "_free", "_param")

    def __init__(self, param: str | None) -> None:
        self._param = param
        self._free = threading.Lock()
        self._entered: tuple[UserSession, bool] | None = None

    def __enter__(self) -> WorkspaceClient:
        if self._param is not None:
            raise TypeError("with_user_client(param=…) is a decorator; the context manager takes no param")
        if not self._free.acquire(blocking=False):
            # Two requests that share one would end each other's session.
            raise RuntimeError("this block is in use: write `with with_user_client() as client:` where it is needed")
        try:
            self._entered = session_for_tool("with_user_client block")
            return self._entered[0].client
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *exc_info: object) -> None:
        entered, self._entered = self._entered, None
        self._free.release()
        if entered is not None and entered[1]:
            entered[0].close()

    async def __aenter__(self) -> WorkspaceClient:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__(*exc_info)

    @overload
    def __call__(self, target: Callable[Concatenate[C, P], R], /) -> Callable[P, R]: ...
    @overload
    def __call__(self, target: Callable[Concatenate[S, C, P], R], /) -> Callable[Concatenate[S, P], R]: ...
    @overload
    def __call__(self, target: F, /) -> F: ...
    def __call__(self, target: Any, /) -> Any:
        """Decorate a function, or a tool object."""

        def change(spec: ToolSpec) -> ToolSpec:
            if spec.injection is not None:
                raise TypeError(f"@with_user_client stands twice on {spec.name}()")
            if spec.held is not None and spec.held.twin is not None:
                if self._param is not None:
                    raise TypeError(
                        f"with_user_client(param=…): the tool '{spec.name}' has a client, and no parameter for one"
                    )
                return replace(spec, fn=through_twin(spec.fn, spec.held.twin), injection=_NO_PARAMETER)
            return replace(spec, injection=injection_of(function_below(spec.fn, "with_user_client"), self._param))

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

    As decorator it fills every parameter annotated with a client type it knows (``WorkspaceClient``,
    ``VectorSearchClient`` or ``AISearchClient``, ``DatabricksOpenAI``, ``AsyncDatabricksOpenAI``, ``UserSession``), else
    the parameter named ``client``, and removes them from the signature, the annotations and the docstring: no schema made
    of the function shows them, and a value supplied for one is refused. Put the client first, which is what type checkers
    can express. As context manager: ``with with_user_client() as client:``.

    A tool object that holds a client itself is decorated in its place: the retriever tools of ``databricks_langchain`` and
    ``databricks_openai``, ``McpServerToolkit``, ``DatabricksMultiServerMCPClient``, ``McpServer``. In each session one with
    the user's client stands for it, as it is at the session's first call; its own client is not used for a call any more.

    The client lives as long as the session, and is the same for every tool of a request. Outside of any session each call
    has a session of its own, unless the process declares an entry point with ``@user_session`` (rule 7).

    Args:
        target: The function or tool object, where it is used without arguments.
        param: The parameter to fill, where neither its annotation nor its name says so.

    Raises:
        TypeError: At decoration: there is nothing to fill, or the target is no function and holds no client. At the call: the
            caller supplied a value for the client.
        NoUserIdentityError: At the call: there is no user to act for.
        NoUserSessionError: At the call: outside of any session, where an entry point is declared.
    """
    scope = ClientScope(param)
    return scope if target is None else scope(cast("Any", target))
