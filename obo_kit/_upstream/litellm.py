"""Know which packages ask models with LiteLLM, and which endpoint a model's name means there.

LiteLLM asks an endpoint of Databricks as the agent itself wherever the agent's client id and secret are set, whatever token it
receives: `tests/frameworks/test_litellm.py`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any, Final

from obo_kit._upstream.classes import package_of

__all__: list[str] = []

_PACKAGE: Final = "litellm"
_MODEL: Final = re.compile(r"(?:.*[/:])?databricks/(?P<endpoint>[^/\s]+)")
_BY_NAME: Final = ("litellm/", "litellm:")


def endpoint_of(model: object) -> str | None:
    """Return the endpoint that a model's name means for LiteLLM, as ``databricks/llm`` does; `None` for any other."""
    match = _MODEL.fullmatch(model) if isinstance(model, str) else None
    return match["endpoint"] if match is not None else None


def names_litellm(model: str) -> bool:
    """Return whether a model's name itself asks for LiteLLM, as ``litellm/databricks/llm`` does in the Agents SDK."""
    return model.startswith(_BY_NAME)


@functools.lru_cache(maxsize=256)
def asks_with_litellm(package: str) -> bool:
    """Return whether a package is LiteLLM, or requires it, at least as an extra."""
    if package == _PACKAGE:
        return True
    distributions = set(importlib.metadata.packages_distributions().get(package, ()))
    return any(_requires(distribution, extras=True) for distribution in distributions)


@functools.lru_cache(maxsize=256)
def _requires(distribution: str, *, extras: bool = False) -> bool:
    """Return whether a distribution requires LiteLLM, or another one that always does."""
    try:
        requirements = importlib.metadata.requires(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return False
    always = [text for text in requirements if "extra ==" not in text]
    names = {_name(text) for text in (requirements if extras else always)}
    return _PACKAGE in names or (extras and any(_requires(_name(text)) for text in always))


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].lower()


def endpoints_of(value: object) -> tuple[str, ...]:
    """Return the endpoints that an object asks with LiteLLM: a model, or a router of several."""
    models: list[Any] = [text for text in _texts(value) if "databricks/" in text]
    if package_of(value) == _PACKAGE:  # a router; in some versions it shows its models only if it is asked
        models += [entry["litellm_params"]["model"] for entry in getattr(value, "model_list", None) or ()]
    named = [name for model in models if (name := endpoint_of(model)) is not None]
    if not named:
        return ()
    bases = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    by_name = any(isinstance(model, str) and names_litellm(model) for model in models)
    return tuple(dict.fromkeys(named)) if by_name or any(map(asks_with_litellm, bases)) else ()


def _texts(value: object) -> Iterator[str]:
    try:
        members = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return
    if type(members) is dict:
        yield from (member for name, member in members.items() if "model" in str(name) and type(member) is str)
