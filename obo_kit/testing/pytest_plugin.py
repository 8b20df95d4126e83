"""The pytest plugin: a workspace per test, and blocks of a test that run as one of its users.

pytest loads it in every run if the kit is installed, so it imports nothing until a test asks for a fixture. The fixtures need
the extra ``testing``, and say so if it is missing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from obo_kit.testing import AppRuntime, LocalWorkspace, ModelServingRuntime
    from obo_kit.testing._kit import UserSession

__all__ = ["as_user", "local_workspace", "obo_runtime", "obo_workspace_config"]

_MARKER = "obo_users(*names): the users that obo_user stands for, one after the other; without it, all users of the workspace."


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option and the audit options."""
    parser.addini("obo_workspace", "YAML file that local_workspace is made from, relative to the rootdir.", default="")
    group = parser.getgroup("obo_kit")
    group.addoption(
        "--obo-audit",
        action="store_true",
        help="Compare the scopes that tools use with those they declare; fail if they differ.",
    )
    group.addoption("--obo-audit-json", metavar="FILE", help="The same, and write the report to FILE as JSON.")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and begin the audit if an option asks for it."""
    config.addinivalue_line("markers", _MARKER)
    file = config.getoption("--obo-audit-json")
    if config.getoption("--obo-audit") or file is not None:
        from obo_kit.testing._pytest_audit import Audit

        config.pluginmanager.register(Audit(config, file), "obo_audit")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``obo_user`` once per user."""
    if "obo_user" not in metafunc.fixturenames:
        return
    if any("obo_user" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize") if mark.args):
        return
    marker = metafunc.definition.get_closest_marker("obo_users")
    names = list(marker.args) if marker is not None else _configured_users(metafunc.config)
    if not names:
        msg = (
            "obo_user needs users: mark the test with @pytest.mark.obo_users('alice', 'bob'), or set the ini option "
            "obo_workspace to a workspace file with users"
        )
        raise pytest.UsageError(msg)
    metafunc.parametrize("obo_user", names)


@pytest.fixture(scope="session")
def obo_workspace_config(pytestconfig: pytest.Config) -> Any:
    """Return the source of ``local_workspace``: the file of the ini option ``obo_workspace``; None for an empty workspace.

    Override it to return another path, or a mapping.
    """
    return _configured(pytestconfig)


@pytest.fixture
def local_workspace(obo_workspace_config: Any) -> Iterator[LocalWorkspace]:
    """Yield a running workspace for this test. It starts and stops in milliseconds, with fresh grants and a fresh log."""
    from obo_kit.testing import LocalWorkspace

    made = LocalWorkspace() if obo_workspace_config is None else LocalWorkspace.from_config(obo_workspace_config)
    with made as workspace:
        yield workspace


@pytest.fixture
def obo_runtime() -> Literal["model-serving", "apps", "notebook"]:
    """Return the runtime that ``as_user`` puts the process in. Override it, or parametrize it directly."""
    return "model-serving"


@pytest.fixture
def as_user(
    local_workspace: LocalWorkspace, obo_runtime: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., contextlib.AbstractContextManager[UserSession]]]:
    """Run a block as a user: ``with as_user("alice") as session:``. ``session.denials`` lists the refusals.

    For the whole test, the process is in the runtime that ``obo_runtime`` names, so that ``WorkspaceClient()`` is the agent
    itself and never the person who runs the tests. The block adds a request of the user, with an open session. Blocks may
    run in several threads at the same time, except in a notebook, which has one user.

    ``as_user(name, scopes=…, expires_in=…)`` sets the scopes and the life of the user's token. A call outside the declared
    scopes raises, as on a developer's machine. In a deployed agent it only warns.
    """
    from obo_kit.testing._kit import open_session

    if obo_runtime not in {"model-serving", "apps", "notebook"}:
        msg = f"obo_runtime must be 'model-serving', 'apps' or 'notebook', not {obo_runtime!r}"
        raise pytest.UsageError(msg)

    def block(
        name: str, *, scopes: Iterable[str] = ("all-apis",), expires_in: float = 3600.0
    ) -> contextlib.AbstractContextManager[UserSession]:
        return opened(name, tuple(scopes), expires_in)

    runtime: ModelServingRuntime | AppRuntime | None = None

    @contextlib.contextmanager
    def opened(name: str, scopes: tuple[str, ...], expires_in: float) -> Iterator[UserSession]:
        with contextlib.ExitStack() as stack:
            enter = local_workspace.as_notebook if runtime is None else runtime.user
            stack.enter_context(enter(name, scopes=scopes, expires_in=expires_in))
            yield stack.enter_context(open_session())

    with contextlib.ExitStack() as stack:
        monkeypatch.setenv("OBO_KIT_SCOPE_GUARD", "raise")
        if obo_runtime == "model-serving":
            runtime = stack.enter_context(local_workspace.as_model_serving())
        elif obo_runtime == "apps":
            runtime = stack.enter_context(local_workspace.as_app())
        yield block


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Start each test as a process that has served nobody: no user was named in it, and no session opened."""
    process = sys.modules.get("obo_kit.identity._process")
    if process is not None:
        process.reset_process_state()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Add the requests that the workspace saw to the report of a test that fails."""
    report = yield
    workspace = getattr(item, "funcargs", {}).get("local_workspace")
    if report.when == "call" and report.failed and workspace is not None:
        report.sections.append(("Requests that the local workspace saw", str(workspace.log)))
    return report


def _configured(config: pytest.Config) -> Path | None:
    named = str(config.getini("obo_workspace"))
    return config.rootpath / named if named else None


def _configured_users(config: pytest.Config) -> list[str]:
    file = _configured(config)
    if file is None:
        return []
    from obo_kit.testing.config import users_of

    return users_of(file)
