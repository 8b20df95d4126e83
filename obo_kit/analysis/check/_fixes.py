"""Write missing declarations into an agent's source. The syntax tree gives the places; the rest of the text stays as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obo_kit.analysis.check._functions import Facts
    from obo_kit.analysis.check._names import Module

__all__ = ["Edit", "apply", "declare"]

_NAME = "requires_scopes"


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Text to insert before the character at ``offset``."""

    offset: int
    text: str


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with all edits. The same edit twice counts once."""
    for edit in sorted(set(edits), reverse=True):
        text = text[: edit.offset] + edit.text + text[edit.offset :]
    return text


def declare(facts: Facts, scopes: Sequence[str]) -> tuple[Edit, ...]:
    """Return the edits that make a tool declare ``scopes``; none if it is not a plain decorated function."""
    module = facts.module
    if facts.requires and facts.requires[-1].args:
        written = facts.requires[-1].args[-1]
        quote = _quote(ast.get_source_segment(module.text, written) or "")
        return (Edit(_offset(module, written, end=True), "".join(f", {quote}{item}{quote}" for item in scopes)),)
    decorator = facts.kit.get("with_user_client")
    if decorator is None or facts.requires or "with_user_client" in facts.by_call:
        return ()
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    imported: tuple[Edit, ...] = ()
    if isinstance(named, ast.Attribute) and module.dotted(named.value) == "obo_kit":
        spelled = f"{ast.unparse(named.value)}.{_NAME}"
    elif (spelling := _spelled(module)) is not None:
        spelled, imported = spelling
    else:
        return ()
    start = _line_start(module, decorator.lineno)
    indent = re.match(r"[^\S\r\n]*", module.text[start:])
    quoted = ", ".join(f'"{scope}"' for scope in scopes)
    return (Edit(start, f"{indent[0] if indent else ''}@{spelled}({quoted}){_break(module)}"), *imported)


def _quote(source: str) -> str:
    return "'" if source.endswith("'") and not source.endswith("'''") else '"'


def _spelled(module: Module) -> tuple[str, tuple[Edit, ...]] | None:
    """Return this file's spelling of ``requires_scopes``, and the import that it lacks."""
    for name, bindings in module.top.names.items():
        if bindings[-1].how == "import" and bindings[-1].imported == f"obo_kit.{_NAME}":
            return name, ()
    if _NAME in module.top.names:
        return None  # another object of that name
    if "obo_kit" in module.top.stars:
        return _NAME, ()
    return _NAME, (_import(module),)


def _import(module: Module) -> Edit:
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "obo_kit" and not node.level:
            return _beside(module, node)
    body = module.tree.body
    before = [statement for statement in body if isinstance(statement, (ast.Import, ast.ImportFrom))]
    if before:
        line = before[-1].end_lineno or before[-1].lineno
    else:
        line = (body[0].end_lineno or 0) if body and ast.get_docstring(module.tree, clean=False) is not None else 0
    return Edit(_line_start(module, line + 1), f"from obo_kit import {_NAME}{_break(module)}")


def _beside(module: Module, node: ast.ImportFrom) -> Edit:
    """Return an edit that adds the name to an import, in the order of the names if they have one."""
    names = [alias.name for alias in node.names]
    after = [alias for alias in node.names if alias.name > _NAME] if names == sorted(names) else []
    if after:
        start = _offset(module, after[0])
        line = _line_start(module, after[0].lineno)
        own_line = not module.text[line:start].strip()
        return Edit(start, f"{_NAME},{_break(module) + module.text[line:start] if own_line else ' '}")
    alias = node.names[-1]
    line = _line_start(module, alias.lineno)
    indent = module.text[line : _offset(module, alias)]
    own_line = not indent.strip()
    return Edit(_offset(module, alias, end=True), f",{_break(module) + indent if own_line else ' '}{_NAME}")


def _break(module: Module) -> str:
    return "\r\n" if "\r\n" in module.text else "\n"


def _line_start(module: Module, line: int) -> int:
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", module.text))]
    return starts[line - 1] if line <= len(starts) else len(module.text)


def _offset(module: Module, node: ast.expr | ast.alias, *, end: bool = False) -> int:
    line, column = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)
    start = _line_start(module, line or 1)
    # The tree counts UTF-8 bytes.
    return start + len(module.text[start:].encode()[: column or 0].decode())
