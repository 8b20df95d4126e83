"""Puts this process in the state in which a Databricks runtime runs an agent, and puts it back.

The environment and the stand-in modules belong to the whole process: open one runtime at a time, or nest them.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from obo_kit.testing._principals import Directory, ServicePrincipal

__all__ = ["AppRuntime", "ModelServingRuntime", "app", "invoker", "model_serving", "notebook", "set_invoker"]

TokenSource = Literal["request", "process"]
_PER_REQUEST: TokenSource = "request"

_MODULES = ("mlflowserving", "mlflowserving.scoring_server", "mlflowserving.scoring_server.agent_utils")
# What tells a runtime, or lends an identity. A runtime starts without any of them and sets its own.
_VARIABLES = (
    "DATABRICKS_ACCOUNT_ID",
    "DATABRICKS_APP_NAME",
    "DATABRICKS_AUTH_TYPE",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "DATABRICKS_CONFIG_FILE",
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_HOST",
    "DATABRICKS_MODEL_SERVING_HOST_URL",
    "DATABRICKS_PASSWORD",
    "DATABRICKS_TOKEN",
    "DATABRICKS_USERNAME",
    "DATABRICKS_WORKSPACE_ID",
    "DB_MODEL_SERVING_HOST_URL",
    "IS_IN_DATABRICKS_MODEL_SERVING_ENV",
    "IS_IN_DB_MODEL_SERVING_ENV",
)
# What the issued user tokens of an App carry unasked (facts/scopes.md, 2.1 and 2.3).
_APP_SCOPES = ("openid", "profile", "email", "offline_access", "iam.current-user:read", "iam.access-control:read")
_ABSENT = object()

_invoker: contextvars.ContextVar[str | None] = contextvars.ContextVar("obo_kit_testing_invoker", default=None)

Mint = Callable[..., str]
"""``LocalWorkspace.token``."""


class ModelServingRuntime:
    """Model Serving, as the process inside it sees it. Lives as long as the block that opened it.

    Attributes:
        service_principal: The identity of the model's system authorization.
        token_source: Where the platform puts the invoker's token.
    """

    def __init__(self, mint: Mint, service_principal: ServicePrincipal, token_source: TokenSource) -> None:
        self.service_principal = service_principal
        self.token_source: TokenSource = token_source
        self._mint = mint

    @contextlib.contextmanager
    def user(self, name: str, *, scopes: Iterable[str] = ("all-apis",), expires_in: float = 3600.0) -> Iterator[None]:
        """Serve a request of this user: for the block, a fresh token of theirs is the invoker's.

        With ``token_source="request"`` it belongs to this thread or task and what copies its context; with
        ``"process"`` to the whole process, as the last request's token does there.

        Args:
            name: The user.
            scopes: What the token carries: the ``api_scopes`` of the model's policy, on the platform.
            expires_in: Seconds.
        """
        with invoker(self._mint(name, scopes=scopes, expires_in=expires_in), self.token_source):
            yield


class AppRuntime:
    """Databricks Apps, as the process inside it sees it. Lives as long as the block that opened it.

    Attributes:
        service_principal: The identity of the app itself.
    """

    def __init__(
        self, mint: Mint, directory: Directory, service_principal: ServicePrincipal, host: str, workspace_id: str
    ) -> None:
        self.service_principal = service_principal
        self._mint = mint
        self._directory = directory
        self._host = host
        self._workspace_id = workspace_id

    def headers(self, name: str, *, scopes: Iterable[str] = (), expires_in: float = 3600.0) -> dict[str, str]:
        """Return the headers that the proxy of Apps adds to a request of this user.

        Args:
            name: The user.
            scopes: The app's ``user_api_scopes``; the token also carries what Apps grants always.
            expires_in: Life of the token, seconds.
        """
        who = self._directory.find(name)
        return {
            "X-Forwarded-Access-Token": self._mint(name, scopes=(*scopes, *_APP_SCOPES), expires_in=expires_in),
            "X-Forwarded-Email": who.user_name,
            "X-Forwarded-Preferred-Username": who.name,
            "X-Forwarded-User": f"{who.id}@{self._workspace_id}",
            "X-Forwarded-Host": self._host.partition("://")[2],
            "X-Real-Ip": "127.0.0.1",
            "X-Request-Id": str(uuid.uuid4()),
        }


@contextlib.contextmanager
def model_serving(
    mint: Mint, service_principal: ServicePrincipal, host: str, token_source: TokenSource
) -> Iterator[ModelServingRuntime]:
    """Be Model Serving for the block."""
    if token_source not in {"request", "process"}:
        msg = f"token_source is 'request' or 'process', not {token_source!r}"
        raise ValueError(msg)
    variables = {
        "IS_IN_DB_MODEL_SERVING_ENV": "true",
        "DATABRICKS_MODEL_SERVING_HOST_URL": host,
        "DATABRICKS_HOST": host,
        "DATABRICKS_CLIENT_ID": service_principal.client_id,
        "DATABRICKS_CLIENT_SECRET": service_principal.client_secret,
    }
    fetched = token_source == _PER_REQUEST
    with _environment(variables), _modules(present=fetched), invoker(None, _PER_REQUEST):
        yield ModelServingRuntime(mint, service_principal, token_source)


@contextlib.contextmanager
def app(
    mint: Mint,
    directory: Directory,
    service_principal: ServicePrincipal,
    *,
    name: str,
    host: str,
    workspace_id: str,
) -> Iterator[AppRuntime]:
    """Be Databricks Apps for the block."""
    variables = {
        "DATABRICKS_APP_NAME": name,
        "DATABRICKS_HOST": host,
        "DATABRICKS_WORKSPACE_ID": workspace_id,
        "DATABRICKS_CLIENT_ID": service_principal.client_id,
        "DATABRICKS_CLIENT_SECRET": service_principal.client_secret,
    }
    with _environment(variables), _modules(present=False):
        yield AppRuntime(mint, directory, service_principal, host, workspace_id)


@contextlib.contextmanager
def notebook(token: str, host: str) -> Iterator[None]:
    """Be a developer's notebook, or laptop, for the block."""
    with _environment({"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": token}), _modules(present=False):
        yield


@contextlib.contextmanager
def invoker(token: str | None, token_source: TokenSource) -> Iterator[None]:
    """Make a token the invoker's for the block; None takes it away."""
    if token_source != _PER_REQUEST:
        slot = threading.main_thread().__dict__
        before = slot.get("invokers_token", _ABSENT)
        slot["invokers_token"] = token
        try:
            yield
        finally:
            if before is _ABSENT:
                slot.pop("invokers_token", None)
            else:
                slot["invokers_token"] = before
        return
    reset = _invoker.set(token)
    try:
        yield
    finally:
        # Left from another context (a fixture's, say): there, the value was never set.
        with contextlib.suppress(ValueError):
            _invoker.reset(reset)


def set_invoker(token: str | None) -> None:
    """Make a token the invoker's for the rest of this context, which ends with its request."""
    _invoker.set(token)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _VARIABLES}
    for name in _VARIABLES:
        os.environ.pop(name, None)
    # Without this the SDK would read the developer's own ~/.databrickscfg, and send its token here.
    os.environ.update({"DATABRICKS_CONFIG_FILE": os.devnull, **variables})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _modules(*, present: bool) -> Iterator[None]:
    """Put the scoring server's module, from which the clients fetch the token, in place; or take it away."""
    before = {name: sys.modules.pop(name, None) for name in _MODULES}
    if present:
        parent: types.ModuleType | None = None
        for name in _MODULES:
            module = types.ModuleType(name, "A stand-in by obo_kit.testing for a module of Databricks Model Serving.")
            module.__path__ = []
            if parent is not None:
                setattr(parent, name.rpartition(".")[2], module)
            sys.modules[name] = parent = module
        assert parent is not None
        parent.fetch_obo_token = _invoker.get  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for name, module_before in before.items():
            sys.modules.pop(name, None)
            if module_before is not None:
                sys.modules[name] = module_before
