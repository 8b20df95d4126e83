"""Find the endpoints that a call names for LiteLLM: where a model is asked or made, or is handed to what does so."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any, Final

from obo_kit._upstream.litellm import asks_with_litellm, endpoint_of, names_litellm
from obo_kit._utils.functions import quietly
from obo_kit._utils.user_code import is_author_s
from obo_kit.policy._several import Several
from obo_kit.policy._uncalled import UnreadableError

__all__: list[str] = []

# A source without any of these words names no such endpoint.
WORDS: Final = ("litellm", "LiteLLM", '"databricks/', "'databricks/")
_MODEL: Final = "model"
# The arguments that would hand a user's token over.
_CREDENTIALS: Final = ("api_key", "headers", "extra_headers", "default_headers", "workspace_client", "client")


def endpoints_for_litellm(call: ast.Call, names: Several) -> tuple[str | None, ...]:
    """Return the endpoints that a call names; `None` for one that only running it would tell.

    Args:
        call: A call, as it is written.
        names: The meaning of the names in it.
    """
    origins = [names.origin(each) for each in (call.func, *call.args[:1])]  # `to_thread(litellm.completion, model=…)`
    asks = any(asks_with_litellm(origin.partition(".")[0]) for origin in origins if origin)
    passed_on = not origins[0] or is_author_s(origins[0])
    models = [
        text
        for keyword, text in _passed(call, names)
        if asks or names_litellm(text) or (passed_on and _MODEL in keyword)
    ]
    read = tuple(dict.fromkeys(filter(None, map(endpoint_of, models))))
    return read if read or not asks else _unreadable(call, names)


def hands_user_on(call: ast.Call, names: Several) -> bool:
    """Return whether a call passes credentials that only the function knows, such as those of a user's client."""
    return any(each.arg in _CREDENTIALS and names.binds(each.value) for each in call.keywords)


def _passed(call: ast.Call, names: Several) -> Iterator[tuple[str, str]]:
    """Yield the texts that a call passes, each with its keyword; empty for a position."""
    for part in call.args:
        yield from (("", text) for text in _texts(part, names))
    for each in call.keywords:
        yield from ((each.arg or "", text) for text in _texts(each.value, names))


def _texts(part: ast.expr, names: Several) -> Iterator[str]:
    """Yield the texts in an argument, and in the lists and dictionaries that it is written with; no other call's."""
    values = [
        value for value in quietly(names.values, part, []) if issubclass(type(value), str)
    ]  # and no proxy's class
    if values:
        yield from values
    elif not isinstance(part, ast.Call):
        for inner in ast.iter_child_nodes(part):
            if isinstance(inner, ast.expr):
                yield from _texts(inner, names)


def _unreadable(call: ast.Call, names: Several) -> tuple[None, ...]:
    """Return one unknown endpoint if a call passes a model that it must, and whose name cannot be read."""
    target = quietly(names.value, call.func)
    place = 0
    if target is not None:
        parameters: Any = quietly(lambda each: inspect.signature(each).parameters, target, {})
        if _MODEL not in parameters or parameters[_MODEL].default is not inspect.Parameter.empty:
            return ()
        place = list(parameters).index(_MODEL)
    by_keyword = [each.value for each in call.keywords if each.arg == _MODEL]
    by_position = call.args[place : place + 1] if target is not None else []
    for part in (*by_keyword, *by_position):
        beginning = part.values[0] if isinstance(part, ast.JoinedStr) else part
        of_another = isinstance(beginning, ast.Constant) and not str(beginning.value).endswith("databricks/")
        try:
            names.values(part)
        except UnreadableError:
            return () if of_another else (None,)
    return ()
