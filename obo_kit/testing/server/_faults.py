"""Faults: what goes wrong on purpose, for whom, and how often."""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args
from urllib.parse import quote

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

__all__ = [
    "CUT",
    "LOGIN_PATH",
    "Fault",
    "FaultKind",
    "POLICIES",
    "Faults",
    "fault_answer",
    "login_page",
    "send_faultily",
]

FaultKind: TypeAlias = Literal[
    "status",
    "latency",
    "reset",
    "truncated_body",
    "slow_stream",
    "login_redirect",
    "login_page",
    "expired_token",
    "cold_warehouse",
    "ip_access_list",
    "entitlement",
    "feature_disabled",
    "other_workspace",
    "private_link",
]
"""The effect of a fault; see ``LocalWorkspace.add_fault``."""

LOGIN_PATH = "/login.html"

_STATEMENTS = "/api/2.0/sql/statements"

CUT = "obo_kit.cut"
"""An extension of the ASGI scope that ends the connection: a function that takes whether to reset it."""

# The arguments of each kind. The first is required.
_TAKES: Mapping[str, tuple[str, ...]] = {
    "status": ("status", "headers", "body"),
    "latency": ("seconds",),
    "slow_stream": ("seconds",),
}
# Codes of databricks-sdk's errors/platform.py.
_CODES = {429: "REQUEST_LIMIT_EXCEEDED", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}
_PIECES = 4
_FOREVER = 3600.0

# The form is inferred: a page that no client takes for an answer. The private-link check of databricks-sdk
# (errors/private_link.py) shows that unauthenticated calls may end at /login.html.
_LOGIN = (
    "<!doctype html><html><head><title>Sign in - Databricks (local stand-in)</title></head>"
    "<body>Sign in to continue.</body></html>"
)


@dataclass(frozen=True, kw_only=True)
class _Policy:
    """A refusal because of an administrator's setting, not of a grant or a scope, as it was reported.

    Attributes:
        status: HTTP status.
        code: ``error_code``; a number if the platform sends a number.
        text: The message, with the number of the workspace.
        phrase: Whether a header repeats the message.
        location: The target of a redirect.
        source: The report.
    """

    status: int
    source: str
    code: str | int = 403
    text: str = ""
    phrase: bool = False
    location: str | None = None

    def answer(self, workspace_id: str) -> Response:
        """Return the answer of a workspace."""
        text = self.text.format(workspace=workspace_id, request=uuid.uuid4())
        if self.location is not None:
            return RedirectResponse(self.location.format(workspace=workspace_id), status_code=self.status)
        headers = {"X-Databricks-Reason-Phrase": text} if self.phrase else {}
        return JSONResponse({"error_code": self.code, "message": text}, status_code=self.status, headers=headers)


POLICIES: Mapping[str, _Policy] = {
    "ip_access_list": _Policy(
        status=403,
        text="Source IP address: 203.0.113.7 is blocked by Databricks IP ACL for workspace: {workspace} "
        "[ReqId: {request}]",
        phrase=True,
        source="omnigent#4463; the header is inferred from the other refusals at the workspace's door",
    ),
    "entitlement": _Policy(
        status=403,
        text="This API is disabled for users without the databricks-sql-access or workspace-access entitlements. "
        "Contact your administrator for more information.",
        phrase=True,
        source="databricks-sdk-go#1038",
    ),
    "feature_disabled": _Policy(
        status=404,
        code="FEATURE_DISABLED",
        text="AI Gateway legacy endpoint is not available for CSP-enabled workspaces.",
        source="unity-gateway#464; ucx#557 has the code with another text",
    ),
    "other_workspace": _Policy(
        status=403,
        text="Invalid access to Org: {workspace}",
        phrase=True,
        source="databricks-sdk-go#928, #853, #959, #981",
    ),
    "private_link": _Policy(
        status=302,
        location=LOGIN_PATH + "?error=private-link-validation-error:{workspace}",
        source="databricks-sdk-py#647, databricks-sdk-go#922",
    ),
}
"""The refusals by administrators' settings. Each was reported in these words; ids and addresses are ours."""


@dataclass
class Fault:
    """One fault and its count; see ``LocalWorkspace.add_fault`` for the fields."""

    kind: FaultKind
    _: KW_ONLY
    status: int | None = None
    headers: Mapping[str, str] | None = None
    body: Mapping[str, Any] | str | None = None
    seconds: float | None = None
    path_prefix: str = "/"
    user: str | None = None
    after: int = 0
    times: int | EllipsisType | None = ...
    probability: float = 1.0
    seed: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_kind()
        self._check_answer()
        if self.times is ...:
            self.times = 1 if self.probability == 1 else None
        self._check_requests()
        self._random = random.Random(self.seed)  # noqa: S311 - not for secrets

    def _check_kind(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"A fault is one of {', '.join(get_args(FaultKind))}, not {self.kind!r}")
        takes = _TAKES.get(self.kind, ())
        for name in ("status", "headers", "body", "seconds"):
            if getattr(self, name) is not None and name not in takes:
                raise ValueError(f"A {self.kind} fault takes no {name}=")
        if takes and getattr(self, takes[0]) is None:
            raise ValueError(f"A {self.kind} fault needs {takes[0]}=")

    def _check_answer(self) -> None:
        if self.status is not None and not (_whole(self.status) and 200 <= self.status <= 599):
            raise ValueError(f"A fault needs a status from 200 to 599, not {self.status!r}")
        if self.seconds is not None and not (_number(self.seconds) and 0 <= self.seconds < _FOREVER):
            raise ValueError(f"seconds is a number from 0 to {_FOREVER:.0f}, not {self.seconds!r}")

    def _check_requests(self) -> None:
        if not isinstance(self.path_prefix, str) or not self.path_prefix.startswith("/"):
            raise ValueError(f"path_prefix is the start of a path, such as '/api/2.0/sql', not {self.path_prefix!r}")
        if not _number(self.probability) or not 0 < self.probability <= 1:
            raise ValueError(f"probability is more than 0 and at most 1, not {self.probability!r}")
        if not _whole(self.after) or self.after < 0:
            raise ValueError(f"after is a number of requests to let through, not {self.after!r}")
        if self.times is not None and (not _whole(self.times) or cast("int", self.times) < 1):
            raise ValueError(f"times is a number of requests, at least 1 (None for no limit), not {self.times!r}")

    @property
    def replaces(self) -> bool:
        """Return whether the fault is the whole answer to the request."""
        return self.kind not in {"latency", "slow_stream", "truncated_body", "cold_warehouse"}

    @property
    def spent(self) -> bool:
        """Return whether it has hit as often as it may."""
        return self.times is not None and cast("int", self.times) <= 0

    def hits(self, path: str, user: str | None) -> bool:
        """Return whether it hits this request, and count it."""
        if not path.startswith(self.path_prefix) or self.user not in {None, user}:
            return False
        if path == LOGIN_PATH and self.kind in {"login_redirect", "private_link"}:
            return False
        if self.kind == "cold_warehouse" and path.rstrip("/") != _STATEMENTS:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self._random.random() >= self.probability:
            return False
        if self.times is not None:
            self.times = cast("int", self.times) - 1
        return True


class Faults:
    """The active faults of one workspace. Lives as long as the workspace; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Activate a fault."""
        with self._lock:
            self._armed.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._armed.clear()

    def take(self, path: str, user: str | None) -> list[Fault]:
        """Return the faults that hit a request, in the order they were added, up to the first that is the whole answer."""
        hitting: list[Fault] = []
        with self._lock:
            for fault in list(self._armed):
                if fault.hits(path, user):
                    hitting.append(fault)
                    if fault.spent:
                        self._armed.remove(fault)
                    if fault.replaces:
                        break
        return hitting


def login_page() -> Response:
    """Return the page that asks the user to sign in."""
    return HTMLResponse(_LOGIN)


def fault_answer(fault: Fault, path: str, workspace_id: str) -> Response:
    """Return the answer of a fault that replaces the real one."""
    if fault.kind == "login_redirect":
        return RedirectResponse(f"{LOGIN_PATH}?next_url={quote(path, safe='')}", status_code=302)
    if fault.kind == "login_page":
        return login_page()
    if fault.kind in POLICIES:
        return POLICIES[fault.kind].answer(workspace_id)
    assert fault.status is not None
    headers = dict(fault.headers or {})
    if isinstance(fault.body, str):
        return Response(fault.body, status_code=fault.status, headers=headers)
    default = {"error_code": _CODES.get(fault.status, "INJECTED_FAULT"), "message": "Injected fault"}
    body = default if fault.body is None else dict(fault.body)
    return JSONResponse(body, status_code=fault.status, headers=headers)


async def send_faultily(
    response: Response | None, faults: list[Fault], scope: Scope, receive: Receive, send: Send
) -> None:
    """Send an answer in pieces or in part, or, for None, cut the connection."""
    cut: Callable[[bool], None] = scope["extensions"][CUT]
    kinds = {fault.kind for fault in faults}
    pause = sum(fault.seconds or 0 for fault in faults if fault.kind == "slow_stream")
    gone = response is None

    async def faulty(message: Message) -> None:
        nonlocal gone
        if gone:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not body:
            await send(message)
            return
        if "truncated_body" in kinds:
            gone, body, more = True, body[: len(body) // 2], True
        size = -(-len(body) // _PIECES) if pause and not more else max(1, len(body))
        for start in range(0, len(body) or 1, size):
            await asyncio.sleep(pause)
            last = start + size >= len(body)
            await send({**message, "body": body[start : start + size], "more_body": more or not last})

    if response is not None:
        await response(scope, receive, faulty)
    if gone:
        cut(response is None)
        # The server takes a silent return for a bug, so let it notice that the connection is gone.
        while (await receive())["type"] != "http.disconnect":
            pass


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
