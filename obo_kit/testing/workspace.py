"""The local workspace itself: one object that holds everything together."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from typing_extensions import Self

    from obo_kit.testing.iam._directory import ServicePrincipal
    from obo_kit.testing.runtimes import AppRuntime, ModelServingRuntime
    from obo_kit.testing.search._index import Kind
    from obo_kit.testing.server._faults import FaultKind
    from obo_kit.testing.server._log import RequestLog
    from obo_kit.testing.server._uvicorn import Server
    from obo_kit.testing.services._genie import Answers
    from obo_kit.testing.serving._deployments import Deployment
    from obo_kit.testing.serving._endpoints import EmbeddingModel
    from obo_kit.testing.serving._models import ChatModel, Reply
    from obo_kit.testing.sql._rows import Rows

__all__ = ["LocalWorkspace"]

_PACKAGES = {
    "duckdb": "duckdb",
    "jwt": "pyjwt",
    "mcp": "mcp",
    "sklearn": "scikit-learn",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
}


class LocalWorkspace:
    """A workspace on loopback that the real Databricks clients talk to over HTTP.

    A stand-in: it has users, tokens with scopes and expiry, grants, and the refusals of the platform, and it serves
    answers of real engines (SQL on DuckDB, ranking by scikit-learn, models written as functions). What it answers is
    documented, reported or inferred; ``obo_kit.testing._refusals`` says which, refusal by refusal.

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
        ssl_certfile: Certificate chain in PEM: the workspace then serves HTTPS.
        ssl_keyfile: Its key, where it is in another file.

    Attributes:
        log: Every request, with what was decided about it.
        workspace_id: Numeric id, as text; also the audience of the tokens.

    Raises:
        ImportError: A package of the extra ``testing`` is not installed.
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
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
    ) -> None:
        missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
        if missing:
            msg = f'The local workspace needs {", ".join(missing)}: pip install "obo-kit[testing]"'
            raise ImportError(msg)
        # Here and not at the top: whoever imports obo_kit.testing has not asked for a server yet.
        from obo_kit.testing.iam._directory import Directory
        from obo_kit.testing.iam._grants import Grants
        from obo_kit.testing.mcp._routes import Mcp
        from obo_kit.testing.search._routes import Search
        from obo_kit.testing.server._app import Gate
        from obo_kit.testing.server._log import RequestLog
        from obo_kit.testing.services._apps import Apps
        from obo_kit.testing.services._connections import Connections
        from obo_kit.testing.services._functions import Functions
        from obo_kit.testing.services._genie import Genie
        from obo_kit.testing.services._oauth import IdentityApi
        from obo_kit.testing.services._tables import Tables
        from obo_kit.testing.services._warehouses import Warehouses
        from obo_kit.testing.serving._endpoints import Serving
        from obo_kit.testing.sql._engine import Engine

        self.workspace_id = str(10**15 + secrets.randbelow(9 * 10**15))
        self.log: RequestLog = RequestLog()
        if not 0 <= port <= 65535:
            msg = f"port is a number from 0 (any that is free) to 65535, not {port!r}"
            raise ValueError(msg)
        self._port = port
        self._ssl = (ssl_certfile, ssl_keyfile)
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False
        self._directory = Directory(self.workspace_id)
        self._grants = Grants(self._directory)
        self._engine = Engine(self._grants)
        self._warehouses = Warehouses(self._grants, self._engine, lambda: self.host)
        self._functions = Functions(self._grants, self._engine)
        self._connections = Connections(self._grants, lambda: self.host)
        self._apps = Apps(self._grants, self._credentials, self.workspace_id)
        self._search = Search(self._grants, lambda: self.host)
        self._genie = Genie(self._grants, self._engine)
        self._serving = Serving(self._grants, self._threads)
        self._gate = Gate(self._directory, self.log, self._threads)
        self._gate.add(IdentityApi(self._directory, lambda: self.host, self.workspace_id).apis())
        tables = Tables(self._grants, self._engine)
        for part in (
            self._warehouses,
            tables,
            self._functions,
            self._connections,
            self._apps,
            self._search,
            self._genie,
            self._serving,
        ):
            self._gate.add(part.apis())
        self._gate.add(Mcp(self._gate.inner, self._functions, self._threads).apis())
        self.latency = latency

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
        from obo_kit.testing.config import fill

        workspace = cls(port=port)
        fill(workspace, config)
        return workspace

    # ------------------------------------------------------------------ life

    def start(self) -> Self:
        """Listen. RuntimeError where it runs already or has been stopped."""
        from obo_kit.testing.server._uvicorn import Server

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
        self._warehouses.close()
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
    def genie_polls(self) -> int:
        """How often a Genie message is still running when polled, before it is done. 0 by default, to be quick."""
        return self._genie.polls

    @genie_polls.setter
    def genie_polls(self, count: int) -> None:
        if count < 0:
            msg = f"genie_polls is a number of polls, not {count!r}"
            raise ValueError(msg)
        self._genie.polls = count

    @property
    def search_page_size(self) -> int:
        """Rows that one answer of a vector search holds; the clients fetch the next page by themselves. 1000."""
        return self._search.page_size

    @search_page_size.setter
    def search_page_size(self, rows: int) -> None:
        if rows < 1:
            msg = f"search_page_size is a number of rows from 1 on, not {rows!r}"
            raise ValueError(msg)
        self._search.page_size = rows

    def _threads(self) -> Executor:
        assert self._pool is not None
        return self._pool

    # ------------------------------------------------------------------ who there is

    def add_user(self, name: str, *, groups: Iterable[str] = ()) -> None:
        """Add a user, who is in the given groups and in ``users`` and ``account users``.

        Raises:
            ValueError: The name is empty or taken.
        """
        self._directory.add_user(name, groups)

    def add_service_principal(self, name: str) -> ServicePrincipal:
        """Add a service principal and return its credentials: the SDK's OAuth M2M works with them.

        Raises:
            ValueError: The name is empty or taken.
        """
        return self._directory.add_service_principal(name)

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the users, in the order they were added."""
        return self._directory.names("user")

    @property
    def service_principals(self) -> tuple[str, ...]:
        """Names of the service principals, in the order they were added."""
        return self._directory.names("service_principal")

    def service_principal(self, name: str) -> ServicePrincipal:
        """Return the credentials of a service principal. ValueError where there is none of the name."""
        found = self._directory.credentials(name)
        if found is None:
            msg = f"There is no service principal {name!r} in this workspace; add_service_principal() adds it"
            raise ValueError(msg)
        return found

    def token(self, principal: str, *, scopes: Iterable[str] = ("all-apis",), expires_in: float = 3600.0) -> str:
        """Issue a token: a JWT with the claims sub, scope, iss, aud, iat, exp and jti.

        Args:
            principal: Whose it is.
            scopes: What it may be used for.
            expires_in: Life in seconds, rounded up to a whole one; zero or less gives an expired token.

        Raises:
            ValueError: There is no such principal.
        """
        return self._directory.mint(self._directory.find(principal), scopes, expires_in)

    # ------------------------------------------------------------------ what there is

    def add_table(
        self,
        name: str,
        rows: Rows,
        *,
        row_filter: str | None = None,
        column_masks: Mapping[str, str] | None = None,
    ) -> None:
        """Add a table of Unity Catalog, queried with SELECT on it through a warehouse.

        Filter and masks are SQL over the table's columns. They hold whatever statement, function or Genie space reads
        the table; ``current_user()`` and ``is_account_group_member('…')`` in them are about who asks, and they may
        call functions and read tables that were added before::

            workspace.add_table(
                "main.hr.people",
                rows,
                row_filter="manager = current_user() OR is_account_group_member('hr')",
                column_masks={"salary": "CASE WHEN is_account_group_member('hr') THEN salary END"},
            )

        Args:
            name: ``catalog.schema.table``.
            rows: Records, or the path of a CSV file with a line of column names. At least one; columns and their types
                are taken from them.
            row_filter: A condition: users see the rows for which it is true.
            column_masks: Per column, an expression of its type that users see in its place.

        Raises:
            ValueError: Name or rows are unusable, or filter or masks do not fit them.
        """
        loaded = self._engine.load(name, rows, row_filter=row_filter, column_masks=column_masks)
        self._grants.register("table", loaded)

    def add_function(
        self,
        name: str,
        body: str,
        *,
        parameters: Mapping[str, str] | None = None,
        returns: str = "STRING",
        comment: str = "",
    ) -> None:
        """Add a SQL function of Unity Catalog, used with EXECUTE on it.

        It runs with the rights of its definer: it may read what its caller may not, in the way its body says, while
        ``current_user()`` and ``is_account_group_member()`` in it are about the caller. Row filters and column masks
        hold in it too.

        Args:
            name: ``catalog.schema.function``.
            body: An expression or a query, with or without ``RETURN`` before it. What it names must be there already;
                short names mean its own schema.
            parameters: SQL type per parameter, followed by ``DEFAULT …`` and ``COMMENT '…'`` as in CREATE FUNCTION.
            returns: SQL type, or ``TABLE(name type, …)``.
            comment: What it does: the description that a tool made of it shows to the model.

        Raises:
            ValueError: The name is unusable or taken, or the SQL does not fit.
        """
        self._functions.add(name, body, parameters=parameters or {}, returns=returns, comment=comment)

    def add_connection(
        self,
        name: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        login: bool = False,
        comment: str = "",
    ) -> None:
        """Add a connection of Unity Catalog to an HTTP service, used with USE CONNECTION on it.

        Requests really go there: ``serving_endpoints.http_request``, the connection's proxy path and the external MCP
        server of its name forward them, without the caller's token.

        Args:
            name: Its name, without catalog and schema.
            url: Where the service is; paths of requests are added to it. A test starts one on loopback.
            headers: Credentials that the connection holds, such as ``{"Authorization": "Bearer …"}``.
            login: Each user has to log in first; ``log_in`` does that for them.
            comment: What it is.

        Raises:
            ValueError: The name is not plain or taken, the URL is none, or ``headers`` go with ``login``.
        """
        self._connections.add(name, url, headers=headers or {}, login=login, comment=comment)

    def log_in(self, user: str, connection: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Log a user in to a connection added with ``login=True``, as their browser would.

        Args:
            user: Who.
            connection: Its name.
            headers: The user's own credentials at the service.

        Raises:
            ValueError: There is no such user, or no connection of the name that users log in to.
        """
        self._connections.log_in(self._directory.find(user), connection, headers or {})

    def log_out(self, user: str, connection: str) -> None:
        """Forget a user's login to a connection. Arguments and errors as for ``log_in``."""
        self._connections.log_in(self._directory.find(user), connection, None)

    def add_app(self, name: str, *, user_api_scopes: Iterable[str] = (), url: str = "", description: str = "") -> None:
        """Add a Databricks App, which ``WorkspaceClient.apps`` shows to those with CAN USE on it.

        Its service principal has its name, as in ``as_app``.

        Args:
            name: Its name.
            user_api_scopes: Scopes its users' tokens carry, beside those that Apps always grants.
            url: Where it is; an address like the platform's by default.
            description: What it is.

        Raises:
            ValueError: The name is not plain or taken, or Apps does not accept a scope (with the platform's text).
        """
        self._apps.add(name, user_api_scopes=user_api_scopes, url=url, description=description)

    def add_warehouse(self, warehouse_id: str, *, name: str = "") -> None:
        """Add a SQL warehouse, used with CAN USE on it.

        Raises:
            ValueError: The id is not plain, or taken.
        """
        self._warehouses.add(warehouse_id, name)

    def add_search_endpoint(self, name: str, *, storage_optimized: bool = False) -> None:
        """Add a vector search endpoint. One that ``add_index`` names is made where there is none, of the standard type.

        Args:
            name: Its name.
            storage_optimized: Its type: such an endpoint takes filters as SQL text (``"price < 10"``), a standard one
                as a dict (``{"price <": 10}``), and each refuses the other form.

        Raises:
            ValueError: There is one of the name.
        """
        self._search.add_endpoint(name, storage_optimized=storage_optimized)

    def add_index(
        self,
        name: str,
        rows: Rows = (),
        *,
        primary_key: str,
        text_column: str | None = None,
        kind: Kind = "delta-sync",
        vector_column: str | None = None,
        dimension: int | None = None,
        schema: Mapping[str, str] | None = None,
        endpoint: str = "local-vs",
        embedding_endpoint: str | None = None,
    ) -> None:
        """Add a vector search index, queried with SELECT on it; a direct-access one is written with MODIFY.

        With a text column alone its embeddings are managed, and it is queried by text: rows are ranked lexically
        (TF-IDF over parts of words), which is real, but no language model. With a vector column it is queried by
        vectors, scored by L2 distance. Hybrid and full-text queries count words in all columns of text.

        Args:
            name: ``catalog.schema.index``.
            rows: Records, or the path of a CSV file with a line of column names. At least one, unless a schema is given.
            primary_key: Column that tells rows apart.
            text_column: Column that is searched by text.
            kind: ``"delta-sync"``, fed from a table, or ``"direct-access"``, which its users write.
            vector_column: Column of the author's own vectors (lists of numbers). A row without one gets the vector that
                the local embedding endpoints compute of its text, where the dimension is theirs (256).
            dimension: Length of the vectors; by default that of the first row's, or else 256.
            schema: Columns of a direct-access index and their types (``"string"``, ``"int"``, ``"float"``,
                ``"array<float>"`` and so on); taken from the rows by default.
            endpoint: Vector search endpoint it lives on; made where there is none of the name.
            embedding_endpoint: Serving endpoint named as the model of managed embeddings; made where there is none. The
                clients look it up before they search, so that users then need CAN QUERY on it and a model serving
                scope.

        Raises:
            ValueError: Name, rows, columns or schema are unusable.
        """
        from obo_kit.testing.search._index import new_index

        index = new_index(
            name,
            rows,
            kind=kind,
            primary_key=primary_key,
            text_column=text_column,
            vector_column=vector_column,
            dimension=dimension,
            schema=schema,
            endpoint=endpoint,
            embedding_endpoint=embedding_endpoint,
        )
        self._engine.load(name, index.sample())
        self._search.add(index)
        if embedding_endpoint is not None and not self._grants.exists("serving_endpoint", embedding_endpoint):
            self._serving.add_embedding(embedding_endpoint)

    def add_genie_space(
        self,
        space_id: str,
        *,
        warehouse_id: str,
        tables: Iterable[str],
        answers: Answers,
        title: str = "",
        hidden: bool = True,
    ) -> None:
        """Add a Genie space, used with CAN RUN on it, CAN USE on its warehouse and SELECT on what an answer reads.

        Args:
            space_id: Its id.
            warehouse_id: The warehouse it runs on.
            tables: The tables it is about.
            answers: SQL, or a ``GenieAnswer``, per question (case and closing punctuation do not matter; of a chat that
                a ``GenieAgent`` sends, the last message counts), or a function from question to either. Where there is
                none (None), the space says that it has no answer; where the function raises, the message fails.
            title: Its title.
            hidden: Whether those without CAN RUN are told that it does not exist (404) or that they may not use it
                (403). Both have been reported of the platform.

        Raises:
            ValueError: The id is not plain or taken, or warehouse or table unknown.
        """
        self._genie.add(space_id, warehouse_id=warehouse_id, tables=tables, answers=answers, title=title, hidden=hidden)

    def add_endpoint(self, name: str, model: ChatModel | Sequence[Reply | Exception]) -> None:
        """Add a model serving endpoint for chat, completions and responses, used with CAN QUERY on it.

        Args:
            name: Its name.
            model: Takes the body of a chat request (``messages``, ``tools`` and so on; a completion or responses
                request is translated into one) and returns the answer: text, an assistant message with ``tool_calls``,
                or an iterator (a generator, say) of both, which a client that streams gets as it is made. Called in
                worker threads; what it raises is answered with 400. Or a list of such answers, given in turn; an
                exception in it is raised.

        Raises:
            ValueError: The name is not plain or taken, or the model is neither a function nor a list.
        """
        self._serving.add_model(name, model)

    def add_embedding_endpoint(self, name: str, model: EmbeddingModel | None = None) -> None:
        """Add a model serving endpoint for embeddings, used with CAN QUERY on it.

        Args:
            name: Its name.
            model: Takes a list of texts and returns a vector for each. By default parts of words, hashed into vectors
                of 256 numbers: texts that share words are near each other, but no language model is at work.

        Raises:
            ValueError: The name is not plain or taken, or the model cannot be called.
        """
        if model is None:
            self._serving.add_embedding(name)
        else:
            self._serving.add_embedding(name, model)

    # ------------------------------------------------------------------ who may do what

    def grant(self, principal: str, privilege: str, securable: str, *, kind: str | None = None) -> None:
        """Grant a privilege, spelled as on the platform (``"SELECT"``, ``"EXECUTE"``, ``"CAN USE"`` and so on).

        Args:
            principal: A user, a service principal or a group.
            privilege: The privilege.
            securable: Name or id of what it is on.
            kind: Its kind, where the name alone is ambiguous.

        Raises:
            ValueError: Principal or securable are unknown, the name is ambiguous, or the privilege does not fit.
        """
        self._grants.grant(principal, privilege, securable, kind=kind)

    def revoke(self, principal: str, privilege: str, securable: str, *, kind: str | None = None) -> None:
        """Take a privilege back, with effect on the next request. Arguments and errors as for ``grant``."""
        self._grants.revoke(principal, privilege, securable, kind=kind)

    # ------------------------------------------------------------------ faults

    def add_fault(
        self,
        kind: FaultKind = "status",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | str | None = None,
        seconds: float | None = None,
        path_prefix: str = "/",
        user: str | None = None,
        after: int = 0,
        times: int | EllipsisType | None = ...,
        probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Let something go wrong. Faults that only delay or damage an answer add up; the first of another kind decides.

        =====================  ==========================================================================
        ``"status"``           answers with ``status``, ``headers`` and ``body``
        ``"latency"``          waits ``seconds`` before the answer
        ``"slow_stream"``      sends the answer in pieces, ``seconds`` before each
        ``"truncated_body"``   sends half of the body (of a stream: of its first event), then hangs up
        ``"reset"``            resets the connection, without an answer
        ``"login_redirect"``   redirects to ``/login.html``, as an unauthenticated browser is
        ``"login_page"``       answers 200 with that page
        ``"expired_token"``    the token of the request has expired, for good; a fresh one of the same user works
        =====================  ==========================================================================

        Args:
            kind: What happens.
            status: HTTP status, 200 to 599.
            headers: Response headers, ``Retry-After`` say.
            body: JSON object or text; a platform-shaped error by default.
            seconds: How long.
            path_prefix: Start of the paths it applies to.
            user: The principal it applies to; None for everybody.
            after: How many requests it lets through first.
            times: How many requests it hits, None for no limit. By default one; without limit where there is a
                probability.
            probability: Of each request to be hit, more than 0 and at most 1.
            seed: Of the probability: the same requests in the same order meet the same fate.

        Raises:
            ValueError: An argument is out of range or does not belong to the kind, or there is no such principal.
        """
        from obo_kit.testing.server._faults import Fault

        who = self._directory.find(user).name if user is not None else None
        self._gate.faults.add(
            Fault(
                kind,
                status=status,
                headers=headers,
                body=body,
                seconds=seconds,
                path_prefix=path_prefix,
                user=who,
                after=after,
                times=times,
                probability=probability,
                seed=seed,
            )
        )

    def clear_faults(self) -> None:
        """Take all faults back. A token that has expired stays so."""
        self._gate.faults.clear()

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

    def _credentials(self, name: str) -> ServicePrincipal:
        return self._directory.credentials(name) or self._directory.add_service_principal(name)

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


# Whoever asks for the class wants to start one: what it runs on is loaded with it, so that starting takes milliseconds.
# Where a package is missing, making a workspace says which.
with contextlib.suppress(ImportError):
    from obo_kit.testing.search import _routes  # noqa: F401
    from obo_kit.testing.server import _uvicorn  # noqa: F401
    from obo_kit.testing.services import _genie  # noqa: F401
    from obo_kit.testing.serving import _endpoints  # noqa: F401
