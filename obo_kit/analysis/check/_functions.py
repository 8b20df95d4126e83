"""Read the kit's decorators on functions, find who calls a function, and what a call runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from obo_kit.analysis.check._names import Module, Origin
from obo_kit.analysis.check._scopes import FUNCTIONS, Function, parameters, walk
from obo_kit.analysis.check._vocabulary import CACHES, CLIENTS, argument, is_nothing, kit_name, last

__all__ = ["Facts", "FunctionReader", "runs"]

_DECORATORS: Final = frozenset({"optional_tool", "requires_scopes", "user_session", "user_tool", "with_user_client"})
_IN_ONE: Final = ("with_user_client", "optional_tool", "user_tool")  # the decorators that `user_tool` combines
_WRAPPERS: Final = CACHES | {"function_tool", "tool", "trace"}
_FACTORIES: Final = frozenset({"available_tools", "available_tools_async"})


@dataclass(eq=False, slots=True)
class Facts:
    """The kit's decorators on a function.

    Attributes:
        kit: The decorators, by name, as written.
        by_call: The names of those that are called on the function instead of decorating it.
        requires: The calls of ``requires_scopes``.
    """

    module: Module
    function: Function
    kit: dict[str, ast.expr] = field(default_factory=dict)
    by_call: set[str] = field(default_factory=set)
    requires: list[ast.Call] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return the function's name, for people."""
        return "<lambda>" if isinstance(self.function, ast.Lambda) else self.function.name

    @property
    def is_tool(self) -> bool:
        """Return whether it acts for the user."""
        return not self.kit.keys().isdisjoint({"optional_tool", "requires_scopes", "with_user_client"})

    @property
    def is_factory(self) -> bool:
        """Return whether ``available_tools`` passes it the user's client."""
        return not self.kit.keys().isdisjoint(_FACTORIES)


class FunctionReader:
    """Reads the decorators and calls of a project's functions."""

    def __init__(self) -> None:
        self._facts: dict[Function, Facts] = {}
        self._seen: set[Module] = set()
        self._callers: dict[Function, list[tuple[Module, ast.Call]]] = {}
        self._around: dict[
            Function, list[Function]
        ] = {}  # what decorators of the project's own run in a function's place
        self._stand_ins: set[Function] = set()
        self._of_methods: set[ast.Call] = set()  # calls of methods, in whose place those run
        self._called_by: dict[ast.expr, tuple[Module, Function] | None] = {}
        self._stored: dict[ast.ClassDef, dict[str, list[ast.expr]]] = {}
        self._made: dict[ast.ClassDef, list[tuple[Module, ast.Call]]] = {}  # the calls that make objects of a class
        self._given: set[str] = set()  # the keyword arguments that the project's own classes are constructed with
        self._states: dict[
            tuple[str, str], list[tuple[Module, ast.expr]]
        ] = {}  # ``app.state.NAME``, ``request.state.NAME``
        self._set: dict[ast.AST, list[tuple[Module, ast.expr]]] = {}  # values by the call that makes a context variable

    def take(self, module: Module) -> None:
        """Record a module's decorators and calls, once."""
        if module in self._seen:
            return
        self._seen.add(module)
        for function in module.functions:
            if not isinstance(function, ast.Lambda):
                for decorator in function.decorator_list:
                    self._note(module, function, decorator)
        for store in module.stores:
            if (state := state_of(store.target)) is not None:
                self._states.setdefault(state, []).append((module, store.value))
        for call in module.calls:
            self._note_call_form(module, call)
            self._note_set(module, call)
            self._note_target(module, call)

    def _note(self, module: Module, function: Function, decorator: ast.expr, *, by_call: bool = False) -> None:
        name = kit_name(module, decorator.func if isinstance(decorator, ast.Call) else decorator)
        if name in _DECORATORS:
            facts = self._facts.setdefault(function, Facts(module, function))
            in_one = name == "user_tool"
            for each in _IN_ONE if in_one else (name,):
                facts.kit[each] = decorator
                if by_call:
                    facts.by_call.add(each)
            if isinstance(decorator, ast.Call) and (name == "requires_scopes" or (in_one and decorator.args)):
                facts.kit["requires_scopes"] = decorator
                facts.requires.append(decorator)

    def _note_target(self, module: Module, call: ast.Call) -> None:
        """Record the function that a call runs, or the class that it makes an object of."""
        target = self._method(module, call.func) or module.origin(call.func)
        made = target[1] if isinstance(target, tuple) else module.owner(call.func)
        if isinstance(made, ast.ClassDef):
            self._made.setdefault(made, []).append((module, call))
            self._given |= {keyword.arg for keyword in call.keywords if keyword.arg is not None}
        begins = (runs(*target) or self._behind(*target)) if isinstance(target, tuple) else None
        if begins is not None and isinstance(target, tuple):
            around = self._run_around(target[0], begins)
            if around and target[0].class_of(begins) is not None:
                self._of_methods.add(call)
            self._stand_ins.update(around)
            for each in (begins, *around):
                self._callers.setdefault(each, []).append((module, call))

    def _run_around(self, module: Module, function: Function) -> list[Function]:
        """Return the functions that decorators of the project's own put around a function, and that are called in its place."""
        if function not in self._around:
            self._around[function] = []
            for decorator in getattr(function, "decorator_list", []):
                made = module.origin(decorator.func if isinstance(decorator, ast.Call) else decorator)
                if isinstance(made, tuple) and isinstance(made[1], FUNCTIONS):
                    self._around[function] += _returned_functions(made[0], made[1])
        return self._around[function]

    def _note_call_form(self, module: Module, call: ast.Call) -> None:
        """Record ``with_user_client(ask)`` and ``requires_scopes("genie")(ask)``."""
        name = kit_name(module, call.func.func if isinstance(call.func, ast.Call) else call.func)
        if name in _FACTORIES:
            for argument in call.args:
                if (made := self._wrapped(module, argument)) is not None:
                    self._facts.setdefault(made[1], Facts(*made)).kit.setdefault(name, call)
        elif name in _DECORATORS and len(call.args) == 1 and (wrapped := self._wrapped(module, call.args[0])):
            home, function = wrapped
            if home is module:
                self._note(module, function, call.func, by_call=True)

    def _note_set(self, module: Module, call: ast.Call) -> None:
        """Record ``TOKEN.set(token)`` for a context variable."""
        if isinstance(call.func, ast.Attribute) and call.func.attr == "set" and len(call.args) == 1:
            made = self.context_variable(module, call.func.value)
            if made is not None:
                self._set.setdefault(made, []).append((module, call.args[0]))

    def context_variable(self, module: Module, node: ast.expr) -> ast.Call | None:
        """Return the call that made a context variable."""
        origin = module.origin(node)
        if not isinstance(origin, tuple) or not isinstance(origin[1], ast.Call):
            return None
        return origin[1] if origin[0].dotted(origin[1].func) == "contextvars.ContextVar" else None

    def _wrapped(self, module: Module, node: ast.expr) -> tuple[Module, Function] | None:
        origin = module.origin(node)
        return self._unwrapped(*origin) if isinstance(origin, tuple) else None

    def _unwrapped(self, module: Module, node: ast.AST) -> tuple[Module, Function] | None:
        """Return the function that a definition is, or that a decorator was called on."""
        if isinstance(node, FUNCTIONS):
            return module, node
        if not isinstance(node, ast.Call) or len(node.args) != 1:
            return None
        wrapper = node.func.func if isinstance(node.func, ast.Call) else node.func
        known = kit_name(module, wrapper) in _DECORATORS or last(module.dotted(wrapper)) in _WRAPPERS
        return self._wrapped(module, node.args[0]) if known or _wraps(module.origin(wrapper)) else None

    def _behind(self, module: Module, node: ast.AST) -> Function | None:
        """Return the function behind its decorators: ``cached = lru_cache(load)``."""
        unwrapped = self._unwrapped(module, node)
        return unwrapped[1] if unwrapped is not None else None

    def facts(self, module: Module, function: Function) -> Facts:
        """Return what the kit's decorators say about a function."""
        self.take(module)
        return self._facts.get(function) or Facts(module, function)

    def tools(self, module: Module) -> list[Facts]:
        """Return the functions of a module that act for the user, in the order of the text."""
        self.take(module)
        return [
            facts for function in module.functions if (facts := self._facts.get(function)) is not None and facts.is_tool
        ]

    def called(self, module: Module, func: ast.expr) -> tuple[Module, Function] | None:
        """Return the project's function that runs when ``func`` is called. Methods are found on ``self``."""
        if func not in self._called_by:
            origin = self._method(module, func) or module.origin(func)
            self._called_by[func] = self._unwrapped(*origin) if isinstance(origin, tuple) else None
            if isinstance(origin, tuple) and isinstance(origin[1], ast.Call) and self._called_by[func] is None:
                self._called_by[func] = self._of_object_called(origin[0], origin[1])
        return self._called_by[func]

    def _of_object_called(self, module: Module, made: ast.Call) -> tuple[Module, Function] | None:
        """Return the ``__call__`` of an object of the project's own."""
        cls = module.origin(made.func)
        if isinstance(cls, tuple) and isinstance(cls[1], ast.ClassDef):
            for binding in cls[0].body[cls[1]].names.get("__call__", [])[-1:]:
                if isinstance(binding.value, FUNCTIONS):
                    return cls[0], binding.value
        return None

    def _method(self, module: Module, node: ast.expr) -> tuple[Module, ast.AST] | None:
        """Return the method that an attribute of ``self``, or of an object of the project's own, stands for."""
        if not isinstance(node, ast.Attribute):
            return None
        owner = module.owner(node.value)
        home, cls = (module, owner) if owner is not None else self.made_of(module, node.value) or (module, None)
        for binding in home.body[cls].names.get(node.attr, [])[-1:] if cls is not None else ():
            if binding.value is not None:
                return (home, binding.value)
        return None

    def made_by(self, module: Module, node: ast.expr, depth: int = 0) -> tuple[Module, ast.Call] | None:
        """Return the call of a class of the project's own that made an object: ``Rows(client)``, or what a name stands for."""
        origin = module.origin(node)
        if origin is None:
            stored = [value for value in self._assigned(module, node) if not is_nothing(value)]
            origin = module.origin(stored[0]) if len(stored) == 1 else None
        if not isinstance(origin, tuple) or not isinstance(origin[1], ast.Call):
            return None
        cls = origin[0].origin(origin[1].func)
        if isinstance(cls, tuple) and isinstance(cls[1], ast.FunctionDef) and depth < 2:  # a helper that makes it
            made = cls[0].returns(cls[1])
            return self.made_by(cls[0], made[0], depth + 1) if len(made) == 1 else None
        return (origin[0], origin[1]) if isinstance(cls, tuple) and isinstance(cls[1], ast.ClassDef) else None

    def _assigned(self, module: Module, node: ast.expr) -> list[ast.expr]:
        """Return what is assigned to an attribute of ``self``, or to a name."""
        if isinstance(node, ast.Attribute) and (owner := module.owner(node.value)) is not None:
            return self.stored(module, owner, node.attr)
        bindings = module.bindings(node)[1] if isinstance(node, ast.Name) else []
        values = [binding.value for binding in bindings if binding.how == "value"]
        return [value for value in values if isinstance(value, ast.expr)] if len(values) == len(bindings) else []

    def made_of(self, module: Module, node: ast.expr) -> tuple[Module, ast.ClassDef] | None:
        """Return the class of the project's own that an expression is an object of: as it was made, or a parameter's type."""
        made = self.made_by(module, node)
        cls = made[0].origin(made[1].func) if made is not None else None
        if made is None and isinstance(node, ast.Name):
            bindings = module.bindings(node)[1]
            typed = (
                bindings[0].node.annotation if len(bindings) == 1 and isinstance(bindings[0].node, ast.arg) else None
            )
            cls = module.origin(typed) if typed is not None else None
        return (cls[0], cls[1]) if isinstance(cls, tuple) and isinstance(cls[1], ast.ClassDef) else None

    def stored(self, module: Module, owner: ast.ClassDef, name: str) -> list[ast.expr]:
        """Return the values that the methods of a class assign to an attribute."""
        if owner not in self._stored:
            by_name = self._stored[owner] = {}
            for store in module.stores:
                if isinstance(store.target, ast.Attribute) and module.owner(store.target.value) is owner:
                    by_name.setdefault(store.target.attr, []).append(store.value)
        return self._stored[owner].get(name, [])

    def constructions(self, owner: ast.ClassDef) -> list[tuple[Module, ast.Call]]:
        """Return the calls that make objects of one of the project's classes."""
        return self._made.get(owner, [])

    def given_to_field(self, module: Module, owner: ast.ClassDef, name: str) -> Iterator[tuple[Module, ast.expr]]:
        """Yield the values that the objects of a dataclass, or of a model, are made with for a field."""
        fields = [
            statement.target.id
            for statement in owner.body
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        ]
        if name in fields and "__init__" not in module.body[owner].names:
            for home, call in self.constructions(owner):
                value = argument(call, fields.index(name), name)
                if value is not None:
                    yield home, value

    def forwarded(self, module: Module, call: ast.Call) -> Iterator[ast.Call]:
        """Yield the calls that a helper passes a call's keywords on to: ``def make(**kw): return Client(**kw)``."""
        called = self.called(module, call.func) if call.keywords else None
        options = called[1].args.kwarg if called is not None else None
        if called is None or called[0] is not module or options is None:
            return
        own = {parameter.arg for parameter in parameters(called[1])}
        passed = [keyword for keyword in call.keywords if keyword.arg not in own]
        for inner in module.inside(called[1], ast.Call):
            others = [item for item in inner.keywords if item.arg is not None or ast.unparse(item.value) != options.arg]
            if len(others) < len(inner.keywords):
                yield ast.copy_location(ast.Call(func=inner.func, args=inner.args, keywords=[*others, *passed]), call)

    def injected(self, facts: Facts) -> dict[str, str]:
        """Return the parameters that the kit fills, and the types of their clients."""
        decorator = facts.kit.get("with_user_client")
        if decorator is None and not facts.is_factory:
            return {}
        clients: dict[str, str] = {}
        for item in parameters(facts.function):
            if item.annotation is not None and (what := self._client_type(facts.module, item.annotation)):
                clients[item.arg] = what
        if decorator is None:
            return clients or {parameter.arg: "WorkspaceClient" for parameter in parameters(facts.function)[:1]}
        named = argument(decorator, None, "param") if isinstance(decorator, ast.Call) else None
        name = facts.module.text_of(named) if named is not None else None if clients else "client"
        if name is not None:
            clients.setdefault(name, "WorkspaceClient")
        return clients

    def _client_type(self, module: Module, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)):
                return next((item for item in re.findall(r"\w+", text) if item in CLIENTS), "")
            case ast.Name() | ast.Attribute():
                dotted = module.dotted(node)
                return last(dotted) if last(dotted) in CLIENTS and not dotted.startswith("builtins.") else ""
            case ast.BinOp(op=ast.BitOr()):
                return self._client_type(module, node.left) or self._client_type(module, node.right)
            case ast.Subscript(value=ast.Name() | ast.Attribute()) if last(module.dotted(node.value)) in (
                "Annotated",
                "Optional",
                "Union",
            ):
                parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return next((client for part in parts if (client := self._client_type(module, part))), "")
            case _:
                return ""


def _wraps(decorator: Origin) -> bool:
    """Return whether it is a function of the project's own that defines and returns another one around its parameter."""
    if not isinstance(decorator, tuple) or not isinstance(decorator[1], FUNCTIONS):
        return False
    module, function = decorator[0], decorator[1]
    first = next((item.arg for item in parameters(function)), "")
    names = [result.id for result in module.returns(function) if isinstance(result, ast.Name)]
    inner = [binding.value for name in names for binding in module.body[function].names.get(name, [])]
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == first
        for made in inner
        if isinstance(made, FUNCTIONS)
        for node in walk(made)
    )


def _returned_functions(module: Module, decorator: Function, depth: int = 0) -> list[Function]:
    """Return the functions that a decorator puts in another's place: it defines and returns them, or what it defines does."""
    functions: list[Function] = []
    for result in module.returns(decorator):
        for binding in module.bindings(result)[1] if isinstance(result, ast.Name) else ():
            if isinstance(binding.value, FUNCTIONS) and binding.value is not decorator:
                inner = _returned_functions(module, binding.value, depth + 1) if depth < 1 else []
                functions += inner or [binding.value]
    return functions


def state_of(node: ast.expr) -> tuple[str, str] | None:
    """Return whose state an attribute is kept in, the application's or a request's, and its name."""
    match node:
        case ast.Attribute(value=ast.Name(id="g"), attr=name):  # of Flask or Quart
            return "g", name
        case ast.Attribute(
            value=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr="state"), attr=name
        ):
            return ("app" if owner.endswith(("app", "application")) else owner, name)
        case _:
            return None


def runs(module: Module, node: ast.AST) -> Function | None:
    """Return the function that a call of a definition runs. A class runs its ``__init__``."""
    if isinstance(node, ast.ClassDef):
        made = module.body[node].names.get("__init__", [])[-1:]
        node = made[0].value or node if made else node
    return node if isinstance(node, FUNCTIONS) else None
