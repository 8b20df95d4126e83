"""The only places where the local workspace uses the rest of the kit.

The workspace is a server by itself. Its answers, and the scopes that a route asks for, come from its own tables. It shares a
header and a few records with the kit, and a runtime prepares the process as the kit expects it. The first request imports what
requests need, so that starting stays quick.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from obo_kit._utils.extras import MissingExtraError
from obo_kit._utils.files import read_regular
from obo_kit._utils.html import html_table
from obo_kit._utils.yaml import ConfigError, Document, Place, read, said
from obo_kit.context._calls import TOOL_HEADER
from obo_kit.exceptions import PolicyError
from obo_kit.identity._headers import REQUEST_HEADERS, RequestHeaders
from obo_kit.identity._process import PROCESS, reset_process_state, restore, saved
from obo_kit.instrumentation._events import tell_of_request

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from obo_kit.policy._audit import AuditReport
    from obo_kit.scopes._observed import Groups, ObservedRoute, ObservedRoutes
    from obo_kit.scopes._recording import Answer as RecordedAnswer
    from obo_kit.scopes._recording import Detail as RecordedDetail
    from obo_kit.scopes._recording import Recording
    from obo_kit.session._session import UserSession

__all__ = [
    "REQUEST_HEADERS",
    "Groups",
    "ObservedRoute",
    "RecordedAnswer",
    "RecordedDetail",
    "Recording",
    "RequestHeaders",
    "TOOL_HEADER",
    "UserSession",
    "ConfigError",
    "as_user_of",
    "MissingExtraError",
    "Document",
    "Place",
    "PolicyError",
    "audit",
    "check_scopes_known",
    "corrected_route",
    "html_table",
    "new_process",
    "observed_groups",
    "open_session",
    "read",
    "read_regular",
    "recording_of",
    "reset_process_state",
    "routes_of",
    "said",
    "scopes_accepted_by",
    "tell_of_request",
    "title_of_route",
]


def scopes_accepted_by(target: str) -> frozenset[str]:
    """Return the scopes that ``"model-serving"`` or ``"apps"`` accepts in a policy, according to the catalogue."""
    from obo_kit.scopes import catalogue

    return frozenset(name for name, scope in catalogue().scopes.items() if target in scope.accepted_by)


def check_scopes_known(scopes: Iterable[str]) -> None:
    """Check that the catalogue knows each scope, or its parent. The ValueError names the nearest scope."""
    from obo_kit.scopes._lookup import catalogue, nearest

    for scope in scopes:
        if scope not in catalogue().scopes and scope.partition(":")[0] not in catalogue().scopes:
            near = nearest(scope)
            hint = f"; did you mean {near!r}?" if near in catalogue().scopes else ""
            msg = f"There is no scope {scope!r}{hint} Fix: correct it, or pass allow_unknown=True"
            raise ValueError(msg)


def corrected_route(
    method: str, path: str
) -> Callable[[frozenset[str]], tuple[tuple[str, ...], tuple[str, ...]]] | None:
    """Return how to judge a token if the project's own file corrects the catalogue for a path; else None.

    The function takes a token's scopes. It returns the scopes that are needed, and those that are missing.
    """
    from obo_kit.scopes import Verdict, catalogue, route_for, route_verdict
    from obo_kit.scopes._lookup import _BUILT_IN

    if catalogue() is _BUILT_IN:
        return None
    route = route_for(method, path)
    if route is None or route in _BUILT_IN.routes:
        return None

    def judge(held: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        needed = route.all_of or route.any_of[:1]
        verdict, missing = route_verdict(route, held)
        # A spelling that the catalogue does not know opens nothing here: its meaning is unknown.
        return needed, () if verdict is Verdict.GRANTED else (missing or needed)

    return judge


def recording_of(recording: str | os.PathLike[str] | Recording) -> Recording:
    """Return a recording; read it if it is the path of a file. Raises RecordingError if it cannot be used."""
    from obo_kit.scopes._recording import Recording, load

    return recording if isinstance(recording, Recording) else load(recording)


def routes_of(recording: Recording) -> ObservedRoutes:
    """Return what a recording shows about the catalogue's routes."""
    from obo_kit.scopes import catalogue
    from obo_kit.scopes._observed import ObservedRoutes

    return ObservedRoutes(recording, catalogue().routes)


def observed_groups(known: Groups, seen: ObservedRoute) -> Groups:
    """Return the scopes that a route was observed to ask for."""
    from obo_kit.scopes._observed import corrected

    return corrected(known, seen)


def title_of_route(method: str, path: str) -> str:
    """Return the kind of resource that a request is about; ``"other"`` if the catalogue knows none."""
    from obo_kit.scopes import catalogue, route_for

    route = route_for(method, path)
    return catalogue().kinds[route.kind].title if route is not None and route.kind is not None else "other"


def as_user_of(token: str, host: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, or a generator function, that runs in a session of the user whose token this is."""
    from obo_kit.session._entry import user_session

    wrapped: Callable[..., Any] = user_session(host=host, token=token)(function)
    return wrapped


def open_session() -> contextlib.AbstractContextManager[UserSession]:
    """Open a session for the user of the current request."""
    from obo_kit.session._entry import user_session

    return user_session()


@contextlib.contextmanager
def new_process() -> Iterator[None]:
    """Treat this process, for the block, as one that has served nobody yet."""
    before = saved()
    reset_process_state()
    try:
        yield
    finally:
        before.entry_point_declared |= PROCESS.entry_point_declared
        restore(before)


def audit() -> tuple[AuditReport, Any]:
    """Return an empty report, and a context manager that fills it."""
    from obo_kit.policy._audit import AuditReport, watching

    report = AuditReport()
    return report, watching(report)
