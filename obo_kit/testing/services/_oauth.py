"""Discovery, OAuth (service principals, token exchange), and SCIM ``Me``."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs

from obo_kit.testing._kit import check_scopes_known
from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.iam._directory import Principal, ServicePrincipal
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._faults import LOGIN_PATH, login_page
from obo_kit.testing.server._service import Core, Mixin, Part, Service

__all__ = ["IdentityApi", "IdentityMixin"]

declare(
    {
        "oauth_client": Refusal(
            status=401,
            code="invalid_client",
            text="Client authentication failed",
            decision="invalid token",
            standing="inferred",
            source="RFC 6749 section 5.2",
        ),
        "oauth_subject": Refusal(
            status=400,
            code="invalid_grant",
            text="The subject token is not valid, or has expired",
            decision="invalid token",
            standing="inferred",
            source="RFC 8693 section 2.2.2",
        ),
        "oauth_scope": Refusal(
            status=400,
            code="invalid_scope",
            text="Scopes '{scopes}' are not assigned to the client {client}",
            decision="missing scope",
            standing="reported",
            source="errors.oauth_token_endpoint_scope",
        ),
        "oauth_grant_type": Refusal(
            status=400,
            code="unsupported_grant_type",
            text="The grant type is not supported: {grant_type}",
            decision="bad request",
            standing="inferred",
            source="RFC 6749 section 5.2",
        ),
    }
)

_TOKEN_LIFE = 3600
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  the name of a kind of token


class IdentityApi(Service):
    """Serves identities. Lives as long as its workspace."""

    def __init__(self, core: Core) -> None:
        self._directory = core.directory
        self._host = core.host
        self._workspace_id = core.workspace_id

    def apis(self) -> list[Api]:
        """Return the routes."""
        return [
            Api(method="GET", path="/.well-known/databricks-config", handler=self._config, open=True),
            *(
                Api(method="GET", path=f"/oidc/.well-known/{document}", handler=self._discovery, open=True)
                for document in ("oauth-authorization-server", "openid-configuration")
            ),
            Api(method="POST", path="/oidc/v1/token", handler=self._token, open=True),
            Api(method="GET", path=LOGIN_PATH, handler=lambda _call: Answer(content=login_page()), open=True),
            Api(method="GET", path="/api/2.0/preview/scim/v2/Me", handler=self._me),
        ]

    def _config(self, _call: Call) -> Answer:
        return Answer(content={"oidc_endpoint": f"{self._host()}/oidc", "workspace_id": self._workspace_id})

    def _discovery(self, _call: Call) -> Answer:
        issuer = f"{self._host()}/oidc"
        return Answer(
            content={
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/v1/authorize",
                "token_endpoint": f"{issuer}/v1/token",
                "grant_types_supported": ["client_credentials", _EXCHANGE],
                "scopes_supported": ["all-apis"],
            }
        )

    def _token(self, call: Call) -> Answer:
        try:
            form = {name: values[-1] for name, values in parse_qs(call.raw.decode(), max_num_fields=50).items()}
        except ValueError:
            raise RefusedError("malformed", detail="The body must be a URL-encoded form") from None
        grants = {"client_credentials": self._client_credentials, _EXCHANGE: self._exchange}
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise RefusedError("oauth_grant_type", grant_type=form.get("grant_type", ""))
        return grant(call, form)

    def _client_credentials(self, call: Call, form: dict[str, str]) -> Answer:
        client_id, secret = _basic(call.headers.get("authorization")) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if not self._directory.secret_matches(client_id, secret):
            raise RefusedError("oauth_client")
        scopes = form.get("scope", "all-apis").split()
        return self._issued(self._directory.find(client_id), scopes, _TOKEN_LIFE)

    def _exchange(self, call: Call, form: dict[str, str]) -> Answer:
        """Exchange a token of this workspace for one of the same principal, with no more scopes and no longer life."""
        try:
            caller = self._directory.authenticate(f"Bearer {form.get('subject_token', '')}")
        except RefusedError:
            raise RefusedError("oauth_subject") from None
        scopes = form["scope"].split() if form.get("scope") else sorted(caller.scopes)
        missing = [scope for scope in scopes if not _holds(caller.scopes, scope)]
        if missing:
            who = form.get("client_id") or caller.principal.user_name
            raise RefusedError("oauth_scope", scopes=" ".join(missing), client=who, missing=tuple(missing))
        life = min(_TOKEN_LIFE, int(caller.expires_at - time.time()))
        return self._issued(caller.principal, scopes, life, issued_token_type=_ACCESS_TOKEN)

    def _issued(self, principal: Principal, scopes: list[str], life: int, **more: str) -> Answer:
        return Answer(
            content={
                "access_token": self._directory.mint(principal, scopes, life),
                "token_type": "Bearer",
                "expires_in": life,
                "scope": " ".join(scopes),
                **more,
            }
        )

    def _me(self, call: Call) -> Answer:
        who = call.user.principal
        body: dict[str, Any] = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": who.id,
            "userName": who.user_name,
            "displayName": who.name,
            "active": True,
            "groups": [{"display": group, "value": group, "type": "direct"} for group in sorted(who.groups)],
        }
        if who.kind == "user":
            body["emails"] = [{"type": "work", "value": who.user_name, "primary": True}]
        return Answer(content=body)


def _holds(held: frozenset[str], scope: str) -> bool:
    """Check that a token's scopes contain another: itself, ``all-apis``, or a parent by name."""
    base, _, modifier = scope.partition(":")
    parents = {scope, "all-apis"} | ({base, base.partition(".")[0]} if modifier in {"", "read"} else set())
    # One name looks like a parent but is none (G-BHAVINK).
    return not held.isdisjoint(parents - ({"dashboards"} if scope.startswith("dashboards.genie") else set()))


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return user, password


class _Resource(Protocol):
    """A resource as MLflow describes it."""

    @property
    def name(self) -> Any:
        """Return the name or id."""
        ...


Securable: TypeAlias = "str | _Resource"


def _name(principal: str | ServicePrincipal) -> str:
    return principal.name if isinstance(principal, ServicePrincipal) else principal


def _named(securable: Securable, kind: str | None) -> tuple[str, str | None]:
    """Return name and kind of the securable. MLflow's resources have the same kinds as this workspace's."""
    if isinstance(securable, str):
        return securable, kind
    own = getattr(securable, "type", None)
    if own is None or not hasattr(securable, "name"):
        msg = f"A securable is a name or an MLflow resource, not {securable!r}"
        raise ValueError(msg)
    return str(securable.name), kind or str(own.value)


class IdentityMixin(Mixin):
    """Users, service principals, their tokens and grants."""

    _identity = Part(IdentityApi)

    def add_user(self, name: str, *, groups: Iterable[str] = ()) -> None:
        """Add a user. They are members of the given groups, and of ``users`` and ``account users``.

        Raises:
            ValueError: The name is empty or taken.
        """
        self._core.directory.add_user(name, groups)

    def add_service_principal(self, name: str) -> ServicePrincipal:
        """Add a service principal and return its credentials. The SDK's OAuth M2M accepts them.

        Raises:
            ValueError: The name is empty or taken.
        """
        return self._core.directory.add_service_principal(name)

    @property
    def users(self) -> tuple[str, ...]:
        """Return the names of the users, in the order they were added."""
        return self._core.directory.names("user")

    @property
    def service_principals(self) -> tuple[str, ...]:
        """Return the names of the service principals, in the order they were added."""
        return self._core.directory.names("service_principal")

    def service_principal(self, name: str) -> ServicePrincipal:
        """Return the credentials of a service principal. Raises ValueError if there is none of the name."""
        credentials = self._core.directory.credentials(name)
        if credentials is None:
            msg = f"There is no service principal {name!r} in this workspace; add_service_principal() adds it"
            raise ValueError(msg)
        return credentials

    def token(
        self,
        principal: str | ServicePrincipal,
        *,
        scopes: Iterable[str] = ("all-apis",),
        expires_in: float = 3600.0,
        allow_unknown: bool = False,
    ) -> str:
        """Issue a token: a JWT with the claims sub, scope, iss, aud, iat, exp and jti.

        Args:
            principal: The owner of the token.
            scopes: The scopes that it carries.
            expires_in: Life in seconds, rounded up to a whole one; zero or less gives an expired token.
            allow_unknown: Whether to accept scopes that the catalogue does not know, as with
                ``requires_scopes(allow_unknown=True)``.

        Raises:
            ValueError: There is no such principal, or no such scope.
        """
        named = tuple(scopes) if not isinstance(scopes, str) else scopes
        if not allow_unknown and not isinstance(named, str):
            check_scopes_known(named)
        return self._core.directory.mint(self._core.directory.find(_name(principal)), named, expires_in)

    def grant(
        self, principal: str | ServicePrincipal, privilege: str, securable: Securable, *, kind: str | None = None
    ) -> None:
        """Grant a privilege, spelled as on the platform (``"SELECT"``, ``"EXECUTE"``, ``"CAN USE"`` and so on).

        Args:
            principal: A user, a service principal or a group.
            privilege: The privilege.
            securable: The securable's name or id, or MLflow's resource for it: ``DatabricksGenieSpace("01f0")``.
            kind: Its kind, if the name alone is ambiguous.

        Raises:
            ValueError: The principal or securable is unknown, the name is ambiguous, or the privilege does not fit.
        """
        name, kind = _named(securable, kind)
        self._core.grants.grant(_name(principal), privilege, name, kind=kind)

    def revoke(
        self, principal: str | ServicePrincipal, privilege: str, securable: Securable, *, kind: str | None = None
    ) -> None:
        """Revoke a privilege, with effect on the next request. Arguments and errors as for ``grant``."""
        name, kind = _named(securable, kind)
        self._core.grants.revoke(_name(principal), privilege, name, kind=kind)
