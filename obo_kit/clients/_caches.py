"""Refuse a request whose answer a cache would give to the next user (rule 4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from obo_kit._upstream.caches import caches_above
from obo_kit.exceptions import IdentityMismatchError
from obo_kit.identity._credentials import LeasedToken, lease_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

logger = logging.getLogger(__name__)

_DEPTH = 4
_MOST = 1000

_said: set[str] = set()


def refuse_shared_cache(lease: Lease) -> None:
    """Refuse to act for a user inside a cached function whose key does not contain that user.

    A developer only gets a warning: nobody else is served.

    Raises:
        IdentityMismatchError: The cache would give this user's answer to others.
    """
    for cached in caches_above():
        identity = lease.identity
        if identity is None:
            return
        texts = tuple(text for text in (identity.cache_key, identity.principal) if text)
        if _holds(cached.key, texts, _DEPTH):
            continue
        error = IdentityMismatchError(
            f"{cached.cache} keeps what '{cached.function}' returns under a key that does not contain the user, so the next "
            "user would get this user's answer. Nothing was sent.",
            remedy=cached.fix,
        )
        if identity.source != "developer":
            raise error
        if cached.function not in _said:
            _said.add(cached.function)
            logger.warning("This is refused for any user but a developer. %s", error)


def _holds(value: Any, texts: tuple[str, ...], depth: int) -> bool:
    """Check whether a part of a key distinguishes the user: it is the user's key or name, or acts as the user."""
    if isinstance(value, str):
        return isinstance(value, LeasedToken) or any(text in value for text in texts)
    if lease_of(value) is not None:
        return True
    if depth == 0:
        return False
    return any(_holds(part, texts, depth - 1) for part in _parts(value))


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        parts: list[Any] = [*value.keys(), *value.values()]
    elif isinstance(value, (tuple, list, set, frozenset)):
        parts = list(value)
    else:
        parts = list(getattr(value, "__dict__", {}).values())
    return parts[:_MOST]
