"""The English of the package: what can be measured of it. The rest is for whoever reads it."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

from obo_kit import exceptions
from obo_kit.exceptions import Denial, DenialReason, OboError

PACKAGE = Path(__file__).parents[1] / "obo_kit"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# No verb, so no imperative: a function's docstring says what to expect of a call.
_NO_VERBS = frozenset(
    "A All An Are Can Could Did Does Each Every Had Has How Is It Its May No Nothing One "  # noqa: SIM905
    "Should That The These They This Those Was Were What Whatever When Where Whether Which Who Whoever Whom Whose Why".split()
)
_AVOIDED = re.compile(r"\bmend(?:s|ed|ing)?\b|\bfurnish\w*|\bwhom (?:it|they) may\b|\bstands? (?:twice|above)\b", re.I)
_NAMES = frozenset({"found", "given", "one", "told"})  # locals are nouns of the field
_ERRORS = {name for name, kind in vars(exceptions).items() if inspect.isclass(kind) and issubclass(kind, OboError)}


@cache
def modules() -> dict[str, tuple[str, ast.Module]]:
    """Return the source and the tree of each module of the package."""
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    return {name: (text, ast.parse(text)) for name, text in texts.items()}


def docstrings(*kinds: type[ast.AST]) -> list[tuple[str, str]]:
    """Return the place and the first line of each docstring of these kinds of nodes."""
    return [
        (f"{name}:{getattr(node, 'lineno', 1)}", text.partition("\n")[0])
        for name, (_, tree) in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]


def test_a_function_s_docstring_opens_with_a_verb():
    """Return, Build, Check, Refuse."""
    lines = docstrings(*_FUNCTIONS)
    assert len(lines) > 1000
    opened = [(place, line, re.match(r"[A-Z][a-z]+\b", line)) for place, line in lines]
    assert [(place, line) for place, line, word in opened if word is None or word[0] in _NO_VERBS] == []


def test_no_docstring_opens_with_a_question():
    """A module and a class may open with a noun."""
    lines = docstrings(ast.Module, ast.ClassDef)
    assert len(lines) > 300
    assert [line for line in lines if re.match(r"(?:What|Whether|The way)\b", line[1])] == []


def test_no_text_or_comment_uses_a_word_that_is_avoided():
    """Everything is fixed, and nothing is mended."""
    places = []
    for name, (text, _) in modules().items():
        if name == "scopes/_data/words.py" or not _AVOIDED.search(text):  # the words of an API; most have none
            continue
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING) and (match := _AVOIDED.search(token.string)):
                places.append(f"{name}:{token.start[0]}: {match[0]}")
    assert places == []


def test_locals_are_nouns_of_the_field():
    """A name that says nothing of what it holds has to be looked up."""
    names = {
        f"{name}:{node.lineno}: {node.id}"
        for name, (_, tree) in modules().items()
        for function in ast.walk(tree)
        if isinstance(function, _FUNCTIONS)
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in _NAMES
    }
    assert names == set()


def test_every_error_that_the_package_builds_has_a_remedy():
    """And one that is written down begins with what to do: a sentence, or a command."""
    built = [
        (f"{name}:{call.lineno}", {keyword.arg: keyword.value for keyword in call.keywords})
        for name, (_, tree) in modules().items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and (call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")) in _ERRORS
    ]
    assert len(built) > 80
    assert [place for place, arguments in built if not {"remedy", None} & arguments.keys()] == []
    remedies = [(place, _written(arguments["remedy"])) for place, arguments in built if "remedy" in arguments]
    assert sum(text is not None for _, text in remedies) > 60
    begins = re.compile(r"[A-Z`]|pip install |\{")
    assert [(place, text) for place, text in remedies if text is not None and not begins.match(text)] == []


def _written(node: ast.expr) -> str | None:
    """Return a text as it is written, with ``{}`` for each value in it; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


@pytest.mark.parametrize("reason", DenialReason)
def test_every_error_says_how_to_fix_it(reason):
    """As its last line, in the words of the remedy."""
    denial = Denial(reason=reason, user_message="No.", detail="The workspace refused it.", remedy="Ask an admin.")
    assert str(denial.error()) == "The workspace refused it.\nFix: Ask an admin."
