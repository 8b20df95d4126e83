"""Discovery, OAuth for service principals, and SCIM ``Me``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from obo_kit.testing._gate import Answer, Api, Call
from obo_kit.testing._principals import Directory
from obo_kit.testing._refusals import RefusedError

__all__ = ["IdentityApi"]

_TOKEN_LIFE = 3600


class IdentityApi:
    """Says who is who. Lives as long as its workspace."""

    def __init__(self, directory: Directory, host: Callable[[], str], workspace_id: str) -> None:
        self._directory = directory
        self._host = host
        self._workspace_id = workspace_id

    def apis(self) -> list[Api]:
        """The routes."""
        discovery = "/oidc/.well-known/oauth-authorization-server"
        return [
            Api(method="GET", path="/.well-known/databricks-config", handler=self._config, open=True),
            Api(method="GET", path=discovery, handler=self._discovery, open=True),
            Api(method="POST", path="/oidc/v1/token", handler=self._token, open=True),
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
                "grant_types_supported": ["client_credentials"],
                "scopes_supported": ["all-apis"],
            }
        )

    def _token(self, call: Call) -> Answer:
        try:
            form = {name: values[-1] for name, values in parse_qs(call.raw.decode(), max_num_fields=50).items()}
        except ValueError:
            raise RefusedError("malformed", detail="The body must be a URL-encoded form") from None
        client_id, secret = _basic(call.headers.get("authorization")) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if form.get("grant_type") != "client_credentials":
            raise RefusedError("oauth_grant_type", grant_type=form.get("grant_type", ""))
        if not self._directory.secret_matches(client_id, secret):
            raise RefusedError("oauth_client")
        scopes = form.get("scope", "all-apis").split()
        token = self._directory.mint(self._directory.find(client_id), scopes, _TOKEN_LIFE)
        return Answer(
            content={
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": _TOKEN_LIFE,
                "scope": " ".join(scopes),
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


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return user, password
