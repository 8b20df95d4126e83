"""A furnished workspace for all tests, and surroundings without any identity of whoever runs them."""

from __future__ import annotations

import datetime
import gc
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

_LENT = ("DATABRICKS_", "ARM_", "OBO_KIT_", "IS_IN_DB_MODEL", "IS_IN_DATABRICKS_MODEL", "DB_MODEL_SERVING", "OPENAI_")
_NETWORK = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"}

CHROMIUM = os.environ.get("CHROMIUM")  # gone from the environment when a test begins

ARTICLES = [
    {"id": "a1", "text": "How to ask for a refund and how long refunds take"},
    {"id": "a2", "text": "Shipping times and carriers by country"},
]

settings.register_profile("any machine", deadline=None)  # a machine under load answers late, which is no failure
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    # The SDK asks every new host who it is through a session that it drops without closing, and so do its own clients.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <(socket|ssl):ResourceWarning")


# The project that the pages take for granted: its tests run where the pages say so.
collect_ignore = ["docs/project"]

# The files that take longest, so that with several workers none of them is begun last.
_LONG = (
    "test_mutants",
    "test_policy",
    "test_docs",
    "test_matrix",
    "test_local_workspace_mcp",
    "test_ported_serving",
    "test_ported_apps",
    "test_clients",
    "test_cli",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def default_store(tmp_path_factory):
    """Name the store that MLflow uses where a test names none: one per worker, and none in the working directory."""
    return f"sqlite:///{(tmp_path_factory.mktemp('default_store') / 'mlflow.db').as_posix()}"


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch, default_store: str):
    """No identity, no proxy and no runtime in the environment; nothing left by another test in the process."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_store)
    without_identity(monkeypatch)
    transport = sys.modules.get("obo_kit.clients._transport")
    if transport is not None:
        # A machine under load answers late, which is no dead connection.
        monkeypatch.setattr(transport, "FIRST_BYTE_SECONDS", 30.0)
    forget()
    yield
    forget()


def without_identity(patch: pytest.MonkeyPatch) -> None:
    """Take away what the environment says of whoever runs the tests: for fixtures that live longer than one test, too."""
    for name in list(os.environ):
        if name.startswith(_LENT) or name.lower() in _NETWORK:
            patch.delenv(name)
    patch.setenv("DATABRICKS_CONFIG_FILE", os.devnull)
    patch.setenv("NETRC", os.devnull)


def forget() -> None:
    """Put the kit's process-wide state back."""
    process = sys.modules.get("obo_kit.identity._process")
    if process is not None:
        process.restore(process.ProcessState())
    frame = sys.modules.get("obo_kit.context._frame")
    if frame is not None:
        frame.FRAME.set(None)  # a test may leave a block in a context that nobody leaves
    session = sys.modules.get("obo_kit.session._opening")
    if session is not None:
        session._process_token_users = session._ProcessTokenUsers()
    sessions = sys.modules.get("obo_kit.session._session")
    if sessions is not None:
        sessions._said.clear()
    identity = sys.modules.get("obo_kit.identity._sources")
    if identity is not None:
        identity._registered.clear()
    clients = sys.modules.get("obo_kit.clients._pipeline")
    if clients is not None:
        clients._warned.clear()


@pytest.fixture(scope="session")
def furnished_workspace():
    """Users alice (may use everything), bob (everything too) and carol (nothing); an index, a Genie space, a warehouse
    and an endpoint."""
    pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")
    from obo_kit.testing import LocalWorkspace

    with LocalWorkspace() as workspace:
        for name in ("alice", "bob", "carol"):
            workspace.add_user(name)
        workspace.add_warehouse("wh1")
        workspace.add_table("main.support.tickets", [{"id": 1, "subject": "Refund not received"}])
        workspace.add_index("main.support.articles", ARTICLES, primary_key="id", text_column="text")
        workspace.add_genie_space(
            "space1",
            warehouse_id="wh1",
            tables=["main.support.tickets"],
            answers={"How many tickets are there?": "SELECT count(*) AS n FROM main.support.tickets"},
        )
        workspace.add_endpoint("llm", lambda body: f"You said: {body['messages'][-1]['content']}")
        for name in ("alice", "bob"):
            for privilege, securable in (
                ("SELECT", "main.support.tickets"),
                ("SELECT", "main.support.articles"),
                ("CAN USE", "wh1"),
                ("CAN RUN", "space1"),
                ("CAN QUERY", "llm"),
            ):
                workspace.grant(name, privilege, securable)
        yield workspace


@pytest.fixture
def workspace(furnished_workspace):
    """The furnished workspace, with an empty log and no faults."""
    furnished_workspace.log.clear()
    yield furnished_workspace
    furnished_workspace.clear_faults()
    furnished_workspace.latency = 0.0


@pytest.fixture
def later(monkeypatch):
    """Let seconds pass at once, for the tokens of the kit and of the local workspace: nothing runs out meanwhile."""
    from obo_kit.identity import _user
    from obo_kit.testing.iam import _directory

    passed = datetime.timedelta(days=-1)  # from a day ago on, as tokens of the future are refused

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + passed

    def later(seconds: float) -> None:
        nonlocal passed
        passed += datetime.timedelta(seconds=seconds)

    monkeypatch.setattr(_user, "datetime", Later)
    monkeypatch.setattr(_directory, "time", SimpleNamespace(time=lambda: time.time() + passed.total_seconds()))
    return later


@pytest.fixture
def new_process_state():
    """As in a process that has built no client yet: no pool, no known host."""
    from obo_kit.clients import _connections

    _connections.renew()
    yield
    _connections.renew()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        gc.collect()  # the pools that were dropped, with what they kept open: not another test's garbage


@pytest.fixture(scope="module", autouse=True)
def nobody_s_connections():
    """`ChatDatabricks` builds an async client that nobody closes: its garbage is not another file's."""
    gc.freeze()  # many tests collect, and would look at all that was imported and collected before them each time
    yield
    if "databricks_langchain" in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
            gc.collect()


@pytest.fixture
def no_finalizers():
    """Nobody's garbage is collected at the depth that a deep body is read to: its finalizers would fail there."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def new_store(tmp_path_factory):
    """Gives a store of MLflow's without anything in it: making the tables takes seconds, copying them does not."""
    made: list[Path] = []

    def new(folder: Path | None = None) -> str:
        if not made:
            home = tmp_path_factory.mktemp("tables")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's own, and its database layer's, when they are first loaded
                import mlflow.store.tracking.sqlalchemy_store as stores

                store = stores.SqlAlchemyStore(f"sqlite:///{home}/mlflow.db", home.as_uri())
                store.engine.dispose()
            made.append(home / "mlflow.db")
        folder = folder or tmp_path_factory.mktemp("mlflow")
        return f"sqlite:///{shutil.copy(made[0], folder / 'mlflow.db')}"

    return new


@pytest.fixture(scope="session")
def empty_store(new_store):
    """Where MLflow may look for a trace."""
    return new_store()


@pytest.fixture(scope="module")
def no_traces(empty_store):
    """MLflow keeps no trace, and looks for none in this directory: some of the clients trace themselves."""
    with warnings.catch_warnings():
        # MLflow warns about its own type hints, and its database layer about itself, when they are first loaded.
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.store.tracking.sqlalchemy_store

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(empty_store)
    mlflow.tracing.disable()
    yield
    mlflow.tracing.reset()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def browser():
    """A browser without a window: Chromium, as the environment's CHROMIUM names it or as it is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="comes with the dependency group docs")
    program = CHROMIUM or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def registry(monkeypatch):
    """The registry of what tools declare, empty for the test."""
    from obo_kit.tools._registry import REGISTRY

    monkeypatch.setattr(REGISTRY, "_tools", {})
    monkeypatch.setattr(REGISTRY, "_system", [])
    return REGISTRY
