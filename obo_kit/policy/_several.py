"""Read what an expression inside a function may be: each of several values, for names of the function itself, too."""

from __future__ import annotations

import ast
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from obo_kit.policy._uncalled import Names, UnreadableError

__all__: list[str] = []

_DEPTH: Final = 8
_STEPS: Final = 500  # for one expression: names that are assigned many times multiply
_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
Handed: TypeAlias = Callable[[str], "list[Any] | None"]


class Several(Names):
    """The meaning of names inside a function, where a name may have several values.

    Args:
        names: The globals of its module.
        within: The function.
        selves: The objects that ``self`` may stand for.
        handed: Returns the arguments that the agent's own code passes for a parameter; `None` if it passes none.
    """

    def __init__(
        self,
        names: Mapping[str, Any],
        within: tuple[_Function, ...],
        selves: Iterable[Any] = (),
        handed: Handed = lambda _: None,
    ) -> None:
        super().__init__(names, within)
        self._handed = handed
        self._depth = self._steps = 0
        self._reading: set[str] = set()
        self._assigned: dict[str, list[ast.expr]] = {}
        self._looped: dict[str, list[ast.expr]] = {}
        self._defaults: dict[str, ast.expr | None] = {}
        first = [argument.arg for function in within for argument in function.args.args[:1]]
        self._selves = {first[0]: own} if first and (own := list(selves)) else {}
        for function in within:
            self._note(function)

    def _note(self, function: _Function) -> None:
        signature = function.args
        positional = [*signature.posonlyargs, *signature.args]
        self._defaults |= {each.arg: None for each in (*positional, *signature.kwonlyargs)}
        self._defaults |= {
            each.arg: default for each, default in zip(reversed(positional), reversed(signature.defaults), strict=False)
        }
        self._defaults |= {
            each.arg: default for each, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
        }
        for node in ast.walk(function):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.NamedExpr(target=ast.Name(id=name), value=value)
                ):
                    self._assigned.setdefault(name, []).append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._assigned.setdefault(name, []).append(value)
                case (
                    ast.For(target=ast.Name(id=name), iter=value)
                    | ast.comprehension(target=ast.Name(id=name), iter=value)
                ):
                    self._looped.setdefault(name, []).append(value)
                case _:
                    pass

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression, if it can only be one."""
        try:
            return super().value(node)
        except UnreadableError:
            values = self._options(node)
            if len(values) != 1:
                raise
            return values[0]

    def values(self, node: ast.expr) -> list[Any]:
        """Return all values that an expression may have.

        Raises:
            UnreadableError: Only running it would tell one of them.
        """
        try:
            return [super().value(node)]
        except UnreadableError:
            return self._options(node)

    def _options(self, node: ast.expr) -> list[Any]:
        self._steps = self._steps + 1 if self._depth else 0
        self._depth += 1
        try:
            if self._depth <= _DEPTH and self._steps <= _STEPS and (values := self._read(node)) is not None:
                return values
        finally:
            self._depth -= 1
        raise UnreadableError(ast.unparse(node))

    def _read(self, node: ast.expr) -> list[Any] | None:
        match node:
            case ast.Name(id=name):
                return self._named_here(name)
            case ast.IfExp(body=body, orelse=other):
                return [*self.values(body), *self.values(other)]
            case ast.BoolOp(op=ast.Or(), values=parts):
                return [value for part in parts for value in self.values(part) if type(value) is not str or value]
            case ast.Attribute():
                return self._stored(node)
            case ast.Subscript(value=owner):
                return _texts_in(self.value(owner))
            case ast.BinOp() | ast.Call():
                return self._composed(node)
            case _:
                return None

    def _stored(self, node: ast.Attribute) -> list[Any] | None:
        """Return what is stored under an attribute of ``self``, and the value of an enumeration's member."""
        if isinstance(node.value, ast.Name) and node.value.id in self._selves:
            return [*_of_each(self._selves[node.value.id], node.attr)] or None
        members = self.values(node.value) if node.attr == "value" else []
        is_known = members and all(issubclass(type(each), enum.Enum) for each in members)
        return [each.value for each in members] if is_known else None

    def _named_here(self, name: str) -> list[Any] | None:
        """Return the values of a name that the function binds: by assignments, by loops, or as its parameter."""
        if name in self._selves:
            return self._selves[name]
        if name not in self._reading and (name in self._assigned or name in self._looped):
            self._reading.add(name)
            try:
                values = [value for part in self._assigned.get(name, []) for value in self.values(part)]
                values += [item for part in self._looped.get(name, []) for item in self.items_of(part)]
            finally:
                self._reading.discard(name)
            return values or None
        if name not in self._defaults:
            return [] if name in self._reading else None
        return self._passed(name)

    def _passed(self, name: str) -> list[Any] | None:
        """Return the values of a parameter: what the agent's own code passes, else its default."""
        passed = self._handed(name)
        if passed is not None:
            return passed
        default = self._defaults[name]
        if default is None:
            return None
        values = [value for value in self.values(default) if value is not None]
        return values or ([] if name in self._reading else None)

    def items_of(self, node: ast.expr) -> list[Any]:
        """Return the items of a tuple, of a list or of a dictionary's values that a loop runs over."""
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr="values"), args=[]):
                entries = self.value(owner)
                items: Any = list(entries.values()) if type(entries) is dict else None
            case _:
                items = self.value(node)
        if type(items) in (tuple, list, dict):
            return list(items)
        raise UnreadableError(ast.unparse(node))

    def _composed(self, node: ast.BinOp | ast.Call) -> list[Any] | None:
        """Return texts that are put together, and what a dictionary or a configuration of MLflow's holds."""
        match node:
            case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right):
                parts = self.value(left), self.value(right)
                if all(type(part) in (str, int) for part in parts) and type(parts[0]) is str:
                    return [parts[0] + parts[1]] if isinstance(node.op, ast.Add) else [parts[0] % parts[1]]
            case ast.Call(func=ast.Attribute(value=owner, attr="format"), args=args, keywords=[]):
                text, values = self.value(owner), [self.value(part) for part in args]
                if type(text) is str and all(type(value) is str for value in values):
                    return [text.format(*values)]
            case ast.Call(func=ast.Attribute(value=owner, attr="get"), args=[key, *default], keywords=[]):
                return self._entry(self.value(owner), self.value(key), default)
            case _:
                pass
        return None

    def _entry(self, owner: Any, key: Any, default: list[ast.expr]) -> list[Any] | None:
        if type(owner).__module__ == "mlflow.models.model_config":
            return [owner.get(key)]
        if type(owner) is not dict or type(key) is not str:
            return None
        return [owner[key]] if key in owner else [self.value(part) for part in default[:1]]


def _of_each(selves: Iterable[Any], name: str) -> Iterator[Any]:
    """Yield what objects simply store under a name, themselves or on their class: no property runs."""
    for each in selves:
        try:
            members = object.__getattribute__(each, "__dict__")
        except AttributeError:
            members = {}
        owner = each if issubclass(type(each), type) else type(each)
        places = [members, *(vars(cls) for cls in owner.__mro__)]
        value = next((place[name] for place in places if name in place), None)
        if value is not None and not hasattr(type(value), "__get__"):
            yield value


def _texts_in(value: Any) -> list[Any] | None:
    """Return all texts of a dictionary or a list, of which only running the code would tell which is taken."""
    items = list(value.values()) if type(value) is dict else value
    return list(items) if type(items) in (list, tuple) and items and all(type(each) is str for each in items) else None
