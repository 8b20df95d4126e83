"""Read a request's headers, and the user whose token they carry (rules 1 and 2)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeAlias

from obo_kit.exceptions import NoUserIdentityError
from obo_kit.identity._process import note_user_named
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
"""The module in which MLflow's agent server keeps the headers of the request that it serves."""


class RequestHeaders(Hidden):
    """The headers of a request that the kit's own ASGI middleware serves.

    They are emptied when the request ends: work that it started keeps a copy of its context, and may serve other users.
    """

    __slots__ = ("around", "inside_a_session")

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.around = Hidden(agent_server_headers())  # of the outer request that this one is sent from, if any
        self.inside_a_session = False  # whether a session was open when the request began


REQUEST_HEADERS: ContextVar[RequestHeaders | None] = ContextVar("obo_kit_request_headers", default=None)
"""The request being served, where the middleware runs."""


def from_headers(headers: Hidden, *, host: str | None = None) -> UserIdentity:
    """Return the user whose token is in ``X-Forwarded-Access-Token``. Header names are case-insensitive.

    On Databricks Apps the platform's proxy sets this header and vouches for the user. Elsewhere the sender set it.

    Raises:
        NoUserIdentityError: There is no token, there are two different ones, or there is no host.
        TypeError: The argument is not headers.
    """
    trusted = in_apps()
    note_user_named()
    tokens, emails = _forwarded(headers)
    if not tokens:
        raise no_token()
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
        # Prefer the token's own claim. The e-mail header is only the proxy's word.
        named = replace(identity, principal=text_in(emails[0].value))
        return give(named, identity._credential, fingerprint=fingerprint_of(identity.host, tokens[0]))
    return identity


def no_token() -> NoUserIdentityError:
    """Return the error of a request without a user's token."""
    return NoUserIdentityError(
        "The request has no X-Forwarded-Access-Token header, so there is no user to act for.",
        remedy=remedy_for("apps") if in_apps() else remedy_for("request"),
    )


def names_a_user(headers: Hidden) -> bool:
    """Return whether the headers carry a user's token."""
    return bool(_forwarded(headers)[0])


def _forwarded(headers: Hidden) -> tuple[list[Hidden], list[Hidden]]:
    """Return the distinct values of the token header, and of the e-mail header."""
    values = _values_of(headers)
    if values is None:
        raise TypeError("headers= takes a mapping, or pairs, of header names and values as text or bytes")
    return values


def _values_of(headers: Hidden) -> tuple[list[Hidden], list[Hidden]] | None:
    values: dict[str, dict[str, Hidden]] = {_TOKEN_HEADER: {}, _EMAIL_HEADER: {}}
    try:
        pairs: Iterable[Any] = headers.value.items() if hasattr(headers.value, "items") else headers.value
        for name, value in pairs:
            key = _header_text(name)
            key = key.lower() if key.isascii() else ""  # a Kelvin sign is a K in lower case
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
    raise TypeError  # without a message: the value may be anything, a secret among them


def agent_server_headers() -> Any:
    """Return the headers that MLflow's agent server keeps for the request being served; `None` if it serves none."""
    # If its module was never imported, it cannot be serving.
    server = sys.modules.get(AGENT_SERVER)
    return (server.get_request_headers() if server is not None else None) or None


def request_headers() -> Hidden | None:
    """Return the headers of the request being served. They hold `None` if that request has ended.

    For a request inside another, return the inner one's: the agent server's headers if it began behind the middleware.
    """
    request = request_served()
    return request if request is None or isinstance(request, Hidden) else Hidden(request)


def request_served() -> Any:
    """Return the server's object for the request being served, to tell requests apart; `None` without a request."""
    request, headers = REQUEST_HEADERS.get(), agent_server_headers()
    if request is None or (request.value is not None and headers not in (None, request.around.value)):
        return headers
    return request


forked_inside_a_request: ContextVar[bool] = ContextVar("obo_kit_forked_inside_a_request", default=False)


def _forked() -> None:
    # A process pool's worker keeps the context variables of the request that forked it, whichever request it serves later.
    if request_headers() is not None:
        forked_inside_a_request.set(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
