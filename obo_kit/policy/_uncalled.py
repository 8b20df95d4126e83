"""Read what functions that nobody has called declare: from their source, without running any of it.

A tool may be made inside a function that only a request calls. Its declaration can be read if it consists of literals and names
of its module. Anything else would have to run, so it is refused with its line and a way out.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import linecache
import operator
import os
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from obo_kit._utils.functions import quietly
from obo_kit.exceptions import OboError, PolicyError
from obo_kit.tools._registry import REGISTRY, Declaration, require_resource, requirement
from obo_kit.tools._requires import requires_scopes, system_resources
from obo_kit.tools._user_tool import user_tool

__all__: list[str] = []

_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
DECLARING = (requires_scopes.__name__, system_resources.__name__, user_tool.__name__)
_MISSING = object()


def declared_inside(functions: Mapping[types.CodeType, types.FunctionType]) -> Iterator[Declaration]:
    """Read the declarations inside functions that were not called.

    Args:
        functions: The functions that the agent reaches, by their code.

    Raises:
        PolicyError: A declaration contains more than literals and names of its module, or is wrong in itself.
    """
    by_file: dict[str, dict[int, types.FunctionType]] = {}
    for code, function in functions.items():
        by_file.setdefault(code.co_filename, {})[code.co_firstlineno] = function
    for file, starts in by_file.items():
        source = "".join(linecache.getlines(file, next(iter(starts.values())).__globals__))
        if not any(name in source for name in DECLARING):
            continue
        for call, within, tool in _calls_in(source):
            caller = next((starts[line] for each in within if (line := _first_line(each)) in starts), None)
            ran = any((file, line) in REGISTRY.places for line in range(call.lineno, (call.end_lineno or 0) + 1))
            if caller is not None and not ran:
                yield from _declared(call, Names(caller.__globals__, within), tool, file)


@functools.lru_cache(maxsize=16)  # each tool of a list is examined by itself, and many share a file
def _calls_in(source: str) -> tuple[tuple[ast.Call, tuple[_Function, ...], str], ...]:
    return tuple(_calls(ast.parse(source), (), ""))


def _calls(
    node: ast.AST, within: tuple[_Function, ...], tool: str
) -> Iterator[tuple[ast.Call, tuple[_Function, ...], str]]:
    """Yield the calls inside functions, with those functions and the name of the function that a call decorates."""
    if isinstance(node, ast.Call) and within and _may_declare(node.func):
        yield node, within, tool
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for decorator in node.decorator_list:
            yield from _calls(decorator, within, node.name)
        for statement in node.body:
            yield from _calls(statement, (*within, node), node.name)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _calls(child, within, tool)


def _may_declare(called: ast.expr) -> bool:
    return isinstance(called, ast.Name) or (isinstance(called, ast.Attribute) and called.attr in DECLARING)


def _first_line(function: _Function) -> int:
    """Return the line that the function's code object begins at."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _declared(call: ast.Call, names: Names, tool: str, file: str) -> Iterator[Declaration]:
    """Yield the declarations that a call will make."""
    try:
        target = names.value(call.func)
    except UnreadableError:
        return
    if not any(target is each for each in (requires_scopes, system_resources, user_tool)) or names.decorates(call):
        return
    try:
        items = tuple(item for argument in call.args for item in names.items(argument))
        unknown = any(names.option(each) for each in call.keywords if each.arg in ("allow_unknown", None))
    except UnreadableError as error:
        raise PolicyError(
            f"{file}:{call.lineno} declares scopes or resources inside '{names.outermost}', which loading the file does not "
            f"call, in terms that cannot be read without running it: {error}.",
            remedy=f"Put requires_scopes(…) on '{names.outermost}' itself, or assign the scopes and resources to names at the "
            "top of the module and use those names here.",
        ) from None
    module = names.module
    try:
        if target is system_resources:
            for resource in items:
                require_resource(resource)
            yield Declaration(tool="", module=module, system=items)
        else:
            needed = tuple(requirement(item, unknown) for item in items)
            if needed:  # `user_tool()` may declare nothing
                yield Declaration(tool=tool, module=module, requirements=needed)
    except OboError as error:
        raise PolicyError(f"{file}:{call.lineno}: {error.message}", remedy=error.remedy) from None


# --- values, read and not run ---------------------------------------------------------------------------------------------


class UnreadableError(Exception):
    """An expression that cannot be read without running it."""


class Names:
    """The meaning of names inside a function that was not called: the module's globals, except names that it binds itself."""

    def __init__(self, names: Mapping[str, Any], within: tuple[_Function, ...]) -> None:
        self._globals = names
        self.outermost = within[0].name if within else ""
        self.module = str(names.get("__name__", ""))
        inside = [node for function in within for node in ast.walk(function)]
        self._bound = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self._bound |= {node.arg for node in inside if isinstance(node, ast.arg)}
        self._functions = {node.name for node in inside if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        self._imports = {
            alias.asname or alias.name.partition(".")[0]: (node, alias)
            for node in inside
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }

    def decorates(self, call: ast.Call) -> bool:
        """Return whether a call decorates a function that is defined beside it, as ``user_tool(ask)`` does."""
        match call.args:
            case [ast.Name(id=name)]:
                return name in self._functions
        return False

    def imported_name(self, node: ast.expr) -> str:
        """Return the own name of what an import inside the function binds, loaded or not; empty if none binds it."""
        statement, alias = self._imports.get(node.id, (None, None)) if isinstance(node, ast.Name) else (None, None)
        if alias is None or not isinstance(statement, ast.ImportFrom) or ast.unparse(node) in self._bound:
            return ""
        return alias.name

    def origin(self, node: ast.expr) -> str:
        """Return the module of what an expression names, or of what it is a part of; empty if that is unknown."""
        while True:
            value = quietly(self.value, node, _MISSING)
            if value is not _MISSING:
                is_module = issubclass(type(value), types.ModuleType)
                return str(quietly(operator.attrgetter("__name__" if is_module else "__module__"), value, ""))
            if not isinstance(node, ast.Attribute):
                break
            node = node.value
        statement, alias = self._imports.get(node.id, (None, None)) if isinstance(node, ast.Name) else (None, None)
        if alias is None or ast.unparse(node) in self._bound:
            return ""
        return alias.name if isinstance(statement, ast.Import) else str((statement and statement.module) or "")

    def binds(self, node: ast.AST) -> bool:
        """Return whether an expression uses a name that the function binds, such as an argument."""
        return any(isinstance(each, ast.Name) and each.id in self._bound for each in ast.walk(node))

    def option(self, keyword: ast.keyword) -> Any:
        """Return the value of a keyword argument; ``**`` arguments cannot be told apart."""
        if keyword.arg is None:
            raise UnreadableError(f"**{ast.unparse(keyword.value)}")
        return self.value(keyword.value)

    def items(self, argument: ast.expr) -> tuple[Any, ...]:
        """Return the values of one argument; several for a starred one."""
        if not isinstance(argument, ast.Starred):
            return (self.value(argument),)
        values = self.value(argument.value)
        if type(values) not in (tuple, list):
            raise UnreadableError(ast.unparse(argument))
        return tuple(values)

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression.

        Raises:
            UnreadableError: It contains more than literals and names.
        """
        result: Any = _MISSING
        if isinstance(node, ast.Constant):
            result = node.value
        elif isinstance(node, (ast.Tuple, ast.List)):
            result = tuple(item for part in node.elts for item in self.items(part))
        elif isinstance(node, ast.Name):
            result = self._named(node.id)
        elif isinstance(node, ast.Attribute):
            result = _attribute(self.value(node.value), node.attr)
        elif isinstance(node, ast.Subscript):
            result = self._subscript(node)
        elif isinstance(node, ast.JoinedStr):
            parts = [self.value(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values]
            result = "".join(parts) if all(type(part) is str for part in parts) else _MISSING
        elif isinstance(node, ast.Call):
            result = self._call(node)
        if result is _MISSING:
            raise UnreadableError(ast.unparse(node))
        return result

    def _named(self, name: str) -> Any:
        if name in self._imports and name not in self._bound:
            return self._imported(*self._imports[name])
        return _MISSING if name in self._bound else self._globals.get(name, _MISSING)

    def _imported(self, statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> Any:
        """Return what an import binds, from a loaded module. The kit's own modules and MLflow's may be loaded for it."""
        if isinstance(statement, ast.Import):
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            return _module(name)
        name = "." * statement.level + (statement.module or "")
        try:
            name = importlib.util.resolve_name(name, str(self._globals.get("__package__") or ""))
        except ImportError:
            return _MISSING
        return _attribute(_module(name), alias.name)

    def _subscript(self, node: ast.Subscript) -> Any:
        variable = _variable(node, self)
        return variable if variable is not None else _element(self.value(node.value), self.value(node.slice))

    def _call(self, node: ast.Call) -> Any:
        variable = _variable(node, self)
        return variable if variable is not None else self._resource(node)

    def _resource(self, call: ast.Call) -> Any:
        """Return an MLflow resource: the class is MLflow's, and its name is read."""
        cls = self.value(call.func)
        if not (issubclass(type(cls), type) and cls.__module__ == "mlflow.models.resources"):
            return _MISSING
        arguments = [item for argument in call.args for item in self.items(argument)]
        if any(keyword.arg is None for keyword in call.keywords):
            return _MISSING
        try:
            return cls(*arguments, **{str(keyword.arg): self.value(keyword.value) for keyword in call.keywords})
        except (TypeError, ValueError) as error:
            raise UnreadableError(f"{ast.unparse(call)} raises {type(error).__name__}: {error}") from None


def _variable(node: ast.Call | ast.Subscript, names: Names) -> str | None:
    """Return the value of an environment variable, or its default, if that is all that an expression reads."""
    read = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Call) and isinstance(read, ast.Attribute):
        known = {"getenv": os, "get": os.environ}.get(read.attr)
        if known is None or names.value(read.value) is not known:
            return None
    elif names.value(read) is not (os.getenv if isinstance(node, ast.Call) else os.environ):
        return None
    arguments = [*node.args, *(part.value for part in node.keywords)] if isinstance(node, ast.Call) else [node.slice]
    values = [names.value(argument) for argument in arguments]
    return os.environ.get(*values[:2]) if values and all(type(value) is str for value in values) else None


def _module(name: str) -> Any:
    if name.partition(".")[0] in ("obo_kit", "mlflow"):
        try:
            return importlib.import_module(name)
        except ImportError:
            return _MISSING
    return sys.modules.get(name, _MISSING)


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute that is simply stored: no property runs, and no ``__getattr__``."""
    if issubclass(type(value), types.ModuleType):
        if value.__name__.partition(".")[0] in ("obo_kit", "mlflow"):  # they load their names on first use
            return getattr(value, name, _MISSING)
        return vars(value).get(name, sys.modules.get(f"{value.__name__}.{name}", _MISSING))
    attribute: Any = _MISSING
    if issubclass(type(value), type):
        attribute = next((vars(cls)[name] for cls in value.__mro__ if name in vars(cls)), _MISSING)
    elif value is not _MISSING:
        attribute = _members(value).get(name, _MISSING)
    return _MISSING if hasattr(type(attribute), "__get__") else attribute


def _members(value: Any) -> dict[str, Any]:
    try:
        members = object.__getattribute__(value, "__dict__")  # no proxy's own, which is there only in a request
    except AttributeError:
        return {}
    return members if type(members) is dict else {}


def _element(value: Any, key: Any) -> Any:
    if type(value) is dict and type(key) in (str, int):
        return value.get(key, _MISSING)
    if type(value) in (list, tuple) and type(key) is int and -len(value) <= key < len(value):
        return value[key]
    return _MISSING
