"""The headers of a request, and the user whose token is in them (rules 1 and 2)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeAlias

from obo_kit.exceptions import NoUserIdentityError
from obo_kit.identity._process import PROCESS
from obo_kit.identity._runtime import in_apps
from obo_kit.identity._token import Hidden, fingerprint_of, remedy_for, text_in
from obo_kit.identity._user import UserIdentity, from_hidden, give

__all__: list[str] = []

Headers: TypeAlias = (
    "Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]"
)

_TOKEN_HEADER = "x-forwarded-access-token"  # noqa: S105 - the name of a header
_EMAIL_HEADER = "x-forwarded-email"
AGENT_SERVER = "mlflow.genai.agent_server.utils"
"""Where MLflow's agent server keeps the headers of the request that it serves."""


class RequestHeaders(Hidden):
    """The headers of a request that the kit's own ASGI middleware serves; emptied when the request ends, for copies of its
    context live on in whatever was started meanwhile, and may serve others."""

    __slots__ = ("around", "inside_a_session")

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.around = Hidden(agent_server_headers())  # of the request that this one is sent from, if any
        self.inside_a_session = False  # did a session hold where it began?


REQUEST_HEADERS: ContextVar[RequestHeaders | None] = ContextVar("obo_kit_request_headers", default=None)
"""The request being served, where the middleware runs."""


def from_headers(headers: Hidden, *, host: str | None = None) -> UserIdentity:
    """Return the user whose token is in ``X-Forwarded-Access-Token``. Names are case-insensitive.

    On Databricks Apps the platform's proxy puts it there, and vouches for the user; elsewhere whoever sent the request did.

    Raises:
        NoUserIdentityError: No token, two different ones, or no host.
        TypeError: These are no headers.
    """
    trusted = in_apps()
    PROCESS.user_named = True
    tokens, emails = _forwarded(headers)
    if not tokens:
        raise NoUserIdentityError(
            "The request has no X-Forwarded-Access-Token header, so there is no user to act for.",
            remedy=remedy_for("apps") if trusted else remedy_for("request"),
        )
    if len(tokens) > 1:
        raise NoUserIdentityError(
            "The request has two different X-Forwarded-Access-Token headers.",
            remedy="Call the app through its own URL, without adding X-Forwarded-* headers on the way.",
        )
    identity = from_hidden(
        host=host or os.environ.get("DATABRICKS_HOST", ""),
        token=tokens[0],
        source="apps" if trusted else "explicit",
        verified=trusted,
    )
    if identity.principal is None and len(emails) == 1:
        # The token speaks first; the header is the proxy's word.
        named = replace(identity, principal=text_in(emails[0].value), cache_key="")
        return give(named, identity._credential, fingerprint=fingerprint_of(identity.host, tokens[0]))
    return identity


def names_a_user(headers: Hidden) -> bool:
    """Is there a user's token in these headers?"""
    return bool(_forwarded(headers)[0])


def _forwarded(headers: Hidden) -> tuple[list[Hidden], list[Hidden]]:
    """Return the different values of the token's header, and of the e-mail's."""
    values = _values_of(headers)
    if values is None:
        raise TypeError("headers= takes a mapping, or pairs, of names and values, all of them texts")
    return values


def _values_of(headers: Hidden) -> tuple[list[Hidden], list[Hidden]] | None:
    values: dict[str, dict[str, Hidden]] = {_TOKEN_HEADER: {}, _EMAIL_HEADER: {}}
    try:
        pairs: Iterable[Any] = headers.value.items() if hasattr(headers.value, "items") else headers.value
        for name, value in pairs:
            key = _header_text(name).lower()
            if key in values and value is not None:
                text = _header_text(value)
                values[key][text] = Hidden(text)
    except (TypeError, ValueError):
        return None
    return list(values[_TOKEN_HEADER].values()), list(values[_EMAIL_HEADER].values())


def _header_text(raw: Any) -> str:
    if isinstance(raw, bytes):
        return raw.decode("latin-1")
    if isinstance(raw, str):
        return raw
    raise TypeError  # its own text may be anything, and somebody else's


def agent_server_headers() -> Any:
    """Return the headers that MLflow's agent server keeps for the request being served, if it is what serves."""
    # Where its module was never imported, it does not.
    server = sys.modules.get(AGENT_SERVER)
    return (server.get_request_headers() if server is not None else None) or None


def request_headers() -> Hidden | None:
    """Return the headers of the request being served; with `None` in it where that request has ended.

    Of a request inside another, they are the inner one's: the agent server's, where it began behind the middleware.
    """
    request = request_served()
    return request if request is None or isinstance(request, Hidden) else Hidden(request)


def request_served() -> Any:
    """Return the object that the server keeps for the request being served, to tell requests apart; `None` without one."""
    request, headers = REQUEST_HEADERS.get(), agent_server_headers()
    if request is None or (request.value is not None and headers not in (None, request.around.value)):
        return headers
    return request


forked_inside_a_request: ContextVar[bool] = ContextVar("obo_kit_forked_inside_a_request", default=False)


def _forked() -> None:
    # In a process pool's worker the variables of whichever request forked it stay set, whoever it works for later.
    if request_headers() is not None:
        forked_inside_a_request.set(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
