"""Find out about an agent's functions: when they run, which requests they send for the user, and what they declare."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from obo_kit.analysis.check._functions import Facts
from obo_kit.analysis.check._holding import Reader
from obo_kit.analysis.check._names import Module
from obo_kit.analysis.check._requests import Use, requests_of, use_of
from obo_kit.analysis.check._scopes import FUNCTIONS, Function, walk
from obo_kit.analysis.check._trail import Trail
from obo_kit.analysis.check._vocabulary import (
    Value,
    kit_name,
    last,
    opens_session,
)
from obo_kit.scopes._lookup import KINDS
from obo_kit.tools._spec import Requirement, Requirements

if TYPE_CHECKING:
    from obo_kit.scopes._model import ResourceKind

__all__ = ["Agent", "Declared", "held_by"]

# Classes of which a server keeps one object: MLflow's agents, and a middleware.
_AGENT_BASES: Final = frozenset({"BaseHTTPMiddleware", "ChatAgent", "ChatModel", "PythonModel", "ResponsesAgent"})
_ENTRIES: Final = frozenset({"predict", "predict_stream"})
_BEGINNINGS: Final = ("__new__", "__init__", "__post_init__", "load_context")
_AT_START: Final = ("lifespan", "on_startup")
_CLASSES: Final = {name: kind for kind in KINDS.values() for name in kind.mlflow_classes}


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """One argument of ``requires_scopes`` or ``system_resources``.

    Attributes:
        node: The place of the declaration.
        title: Its name for people.
        requirement: The requirement; ``None`` if the source does not tell.
        same_as: Equal for declarations of the same resource; ``None`` for a scope, or if the source does not tell the name.
    """

    node: ast.expr
    title: str
    requirement: Requirement | None
    same_as: tuple[str, object] | None = None


class Agent:
    """One file to check, and the helper modules that it uses."""

    def __init__(self, module: Module, reader: Reader) -> None:
        self.module = module
        self.reader = reader
        reader.take(module)
        self._uses: dict[Function, tuple[list[Use], bool]] = {}
        self._early: dict[Function, str] = {}

    @cached_property
    def helpers(self) -> list[Module]:
        """Return the modules in and below the file's folder that it imports, and those that they import."""
        folder = self.module.path.parent
        helpers: dict[Module, None] = {}
        pending = [self.module]
        while pending:
            module = pending.pop()
            for dotted in module.imports:
                helper = self.module.project.followed(module, dotted)
                if helper is not None and helper not in helpers and folder in helper.path.parents:
                    helpers[helper] = None
                    pending.append(helper)
        helpers.pop(self.module, None)
        return list(helpers)

    @cached_property
    def _declaring(self) -> list[Module]:
        """Return the modules of the agent that may declare something."""
        words = ("requires_scopes", "system_resources")
        return [helper for helper in (self.module, *self.helpers) if any(word in helper.text for word in words)]

    def around(self, node: ast.AST) -> Facts | None:
        """Return the tool that a node is a part of."""
        for function in self.module.functions_around(node):
            facts = self.reader.facts(self.module, function)
            if facts.is_tool or facts.is_factory:
                return facts
        return None

    def beside(self, path: str) -> Module | None:
        """Return the module of a file whose path is relative to this one."""
        return self.module.project.named(self.module, path)

    # ------------------------------------------------------------ when things run

    def guarded(self, node: ast.AST) -> bool:
        """Return whether a node runs only in a script, only for a type checker, or for a named user."""
        for above in self.module.ancestors(node):
            if isinstance(above, ast.If) and any(
                isinstance(inner, ast.Name) and inner.id in ("__name__", "TYPE_CHECKING")
                for inner in ast.walk(above.test)
            ):
                return True
            if opens_session(self.module, above):
                return True
        return False

    def in_script(self, node: ast.AST) -> bool:
        """Return whether a node runs only in a script."""
        return any(
            isinstance(above, ast.If)
            and "__name__" in {inner.id for inner in ast.walk(above.test) if isinstance(inner, ast.Name)}
            for above in self.module.ancestors(node)
        )

    @cached_property
    def _is_page(self) -> bool:
        """Return whether the file runs anew for each request, as with Streamlit."""
        return any(dotted.partition(".")[0] == "streamlit" for dotted in self.module.imports)

    @cached_property
    def early(self) -> dict[ast.Call, str]:
        """Return the calls that run before any request, and when: at import, or when a long-lived object is made."""
        calls: dict[ast.Call, str] = {}
        pending: list[tuple[ast.Call, str]] = []
        if not self._is_page:
            pending = [
                (call, "while the module is imported")
                for call in self.module.calls
                if self.module.function_of(call) is None and not self.guarded(call)
            ]
        for function in self._at_start():
            pending += self._within(function, "while the application starts")
        self._follow(pending, calls)
        for cls in self.module.classes:
            if self.lives_long(cls, calls):
                self._begin(cls, calls)
        return calls

    def _at_start(self) -> Iterator[Function]:
        """Yield what a server runs when it starts: ``lifespan=``, ``on_startup=``, ``@app.on_event("startup")``."""
        handed = [keyword.value for call in self.module.calls for keyword in call.keywords if keyword.arg in _AT_START]
        for node in handed:
            for part in node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]:
                called = self.reader.called(self.module, part)
                if called is not None and called[0] is self.module:
                    yield called[1]
        for function in self.module.functions:
            for decorator in [] if isinstance(function, ast.Lambda) else function.decorator_list:
                match decorator:
                    case ast.Call(func=ast.Attribute(attr="on_event"), args=[ast.Constant(value="startup")]):
                        yield function
                    case _:
                        pass

    def _follow(self, pending: list[tuple[ast.Call, str]], calls: dict[ast.Call, str]) -> None:
        while pending:
            call, when = pending.pop()
            if call in calls:
                continue
            calls[call] = when
            if any(value.who == "user" for value in self.reader.values(self.module, call)):
                continue  # the call itself is reported
            origin = self.module.origin(call.func)
            if isinstance(origin, tuple) and origin[0] is self.module and isinstance(origin[1], ast.ClassDef):
                self._begin(origin[1], calls)
            called = self.reader.called(self.module, call.func)
            if called is not None and called[0] is self.module and self._plain(called[1]):
                pending += self._within(called[1], when)

    def _begin(self, cls: ast.ClassDef, calls: dict[ast.Call, str]) -> None:
        for name in _BEGINNINGS:
            for binding in self.module.body[cls].names.get(name, []):
                if isinstance(binding.value, FUNCTIONS) and self._plain(binding.value):
                    self._follow(self._within(binding.value, f"in {cls.name}.{name}"), calls)

    def _plain(self, function: Function) -> bool:
        facts = self.reader.facts(self.module, function)
        return not facts.is_tool and "user_session" not in facts.kit

    def _within(self, function: Function, when: str) -> list[tuple[ast.Call, str]]:
        if function in self._early:
            return []
        self._early[function] = when
        inside = walk(function, into_functions=False)
        return [(item, when) for item in inside if isinstance(item, ast.Call) and not self.guarded(item)]

    def early_in(self, function: Function) -> bool:
        """Return whether a function runs before any request."""
        return bool(self.early) and function in self._early

    def lives_long(self, cls: ast.ClassDef, early: Mapping[ast.Call, str] | None = None) -> bool:
        """Return whether objects of a class outlive a request, as far as the source tells: not if only requests make them."""
        if self.is_agent(cls):
            return True
        early = self.early if early is None else early
        return any(call in early for call in self._made.get(cls, []))

    @cached_property
    def _made(self) -> dict[ast.AST, list[ast.Call]]:
        """Return the calls that make objects of the file's classes."""
        made: dict[ast.AST, list[ast.Call]] = {}
        for call in self.module.calls:
            origin = self.module.origin(call.func)
            if isinstance(origin, tuple) and isinstance(origin[1], ast.ClassDef):
                made.setdefault(origin[1], []).append(call)
        return made

    def is_agent(self, cls: ast.ClassDef) -> bool:
        """Return whether MLflow serves a class, or the class marks itself where its requests begin."""
        methods = [
            statement for statement in cls.body if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]
        return (
            any(last(self.module.dotted(base)) in _AGENT_BASES for base in cls.bases)
            or any(kit_name(self.module, _callee(decorator)) == "user_session" for decorator in cls.decorator_list)
            or any(
                method.name in _ENTRIES or "user_session" in self.reader.facts(self.module, method).kit
                for method in methods
            )
        )

    # ------------------------------------------------------------ declarations

    def declared(self, call: ast.Call, module: Module | None = None) -> list[Declared]:
        """Return the declarations of a call of ``requires_scopes`` or ``system_resources``."""
        return [declaration for node in call.args for declaration in self._declared(module or self.module, node, node)]

    def _declared(self, module: Module, node: ast.expr, place: ast.expr) -> Iterator[Declared]:
        text = module.text_of(node)
        origin = module.origin(node.value if isinstance(node, ast.Starred) else node)
        home, value = origin if isinstance(origin, tuple) else (module, node)
        if isinstance(node, ast.Starred) and isinstance(value, (ast.Tuple, ast.List, ast.Set)):
            for element in value.elts:
                yield from self._declared(home, element, place)
        elif text is not None and "{" not in text:
            yield Declared(node=place, title=repr(text), requirement=Requirement(scope=text))
        elif isinstance(value, ast.Call) and (kind := _CLASSES.get(last(home.dotted(value.func)))) is not None:
            yield _resource(home, value, kind, place)
        else:
            yield Declared(node=place, title=ast.unparse(node), requirement=None)

    def of_tool(self, facts: Facts) -> list[Declared]:
        """Return the declarations of a tool, or of the function that it is made in."""
        for function in (facts.function, *facts.module.functions_around(facts.function)):
            calls = self.reader.facts(facts.module, function).requires
            if calls:
                return [declaration for call in calls for declaration in self.declared(call, facts.module)]
        return []

    @cached_property
    def everywhere(self) -> list[Declared]:
        """Return the declarations of all tools of the agent."""
        return [
            declaration
            for module in self._declaring
            for tool in self.reader.tools(module)
            for declaration in self.of_tool(tool)
        ]

    @cached_property
    def system(self) -> list[tuple[Module, ast.Call, Declared]]:
        """Return the agent's declarations for itself."""
        return [
            (module, call, declaration)
            for module in self._declaring
            for call in module.calls
            if kit_name(module, call.func) == "system_resources"
            for declaration in self.declared(call, module)
        ]

    # ------------------------------------------------------------ uses

    def acting(self) -> list[Facts]:
        """Return the functions that act for a user: tools, and functions in which a request begins."""
        functions = [self.reader.facts(self.module, function) for function in self.module.functions]
        return [item for item in functions if item.is_tool or "user_session" in item.kit]

    def reaches_out(self, call: ast.Call) -> bool:
        """Return whether a call that receives a client may send a request. A helper that only keeps the client does not."""
        called = self.reader.called(self.module, call.func)
        if called is None or self.reader.facts(*called).is_tool:
            return True
        trail = Trail(self.reader)
        trail.follow(*called, self.reader.env_of(self.module, call, *called, {}), call)
        return bool(trail.uses)

    def asks_by(self, func: ast.expr) -> bool:
        """Return whether a method of an object may send a request for the user."""
        return self.reaches_out(ast.copy_location(ast.Call(func=func, args=[], keywords=[]), func))

    def uses_through(self, call: ast.Call) -> list[Use]:
        """Return how a helper uses the agent's own client."""
        called = self.reader.called(self.module, call.func)
        if called is None or self.reader.facts(*called).is_tool:
            return []
        trail = Trail(self.reader, "agent")
        trail.follow(*called, self.reader.env_of(self.module, call, *called, {}), call)
        return trail.uses

    def leaves_user_out(self, tool: Facts) -> bool:
        """Return whether a tool never touches the client of the user that it is given."""
        return not any(
            value.who == "user"
            for node in walk(tool.function)
            if isinstance(node, (ast.Call, ast.Name))
            for value in self.reader.values(tool.module, node)
        )

    def use(self, call: ast.Call, value: Value) -> Use:
        """Return what a call of a client's method reaches."""
        return use_of(call, requests_of(self.module, value, call), ".".join(value.path))

    def uses(self, facts: Facts) -> tuple[list[Use], bool]:
        """Return how a function uses the user's client, also through its helpers, and whether these are certainly all uses."""
        if facts.function not in self._uses:
            trail = Trail(self.reader)
            trail.follow(facts.module, facts.function, {}, None)
            self._uses[facts.function] = trail.uses, trail.complete
        return self._uses[facts.function]


def held_by(declared: Iterable[Declared]) -> frozenset[str] | None:
    """Return every spelling of the declarations; ``None`` if the source does not tell them all."""
    items = [item.requirement for item in declared]
    if any(entry is None for entry in items):
        return None
    return Requirements(items=tuple(part for part in items if part is not None)).spellings


def _callee(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _resource(home: Module, made: ast.Call, kind: ResourceKind, place: ast.expr) -> Declared:
    """Return the declaration that ``DatabricksGenieSpace("01f0")`` makes, with its name if the source tells it."""
    class_name = last(home.dotted(made.func))
    named = made.args[0] if made.args else made.keywords[0].value if made.keywords else None
    name = home.text_of(named)
    same: object = name
    if name is None and isinstance(named, ast.Name):
        origin = home.origin(named)
        same = origin[1] if isinstance(origin, tuple) else None
    return Declared(
        node=place,
        title=f"{class_name}({name!r})" if name else class_name,
        requirement=Requirement(resource=SimpleNamespace(name=name or ""), kind=kind),
        same_as=None if same is None else (kind.name, same),
    )
