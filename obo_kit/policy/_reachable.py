"""Find the tools and the clients that an agent reaches (rule 22).

From where an agent begins (its module, its model, its tools), this follows what objects hold and, in the author's own code,
what functions refer to by name. So each of several agents that share modules gets its own tools, and no others.
"""

from __future__ import annotations

import collections
import dis
import functools
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from obo_kit._utils.functions import quietly
from obo_kit._utils.user_code import is_author_s
from obo_kit.exceptions import PolicyError
from obo_kit.policy._client_objects import Found, declared_by, found_in
from obo_kit.policy._endpoints import (
    AS_AGENT,
    AS_USER,
    DECLARE,
    WORDS,
    Calls,
    Endpoint,
    endpoints_in,
    objects_in,
    resource,
)
from obo_kit.policy._uncalled import declared_inside
from obo_kit.policy._unloaded import declaring_module, load, modules_named_in, unloaded
from obo_kit.tools._adapters import methods_of
from obo_kit.tools._registry import REGISTRY, Declaration
from obo_kit.tools._requires import declaration_of
from obo_kit.tools._spec import Requirement, ToolSpec, inner_spec_of, spec_of
from obo_kit.tools._wrapper import acts_as_user

__all__: list[str] = []

_MAX_NODES = 200_000
_ATOMS = (str, bytes, bytearray, int, float, complex, bool, type(None), type(...))
# A function that uses one of these may mean any name of its module.
_ANY_NAME = {"globals", "vars", "eval", "exec", "getmembers", "modules"}


@dataclass
class Reached:
    """Everything that was reached."""

    tools: list[Declaration] = field(default_factory=list)
    clients: list[Found] = field(default_factory=list)
    functions: dict[types.CodeType, types.FunctionType] = field(default_factory=dict)
    modules: dict[str, types.ModuleType] = field(default_factory=dict)
    """Modules that count as a whole."""
    made: set[str] = field(default_factory=set)
    """The lines, with their files, that ran when an object of the author's was made."""
    objects: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """The objects of the author's classes, by the module and the name of each class that they are of."""
    uncounted: list[tuple[str, str]] = field(default_factory=list)
    """What could not be counted, and what to do about it."""


def reach(*roots: Any, loads: bool = False) -> Reached:
    """Follow what the roots hold and refer to. Nothing is called for it.

    Args:
        roots: Where the agent begins.
        loads: Whether the modules that its functions import, or that it hands to its server by name, are loaded if they
            declare something, as they are before a request. Only in a process of its own.

    Raises:
        PolicyError: A function, when it is called, imports a module that declares something and that is not loaded, or
            cannot be.
    """
    walk = _Walk(loads)
    walk.queue.extend(roots)
    walk.run()
    return walk.reached


class _Walk:
    def __init__(self, loads: bool = False) -> None:
        self._loads = loads
        self.reached = Reached()
        self.queue: collections.deque[Any] = collections.deque()
        self._seen: dict[int, Any] = {}  # holds the objects, so that no id is used twice
        self._clients: list[Any] = []
        self._user_s: set[int] = set()
        self._own: dict[str, bool] = {}
        self._names: dict[int, str] = {}  # a framework's name of a tool, by the id of the inner function's spec
        # An installed package that declares tools counts like the author's own code.
        self._declaring = {declaration.module.partition(".")[0] for declaration in REGISTRY}

    def run(self) -> None:
        while self.queue and len(self._seen) < _MAX_NODES:
            value = self.queue.popleft()
            if id(value) in self._seen or quietly(_is_atom, value, True):
                continue
            self._seen[id(value)] = value
            self.queue.extend(part for part in self._held_by(value) if type(part) not in _ATOMS)
        # Only at the end: an object may come before the one whose user's client replaces its own.
        self.reached.clients += [
            client
            for value in self._clients
            if (client := quietly(functools.partial(found_in, user=id(value) in self._user_s), value)) is not None
        ]

    def _is_own(self, module: str) -> bool:
        if module not in self._own:
            self._own[module] = module.partition(".")[0] in self._declaring or is_author_s(module)
        return self._own[module]

    def _held_by(self, value: Any) -> Iterable[Any]:
        if isinstance(value, types.ModuleType):
            if not self._is_own(value.__name__):
                return ()
            self.reached.modules[value.__name__] = value
            members = [member for name, member in vars(value).items() if not name.startswith("__")]
            return [*members, *self._named_in(value)]
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, type):
            if not self._is_own(value.__module__):
                return ()
            return [*vars(value).values(), *value.__mro__[1:]]
        return self._of_object(value)

    def _of_function(self, function: types.FunctionType) -> list[Any]:
        spec = function.__dict__.get("__obo_tool__")
        members = [_cell(cell) for cell in function.__closure__ or ()]
        members += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        members += function.__dict__.values()
        if isinstance(spec, ToolSpec):
            self._note(spec)
            members.append(spec.fn)
        if self._is_own(str(function.__globals__.get("__name__", ""))):
            self.reached.functions.setdefault(function.__code__, function)
            members += self._named_by(function.__code__, function.__globals__)
        return members

    def _named_by(self, code: types.CodeType, names: dict[str, Any]) -> Iterator[Any]:
        """Yield what code refers to by name: globals, and what it imports when it runs."""
        constants: collections.deque[Any] = collections.deque(
            maxlen=2
        )  # an import's level and names, which come before it
        line = code.co_firstlineno
        for step in dis.get_instructions(code):
            line = _line(step) or line
            if "CONST" in step.opname or "SMALL_INT" in step.opname:
                constants.append(step.argval)
            elif step.opname == "IMPORT_NAME":
                level, wanted = constants
                yield from self._imported("." * level + step.argval, wanted or (), names, f"{code.co_filename}:{line}")
            elif step.opname.startswith("LOAD_"):
                if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval in names:
                    yield names[step.argval]
                if step.argval in _ANY_NAME:
                    yield sys.modules.get(str(names.get("__name__")))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self._named_by(constant, names)

    def _named_in(self, module: types.ModuleType) -> Iterator[Any]:
        """Yield the modules that a module's source names, and that its globals may not hold.

        They are those of ``import shop.agent``, whose first name may mean something else by now, and of
        ``uvicorn.run("shop.app:app")``.
        """
        for name, place in modules_named_in(str(vars(module).get("__file__", ""))):
            if self._loads and place and name not in sys.modules:
                load(name, place)
            if (loaded := sys.modules.get(name)) is not None:
                yield loaded

    def _imported(self, name: str, wanted: tuple[str, ...], names: dict[str, Any], place: str) -> Iterator[Any]:
        """Yield what an import statement would bind, if it is loaded."""
        try:
            name = importlib.util.resolve_name(name, str(names.get("__package__") or ""))
        except ImportError:  # it would fail in a request as well
            return
        module = sys.modules.get(name)
        if module is None:
            if self._load(name, wanted, place):
                yield from self._imported(name, wanted, names, place)
        elif not wanted or "*" in wanted:
            yield module
        else:
            for attribute in wanted:
                if attribute in vars(module):
                    yield vars(module)[attribute]
                elif (inside := sys.modules.get(f"{name}.{attribute}")) is not None:
                    yield inside
                elif self._load(f"{name}.{attribute}", (), place):
                    yield sys.modules[f"{name}.{attribute}"]

    def _load(self, name: str, wanted: tuple[str, ...], place: str) -> bool:
        """Load a module that declares something, or that imports one that does; return whether there was one to load.

        Raises:
            PolicyError: Nothing is to be loaded here, or it fails.
        """
        for module in (name, *(f"{name}.{part}" for part in wanted)):
            if (declaring := declaring_module(module)) is not None:
                if not self._loads:
                    raise unloaded(module, declaring, place)
                load(module, place)
                return True
            if self._loads and declaring_module(module, WORDS) is not None:
                try:
                    load(module, place)
                except PolicyError as error:  # it may ask a model, and declares nothing
                    self.reached.uncounted.append((error.message.rstrip("."), DECLARE))
                    return False
                return True
        return False

    def _note(self, spec: ToolSpec) -> None:
        if spec.requirements is not None:
            self.reached.tools.append(declaration_of(spec, name=self._names.get(id(spec))))

    def _of_object(self, value: Any) -> list[Any]:
        parts = _parts_of_python_s(value)
        if parts is not None:
            return parts
        cls = type(value)
        root = cls.__module__.partition(".")[0]
        if root in sys.stdlib_module_names and cls.__module__ not in ("types", "functools", "__main__"):
            return []  # a lock, a logger, a path
        client = quietly(found_in, value)
        if client is not None:
            self._clients.append(value)
        if quietly(acts_as_user, value):
            self._user_s.update(map(id, (value,) if client is not None else _parts(value)))
        if self._is_own(cls.__module__):
            self._note_object(value, cls)
        spec = quietly(inner_spec_of, value)
        if spec is not None:
            self._note(spec)
        if client is not None and not client.holds:
            # A client's contents are its own affair, except its decorated methods.
            return list(methods_of(value).values())
        members = [*_attributes(value), *([spec.fn] if spec is not None else []), cls]
        self._name_inside(value, members)
        # If a library's object refers to a module, that says nothing of what the agent uses.
        return (
            members
            if self._is_own(cls.__module__)
            else [member for member in members if not isinstance(member, types.ModuleType)]
        )

    def _note_object(self, value: Any, cls: type) -> None:
        self.reached.made.update(_lines_of_making(cls))
        for base in cls.__mro__:
            self.reached.objects.setdefault((base.__module__, base.__qualname__), []).append(value)

    def _name_inside(self, value: Any, members: Iterable[Any]) -> None:
        """Remember a framework's name for the tool that its object holds."""
        inside = [spec for member in members if (spec := quietly(spec_of, member)) is not None]
        name = inspect.getattr_static(
            value, "name", None
        )  # reading a computed attribute would run code that nobody called
        if isinstance(name, str) and name and len(inside) == 1:
            self._names[id(inside[0])] = name


def _is_atom(value: Any) -> bool:
    """Return whether a value holds nothing to follow. A proxy outside of its request fails: it holds nothing either."""
    return isinstance(value, _ATOMS)


def _line(step: dis.Instruction) -> int | None:
    positions = getattr(step, "positions", None)  # since Python 3.11
    return positions.lineno if positions is not None else step.starts_line  # type: ignore[no-any-return, unused-ignore]


def _parts_of_python_s(value: Any) -> list[Any] | None:
    """Return what Python's own containers and wrappers hold; `None` for anything else."""
    if isinstance(value, (dict, types.MappingProxyType)):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        return list(value)
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, (staticmethod, classmethod, functools.cached_property, functools.partialmethod, property)):
        return [getattr(value, name, None) for name in ("__func__", "func", "fget")]
    return None


def _attributes(value: Any) -> Iterator[Any]:
    for name in ("__dict__", "__pydantic_private__", "__pydantic_extra__"):
        try:
            member = object.__getattribute__(value, name)
        except (AttributeError, TypeError):
            continue
        if isinstance(member, dict):
            yield from member.values()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            descriptor = cls.__dict__.get(name)
            if isinstance(descriptor, types.MemberDescriptorType):
                try:
                    yield descriptor.__get__(value)
                except AttributeError:
                    continue


def _parts(value: Any) -> Iterator[Any]:
    """Yield what an object is made of, also where it keeps that by name."""
    for member in _attributes(value):
        yield member
        if isinstance(member, dict):
            yield from member.values()


def _lines_of_making(cls: type) -> Iterator[str]:
    """Yield the lines, with their files, that run when an object of a class is made."""
    for base in cls.__mro__:
        for name in ("__init__", "__post_init__"):
            if isinstance(function := base.__dict__.get(name), types.FunctionType):
                code = function.__code__
                yield from {f"{code.co_filename}:{line}" for *_, line in code.co_lines() if line is not None}


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


# --- from what was reached to declarations --------------------------------------------------------------------------------


def reached_declarations(
    roots: Iterable[Any], *, file: str | None = None, uncounted: list[tuple[str, str]] | None = None
) -> list[Declaration]:
    """Return what an agent declares, wherever it begins.

    Args:
        roots: Its module, its model, or its tools.
        file: Its file, if it was loaded in a process of its own. Then everything that the file itself declares counts, and so
            do the system resources of every module that it made the process load.
        uncounted: Receives what could not be counted, and what to do about it.

    Raises:
        PolicyError: A function that was not called declares something by names that only it knows; or a client reaches
            resources that cannot be determined.
    """
    reached = reach(*roots, loads=file is not None)
    declared = [*reached.tools, *_registered(reached, file), *declared_inside(reached.functions)]
    by_tools = {_named(item) for tool in declared for item in tool.requirements}
    declared += (
        declaration
        for declaration in declared_by(reached.clients, [resource for tool in declared for resource in tool.system])
        if not declaration.requirements or not by_tools.issuperset(map(_named, declaration.requirements))
    )
    uncounted = [] if uncounted is None else uncounted
    uncounted += reached.uncounted
    declared += _asked_for(reached, declared, uncounted)
    return once(declared)


def _registered(reached: Reached, file: str | None) -> Iterator[Declaration]:
    """Yield what the registry holds of the functions, modules and file that were reached, besides the tools themselves."""
    made = {(code.co_filename, function.__qualname__) for code, function in reached.functions.items()}
    for declaration in REGISTRY:
        place = declaration.place[0]
        if (
            declaration.module in reached.modules
            or (file is not None and (place == file or declaration.system))
            or (place, declaration.tool.partition(".<locals>")[0]) in made
        ) and declaration not in reached.tools:  # those know the names that tools have got since
            yield declaration


def _named(item: Requirement) -> tuple[str, str]:
    """Return the kind and the name of a resource, which a tool object and its decorators may both declare."""
    return ("", item.scope or "") if item.kind is None else (item.kind.name, str(item.resource.name))


def _asked_for(
    reached: Reached, declared: Iterable[Declaration], uncounted: list[tuple[str, str]]
) -> Iterator[Declaration]:
    """Yield the endpoints that functions name, except those that a tool declares for its user."""
    users = {
        str(item.resource.name)
        for declaration in declared
        for item in declaration.requirements
        if item.kind is not None
    }
    calls = Calls(reached.functions, reached.objects)
    for endpoint in endpoints_in(calls, reached.modules.values()):
        if _is_held(endpoint, reached):
            continue
        uncounted += _said_of(endpoint, users)
        if endpoint.name is not None and (endpoint.name not in users or endpoint.by_litellm):
            for each in resource(endpoint.name):
                yield Declaration(tool="", module="", system=(each,))
    named_by_system = {str(resource.name) for declaration in declared for resource in declaration.system}
    for item in objects_in(calls, users | named_by_system):
        uncounted.append((f"{item.place} builds what acts as the agent, inside a function: {item.call}", DECLARE))


def _is_held(endpoint: Endpoint, reached: Reached) -> bool:
    """Return whether what a call made is held by an object of the author's, so that it tells the endpoint better."""
    made = any(client.by == endpoint.called and client.resources for client in reached.clients)
    return made and endpoint.place in reached.made and f"{endpoint.name}'" not in endpoint.call


def _said_of(endpoint: Endpoint, users: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what does not count of a question to an endpoint, and what to do about it."""
    if endpoint.name is None:
        yield f"{endpoint.place} asks a model, and only running it tells which endpoint: {endpoint.call}", DECLARE
    if endpoint.by_litellm and (endpoint.user_s or endpoint.name in users):
        yield f"{endpoint.place} as a question of the user: {AS_AGENT}: {endpoint.call}", AS_USER


def once(declarations: Iterable[Declaration]) -> list[Declaration]:
    """Return the declarations without repetition."""
    distinct: list[Declaration] = []
    for declaration in declarations:
        if not any(declaration == other and declaration.name == other.name for other in distinct):
            distinct.append(declaration)
    return distinct
