"""The local workspace itself: its life cycle and runtimes. What it serves, each service adds by a mixin."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from obo_kit.testing import config as _config
from obo_kit.testing._kit import open_session, recording_of
from obo_kit.testing._packages import check_packages
from obo_kit.testing.iam._directory import Directory, ServicePrincipal
from obo_kit.testing.iam._grants import Grants
from obo_kit.testing.mcp._routes import McpMixin
from obo_kit.testing.search._routes import SearchMixin
from obo_kit.testing.server._app import Gate
from obo_kit.testing.server._faults import Faults
from obo_kit.testing.server._log import RequestLog
from obo_kit.testing.server._recorded import Recorded
from obo_kit.testing.server._scopes import ScopeWords
from obo_kit.testing.server._service import Core, Part
from obo_kit.testing.server._uvicorn import Server
from obo_kit.testing.services._apps import AppsMixin
from obo_kit.testing.services._connections import ConnectionsMixin
from obo_kit.testing.services._connector import ConnectorMixin
from obo_kit.testing.services._faults import FaultsMixin
from obo_kit.testing.services._functions import FunctionsMixin
from obo_kit.testing.services._genie import GenieMixin
from obo_kit.testing.services._oauth import IdentityMixin
from obo_kit.testing.services._permissions import PermissionsMixin
from obo_kit.testing.services._tables import TablesMixin
from obo_kit.testing.services._warehouses import WarehousesMixin
from obo_kit.testing.serving._endpoints import ServingMixin
from obo_kit.testing.sql._engine import Engine

if TYPE_CHECKING:
    from typing_extensions import Self

    from obo_kit.testing._kit import Recording, UserSession
    from obo_kit.testing.runtimes import AppRuntime, ModelServingRuntime
    from obo_kit.testing.serving._deployments import Deployment

__all__ = ["LocalWorkspace"]


class LocalWorkspace(
    # In this order a configuration file is read: what needs something else comes after it.
    IdentityMixin,
    PermissionsMixin,
    TablesMixin,
    FunctionsMixin,
    ConnectionsMixin,
    AppsMixin,
    WarehousesMixin,
    ConnectorMixin,
    SearchMixin,
    GenieMixin,
    ServingMixin,
    McpMixin,
    FaultsMixin,
):
    """A workspace on loopback that the real Databricks clients talk to over HTTP.

    A stand-in: it has users, tokens with scopes and expiry, grants, and the refusals of the platform, and it serves
    answers of real engines (SQL on DuckDB, ranking by scikit-learn, models written as functions). What it answers is
    documented, reported or inferred; each refusal in ``obo_kit.testing`` says which.

    Fill it before or after it starts. It starts when entered (or with ``start``), listens on 127.0.0.1 only, and ends
    with the block (or ``stop``), after which it cannot be started again::

        with LocalWorkspace() as workspace:
            workspace.add_user("alice")
            client = WorkspaceClient(host=workspace.host, token=workspace.token("alice"), auth_type="pat")

    A user's platform name, and the ``sub`` of their tokens, is an e-mail address: ``alice`` becomes
    ``alice@example.com``. Methods that name a principal take either; the log says ``alice``.

    Args:
        latency: Seconds from the arrival of a request to its answer, at least. The attribute may be set at any time.
        port: Port to listen on; 0 for one that is free.
        strict_privileges: Whether USE CATALOG and USE SCHEMA are needed, as on the platform. The attribute may be set at
            any time.
        recording: A recording of a workspace, or the path of its file: refusals then come in the words and forms that were
            recorded, with the names of this workspace, and routes ask for the scopes that were seen to open them. What was
            not recorded is answered as without it. The attribute may be set at any time, also to None.
        ssl_certfile: Certificate chain in PEM: the workspace then serves HTTPS.
        ssl_keyfile: Its key, where it is in another file.

    Attributes:
        log: Every request, with what was decided about it.
        workspace_id: Numeric id, as text; also the audience of the tokens.

    Raises:
        ImportError: A package of the extra ``testing`` is not installed.
        RecordingError: The recording cannot be read, was changed since it was made, or is of another version.
    """

    NOTICE: ClassVar[str] = (
        "The local workspace is a stand-in for Databricks on loopback: "
        "its answers are documented, reported or inferred, never measured."
    )

    def __init__(
        self,
        *,
        latency: float = 0.0,
        port: int = 0,
        strict_privileges: bool = False,
        recording: str | os.PathLike[str] | Recording | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
    ) -> None:
        check_packages()
        if not 0 <= port <= 65535:
            msg = f"port is a number from 0 (any that is free) to 65535, not {port!r}"
            raise ValueError(msg)
        self.workspace_id = str(10**15 + secrets.randbelow(9 * 10**15))
        self.log = RequestLog()
        self._port = port
        self._ssl = (ssl_certfile, ssl_keyfile)
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False
        self._directory = Directory(self.workspace_id)
        self._grants = Grants(self._directory)
        self._engine = Engine(self._grants)
        faults = Faults()
        self._gate = Gate(self._directory, self.log, faults, self._threads)
        self._core = Core(
            workspace_id=self.workspace_id,
            directory=self._directory,
            grants=self._grants,
            engine=self._engine,
            faults=faults,
            host=lambda: self.host,
            threads=self._threads,
            inner=self._gate.inner,
        )
        for part in _parts(type(self)):
            self._gate.add(self._core.service(part.kind).apis())
        self.latency = latency
        self.strict_privileges = strict_privileges
        self.recording = recording

    @classmethod
    def from_config(cls, config: str | os.PathLike[str] | Mapping[str, Any], *, port: int = 0) -> Self:
        """Return a workspace with what a file says in it; it is not started yet.

        The sections are the ``add_*`` methods (``add_genie_space`` reads ``genie_spaces``), their keys the parameters of
        these, besides ``grants`` and what can be set on a workspace, such as ``latency``; see ``docs/local-workspace.md``.

        Args:
            config: Path of a YAML file, or the same as a mapping. Paths in it are relative to the file's folder (a
                mapping's: to the current one).
            port: As for the class.

        Raises:
            ConfigError: It cannot be read, or an entry does not fit; says file, line and key.
            ImportError: PyYAML is not installed.
        """
        workspace = cls(port=port)
        _config.fill(workspace, config)
        return workspace

    # ------------------------------------------------------------------ life

    def start(self) -> Self:
        """Listen. RuntimeError where it runs already or has been stopped."""
        with self._lock:
            if self._stopped or self._server is not None:
                msg = "A local workspace starts once; make a new one"
                raise RuntimeError(msg)
            self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="obo-kit-workspace")
            self._server = Server(self._gate, port=self._port, ssl_certfile=self._ssl[0], ssl_keyfile=self._ssl[1])
            self._directory.issuer = f"{self.host}/oidc"
        return self

    def stop(self) -> None:
        """Stop listening, cut off what is in flight, free the port and the threads. May be called twice."""
        with self._lock:
            server, self._server, self._stopped = self._server, None, True
        if server is not None:
            server.stop()
        self._engine.close()
        for service in self._core.services():
            service.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.host if self._server is not None else "not running"
        return f"<LocalWorkspace {self.workspace_id}, {where}>"

    @property
    def host(self) -> str:
        """``http://127.0.0.1:PORT`` (https where a certificate was given). RuntimeError while it does not run."""
        if self._server is None:
            msg = "The local workspace is not running: use it in a with block, or call start()"
            raise RuntimeError(msg)
        return f"{'https' if self._ssl[0] else 'http'}://127.0.0.1:{self._server.port}"

    @property
    def latency(self) -> float:
        """Seconds from the arrival of a request to its answer, at least: the workspace's own work is part of them."""
        return self._gate.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        if not 0 <= seconds < 3600:
            msg = f"latency is a number of seconds from 0 to 3600, not {seconds!r}"
            raise ValueError(msg)
        self._gate.latency = seconds

    @property
    def missing_scope_words(self) -> ScopeWords:
        """How the refusal of a token without the scope is worded.

        ``"json"`` (the default) as most of the REST API does, ``"text"`` and ``"bare"`` in plain text, with the scope and
        without, as newer surfaces were reported to do; ``"reported"`` as each surface was reported to do.
        """
        return self._gate.scope_words

    @missing_scope_words.setter
    def missing_scope_words(self, words: ScopeWords) -> None:
        if words not in get_args(ScopeWords):
            msg = f"missing_scope_words is one of {', '.join(get_args(ScopeWords))}, not {words!r}"
            raise ValueError(msg)
        self._gate.scope_words = words

    @property
    def recording(self) -> Recording | None:
        """The recording in whose words this workspace refuses, or None."""
        return self._gate.recorded.recording if self._gate.recorded is not None else None

    @recording.setter
    def recording(self, recording: str | os.PathLike[str] | Recording | None) -> None:
        self._gate.recorded = None if recording is None else Recorded(recording_of(recording), self.workspace_id)

    def _threads(self) -> Executor:
        assert self._pool is not None
        return self._pool

    # ------------------------------------------------------------------ runtimes

    def as_model_serving(
        self,
        *,
        service_principal: str | None = None,
        token_source: Literal["request", "process"] = "request",  # noqa: S107  no password
    ) -> contextlib.AbstractContextManager[ModelServingRuntime]:
        """Be Model Serving for the block: its environment, its source of the invoker's token, and no other identity.

        Args:
            service_principal: Name of the model's system identity; one is added where there is none of the name
                (``"agent"`` by default).
            token_source: ``"request"``: a token per request, fetched from the scoring server's module (a stand-in is
                installed). ``"process"``: the main thread's ``invokers_token``, one for all requests.
        """
        from obo_kit.testing.runtimes import model_serving

        return model_serving(self.token, self._credentials(service_principal or "agent"), self.host, token_source)

    def as_app(
        self, *, service_principal: str | None = None, name: str = "local-app"
    ) -> contextlib.AbstractContextManager[AppRuntime]:
        """Be Databricks Apps for the block: its environment, and headers as its proxy adds them.

        Args:
            service_principal: Name of the app's own identity; one is added where there is none of the name (the app's
                name by default).
            name: Name of the app.
        """
        from obo_kit.testing.runtimes import app

        return app(
            self.token,
            self._directory,
            self._credentials(service_principal or name),
            name=name,
            host=self.host,
            workspace_id=self.workspace_id,
        )

    def as_notebook(
        self, user: str, *, scopes: Iterable[str] = ("all-apis",), expires_in: float = 3600.0
    ) -> contextlib.AbstractContextManager[None]:
        """Be a developer's notebook for the block: host and token of that user in the environment, nothing else.

        Args:
            user: The developer.
            scopes: What their token carries.
            expires_in: Life of the token, seconds.
        """
        from obo_kit.testing.runtimes import notebook

        return notebook(self.token(user, scopes=scopes, expires_in=expires_in), self.host)

    @contextlib.contextmanager
    def as_user(
        self,
        user: str,
        *,
        runtime: Literal["model-serving", "apps", "notebook"] = "model-serving",
        scopes: Iterable[str] = ("all-apis",),
        expires_in: float = 3600.0,
    ) -> Iterator[UserSession]:
        """Serve a request of this user for the block, with an open session: ``with workspace.as_user("alice") as session:``.

        The process is in the runtime meanwhile, so that a second user is served after it, in the same thread. To serve
        several at once, open the runtime yourself: ``with workspace.as_model_serving() as runtime:``.

        Args:
            user: The user.
            runtime: Where the agent runs.
            scopes: What the user's token carries.
            expires_in: Life of the token, seconds.

        Yields:
            The user's session; ``session.denials`` says what was refused.
        """
        with contextlib.ExitStack() as stack:
            token: dict[str, Any] = {"scopes": scopes, "expires_in": expires_in}
            if runtime == "notebook":
                stack.enter_context(self.as_notebook(user, **token))
            elif runtime == "apps":
                stack.enter_context(stack.enter_context(self.as_app()).user(user, **token))
            else:
                stack.enter_context(stack.enter_context(self.as_model_serving()).user(user, **token))
            yield stack.enter_context(open_session())

    def _credentials(self, name: str) -> ServicePrincipal:
        return self._core.service_principal(name)

    @contextlib.contextmanager
    def deploy(self, model_uri: str, *, endpoint: str) -> Iterator[Deployment]:
        """Serve a logged MLflow model for the block, as Model Serving would.

        The model is loaded once, in Model Serving's environment, which this process is in until the block ends. Each
        request runs in a worker thread with a token of its caller, exchanged for one with the ``api_scopes`` of the
        model's policy; requests run at the same time. The endpoint's service principal, named like the endpoint, gets
        what the system policy lists and nothing else.

        Args:
            model_uri: What ``mlflow.pyfunc.load_model`` takes.
            endpoint: Name of the endpoint. Grant CAN QUERY on it inside the block.

        Raises:
            databricks.sdk.errors.InvalidParameterValue: The policy asks for a scope that Model Serving refuses.
            ValueError: The name is taken, or the workspace lacks a resource of the system policy.
        """
        import mlflow.pyfunc
        from mlflow.models import Model

        from obo_kit.testing.serving._deployments import Agent, Deployment, check_scopes, grant_resources, read_policy

        policy = read_policy(Model.load(model_uri))
        check_scopes(policy, model_uri)
        with contextlib.ExitStack() as stack:
            principal = self._directory.add_service_principal(endpoint)
            stack.callback(self._directory.remove, endpoint)
            grant_resources(policy, endpoint, self._grants)
            stack.enter_context(self.as_model_serving(service_principal=endpoint))
            agent = Agent(mlflow.pyfunc.load_model(model_uri), auth_policy=policy, directory=self._directory)
            stack.callback(agent.close)
            self._serving.add(endpoint, agent)
            stack.callback(self._serving.remove, endpoint)
            yield Deployment(
                endpoint=endpoint,
                url=f"{self.host}/serving-endpoints/{endpoint}/invocations",
                auth_policy=policy,
                service_principal=principal,
                verify=self._ssl[0] or True,
            )


def _parts(workspace_type: type[LocalWorkspace]) -> Iterator[Part[Any]]:
    """Yield the services that the mixins name."""
    for mixin in workspace_type.__mro__:
        yield from (part for part in vars(mixin).values() if isinstance(part, Part))
