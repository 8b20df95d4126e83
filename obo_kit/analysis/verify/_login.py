"""Sign in as the developer, and collect the tokens that may do less. No token leaves this module but in a header."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from obo_kit._utils.plain import plain
from obo_kit.exceptions import NoUserIdentityError, PolicyError
from obo_kit.identity._token import Confidential, Hidden, check_token, claims_of, scopes_in
from obo_kit.scopes._lookup import check_known

__all__ = ["Login", "Token", "exchanged", "expired_token", "how_to_narrow", "narrow_token", "sign_in", "whose"]

Cloud = Literal["aws", "azure", "gcp", "local", "unknown"]
_CLOUDS: Final[Mapping[str, Cloud]] = {
    ".azuredatabricks.net": "azure",
    ".databricks.azure.us": "azure",
    ".databricks.azure.cn": "azure",
    ".gcp.databricks.com": "gcp",
    ".cloud.databricks.com": "aws",
    ".cloud.databricks.us": "aws",
    ".databricks.com": "aws",
}
_HOW: Final = (
    "Run `databricks auth login --host HOST --scopes {scopes} --profile narrow`, and pass --token-with {scopes}=narrow; "
    "or create a personal access token with these scopes, and pass --token-with {scopes}=env:VARIABLE."
)


@dataclass(frozen=True, kw_only=True)
class Token(Confidential):
    """A token that requests are sent with.

    Attributes:
        label: What it is called in a plan: ``"yours"``, or the scopes.
        scopes: What it carries, logins' own scopes aside; None where it does not say.
        header: Returns the value of ``Authorization``.
    """

    label: str
    scopes: frozenset[str] | None
    header: Callable[[], str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Login(Confidential):
    """Who asks, and of which workspace.

    Attributes:
        host: The workspace.
        cloud: Where it runs, as its address tells.
        token: The developer's own token.
        auth_type: How they are signed in, as the SDK calls it.
    """

    host: str
    cloud: Cloud
    token: Token
    auth_type: str


def sign_in(*, profile: str | None = None, host: str | None = None) -> Login:
    """Sign in with the developer's own credentials: a profile, or what the environment holds, as the SDK finds them.

    Raises:
        NoUserIdentityError: There are none, or they do not work.
    """
    config = _config(profile, host)
    address = _host(config.host or "")
    # Once now, so that who is not signed in hears it before anything else.
    token = _bearer(config, profile)
    return Login(
        host=address,
        cloud=_cloud(address),
        token=Token(label="yours", scopes=_scopes(token), header=lambda: f"Bearer {_bearer(config, profile).value}"),
        auth_type=str(config.auth_type or ""),
    )


def narrow_token(text: str, login: Login) -> Token:
    """Return a token that may do less, as ``SCOPES=SOURCE`` names it.

    Args:
        text: Scopes, divided by commas, and where the token is: a profile, or ``env:VARIABLE``.
        login: The developer's own.

    Raises:
        PolicyError: The text is no such pair, or the token carries other scopes.
        UnknownScopeError: The catalogue knows no such scope.
        NoUserIdentityError: There is no such token, or it is another workspace's.
    """
    names, sign, source = text.partition("=")
    scopes = frozenset(name.strip() for name in names.split(",") if name.strip())
    if not sign or not scopes or not source.strip():
        raise PolicyError(
            f"--token-with takes SCOPES=SOURCE, not '{plain(names, 60)}'.",
            remedy="Write --token-with sql=PROFILE, or --token-with sql=env:VARIABLE. A token itself is never an argument.",
        )
    for scope in scopes:
        check_known(scope)
    token = _of_source(source.strip(), login)
    stated = _scopes(token)
    if stated is not None and stated != scopes:
        raise PolicyError(
            f"The token of '{plain(source, 60)}' does not carry {', '.join(sorted(scopes))} alone, but "
            f"{', '.join(sorted(stated)) or 'no scope'}.",
            remedy=f"Write --token-with {','.join(sorted(stated)) or 'SCOPES'}={plain(source, 60)}, or get another token.",
        )
    return Token(label=",".join(sorted(scopes)), scopes=scopes, header=lambda: f"Bearer {token.value}")


def expired_token(source: str, login: Login) -> Token:
    """Return a token that has expired, as a source names it: a profile, or ``env:VARIABLE``."""
    token = _of_source(source.strip(), login)
    return Token(label="expired", scopes=_scopes(token), header=lambda: f"Bearer {token.value}")


def exchanged(scopes: Iterable[str], login: Login, send: Callable[[Mapping[str, str]], bytes]) -> Token | None:
    """Return a token with fewer scopes that the workspace gives for the developer's own; None where it gives none.

    Args:
        scopes: What it may do.
        login: The developer's own.
        send: Sends the form of an OAuth token exchange, and returns the body of the answer.
    """
    import json

    wanted = frozenset(scopes)
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": login.token.header().removeprefix("Bearer "),
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "scope": " ".join(sorted(wanted)),
    }
    try:
        answer = json.loads(send(form))
        token = Hidden(answer["access_token"])
        check_token(token, "the exchange")
    except (ValueError, KeyError, TypeError, NoUserIdentityError):
        return None
    stated = _scopes(token)
    if stated is not None and stated != wanted:
        return None
    return Token(label=",".join(sorted(wanted)), scopes=wanted, header=lambda: f"Bearer {token.value}")


def how_to_narrow(scopes: str) -> str:
    """Return how to get a token with these scopes alone."""
    return _HOW.format(scopes=scopes)


def whose(me: object, login: Login) -> Literal["user", "service_principal", "unknown"]:
    """Return whether a user asks, or a machine, as ``Me`` and the login tell."""
    if login.auth_type in _MACHINES:
        return "service_principal"
    if not isinstance(me, dict) or not me.get("userName"):
        return "unknown"
    is_person = bool(me.get("emails")) or "@" in str(me["userName"])
    return "user" if is_person and "applicationId" not in me else "service_principal"


_MACHINES: Final = frozenset(
    {"oauth-m2m", "azure-client-secret", "azure-msi", "github-oidc", "env-oidc", "file-oidc", "google-credentials"}
)


def _config(profile: str | None, host: str | None) -> Any:
    from databricks.sdk.core import Config

    settings: dict[str, Any] = {name: value for name, value in (("profile", profile), ("host", host)) if value}
    try:
        return Config(**settings, http_timeout_seconds=10, retry_timeout_seconds=2)
    except Exception as error:
        # The SDK's message names variables and files, and may hold more than that.
        raise NoUserIdentityError(
            f"You are not logged in to a workspace{f' as profile {plain(profile, 60)!r}' if profile else ''} "
            f"({type(error).__name__}).",
            remedy="Run `databricks auth login --host HOST`, and pass its --profile; or set DATABRICKS_HOST and "
            "DATABRICKS_TOKEN.",
        ) from None


def _bearer(config: Any, profile: str | None) -> Hidden:
    try:
        header = config.authenticate().get("Authorization", "")
    except Exception as error:
        raise NoUserIdentityError(
            f"Your login does not work any more ({type(error).__name__}).",
            remedy=f"Run `databricks auth login{f' --profile {plain(profile, 60)}' if profile else ' --host HOST'}`.",
        ) from None
    token = Hidden(header.removeprefix("Bearer "))
    check_token(token, "your login")
    return token


def _of_source(source: str, login: Login) -> Hidden:
    kind, colon, name = source.partition(":")
    if colon and kind == "env":
        token = Hidden(os.environ.get(name, "").strip())
        if not token.value:
            raise NoUserIdentityError(f"The variable {plain(name, 60)} is empty.", remedy="Put the token into it.")
    else:
        config = _config(source, None)
        if _host(config.host or "") != login.host:
            raise NoUserIdentityError(
                f"The profile '{plain(source, 60)}' is another workspace's.",
                remedy="Log in to the same workspace with it: `databricks auth login --host HOST --profile PROFILE`.",
            )
        token = _bearer(config, source)
    check_token(token, source)
    return token


def _scopes(token: Hidden) -> frozenset[str] | None:
    stated = scopes_in(claims_of(token))
    return None if stated is None else stated - {"offline_access", "openid", "email", "profile"}


def _host(host: str) -> str:
    address = host if "://" in host else f"https://{host}"
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _cloud(host: str) -> Cloud:
    name = urlsplit(host).hostname or ""
    if name == "localhost" or re.fullmatch(r"127(?:\.\d+){3}|::1", name):
        return "local"
    known: list[Cloud] = [cloud for end, cloud in _CLOUDS.items() if name.endswith(end)]
    return known[0] if known else "unknown"
