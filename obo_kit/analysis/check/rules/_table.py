"""The table of rules, and helpers that their finders share."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from obo_kit.analysis.check._vocabulary import TOKEN

if TYPE_CHECKING:
    from obo_kit.analysis.check._agent import Agent
    from obo_kit.analysis.check._fixes import Edit
    from obo_kit.analysis.check._functions import Facts
    from obo_kit.analysis.check._vocabulary import Value

__all__ = ["TABLE", "Hit", "Rule", "rule"]

MODELS: Final = frozenset({"AsyncDatabricksOpenAI", "ChatDatabricks", "DatabricksOpenAI"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A place where a rule is broken.

    Attributes:
        node: The place.
        message: What is wrong there.
        edits: The edits that fix it, if the source tells all that is needed.
    """

    node: ast.expr
    message: str
    edits: tuple[Edit, ...] = ()


Finder: TypeAlias = "Callable[[Agent], Iterator[Hit]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        code: The code to select, ignore and suppress it by.
        title: The mistake, in one line.
        why: Its consequences.
        fix: How to fix it.
        find: Finds it in an agent.
    """

    code: str
    title: str
    why: str
    fix: str
    find: Finder


TABLE: Final[dict[str, Rule]] = {}
"""Every rule, by its code. Each file adds its own."""


def rule(code: str, title: str, *, why: str, fix: str) -> Callable[[Finder], Finder]:
    def add(find: Finder) -> Finder:
        TABLE[code] = Rule(code=code, title=title, why=why, fix=fix, find=find)
        return find

    return add


def text_of(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whose(value: Value) -> str:
    if value.what == TOKEN:
        return "the user's token"
    return "the user's session" if value.what == "UserSession" else "the user's client"


def tool_called(agent: Agent, call: ast.Call) -> Facts | None:
    called = agent.reader.called(agent.module, call.func)
    facts = agent.reader.facts(*called) if called is not None else None
    return facts if facts is not None and facts.is_tool else None
