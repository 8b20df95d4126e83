"""What an agent's functions do: when they run, which requests they send for the user, and what they declare."""

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

_AGENT_BASES: Final = frozenset({"ChatAgent", "ChatModel", "PythonModel", "ResponsesAgent"})
_ENTRIES: Final = frozenset({"predict", "predict_stream"})
_BEGINNINGS: Final = ("__new__", "__init__", "__post_init__", "load_context")
_CLASSES: Final = {name: kind for kind in KINDS.values() for name in kind.mlflow_classes}


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """One argument of ``requires_scopes`` or ``system_resources``.

    Attributes:
        node: Where it is declared.
        title: As people know it.
        requirement: What it stands for; ``None`` where that cannot be seen.
        same_as: Equal for declarations of the same resource; ``None`` for a scope, or where the name cannot be seen.
    """

    node: ast.expr
    title: str
    requirement: Requirement | None
    same_as: tuple[str, object] | None = None


class Agent:
    """One file to check, and the helper modules it uses."""

    def __init__(self, module: Module, reader: Reader) -> None:
        self.module = module
        self.reader = reader
        reader.take(module)
        self._uses: dict[Function, tuple[list[Use], bool]] = {}
        self._early: dict[Function, str] = {}

    @cached_property
    def helpers(self) -> list[Module]:
        """The modules in the file's folder and below that it imports, and those that they import."""
        folder = self.module.path.parent
        found: dict[Module, None] = {}
        pending = [self.module]
        while pending:
            one = pending.pop()
            for dotted in one.imports:
                helper = self.module.project.followed(one, dotted)
                if helper is not None and helper not in found and folder in helper.path.parents:
                    found[helper] = None
                    pending.append(helper)
        found.pop(self.module, None)
        return list(found)

    @cached_property
    def _declaring(self) -> list[Module]:
        """The modules of the agent that may declare something."""
        words = ("requires_scopes", "system_resources")
        return [one for one in (self.module, *self.helpers) if any(word in one.text for word in words)]

    def around(self, node: ast.AST) -> Facts | None:
        """The tool that a node is a part of."""
        for function in self.module.functions_around(node):
            facts = self.reader.facts(self.module, function)
            if facts.is_tool or facts.is_factory:
                return facts
        return None

    def beside(self, path: str) -> Module | None:
        """The module of a file that is named relative to this one."""
        return self.module.project.named(self.module, path)

    # ------------------------------------------------------------ when things run

    def guarded(self, node: ast.AST) -> bool:
        """Whether it runs in a script only, for a type checker only, or for a user that is named."""
        for above in self.module.ancestors(node):
            if isinstance(above, ast.If) and any(
                isinstance(one, ast.Name) and one.id in ("__name__", "TYPE_CHECKING") for one in ast.walk(above.test)
            ):
                return True
            if opens_session(self.module, above):
                return True
        return False

    def in_script(self, node: ast.AST) -> bool:
        """Whether it runs in a script only."""
        return any(
            isinstance(above, ast.If)
            and "__name__" in {one.id for one in ast.walk(above.test) if isinstance(one, ast.Name)}
            for above in self.module.ancestors(node)
        )

    @cached_property
    def _is_page(self) -> bool:
        """Whether the file is run anew for each request, as Streamlit does."""
        return any(dotted.partition(".")[0] == "streamlit" for dotted in self.module.imports)

    @cached_property
    def early(self) -> dict[ast.Call, str]:
        """The calls that run before there is a request, and when: at import, or when a long-lived object is made."""
        found: dict[ast.Call, str] = {}
        pending: list[tuple[ast.Call, str]] = []
        if not self._is_page:
            pending = [
                (call, "while the module is imported")
                for call in self.module.calls
                if self.module.function_of(call) is None and not self.guarded(call)
            ]
        self._follow(pending, found)
        for cls in self.module.classes:
            if self.lives_long(cls, found):
                self._begin(cls, found)
        return found

    def _follow(self, pending: list[tuple[ast.Call, str]], found: dict[ast.Call, str]) -> None:
        while pending:
            call, when = pending.pop()
            if call in found:
                continue
            found[call] = when
            if any(one.who == "user" for one in self.reader.values(self.module, call)):
                continue  # it is said of the call itself
            origin = self.module.origin(call.func)
            if isinstance(origin, tuple) and origin[0] is self.module and isinstance(origin[1], ast.ClassDef):
                self._begin(origin[1], found)
            called = self.reader.called(self.module, call.func)
            if called is not None and called[0] is self.module and self._plain(called[1]):
                pending += self._within(called[1], when)

    def _begin(self, cls: ast.ClassDef, found: dict[ast.Call, str]) -> None:
        for name in _BEGINNINGS:
            for binding in self.module.body[cls].names.get(name, []):
                if isinstance(binding.value, FUNCTIONS) and self._plain(binding.value):
                    self._follow(self._within(binding.value, f"in {cls.name}.{name}"), found)

    def _plain(self, function: Function) -> bool:
        facts = self.reader.facts(self.module, function)
        return not facts.is_tool and "user_session" not in facts.kit

    def _within(self, function: Function, when: str) -> list[tuple[ast.Call, str]]:
        if function in self._early:
            return []
        self._early[function] = when
        inside = walk(function, into_functions=False)
        return [(one, when) for one in inside if isinstance(one, ast.Call) and not self.guarded(one)]

    def early_in(self, function: Function) -> bool:
        """Whether a function runs before there is a request."""
        return bool(self.early) and function in self._early

    def lives_long(self, cls: ast.ClassDef, early: Mapping[ast.Call, str] | None = None) -> bool:
        """Whether objects of a class outlive a request, as far as can be seen: not where only requests make them."""
        if self.is_agent(cls):
            return True
        early = self.early if early is None else early
        return any(call in early for call in self._made.get(cls, []))

    @cached_property
    def _made(self) -> dict[ast.AST, list[ast.Call]]:
        """The calls that make objects of the file's classes."""
        made: dict[ast.AST, list[ast.Call]] = {}
        for call in self.module.calls:
            origin = self.module.origin(call.func)
            if isinstance(origin, tuple) and isinstance(origin[1], ast.ClassDef):
                made.setdefault(origin[1], []).append(call)
        return made

    def is_agent(self, cls: ast.ClassDef) -> bool:
        """Whether a class is what MLflow serves, or says itself where its requests begin."""
        methods = [one for one in cls.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return (
            any(last(self.module.dotted(base)) in _AGENT_BASES for base in cls.bases)
            or any(kit_name(self.module, _callee(one)) == "user_session" for one in cls.decorator_list)
            or any(one.name in _ENTRIES or "user_session" in self.reader.facts(self.module, one).kit for one in methods)
        )

    # ------------------------------------------------------------ what is declared

    def declared(self, call: ast.Call, module: Module | None = None) -> list[Declared]:
        """What a call of ``requires_scopes`` or ``system_resources`` declares."""
        return [one for node in call.args for one in self._declared(module or self.module, node, node)]

    def _declared(self, module: Module, node: ast.expr, place: ast.expr) -> Iterator[Declared]:
        text = module.text_of(node)
        origin = module.origin(node.value if isinstance(node, ast.Starred) else node)
        home, found = origin if isinstance(origin, tuple) else (module, node)
        if isinstance(node, ast.Starred) and isinstance(found, (ast.Tuple, ast.List, ast.Set)):
            for one in found.elts:
                yield from self._declared(home, one, place)
        elif text is not None and "{" not in text:
            yield Declared(node=place, title=repr(text), requirement=Requirement(scope=text))
        elif isinstance(found, ast.Call) and (kind := _CLASSES.get(last(home.dotted(found.func)))) is not None:
            yield _resource(home, found, kind, place)
        else:
            yield Declared(node=place, title=ast.unparse(node), requirement=None)

    def of_tool(self, facts: Facts) -> list[Declared]:
        """What a tool declares, or the function it is made in."""
        for function in (facts.function, *facts.module.functions_around(facts.function)):
            calls = self.reader.facts(facts.module, function).requires
            if calls:
                return [one for call in calls for one in self.declared(call, facts.module)]
        return []

    @cached_property
    def everywhere(self) -> list[Declared]:
        """What all tools of the agent declare."""
        return [one for module in self._declaring for tool in self.reader.tools(module) for one in self.of_tool(tool)]

    @cached_property
    def system(self) -> list[tuple[Module, ast.Call, Declared]]:
        """What the agent declares for itself."""
        return [
            (module, call, one)
            for module in self._declaring
            for call in module.calls
            if kit_name(module, call.func) == "system_resources"
            for one in self.declared(call, module)
        ]

    # ------------------------------------------------------------ what is used

    def acting(self) -> list[Facts]:
        """The functions that act for a user: tools, and those in which a request begins."""
        found = [self.reader.facts(self.module, one) for one in self.module.functions]
        return [one for one in found if one.is_tool or "user_session" in one.kit]

    def reaches_out(self, call: ast.Call) -> bool:
        """Whether a call that is handed a client may send a request: a helper that only keeps it does not."""
        called = self.reader.called(self.module, call.func)
        if called is None or self.reader.facts(*called).is_tool:
            return True
        trail = Trail(self.reader)
        trail.follow(*called, self.reader.env_of(self.module, call, *called, {}), call)
        return bool(trail.uses)

    def use(self, call: ast.Call, value: Value) -> Use:
        """What a call of a client's method reaches."""
        return use_of(call, requests_of(self.module, value, call), ".".join(value.path))

    def uses(self, facts: Facts) -> tuple[list[Use], bool]:
        """How a function uses the user's client, through its helpers too; and whether that is certainly all."""
        if facts.function not in self._uses:
            trail = Trail(self.reader)
            trail.follow(facts.module, facts.function, {}, None)
            self._uses[facts.function] = trail.uses, trail.complete
        return self._uses[facts.function]


def held_by(declared: Iterable[Declared]) -> frozenset[str] | None:
    """Every spelling of what is declared; ``None`` where it cannot be seen in full."""
    items = [one.requirement for one in declared]
    if any(one is None for one in items):
        return None
    return Requirements(items=tuple(one for one in items if one is not None)).held


def _callee(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _resource(home: Module, made: ast.Call, kind: ResourceKind, place: ast.expr) -> Declared:
    """What ``DatabricksGenieSpace("01f0")`` declares, where its name can be seen."""
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
