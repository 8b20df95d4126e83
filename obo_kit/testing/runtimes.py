"""Put this process in the state in which a Databricks runtime runs an agent, and restore it.

The environment and the stand-in modules belong to the whole process. Runtimes nest within one thread. If another thread tries
to open one meanwhile, it is refused. Users are different: any number of threads and tasks may serve one user each, at once.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Literal, TypeVar

from obo_kit.testing._kit import REQUEST_HEADERS, RequestHeaders, new_process
from obo_kit.testing._sql_addresses import SITE, on_loopback
from obo_kit.testing.iam._directory import Directory, ServicePrincipal

__all__ = ["AppRuntime", "ModelServingRuntime", "app", "invoker", "model_serving", "notebook", "set_invoker"]

T = TypeVar("T")
TokenSource = Literal["request", "process"]
_PER_REQUEST: TokenSource = "request"

_MODULES = ("mlflowserving", "mlflowserving.scoring_server", "mlflowserving.scoring_server.agent_utils")
# Variables that show a runtime, or provide an identity. A runtime starts without them and sets its own.
_VARIABLES = (
    "DATABRICKS_ACCOUNT_ID",
    "DATABRICKS_APP_NAME",
    "DATABRICKS_APP_PORT",
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
    "PYTHONPATH",
)
# Scopes that an app's user tokens carry unasked: the catalogue's `always_granted_by`, and OpenID's.
_APP_SCOPES = ("openid", "profile", "email", "offline_access", "iam.current-user:read", "iam.access-control:read")
_ABSENT = object()

_invoker: contextvars.ContextVar[str | None] = contextvars.ContextVar("obo_kit_testing_invoker", default=None)

Mint = Callable[..., str]
"""``LocalWorkspace.token``."""


class ModelServingRuntime:
    """Model Serving, as the process inside it sees it. Lives as long as the block that opened it.

    Attributes:
        service_principal: The identity of the model's system authorization.
        token_source: The place where the platform puts the invoker's token.
    """

    def __init__(
        self, mint: Mint, service_principal: ServicePrincipal, token_source: TokenSource, obo: Callable[[], bool]
    ) -> None:
        self.service_principal = service_principal
        self.token_source: TokenSource = token_source
        self._mint = mint
        self._obo = obo
        self._open = True

    @contextlib.contextmanager
    def user(
        self, name: str, *, scopes: Iterable[str] = ("all-apis",), expires_in: float = 3600.0
    ) -> Iterator[dict[str, str]]:
        """Serve a request of this user: for the block, a fresh token of theirs is the invoker's.

        Yields the request headers that name the user, as `AppRuntime.user` does. In Model Serving there are none.

        With ``token_source="request"``, the token belongs to this thread or task and to code that copies its context. With
        ``"process"``, it belongs to the whole process, as the last request's token does there.

        Args:
            name: The user.
            scopes: The scopes that the token carries; on the platform, the ``api_scopes`` of the model's policy.
            expires_in: Life of the token, in seconds.

        Raises:
            RuntimeError: The runtime's block has ended.
            ValueError: There is no such user.
        """
        _check_open(self._open)
        token = self._mint(name, scopes=scopes, expires_in=expires_in)
        with invoker(token if self._obo() else None, self.token_source):
            yield {}


class AppRuntime:
    """Databricks Apps, as the process inside it sees it. Lives as long as the block that opened it.

    Attributes:
        service_principal: The identity of the app itself.
    """

    def __init__(
        self,
        mint: Mint,
        directory: Directory,
        service_principal: ServicePrincipal,
        *,
        host: str,
        workspace_id: str,
        obo: Callable[[], bool],
    ) -> None:
        self.service_principal = service_principal
        self._mint = mint
        self._directory = directory
        self._host = host
        self._workspace_id = workspace_id
        self._obo = obo
        self._open = True

    @contextlib.contextmanager
    def user(self, name: str, *, scopes: Iterable[str] = (), expires_in: float = 3600.0) -> Iterator[dict[str, str]]:
        """Serve a request of this user: for the block, the yielded headers are those of the request being served.

        They belong to this thread or task and to code that copies its context. They are where the kit's ASGI middleware
        and MLflow's agent server (if it has been imported) put them. For an app that you call over HTTP, use ``headers``.

        Args:
            name: The user.
            scopes: The app's ``user_api_scopes``.
            expires_in: Life of the token, in seconds.

        Raises:
            RuntimeError: The runtime's block has ended.
            ValueError: There is no such user.
        """
        _check_open(self._open)
        headers = self.headers(name, scopes=scopes, expires_in=expires_in)
        reset = REQUEST_HEADERS.set(RequestHeaders(headers))
        server = sys.modules.get("mlflow.genai.agent_server.utils")
        before = server.get_request_headers() if server is not None else {}
        try:
            if server is not None:
                server.set_request_headers({key.lower(): value for key, value in headers.items()})
            yield headers
        finally:
            if server is not None:
                server.set_request_headers(before)
            _put_back(REQUEST_HEADERS, reset)

    def headers(self, name: str, *, scopes: Iterable[str] = (), expires_in: float = 3600.0) -> dict[str, str]:
        """Return the headers that the proxy of Apps adds to a request of this user.

        Args:
            name: The user.
            scopes: The app's ``user_api_scopes``. The token also carries the scopes that Apps always grants.
            expires_in: Life of the token, in seconds.
        """
        who = self._directory.find(name)
        # If user authorization is off, tokens were reported to lack the scopes that the app is configured with.
        carried = (*scopes, *_APP_SCOPES) if self._obo() else _APP_SCOPES
        return {
            "X-Forwarded-Access-Token": self._mint(name, scopes=carried, expires_in=expires_in),
            "X-Forwarded-Email": who.user_name,
            "X-Forwarded-Preferred-Username": who.name,
            "X-Forwarded-User": f"{who.id}@{self._workspace_id}",
            "X-Forwarded-Host": self._host.partition("://")[2],
            "X-Real-Ip": "127.0.0.1",
            "X-Request-Id": str(uuid.uuid4()),
        }


@contextlib.contextmanager
def model_serving(
    mint: Mint, service_principal: ServicePrincipal, host: str, token_source: TokenSource, obo: Callable[[], bool]
) -> Iterator[ModelServingRuntime]:
    """Act as Model Serving for the block."""
    if token_source not in {"request", "process"}:
        msg = f"token_source must be 'request' or 'process', not {token_source!r}"
        raise ValueError(msg)
    variables = {
        "IS_IN_DB_MODEL_SERVING_ENV": "true",
        "DATABRICKS_MODEL_SERVING_HOST_URL": host,
        "DATABRICKS_HOST": host,
        "DATABRICKS_CLIENT_ID": service_principal.client_id,
        "DATABRICKS_CLIENT_SECRET": service_principal.client_secret,
    }
    fetched = token_source == _PER_REQUEST
    with _runtime(variables, modules=fetched), invoker(None, _PER_REQUEST):
        runtime = ModelServingRuntime(mint, service_principal, token_source, obo)
        try:
            yield runtime
        finally:
            runtime._open = False


@contextlib.contextmanager
def app(
    mint: Mint,
    directory: Directory,
    service_principal: ServicePrincipal,
    *,
    name: str,
    host: str,
    workspace_id: str,
    obo: Callable[[], bool],
) -> Iterator[AppRuntime]:
    """Act as Databricks Apps for the block."""
    variables = {
        "DATABRICKS_APP_NAME": name,
        "DATABRICKS_APP_PORT": "8000",
        "DATABRICKS_HOST": host,
        "DATABRICKS_WORKSPACE_ID": workspace_id,
        "DATABRICKS_CLIENT_ID": service_principal.client_id,
        "DATABRICKS_CLIENT_SECRET": service_principal.client_secret,
    }
    with _runtime(variables):
        runtime = AppRuntime(mint, directory, service_principal, host=host, workspace_id=workspace_id, obo=obo)
        try:
            yield runtime
        finally:
            runtime._open = False


@contextlib.contextmanager
def notebook(token: str, host: str) -> Iterator[None]:
    """Act as a developer's notebook, or laptop, for the block."""
    with _runtime({"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": token}):
        yield


@contextlib.contextmanager
def invoker(token: str | None, token_source: TokenSource) -> Iterator[None]:
    """Make a token the invoker's for the block. None removes it."""
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
        _put_back(_invoker, reset)


def set_invoker(token: str | None) -> None:
    """Make a token the invoker's for the rest of this context, which ends with its request."""
    _invoker.set(token)


def _put_back(variable: contextvars.ContextVar[Any], token: contextvars.Token[Any]) -> None:
    # The block may end in another context (a fixture's, for example), where the value was never set.
    with contextlib.suppress(ValueError):
        variable.reset(token)


def _check_open(is_open: bool) -> None:
    if not is_open:
        msg = "This runtime has ended: serve its users inside its with block"
        raise RuntimeError(msg)


class _Process:
    """The runtimes that this process is in, the innermost last, and the thread that opened them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[tuple[int, dict[str, str | None], dict[str, types.ModuleType | None]]] = []

    def enter(self) -> int:
        with self._lock:
            here = threading.get_ident()
            if self._open and self._open[-1][0] != here:
                msg = (
                    "Another thread has opened a runtime, and the environment belongs to the whole process. "
                    "Open it once, around the threads, and serve users in them: with runtime.user(...)"
                )
                raise RuntimeError(msg)
            variables = {name: os.environ.get(name) for name in _VARIABLES}
            self._open.append((here, variables, {name: sys.modules.get(name) for name in _MODULES}))
            return len(self._open)

    def leave(self, depth: int) -> bool:
        """Restore the state from before the runtime of that depth. Return False if runtimes inside it are still open."""
        with self._lock:
            if len(self._open) < depth:
                return True  # it has ended already, together with an outer one
            innermost = len(self._open) == depth
            _, variables, modules = self._open[depth - 1]
            del self._open[depth - 1 :]
            _replace(os.environ, variables)
            _replace(sys.modules, modules)
            return innermost


_process = _Process()


def _replace(mapping: MutableMapping[str, T], values: Mapping[str, T | None]) -> None:
    for name, value in values.items():
        if value is None:
            mapping.pop(name, None)
        else:
            mapping[name] = value


@contextlib.contextmanager
def _runtime(variables: Mapping[str, str], *, modules: bool = False) -> Iterator[None]:
    """Enter a runtime with these environment variables, and with or without the scoring server's module."""
    with new_process():
        yield from _surroundings(variables, modules=modules)


def _surroundings(variables: Mapping[str, str], *, modules: bool) -> Iterator[None]:
    depth = _process.enter()
    traced = _traces()
    try:
        # Without it, the SDK would read the developer's own ~/.databrickscfg, and send its token here.
        folders = [SITE, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        site = os.pathsep.join(dict.fromkeys(folders))
        wanted = {"DATABRICKS_CONFIG_FILE": os.devnull, "PYTHONPATH": site, **variables}
        _replace(os.environ, {name: wanted.get(name) for name in _VARIABLES})
        _replace(sys.modules, _scoring_server() if modules else dict.fromkeys(_MODULES))
        with on_loopback(variables["DATABRICKS_HOST"]):
            yield
    except BaseException:
        _process.leave(depth)
        _put_tracing_back(traced)
        raise
    left = _process.leave(depth)
    _put_tracing_back(traced)
    if not left:
        msg = "A runtime ended before one that was opened inside it, so both were ended. Nest their with blocks"
        raise RuntimeError(msg)


def _traces() -> bool:
    """Return whether MLflow traces. It does by default, so this is true until MLflow is loaded."""
    provider = sys.modules.get("mlflow.tracing.provider")
    return provider is None or bool(provider.is_tracing_enabled())


def _put_tracing_back(traced: bool) -> None:
    # The first span in Model Serving switches off MLflow's tracing for the whole life of the process. If it stayed off, the
    # next `log_model` here would hang: MLflow 3.17 waits for a lock that it holds itself.
    if traced and not _traces():
        import mlflow.tracing

        mlflow.tracing.enable()


def _scoring_server() -> dict[str, types.ModuleType | None]:
    """Return the module from which the clients fetch the invoker's token, with its parent packages."""
    modules: dict[str, types.ModuleType | None] = {}
    parent: types.ModuleType | None = None
    for name in _MODULES:
        module = types.ModuleType(name, "A stand-in by obo_kit.testing for a module of Databricks Model Serving.")
        module.__path__ = []
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)
        modules[name] = parent = module
    assert parent is not None
    parent.fetch_obo_token = _invoker.get  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return modules
