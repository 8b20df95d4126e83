"""Take one request out and back: fence, credentials, guard, send, record (rules 5, 8, 16, 19 and 23).

Every transport makes an `Exchange` of a request, sends the request with the exchange's headers, and lets it record the outcome.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from obo_kit._upstream.answers import code_of, read_answer
from obo_kit._upstream.texts import is_login
from obo_kit.clients import _apps as apps
from obo_kit.clients._apps import may_be_app, trusts_app
from obo_kit.clients._caches import refuse_shared_cache
from obo_kit.context._calls import TOOL_HEADER, Outage, Refusal
from obo_kit.context._frame import FRAME, current_call, current_evidence
from obo_kit.exceptions import IdentityMismatchError, ScopeViolationError
from obo_kit.identity._runtime import in_apps, in_model_serving
from obo_kit.identity._token import Hidden
from obo_kit.identity._user import check_private, origin_of
from obo_kit.instrumentation._events import tell_of_request
from obo_kit.scopes import _advice as advice
from obo_kit.scopes._lookup import Verdict, match_route, opens_unknown, route_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from obo_kit.context._calls import Declared, ToolCall
    from obo_kit.identity._credentials import Lease
    from obo_kit.scopes._lookup import RouteMatch
    from obo_kit.scopes._model import Route, Target

__all__: list[str] = []

logger = logging.getLogger(__name__)

_MAX_EVIDENCE = 50
_MAX_OF_SESSION = 20  # the number of refusals that are kept outside any tool call
_MAX_TEXT = 8000
_LEAST_TOKEN = 12  # a test's shorter token may be any word of an answer
_AN_APP = "/api/2.0/apps/name"
_VALUE_PATHS = ("/api/2.0/sql/statements", "/api/2.0/genie/")
_FAILED = b'"FAILED"'
_PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_NO_REFUSALS = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)


class Exchange:
    """One request and its answer.

    Attributes:
        reads: True if the request has no effect, so that it may be sent again.
        route: The catalogue's route for it; `None` if the catalogue knows none.
        own: True if it goes to the user's own workspace.
    """

    __slots__ = ("_call", "_evidence", "_lease", "_method", "_path", "_sent", "own", "reads", "route", "url")

    def __init__(self, lease: Lease, method: str, url: str) -> None:
        """Check that the request may be sent: the session is open, the token lasts, and the tool declares the call.

        Raises:
            SessionClosedError: The session has ended. With this and the other errors, nothing is sent.
            NoUserIdentityError: The session was opened without a user.
            TokenExpiredError: The token has expired, and the runtime has no new one of the same user.
            IdentityMismatchError: The client belongs to another session than the one that it is used in, or a cache would
                give the answer to other users.
            ScopeViolationError: The tool called an API outside the scopes that it declares.
        """
        host = lease.host()
        refuse_another_s(lease)
        refuse_shared_cache(lease)
        self._lease, self._method, self.url, self._sent = lease, method, url, Hidden(b"")
        self._path = urlsplit(url).path
        in_force, handed = current_call(), lease.narrowing
        self._call = in_force or handed
        self._evidence = current_evidence() or (handed.evidence if handed is not None else None)
        self.own = _is_own(host, url)
        match = match_route(method, self._path)
        self.route, self.reads = match.route, match.reads
        tell_of_request(method, self._path, self._call)
        if not self.own:
            if not may_be_app(url):
                return  # the token is withheld, so no scope is used
            match = match_route("GET", _AN_APP)
        for call in {id(call): call for call in (in_force, handed) if call is not None}.values():
            _guard(call, method, self._path, match)

    def headers(self) -> dict[str, str]:
        """Return the user's headers. Put them on a copy of the request that nobody else sees."""
        headers = headers_for(self._lease, self.url)
        self._sent.value = headers.get("Authorization", "").removeprefix("Bearer ").encode()
        return headers

    def told(self, content: bytes) -> bytes:
        """Return a refusal without the token that went out: a server may quote the request's headers (rule 8)."""
        token = self._sent.value
        return content.replace(token, b"***") if len(token) >= _LEAST_TOKEN else content

    def record(self, status: int, headers: Mapping[str, str], body: Callable[[], bytes] | None = None) -> None:
        """Record the answer, for clients that lose it on the way (rule 16), and for another attempt (rule 19).

        Args:
            status: The answer's status.
            headers: The answer's headers; their case does not matter.
            body: Reads the answer. `None` for a stream, which only its consumer may read.
        """
        evidence = self._evidence
        if evidence is None:
            return
        evidence.effects += not self.reads and status != HTTPStatus.TOO_MANY_REQUESTS
        if self._call is None:
            evidence.forget(_MAX_OF_SESSION, answered=status < 300 and not is_login(self.url))
        elif len(evidence.refusals) + len(evidence.outages) >= _MAX_EVIDENCE:
            return
        if status in _PASSING:
            evidence.outages.append(self._outage(str(status), headers.get("retry-after") or ""))
        else:
            evidence.refusals.extend(self._refusals(status, headers, body))

    def _refusals(self, status: int, headers: Mapping[str, str], body: Callable[[], bytes] | None) -> list[Refusal]:
        """Return the refusals in an answer: by its status, as a redirect to sign in, or inside an answer with status 200."""
        location = headers.get("location")
        if 300 <= status < 400 and is_login(location):
            return [self._refusal(status, location=location)]
        if body is None:
            return []
        if 400 <= status < 500 and status not in _NO_REFUSALS:
            return [self._refused(status, location, body())]
        if status == HTTPStatus.OK and self._path.startswith(_VALUE_PATHS):
            return self._failures(body())
        return []

    def fail(self, description: str, *, sent: bool) -> None:
        """Record that no answer came (rule 19). ``sent``: whether the request may have arrived."""
        if self._call is None:
            return
        evidence = self._call.evidence
        if len(evidence.outages) < _MAX_EVIDENCE:
            evidence.outages.append(self._outage(description))
        evidence.effects += sent and not self.reads

    def _outage(self, description: str, wait: str = "") -> Outage:
        retry_after = float(wait) if wait.isdigit() else None
        return Outage(method=self._method, path=self._path, what=description, retry_after=retry_after)

    def _refusal(self, status: int, **details: Any) -> Refusal:
        return Refusal(status=status, method=self._method, path=self._path, own=self.own, **details)

    def _refused(self, status: int, location: str | None, content: bytes) -> Refusal:
        answer = read_answer(content)
        return self._refusal(
            status,
            error_code=answer.error_code,
            text=answer.text,
            details=answer.details,
            form=answer.form,
            location=location,
        )

    def _failures(self, content: bytes) -> list[Refusal]:
        """Return the refusals inside an answer with status 200: a failed statement, or a failed Genie message."""
        if _FAILED not in content:
            return []
        body = _loaded(content)
        parts = (body, body.get("statement_response"), body.get("message"))
        failures = [_failure(part) for part in parts if isinstance(part, dict)]
        return [self._refusal(200, **failure) for failure in failures if failure is not None]


def _loaded(content: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _failure(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    status, error = answer.get("status"), answer.get("error")
    if isinstance(status, dict) and status.get("state") == "FAILED":
        error = status.get("error") or {}
        text, code, state = error.get("message"), error.get("error_code"), status.get("sql_state")
    elif status == "FAILED" and isinstance(error, dict):
        text, code, state = error.get("error"), error.get("type"), None
    else:
        return None
    return {"error_code": code_of(code), "text": str(text or "")[:_MAX_TEXT], "sql_state": state}


def refuse_another_s(lease: Lease) -> None:
    """Refuse a client that one request kept and another uses while both are served (rule 5).

    Raises:
        IdentityMismatchError: The code runs in another session than the client's.
    """
    frame = FRAME.get()
    session = frame.session if frame is not None else None
    if frame is None or session is None or session.closed or session._owns(lease) or frame.suspended:
        return
    raise IdentityMismatchError(
        "This client belongs to the user of another request, so nothing was sent.",
        remedy="Get the client inside each request (with_user_client), and keep none on self, in a global or in a cache.",
    )


def begin(lease: Lease, method: str, url: str) -> Exchange:
    """Check that a request may be sent: see `Exchange`. Errors leave without the frames that hold the token (rule 8)."""
    try:
        return Exchange(lease, method, url)
    except BaseException as error:
        raise without_frames(error)  # noqa: B904 - the error itself


# --- credentials -----------------------------------------------------------------------------------------------------------


def headers_for(lease: Lease, url: str) -> dict[str, str]:
    """Return the user's headers for a URL: only for the user's own workspace, not for any other host. A local workspace of
    `obo_kit.testing` on loopback also gets the name of the calling tool.

    Raises:
        SessionClosedError: The session has ended.
        TokenExpiredError: The token has expired, and the runtime has no new one of the same user.
    """
    host, token = lease.credentials()
    check_private(host)
    if not _is_own(host, url) and not trusts_app(lease, url):
        _say_withheld(_origin(url), host)
        return {}
    headers = {"Authorization": f"Bearer {token}"}
    if _is_local(host) and (call := current_call() or lease.narrowing) is not None:
        headers[TOOL_HEADER] = quote(call.tool)
    return headers


def _is_own(host: str, url: str) -> bool:
    return url.startswith(f"{host}/") or _origin(url) == host  # the URL may be spelled differently


def refuse_foreign(lease: Lease, url: str) -> None:
    """Refuse a server that is neither the user's workspace nor an app that the workspace or the author lists (rule 8).

    Raises:
        ScopeViolationError: It is another server.
    """
    try:
        if _is_own(lease.host(), url) or trusts_app(lease, url):
            return
    except BaseException as error:
        raise without_frames(error)  # noqa: B904 - the error itself
    raise ScopeViolationError(
        f"{_shown(url)} is neither the user's workspace nor an app that the workspace lists for this user. The user's "
        "token does not go there, and nothing was sent.",
        remedy=f"For an app of yours, set {apps.VARIABLE} to its URL, or declare the scope 'apps.apps' so that the kit can ask "
        "the workspace. For any other server, use a client without the user's client.",
        scopes=(),
    )


def _origin(url: str) -> str | None:
    parts = urlsplit(url)
    return origin_of(f"{parts.scheme}://{parts.netloc}")


def _shown(url: str) -> str:
    """Return the origin of a URL for a message, without parts that may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _say_withheld(origin: str | None, host: str) -> None:
    if origin is not None and ("withheld", origin) not in _warned:
        _warned.add(("withheld", origin))
        logger.warning("The user's token was withheld from %s: it goes only to %s.", _shown(origin), host)


@functools.lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    return urlsplit(host).hostname == "127.0.0.1"


def without_frames(error: BaseException) -> BaseException:
    """Remove the frames that an error and its causes passed through: those of a transport hold the headers.

    Returns:
        The same error. Raise it by name: a bare ``raise`` puts the frames back on Python 3.10.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = None
            pending += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
    return error


# --- the guard ---------------------------------------------------------------------------------------------------------------


def _guard_mode() -> str:
    mode = os.environ.get("OBO_KIT_SCOPE_GUARD", "").strip().lower()
    if mode in ("warn", "off"):
        return mode
    if not mode and (in_model_serving() or in_apps()):
        return "warn"
    return "raise"


_warned: set[tuple[str, str]] = set()


def _guard(call: ToolCall, method: str, path: str, match: RouteMatch) -> None:
    """Narrow a tool to the scopes that it declares (rule 23)."""
    if call.declared is None:
        return
    for route in (match.route, *match.others):
        error = _violation(call.tool, call.declared, method, path, route)
        if error is None or (mode := _guard_mode()) == "off":
            continue
        if mode == "raise":
            raise error
        key = (call.tool, route.path if route is not None else path)
        if key not in _warned:
            _warned.add(key)
            logger.warning("%s", error)


def _violation(
    tool: str, declared: Declared, method: str, path: str, route: Route | None
) -> ScopeViolationError | None:
    outside = f"The tool '{tool}' called {method} {path}, outside the scopes that it declares"
    if route is None:
        if opens_unknown(declared.spellings):
            return None
        return ScopeViolationError(
            f"{outside}: the catalogue does not know this path.",
            remedy="Use an API that `obo-kit scopes` lists, or add this one to the project's catalogue file "
            "(obo_kit_catalogue.yaml, docs/policy.md). With OBO_KIT_SCOPE_GUARD=warn, the call passes with a warning.",
            scopes=(),
        )
    verdict, missing = route_verdict(route, declared.spellings)
    if verdict is not Verdict.MISSING:
        return None
    return ScopeViolationError(f"{outside}.", remedy=_advice(tool, declared, route, missing), scopes=missing)


def _advice(tool: str, declared: Declared, route: Route, missing: Sequence[str]) -> str:
    """Advise a way without the call first, then the narrowest scope. Say if that scope opens more than the call needs."""
    target: Target = "apps" if in_apps() else "model-serving"
    scopes = advice.for_route(route, missing, target)
    declare = f"eclare @requires_scopes({', '.join(map(repr, scopes))}) on '{tool}'"
    wider = f" ({scopes[0]} opens more than this call needs)" * advice.is_wider(scopes, route)
    if without := advice.instead(route, declared.spellings):
        return f"{without}. Or d{declare}{wider}."
    return f"D{declare}{wider}, or leave the call out."
