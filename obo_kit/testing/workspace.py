"""The local workspace: its life cycle and runtimes. Each service adds its part by a mixin."""

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
from obo_kit.testing._sql_addresses import on_loopback
from obo_kit.testing.iam._directory import Directory, ServicePrincipal
from obo_kit.testing.iam._grants import Grants
from obo_kit.testing.lakebase._routes import LakebaseMixin
from obo_kit.testing.mcp._routes import McpMixin
from obo_kit.testing.search._routes import SearchMixin
from obo_kit.testing.server._app import Gate
from obo_kit.testing.server._faults import Faults
from obo_kit.testing.server._log import RequestLog
from obo_kit.testing.server._recorded import Recorded
from obo_kit.testing.server._scopes import ScopeWords
from obo_kit.testing.server._service import Core, Part
from obo_kit.testing.server._uvicorn import Server, around_proxies
from obo_kit.testing.services._apps import AppsMixin
from obo_kit.testing.services._connections import ConnectionsMixin
from obo_kit.testing.services._connector import ConnectorMixin
from obo_kit.testing.services._faults import FaultsMixin
from obo_kit.testing.services._functions import FunctionsMixin
from obo_kit.testing.services._genie import GenieMixin
from obo_kit.testing.services._oauth import IdentityMixin
from obo_kit.testing.services._permissions import PermissionsMixin
from obo_kit.testing.services._platform import PlatformMixin
from obo_kit.testing.services._tables import TablesMixin
from obo_kit.testing.services._volumes import VolumesMixin
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
    # A configuration file is read in this order: a section comes after those that it needs.
    IdentityMixin,
    PermissionsMixin,
    PlatformMixin,
    TablesMixin,
    VolumesMixin,
    FunctionsMixin,
    ConnectionsMixin,
    AppsMixin,
    WarehousesMixin,
    ConnectorMixin,
    SearchMixin,
    GenieMixin,
    ServingMixin,
    McpMixin,
    LakebaseMixin,
    FaultsMixin,
):
    """A workspace on loopback that the real Databricks clients talk to over HTTP.

    A stand-in: it has users, tokens with scopes and expiry, grants, and the refusals of the platform. Its answers come from
    real engines (SQL on DuckDB, ranking by scikit-learn, models written as functions). Each answer is documented, reported
    or inferred; each refusal in ``obo_kit.testing`` says which.

    Fill it before or after it starts. It starts when entered (or with ``start``), listens on 127.0.0.1 only, and ends with
    the block (or ``stop``). After that it cannot start again::

        with LocalWorkspace() as workspace:
            workspace.add_user("alice")
            client = WorkspaceClient(host=workspace.host, token=workspace.token("alice"), auth_type="pat")

    A user's platform name, and the ``sub`` of their tokens, is an e-mail address: ``alice`` becomes
    ``alice@example.com``. Methods that name a principal take either; the log says ``alice``.

    Args:
        latency: The minimum time from the arrival of a request to its answer, in seconds. You may set the attribute at any
            time.
        port: The port to listen on; 0 for a free one.
        strict_privileges: Whether USE CATALOG and USE SCHEMA are needed, as on the platform. You may set the attribute at
            any time.
        recording: A recording of a workspace, or the path of its file. Refusals then have the recorded words and forms, with
            the names of this workspace, and routes ask for the scopes that were seen to open them. If on-behalf-of-user
            authorization was off, users' tokens lack the scopes that an app is configured with. Answers that were not
            recorded stay as they are. You may set the attribute at any time, also to None.
        ssl_certfile: Certificate chain in PEM: the workspace then serves HTTPS.
        ssl_keyfile: Its key, if it is in another file.

    Attributes:
        log: Every request, and the decision about it.
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
            msg = f"port must be a number from 0 (any free port) to 65535, not {port!r}"
            raise ValueError(msg)
        self.workspace_id = str(10**15 + secrets.randbelow(9 * 10**15))
        self.log = RequestLog()
        self._port = port
        self._ssl = (ssl_certfile, ssl_keyfile)
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False
        self._life = contextlib.ExitStack()
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
            log=self.log,
            host=lambda: self.host,
            threads=self._threads,
            obo=self._obo,
            inner=self._gate.inner,
        )
        for part in _parts(type(self)):
            self._gate.add(self._core.service(part.kind).apis())
        self.latency = latency
        self.strict_privileges = strict_privileges
        self.recording = recording

    @classmethod
    def from_config(cls, config: str | os.PathLike[str] | Mapping[str, Any], *, port: int = 0) -> Self:
        """Return a workspace with the contents of a configuration. It is not started yet.

        The sections are the ``add_*`` methods (``add_genie_space`` reads ``genie_spaces``), and their keys are the
        parameters of these methods. A file may also have ``grants``, and set properties such as ``latency``; see
        ``docs/local-workspace.md``.

        Args:
            config: The path of a YAML file, or the same as a mapping. Paths in it are relative to the file's folder (in a
                mapping: to the current one).
            port: As for the class.

        Raises:
            ConfigError: It cannot be read, or an entry does not fit. The message names file, line and key.
            ImportError: PyYAML is not installed.
        """
        workspace = cls(port=port)
        _config.fill(workspace, config)
        return workspace

    # ------------------------------------------------------------------ life

    def start(self) -> Self:
        """Begin to listen. Raises RuntimeError if it is running already or has been stopped.

        If the environment names a proxy, 127.0.0.1 is added to its ``NO_PROXY``, and stays there.
        """
        os.environ.update(around_proxies())
        with self._lock:
            if self._stopped or self._server is not None:
                msg = "A local workspace starts only once; make a new one"
                raise RuntimeError(msg)
            self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="obo-kit-workspace")
            self._server = Server(self._gate, port=self._port, ssl_certfile=self._ssl[0], ssl_keyfile=self._ssl[1])
            self._directory.issuer = f"{self.host}/oidc"
            self._life.enter_context(on_loopback(self.host))
        return self

    def stop(self) -> None:
        """Stop listening, cut off requests in flight, and free the port and the threads. May be called twice."""
        with self._lock:
            server, self._server, self._stopped = self._server, None, True
        self._life.close()
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
        """Return ``http://127.0.0.1:PORT`` (https with a certificate). Raises RuntimeError while it does not run."""
        if self._server is None:
            msg = "The local workspace is not running: use it in a with block, or call start()"
            raise RuntimeError(msg)
        return f"{'https' if self._ssl[0] else 'http'}://127.0.0.1:{self._server.port}"

    @property
    def notice(self) -> str:
        """Return ``NOTICE``, and the recording that the refusals come from, if there is one."""
        seen = self.recording
        if seen is None:
            return self.NOTICE
        where = "a local workspace" if seen.cloud == "local" else "a workspace"
        return f"{self.NOTICE} Recorded refusals are those of {where} on {seen.recorded}."

    @property
    def latency(self) -> float:
        """Return the minimum time from a request's arrival to its answer, in seconds. It includes the workspace's own work."""
        return self._gate.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        if not 0 <= seconds < 3600:
            msg = f"latency must be a number of seconds from 0 to 3600, not {seconds!r}"
            raise ValueError(msg)
        self._gate.latency = seconds

    @property
    def missing_scope_words(self) -> ScopeWords:
        """Return the wording of the refusal for a missing scope.

        ``"json"`` (the default): as most of the REST API answers. ``"text"`` and ``"bare"``: plain text, with and without
        the scope, as newer APIs were reported to answer. ``"reported"``: for each API as it was reported.
        """
        return self._gate.scope_words

    @missing_scope_words.setter
    def missing_scope_words(self, words: ScopeWords) -> None:
        if words not in get_args(ScopeWords):
            msg = f"missing_scope_words must be one of {', '.join(get_args(ScopeWords))}, not {words!r}"
            raise ValueError(msg)
        self._gate.scope_words = words

    @property
    def recording(self) -> Recording | None:
        """Return the recording whose words this workspace uses to refuse, or None."""
        return self._gate.recorded.recording if self._gate.recorded is not None else None

    @recording.setter
    def recording(self, recording: str | os.PathLike[str] | Recording | None) -> None:
        self._gate.recorded = None if recording is None else Recorded(recording_of(recording), self.workspace_id)

    def _obo(self, target: str) -> bool:
        seen = self.recording
        return seen is None or (seen.obo if target == "apps" else seen.obo_model_serving) != "off"

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
        """Act as Model Serving for the block: its environment, its source of the invoker's token, and no other identity.

        Args:
            service_principal: The name of the model's system identity (``"agent"`` by default); added if it does not exist
                yet.
            token_source: ``"request"``: a token per request, fetched from the scoring server's module (a stand-in is
                installed). ``"process"``: the main thread's ``invokers_token``, one for all requests.
        """
        from obo_kit.testing.runtimes import model_serving

        credentials = self._credentials(service_principal or "agent")
        return model_serving(self.token, credentials, self.host, token_source, lambda: self._obo("model-serving"))

    def as_app(
        self, *, service_principal: str | None = None, name: str = "local-app"
    ) -> contextlib.AbstractContextManager[AppRuntime]:
        """Act as Databricks Apps for the block: its environment, and headers as its proxy adds them.

        Args:
            service_principal: The name of the app's own identity (the app's name by default); added if it does not exist
                yet.
            name: The name of the app.
        """
        from obo_kit.testing.runtimes import app

        return app(
            self.token,
            self._directory,
            self._credentials(service_principal or name),
            name=name,
            host=self.host,
            workspace_id=self.workspace_id,
            obo=lambda: self._obo("apps"),
        )

    def as_notebook(
        self, user: str, *, scopes: Iterable[str] = ("all-apis",), expires_in: float = 3600.0
    ) -> contextlib.AbstractContextManager[None]:
        """Act as a developer's notebook for the block: host and token of that user in the environment, nothing else.

        Args:
            user: The developer.
            scopes: The scopes that their token carries.
            expires_in: Life of the token, in seconds.
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

        The process is in the runtime for the block, so a second user is served after it, in the same thread. To serve
        several users at once, open the runtime yourself: ``with workspace.as_model_serving() as runtime:``.

        Args:
            user: The user.
            runtime: Where the agent runs.
            scopes: The scopes that the user's token carries.
            expires_in: Life of the token, in seconds.

        Yields:
            The user's session. ``session.denials`` lists the refusals.
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

        The model is loaded once, in Model Serving's environment, which this process has until the block ends. Each request
        runs in a worker thread with a token of its caller, exchanged for one with the ``api_scopes`` of the model's policy.
        Requests run at the same time. The endpoint's service principal, named like the endpoint, gets what the system
        policy lists and nothing else.

        Args:
            model_uri: As for ``mlflow.pyfunc.load_model``.
            endpoint: The name of the endpoint. Grant CAN QUERY on it inside the block.

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
