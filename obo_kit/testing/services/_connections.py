"""Connections of Unity Catalog: who may use them, who has logged in to them, and the service behind them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from starlette.responses import StreamingResponse

from obo_kit.testing._refusals import Refusal, RefusedError, declare
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._pages import page
from obo_kit.testing.server._service import Core, Mixin, Part, Service

__all__ = ["Connection", "Connections", "ConnectionsMixin"]

declare(
    {
        "connection_denied": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text="User does not have USE CONNECTION on Connection '{name}'.",
            decision="missing grant",
            standing="reported",
            source="errors.uc_privilege_missing",
        ),
        "connection_missing": Refusal(
            status=404,
            code="CONNECTION_DOES_NOT_EXIST",
            text="Connection '{name}' does not exist.",
            decision="not found",
            standing="inferred",
            source="errors.uc_hidden (other *_DOES_NOT_EXIST)",
        ),
        "connection_login": Refusal(
            status=401,
            code="UNAUTHENTICATED",
            text="Credential for user identity('{user_id}') is not found for the connection '{name}'. "
            "Please login first to the connection by visiting {url}",
            decision="login required",
            standing="reported",
            source="errors.connection_login_required",
        ),
        "connection_unreachable": Refusal(
            status=502,
            code="BAD_GATEWAY",
            text="The service behind connection '{name}' did not answer: {error}",
            decision="upstream error",
            standing="inferred",
            source="HTTP semantics; the wording is ours",
        ),
    }
)

# Seconds to connect to the service, and between two pieces of its answer.
_TIMEOUT = (5.0, 30.0)
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Headers that belong to one hop of a request, or that the caller sends to the workspace and not to the service.
_NOT_FORWARDED = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connection, as one user uses it.

    Attributes:
        name: Its name.
        url: The address of the service, without a slash at the end.
        headers: The credentials that are sent with each request; the user's own if users log in. Not in the repr.
        comment: The author's comment.
        login: Whether each user has to log in first.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    comment: str = ""
    login: bool = False


class Connections(Service):
    """The connections of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self, core: Core) -> None:
        self._grants = core.grants
        self._directory = core.directory
        self._host = core.host
        core.engine.serve_http(self.call_from_statement)
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}
        # The credentials of users who have logged in, by connection and user name.
        self._logins: dict[tuple[str, str], Mapping[str, str]] = {}

    def add(self, name: str, url: str, *, headers: Mapping[str, str], login: bool, comment: str) -> None:
        """Add a connection; see ``LocalWorkspace.add_connection``."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            msg = f"Connection {name!r} needs a URL such as http://127.0.0.1:8000/api, not {url!r}"
            raise ValueError(msg)
        if not re.fullmatch(r"[\w-]+", name):
            msg = f"The name of a connection consists of letters, digits, - and _, not {name!r}"
            raise ValueError(msg)
        if login and headers:
            msg = f"Users log in to connection {name!r} with credentials of their own: pass headers to log_in instead"
            raise ValueError(msg)
        self._grants.register("uc_connection", name)
        with self._lock:
            self._connections[name] = Connection(
                name=name, url=url.rstrip("/"), headers=dict(headers), comment=comment, login=login
            )

    def log_in(self, principal: Principal, name: str, headers: Mapping[str, str] | None) -> None:
        """Keep a user's credentials for a connection, or forget them (None). Raises ValueError if it takes no logins."""
        with self._lock:
            connection = self._connections.get(name)
            if connection is None or not connection.login:
                there = ", ".join(sorted(each.name for each in self._connections.values() if each.login))
                msg = f"Users do not log in to a connection {name!r}; they do to: {there or 'none yet'}"
                raise ValueError(msg)
            if headers is None:
                self._logins.pop((name, principal.user_name), None)
            else:
                self._logins[name, principal.user_name] = dict(headers)

    def use(self, principal: Principal, name: str) -> Connection:
        """Return a connection, with the credentials that the principal uses it with.

        Raises:
            RefusedError: There is no such connection (``connection_missing``), the principal does not hold USE CONNECTION
                on it (``connection_denied``), or has not logged in to it (``connection_login``). ``refusal`` and
                ``message`` say which.
        """
        return self._logged_in(principal, self.find(principal, name))

    def _logged_in(self, principal: Principal, connection: Connection) -> Connection:
        """Return a connection with the principal's own credentials, if users log in to it."""
        name = connection.name
        if not connection.login:
            return connection
        with self._lock:
            headers = self._logins.get((name, principal.user_name))
        if headers is None:
            url = f"{self._host()}/explore/connections/{name}"
            raise RefusedError("connection_login", user_id=principal.id, name=name, url=url)
        return Connection(name=name, url=connection.url, headers=headers, comment=connection.comment, login=True)

    def call_from_statement(self, user_name: str, name: str, request: Mapping[str, str | None]) -> tuple[int, str]:
        """Make the request of ``http_request``, and return its status and text.

        The statement has checked USE CONNECTION: the caller's, or in a function its owner's (inferred). Raises
        ValueError, with the platform's words and an SQLSTATE, if it cannot be made.
        """
        try:
            connection = self._logged_in(self._directory.find(user_name), self._connections[name])
            verb, body = str(request["method"]).upper(), request["json"]
            if verb not in _METHODS:
                raise RefusedError("invalid_parameter", detail=f"method must be one of {', '.join(_METHODS)}")
            sent = {"Content-Type": "application/json"} if body is not None else {}
            sent |= _members(request, "headers")
            query, data = _members(request, "params"), (body or "").encode()
            with _send(connection, verb, request["path"] or "", headers=sent, params=query, data=data) as response:
                return response.status_code, response.text
        except RefusedError as error:
            state = "28000" if error.refusal.decision == "login required" else "22023"
            msg = f"[{error.refusal.code}] {error.message} SQLSTATE: {state}"
            raise ValueError(msg) from None

    def find(self, principal: Principal, name: str) -> Connection:
        """Return a connection to a principal who holds USE CONNECTION on it, logged in or not. Raises as ``use``."""
        with self._lock:
            connection = self._connections.get(name)
        if connection is None:
            raise RefusedError("connection_missing", name=name)
        if not self._grants.holds(principal, "USE CONNECTION", "uc_connection", name):
            raise RefusedError("connection_denied", name=name)
        return connection

    def apis(self) -> list[Api]:
        """Return the routes."""
        connections = "/api/2.1/unity-catalog/connections"
        proxy = "/api/2.0/unity-catalog/connections/{connection}/proxy"
        return [
            Api(method="GET", path=connections, handler=self._list),
            Api(method="GET", path=connections + "/{connection}", handler=self._get),
            Api(method="POST", path="/api/2.0/external-function", handler=self._external_function, quick=False),
            *(
                Api(method=method, path=proxy + rest, handler=self._proxy, quick=False)
                for method in _METHODS
                for rest in ("", "/{path:path}")
            ),
        ]

    # ------------------------------------------------------------------ handlers

    def _list(self, call: Call) -> Answer:
        mine = [
            self._connections[name]
            for name in self._grants.names("uc_connection")
            if self._grants.holds(call.user.principal, "USE CONNECTION", "uc_connection", name)
        ]
        return page(call, "connections", [_info(each) for each in mine])

    def _get(self, call: Call) -> Answer:
        return Answer(content=_info(self.find(call.user.principal, call.params["connection"])))

    def _external_function(self, call: Call) -> Answer:
        body = call.json()
        connection = self.use(call.user.principal, call.text(body, "connection_name"))
        method = call.text(body, "method")
        if method not in _METHODS:
            raise RefusedError("invalid_parameter", detail=f"method must be one of {', '.join(_METHODS)}")
        if body.get("sub_domain"):
            raise RefusedError("invalid_parameter", detail="The local workspace serves no sub_domain")
        payload = body.get("json")
        headers = _members(body, "headers")
        if payload is not None:
            headers = {"Content-Type": "application/json", **headers}
        return _forward(
            connection,
            method,
            call.text(body, "path", ""),
            headers=headers,
            params=_members(body, "params"),
            data=str(payload).encode() if payload is not None else b"",
        )

    def _proxy(self, call: Call) -> Answer:
        connection = self.use(call.user.principal, call.params["connection"])
        return _forward(
            connection,
            call.method,
            call.params.get("path", ""),
            headers=call.headers,
            params=call.query,
            data=call.raw,
        )


def _send(
    connection: Connection,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    params: Mapping[str, str],
    data: bytes,
) -> requests.Response:
    """Send a request on to the service, and return its answer, to be closed. Raises RefusedError if there is none."""
    if any(part == ".." for part in re.split(r"[/\\]", unquote(path))):
        raise RefusedError("invalid_parameter", detail="path must not contain ..")
    sent = CaseInsensitiveDict({name: value for name, value in headers.items() if name.lower() not in _NOT_FORWARDED})
    # Added last, so that no caller can replace the connection's credentials.
    sent.update(connection.headers)
    url = f"{connection.url}/{path.lstrip('/')}" if path.strip("/") else connection.url
    # A new session each time: users share no cookies, and this machine's proxy and netrc settings do not apply. The answer
    # keeps its connection.
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.request(
                method,
                url,
                params=params,
                data=data,
                headers=sent,
                timeout=_TIMEOUT,
                allow_redirects=False,
                stream=True,
            )
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL):
            raise RefusedError("invalid_parameter", detail="Headers or path are not those of an HTTP request") from None
        except requests.RequestException as error:
            raise RefusedError("connection_unreachable", name=connection.name, error=type(error).__name__) from error


def _forward(connection: Connection, method: str, path: str, **request: Any) -> Answer:
    """Send a request on to the service, and return its answer as it comes: status, headers and body.

    Inferred: the platform passes on the status of the service. The SDK takes the headers of the answer for the service's.
    """
    response = _send(connection, method, path, **request)

    def pieces() -> Any:
        with response:
            yield from response.iter_content(None)

    kept = {name: value for name, value in response.headers.items() if name.lower() not in _NOT_FORWARDED}
    return Answer(content=StreamingResponse(pieces(), status_code=response.status_code, headers=kept))


def _members(body: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return a field that holds a JSON object as text."""
    try:
        members = json.loads(body.get(name) or "{}")
    except (TypeError, ValueError):
        members = None
    if not isinstance(members, dict):
        raise RefusedError("invalid_parameter", detail=f"{name} must be a JSON object, as text")
    return {str(key): str(value) for key, value in members.items()}


def _info(connection: Connection) -> dict[str, Any]:
    """Return a connection as the API describes it, without its credentials."""
    parts = urlsplit(connection.url)
    return {
        "name": connection.name,
        "full_name": connection.name,
        "connection_type": "HTTP",
        "credential_type": "OAUTH_U2M" if connection.login else "BEARER_TOKEN",
        "securable_type": "CONNECTION",
        "comment": connection.comment,
        "url": connection.url,
        "options": {
            "host": f"{parts.scheme}://{parts.hostname}",
            "port": str(parts.port or {"http": 80, "https": 443}[parts.scheme]),
            "base_path": parts.path or "/",
        },
        "read_only": True,
    }


class ConnectionsMixin(Mixin):
    """Connections of Unity Catalog."""

    _connections = Part(Connections)

    def add_connection(
        self,
        name: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        login: bool = False,
        comment: str = "",
    ) -> None:
        """Add a connection of Unity Catalog to an HTTP service. Users need USE CONNECTION on it.

        Requests really go there: ``serving_endpoints.http_request``, the connection's proxy path and the external MCP
        server of its name pass them on, without the caller's token.

        Args:
            name: Its name, without catalog and schema.
            url: The address of the service. Paths of requests are added to it. A test starts the service on loopback.
            headers: Credentials that the connection holds, such as ``{"Authorization": "Bearer …"}``.
            login: Whether each user has to log in first; ``log_in`` does that for them.
            comment: Its description.

        Raises:
            ValueError: The name is malformed or taken, the URL is not a URL, or ``headers`` go with ``login``.
        """
        self._connections.add(name, url, headers=headers or {}, login=login, comment=comment)

    def log_in(self, user: str, connection: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Log a user in to a connection added with ``login=True``, as their browser would.

        Args:
            user: The user.
            connection: Its name.
            headers: The user's own credentials at the service.

        Raises:
            ValueError: There is no such user, or no connection of the name that users log in to.
        """
        self._connections.log_in(self._core.directory.find(user), connection, headers or {})

    def log_out(self, user: str, connection: str) -> None:
        """Forget a user's login to a connection. Arguments and errors as for ``log_in``."""
        self._connections.log_in(self._core.directory.find(user), connection, None)
