"""Users, groups and service principals of a local workspace, and the tokens it issues them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import secrets
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from obo_kit.testing._refusals import RefusedError

__all__ = ["Caller", "Directory", "ExpiredTokenError", "Principal", "ServicePrincipal"]

# Every user and service principal is a member of these implicitly, as on the platform.
_EVERYONE = frozenset({"users", "account users"})


@dataclass(frozen=True, kw_only=True)
class ServicePrincipal:
    """A service principal and its credentials, for ``DATABRICKS_CLIENT_ID`` and ``DATABRICKS_CLIENT_SECRET``.

    Attributes:
        name: The name that it was added by.
        client_id: Its application id; also the ``sub`` of its tokens.
        client_secret: For OAuth M2M. Not in the repr.
    """

    name: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Principal:
    """A principal, who can hold a token.

    Attributes:
        name: The name that it was added by. The log and the error texts of this package use it.
        user_name: The platform's name: an e-mail address, or the client id of a service principal.
        kind: User or service principal.
        id: Numeric id, as text.
        groups: Groups, including the implicit ones.
    """

    name: str
    user_name: str
    kind: Literal["user", "service_principal"]
    id: str
    groups: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request, by its token. Lives as long as the request; the token itself is not kept.

    Attributes:
        principal: The principal.
        scopes: The scopes that the token carries.
        expires_at: Seconds since the epoch.
        token_id: The token's ``jti``.
    """

    principal: Principal
    scopes: frozenset[str]
    expires_at: float
    token_id: str


class ExpiredTokenError(RefusedError):
    """A token was valid once and has expired.

    Attributes:
        caller: The owner of the token.
    """

    def __init__(self, caller: Caller) -> None:
        super().__init__("expired_token")
        self.caller = caller


def _named(groups: Iterable[str]) -> frozenset[str]:
    if isinstance(groups, str):
        msg = f"groups= takes names in a list, not the single string {groups!r}"
        raise ValueError(msg)
    return frozenset(groups)


class Directory:
    """The principals of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self, workspace_id: str) -> None:
        self.workspace_id = workspace_id
        self._key = secrets.token_bytes(64)
        self._lock = threading.Lock()
        self._by_name: dict[str, Principal] = {}
        self._by_user_name: dict[str, Principal] = {}
        self._secrets: dict[str, str] = {}
        # Direct memberships, of principals (by user name) and of groups.
        self._memberships: dict[str, frozenset[str]] = {}
        self._nested: dict[str, frozenset[str]] = {}
        self._expired: set[str] = set()
        self._ids = itertools.count(7_000_000_000_001)
        self.issuer = ""

    def add_user(self, name: str, groups: Iterable[str]) -> Principal:
        """Add a user. Raises ValueError if the name is empty or taken."""
        user_name = name if "@" in name else f"{name}@example.com"
        return self._add(name, user_name, "user", groups)

    def add_service_principal(self, name: str) -> ServicePrincipal:
        """Add a service principal with a fresh id and secret. Raises ValueError if the name is empty or taken."""
        client_id = str(uuid.uuid4())
        secret = "dose" + secrets.token_hex(16)
        self._add(name, client_id, "service_principal", ())
        with self._lock:
            self._secrets[client_id] = secret
        return ServicePrincipal(name=name, client_id=client_id, client_secret=secret)

    def add_group(self, name: str, groups: Iterable[str]) -> None:
        """Add a group that is a member of other groups. Its members are members of them too.

        Raises ValueError if the name is unusable or taken, or if the groups form a circle.
        """
        with self._lock:
            parents = _named(groups)
            if not name or name != name.strip() or name in self._nested or name in _EVERYONE or name in self._by_name:
                msg = f"A group needs a name of its own, not {name!r}"
                raise ValueError(msg)
            if name in parents | self._above(parents):
                msg = f"The group {name!r} cannot be in itself"
                raise ValueError(msg)
            self._nested[name] = parents
            for principal in list(self._by_name.values()):
                groups_now = self._above(self._memberships[principal.user_name]) | _EVERYONE
                changed = dataclasses.replace(principal, groups=groups_now)
                self._by_name[principal.name] = self._by_user_name[principal.user_name] = changed

    def _above(self, groups: frozenset[str]) -> frozenset[str]:
        """Return groups, and the groups that they are members of, directly or not."""
        reached: set[str] = set()
        ahead = list(groups)
        while ahead:
            group = ahead.pop()
            if group not in reached:
                reached.add(group)
                ahead.extend(self._nested.get(group, ()))
        return frozenset(reached)

    def names(self, kind: Literal["user", "service_principal"]) -> tuple[str, ...]:
        """Return the names of the principals of a kind, in the order they were added."""
        with self._lock:
            return tuple(name for name, principal in self._by_name.items() if principal.kind == kind)

    def credentials(self, name: str) -> ServicePrincipal | None:
        """Return the credentials of a service principal; None if there is none of that name.

        Raises ValueError if the name is a user's.
        """
        with self._lock:
            principal = self._by_name.get(name)
            secret = self._secrets.get(principal.user_name) if principal else None
        if principal is None:
            return None
        if secret is None:
            msg = f"{name!r} is a user, not a service principal"
            raise ValueError(msg)
        return ServicePrincipal(name=name, client_id=principal.user_name, client_secret=secret)

    def remove(self, name: str) -> None:
        """Forget a principal. Its tokens are invalid from now on."""
        principal = self.find(name)
        with self._lock:
            self._by_name.pop(principal.name, None)
            self._by_user_name.pop(principal.user_name, None)
            self._secrets.pop(principal.user_name, None)

    def _add(
        self, name: str, user_name: str, kind: Literal["user", "service_principal"], groups: Iterable[str]
    ) -> Principal:
        memberships = _named(groups)
        if not name or name != name.strip() or not name.isprintable():
            msg = f"A principal needs a printable name without spaces around it, not {name!r}"
            raise ValueError(msg)
        with self._lock:
            if name in self._by_name or user_name in self._by_user_name:
                msg = f"There is already a principal named {name!r}"
                raise ValueError(msg)
            principal = Principal(
                name=name,
                user_name=user_name,
                kind=kind,
                id=str(next(self._ids)),
                groups=self._above(memberships) | _EVERYONE,
            )
            self._memberships[user_name] = memberships
            self._by_name[name] = self._by_user_name[user_name] = principal
        return principal

    def find(self, name: str) -> Principal:
        """Return the principal of that name, e-mail address or client id. The ValueError names the nearest."""
        with self._lock:
            principal = self._by_name.get(name) or self._by_user_name.get(name)
            known = sorted(self._by_name)
        if principal is None:
            msg = f"No principal {name!r} in this workspace; there are: {', '.join(known) or 'none yet'}"
            raise ValueError(msg)
        return principal

    def grantee(self, name: str) -> str:
        """Return the key for grants to a principal or a group. Raises ValueError if it is unknown."""
        with self._lock:
            groups = _EVERYONE.union(self._nested, *(principal.groups for principal in self._by_name.values()))
            principal = self._by_name.get(name) or self._by_user_name.get(name)
        if principal is not None:
            return principal.user_name
        if name in groups:
            return f"group:{name}"
        return self.find(name).user_name

    def secret_matches(self, client_id: str, secret: str) -> bool:
        """Return whether these are the credentials of a service principal."""
        with self._lock:
            known = self._secrets.get(client_id)
        return known is not None and secrets.compare_digest(known.encode(), secret.encode())

    def mint(self, principal: Principal, scopes: Iterable[str], expires_in: float) -> str:
        """Issue a token. It lives ``expires_in`` seconds, rounded up to a whole one; zero or less is expired at once."""
        import jwt

        if isinstance(scopes, str):
            msg = f"scopes= takes names in a list, not the single string {scopes!r}"
            raise ValueError(msg)
        now = time.time()
        claims = {
            "sub": principal.user_name,
            "scope": " ".join(dict.fromkeys(scopes)),
            "iss": self.issuer,
            "aud": self.workspace_id,
            "iat": math.floor(now),
            "exp": math.ceil(now + expires_in) if expires_in > 0 else math.floor(now + expires_in),
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm="HS256", headers={"typ": "at+jwt"})

    def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller that an Authorization header identifies.

        Raises:
            RefusedError: There is no header, it has another scheme, or its token is not this workspace's or has expired.
        """
        import jwt

        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise RefusedError("credential_missing")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=self.workspace_id,
                # Expiry is checked below, so that the log can say whose token had expired.
                options={"require": ["sub", "exp"], "verify_exp": False},
            )
        except (jwt.PyJWTError, ValueError):
            raise RefusedError("invalid_token") from None
        with self._lock:
            principal = self._by_user_name.get(claims["sub"])
        if principal is None:
            raise RefusedError("invalid_token")
        caller = Caller(
            principal=principal,
            scopes=frozenset(claims["scope"].split()),
            expires_at=float(claims["exp"]),
            token_id=claims["jti"],
        )
        if caller.expires_at <= time.time() or caller.token_id in self._expired:
            raise ExpiredTokenError(caller)
        return caller

    def expire(self, caller: Caller) -> None:
        """Make the token of a request count as expired from now on. Other tokens of the same user stay valid."""
        self._expired.add(caller.token_id)
